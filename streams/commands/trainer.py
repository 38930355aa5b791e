"""`regulars trainer`: the one learner."""

from typing import Any

import click

from streams.commands.options import Failure, setting_options, settings_from


@click.command()
@setting_options("bootstrap_servers", "topic_prefix", "app_id", "session_timeout_s")
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

    One trainer learns; a second one waits until the first leaves. A restart goes on from the last snapshot published.
    """
    import asyncio
    import signal

    from aiokafka.errors import KafkaConnectionError, KafkaError

    from models import features
    from models.scores import PriorScorer
    from streams.plane.errors import TopicsNotReady
    from streams.security import DENIALS, AccessRefused
    from streams.trainer import Pace, Trainer

    settings = settings_from(**options)
    pace = Pace(publish_every, publish_interval)

    async def run() -> None:
        stopping = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stopping.set)
        await Trainer(settings, features.NAMES, features.FEATURE_SET, PriorScorer(), pace).run(stopping)

    try:
        asyncio.run(run())
    except TopicsNotReady as exc:
        raise Failure(str(exc)) from exc
    except (AccessRefused, KafkaConnectionError, *DENIALS):
        raise  # the command line says the same of it for every command
    except KafkaError as exc:
        raise Failure(
            f"the broker at {settings.bootstrap_servers} failed: {exc}",
            "start the trainer again; it goes on from the last snapshot published",
        ) from exc
