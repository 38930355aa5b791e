"""`regulars trainer`: the one process that learns."""

from typing import Any

import click

from streams.commands.failures import kafka_errors_as_failures
from streams.commands.options import Failure, setting_option, setting_options, settings_from
from streams.settings import WrongSetting


@click.command()
@setting_option("trainer_web_port", "--web-port")
@setting_options(
    "models",
    "web_host",
    "web_open",
    "web_token_file",
    "bootstrap_servers",
    "topic_prefix",
    "app_id",
    "group",
    "session_timeout_s",
)
@click.option(
    "--publish-every",
    type=click.IntRange(min=1),
    default=20_000,
    show_default=True,
    envvar="REGULARS_PUBLISH_EVERY",
    show_envvar=True,
    help="publish a snapshot after this many new labels",
)
@click.option(
    "--publish-interval",
    type=click.FloatRange(min=0, min_open=True),
    default=30.0,
    show_default=True,
    envvar="REGULARS_PUBLISH_INTERVAL",
    show_envvar=True,
    help="publish a snapshot after this many seconds if a label is new",
)
def command(publish_every: int, publish_interval: float, **options: Any) -> None:
    """Learn from model-train and publish snapshots to model-snapshots, until SIGINT or SIGTERM.

    One trainer learns; a second one waits until the first one leaves. After a restart it continues from the last published
    snapshot. Health is at /live and /ready of --web-port, metrics at /metrics.
    """
    import asyncio
    import contextlib
    import signal

    from models import features
    from models.learning.plug import PlugError, plugged
    from models.scores import PriorScorer
    from streams.kafka.errors import BrokerLost
    from streams.training.checkpoint import Beginner
    from streams.training.pages import TrainerView, pages
    from streams.training.schedule import PublishSchedule
    from streams.training.trainer import Trainer

    settings = settings_from(**options)
    try:
        contenders = tuple(plugged(settings.models))
    except PlugError as exc:
        raise Failure(str(exc), "correct REGULARS_MODELS; `regulars models check` shows what is wrong") from exc
    beginner = Beginner(features.NAMES, features.FEATURE_SET, PriorScorer(), contenders)
    schedule = PublishSchedule(publish_every, publish_interval)
    way_out = "start the trainer again; it continues from the last published snapshot"

    async def run() -> None:
        stopping = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stopping.set)
        view = TrainerView(settings.app_id)
        async with contextlib.AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(pages(view, settings))
            except OSError as exc:
                where = f"{settings.web_host}:{settings.trainer_web_port}"
                raise Failure(f"no pages at {where}: {exc}", "choose another --web-port, or 0 for none") from exc
            await Trainer(settings, beginner, schedule, view).run(stopping)

    try:
        with kafka_errors_as_failures(f"the broker at {settings.bootstrap_servers} failed", way_out):
            asyncio.run(run())
    except WrongSetting as exc:  # of the sign-in
        raise click.UsageError(str(exc)) from exc
    except BrokerLost as exc:
        broker = f"start the broker at {settings.bootstrap_servers} (`regulars broker start`), or correct"
        raise Failure(str(exc), f"{broker} REGULARS_BOOTSTRAP_SERVERS; then {way_out}") from exc
