"""`regulars simulate`: the events of a synthetic shop."""

from typing import Any

import click

from streams.commands.options import Failure, setting_options, settings_from


class EventsPerSecond(click.ParamType):
    """`max` (None), or a number above 0."""

    name = "max|N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | None:
        """Events per second; exit code 2 if `value` is neither."""
        if value == "max":
            return None
        try:
            rate = float(value)
        except ValueError:
            rate = 0.0
        if not rate > 0:
            self.fail(f"{value!r} is neither max nor a number above 0", param, ctx)
        return rate


@click.command("simulate")
@click.option(
    "--customers", type=click.IntRange(min=1), default=None, envvar="REGULARS_CUSTOMERS", show_envvar=True,
    help="Customers of the history.  [default: as many as --events need, or 2000]",
)  # fmt: skip
@click.option(
    "--days", type=click.FloatRange(min=0, min_open=True), default=90.0, envvar="REGULARS_DAYS", show_envvar=True,
    show_default=True, help="Length of the history, which ends now.",
)  # fmt: skip
@click.option(
    "--rate", type=EventsPerSecond(), default="max", envvar="REGULARS_RATE", show_envvar=True, show_default=True,
    help="Events per second.",
)  # fmt: skip
@click.option(
    "--seed", type=int, default=1, envvar="REGULARS_SEED", show_envvar=True, show_default=True,
    help="Seed of everything that happens in the shop.",
)  # fmt: skip
@click.option(
    "--events", type=click.IntRange(min=1), default=None, envvar="REGULARS_EVENTS", show_envvar=True,
    help="Stop after this many events.",
)  # fmt: skip
@click.option(
    "--follow", is_flag=True, envvar="REGULARS_FOLLOW", show_envvar=True,
    help="Continue live after the history, until Ctrl-C, at --live-rate.",
)  # fmt: skip
@click.option(
    "--live-rate", type=click.FloatRange(min=0, min_open=True), default=None, envvar="REGULARS_LIVE_RATE",
    show_envvar=True, help="Events per second when live.  [default: --rate, or 100 if that is max]",
)  # fmt: skip
@setting_options("bootstrap_servers", "topic_prefix")
def command(
    customers: int | None,
    days: float,
    rate: float | None,
    seed: int,
    events: int | None,
    follow: bool,
    live_rate: float | None,
    **options: Any,
) -> None:
    """Send the events of a synthetic shop: visits, purchases, refunds and texts of made-up customers.

    Everything is labelled: customer ids begin with `synthetic-`, and records have the header `regulars-synthetic: 1`.
    The same seed makes the same shop. docs/datasets.md describes how the customers behave.
    """
    import asyncio

    from streams.sources.sender import PartitionsDiffer, SendFailed
    from streams.sources.simulating import Simulation

    settings = settings_from(**options)
    plan = Simulation(seed, customers, days, events, rate, follow, live_rate)
    try:
        line, finished = asyncio.run(_run(settings, plan))
    except (PartitionsDiffer, SendFailed) as exc:
        raise Failure(str(exc)) from exc
    click.echo(line, err=True)
    if not finished:
        raise Failure("stopped before the end of the history", "the same command makes a new one")


async def _run(settings: Any, plan: Any) -> tuple[str, bool]:
    from streams.sources.console import progress_bar, stop_on_signal
    from streams.sources.simulating import run_simulation

    with stop_on_signal() as stop, progress_bar("simulate", plan.events) as progress:
        done = await run_simulation(settings, plan, progress, stop)
    seconds = done.history.elapsed_s + (0.0 if done.live is None else done.live.elapsed_s)
    pace = done.events / seconds if seconds > 0 else 0.0
    what = f"{done.events:,} synthetic events of {done.customers:,} customers"
    line = f"{what} sent in {seconds:.1f} s, {pace:,.0f} events/s"
    return line, done.history.finished
