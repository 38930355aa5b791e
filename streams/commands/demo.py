"""`regulars demo`: the whole product, live on this machine."""

import asyncio
import contextlib
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streams.commands.options import Failure, setting_options, settings_from

if TYPE_CHECKING:
    from rich.console import Console

    from streams.demo.follower import Watch
    from streams.demo.system import DemoSystem

REFRESH_PER_S = 4
# Without a terminal: the figures at this interval, with the latest few changes.
PLAIN_EVERY_S = 2.0
PLAIN_CHANGES = 3


@click.command("demo")
@click.option("--events", type=click.IntRange(1), help="End after this many events; without it, Ctrl-C ends the demo.")
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of the simulated shop.")
@click.option(
    "--rate", type=click.FloatRange(0, min_open=True), default=200.0, show_default=True, help="Events a second."
)
@click.option(
    "--dir",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("regulars-data/demo"),
    show_default=True,
    help="Folder for broker, state and logs of the demo; it is made anew each time.",
)
@click.option(
    "--broker-port",
    type=click.IntRange(1, 65535),
    default=9092,
    show_default=True,
    envvar="REGULARS_BROKER_PORT",
    show_envvar=True,
    help="Port of the broker that is started; if it is taken, another one.",
)
@click.option("--campaign", is_flag=True, help="Decide about customers who fall silent, and report what came of it.")
@setting_options("web_port", "bootstrap_servers", "topic_prefix", "cache_dir", "device")
def command(
    events: int | None, seed: int, rate: float, folder: Path, broker_port: int, campaign: bool, **options: Any
) -> None:
    """Watch customers of a simulated shop change segment, live: starts broker, topics, shop, worker and trainer.

    Ends with a summary after --events, or at Ctrl-C, and leaves nothing running.
    """
    from rich.console import Console

    from streams.broker import BrokerError
    from streams.demo.children import ChildFailed
    from streams.demo.system import DemoFailed, demo_system
    from streams.kafka.errors import BrokerLost

    began = time.monotonic()
    console = Console(highlight=False)
    settings = settings_from(**options)
    # SIGTERM and a closed terminal end it as Ctrl-C does, even if a shell started it with SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        with demo_system(settings, folder, broker_port, console.print, campaign=campaign) as running:
            _show(console, running, began, events, seed, rate)
            if campaign:
                _report(running)
            console.print("stopping")
    except KeyboardInterrupt:
        raise Failure("interrupted before the demo was up") from None
    except (BrokerError, BrokerLost, DemoFailed) as exc:
        raise Failure(str(exc), f"logs are in {folder / 'logs'}") from exc
    except ChildFailed as exc:
        raise Failure(str(exc), f"its log is {exc.log}") from exc


def _show(console: "Console", running: "DemoSystem", began: float, events: int | None, seed: int, rate: float) -> None:
    from streams.demo.follower import Watch
    from streams.demo.screen import summary

    watch = Watch(running.settings, running.web)
    shop = running.start_shop(_shop_options(events, seed, rate))
    console.print(f"dashboard: {running.web}")

    def ended() -> bool:
        return shop.status() == 0

    draw = _draw if console.is_terminal else _write
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C is the way to end it
        asyncio.run(draw(console, watch, running, watch.run(running.children.check, ended)))
    if watch.first_change_s is not None:
        whole_s = watch.began - began + watch.first_change_s
        console.print(f"first change after {whole_s:.1f} s, {watch.first_change_s:.1f} s after the shop opened")
    console.print(summary(watch, str(running.logs)))
    if running.settings.topic_prefix:
        console.print(f"topics {running.settings.topic_prefix}* stay at {running.settings.bootstrap_servers}")


def _report(running: "DemoSystem") -> None:
    from streams.campaigns.reporting import report
    from streams.commands.campaign_report import show
    from streams.demo.campaign import NAME

    show(asyncio.run(report(running.settings, NAME)))


def _shop_options(events: int | None, seed: int, rate: float) -> list[str]:
    paced = ["--seed", str(seed), "--rate", f"{rate:g}"]
    # The shop's past first, months in minutes, so that customers fall silent; then the present, without end.
    return [*paced, "--follow"] if events is None else [*paced, "--events", str(events)]


async def _draw(console: "Console", watch: "Watch", running: "DemoSystem", following: Any) -> None:
    from rich.live import Live

    from streams.demo.screen import Screen

    with Live(Screen(watch, running.web), console=console, refresh_per_second=REFRESH_PER_S, screen=True):
        await following


async def _write(console: "Console", watch: "Watch", running: "DemoSystem", following: Any) -> None:
    from streams.demo.screen import change_line, line

    task = asyncio.ensure_future(following)
    seen = 0
    try:
        while not task.done():
            began = time.monotonic()
            await asyncio.wait([task], timeout=PLAIN_EVERY_S)
            new = list(watch.recent)[: min(PLAIN_CHANGES, watch.total - seen)]
            for change in reversed(new):
                console.print(change_line(change), markup=False, soft_wrap=True)
            if new or time.monotonic() - began >= PLAIN_EVERY_S:
                console.print(line(watch), markup=False, soft_wrap=True)
            seen = watch.total
        await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
