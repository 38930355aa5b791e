"""`regulars replay`: a real data set as events, in event-time order, with clock records."""

from pathlib import Path
from typing import Any

import click

from streams.commands.options import Failure, Moment, setting_options, settings_from
from streams.sources.pace import MAX, Pace
from streams.sources.registry import SOURCES


class Speed(click.ParamType):
    """`max`, or how many times faster than real time."""

    name = "max|X"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Pace:
        """The pace of `value`; exit code 2 where it is neither."""
        if isinstance(value, Pace):
            return value
        if value == "max":
            return MAX
        try:
            return Pace(times=float(value))
        except ValueError:
            self.fail(f"{value!r} is neither max nor a number above 0", param, ctx)


@click.command("replay")
@click.argument("dataset", type=click.Choice(list(SOURCES)))
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--speed", type=Speed(), default="max", envvar="REGULARS_SPEED", show_envvar=True, show_default=True,
    help="As fast as can be, or so many times faster than real time.",
)  # fmt: skip
@click.option(
    "--from", "from_s", type=Moment(), default=None, envvar="REGULARS_FROM", show_envvar=True,
    help="Send events from this time on.",
)  # fmt: skip
@click.option(
    "--to", "to_s", type=Moment(), default=None, envvar="REGULARS_TO", show_envvar=True,
    help="Send events before this time; the last clock record then says this time.",
)  # fmt: skip
@click.option(
    "--currency", default=None, envvar="REGULARS_CURRENCY", show_envvar=True,
    help="Currency of the file's amounts (ISO 4217), where it isn't the data set's own; minor units follow it.",
)  # fmt: skip
@click.option(
    "--restart", is_flag=True, envvar="REGULARS_RESTART", show_envvar=True,
    help="Begin at the beginning, although an earlier replay stopped in the middle.",
)  # fmt: skip
@setting_options("bootstrap_servers", "topic_prefix", "cache_dir")
def command(
    dataset: str,
    file: Path,
    speed: Pace,
    from_s: float | None,
    to_s: float | None,
    currency: str | None,
    restart: bool,
    **options: Any,
) -> None:
    """Send FILE, a real DATASET, as events in event-time order, with clock records between them.

    A replay that was interrupted goes on where it stopped when the same command is given again. History moves
    customers by silence only where the workers run with REGULARS_CLOCK=event. The data sets are described in
    docs/datasets.md; `generic` reads a parquet or csv file with the columns customer_id, purchased_at, amount.
    """
    import asyncio
    import re

    from streams.kafka.readers import BrokerAway, TopicMissing
    from streams.sources.replaying import NothingToReplay, Replay, run_replay
    from streams.sources.sender import PartitionsDiffer, SendFailed
    from streams.sources.tables import FileRefused

    if currency is not None and re.fullmatch("[A-Z]{3}", currency) is None:
        raise click.BadParameter(f"{currency!r} is no ISO 4217 code such as GBP", param_hint="--currency")
    if from_s is not None and to_s is not None and from_s >= to_s:
        raise click.BadParameter("it must be after --from", param_hint="--to")
    settings = settings_from(**options)
    plan = Replay(dataset, file, speed, from_s, to_s, currency, restart)
    try:
        sent = asyncio.run(run_replay(settings, plan, say=lambda line: click.echo(line, err=True), bar=True))
    except (FileRefused, NothingToReplay, BrokerAway, TopicMissing, PartitionsDiffer, SendFailed) as exc:
        raise Failure(str(exc)) from exc
    if not sent.finished:
        raise Failure("stopped before the end", "the same command goes on from here, --restart begins again")
