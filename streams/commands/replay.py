"""`regulars replay`: a real data set as events, in event-time order, with clock records."""

from pathlib import Path
from typing import Any

import click

from streams.commands.options import Failure, Moment, setting_options, settings_from
from streams.sources.pace import MAX, SendingPace
from streams.sources.registry import SOURCES


class Speed(click.ParamType):
    """`max`, or how many times faster than real time."""

    name = "max|X"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> SendingPace:
        """The pace of `value`; exit code 2 if it is neither."""
        if isinstance(value, SendingPace):
            return value
        if value == "max":
            return MAX
        try:
            return SendingPace(times=float(value))
        except ValueError:
            self.fail(f"{value!r} is neither max nor a number above 0", param, ctx)


@click.command("replay")
@click.argument("dataset", type=click.Choice(list(SOURCES)))
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--speed", type=Speed(), default="max", envvar="REGULARS_SPEED", show_envvar=True, show_default=True,
    help="As fast as possible, or this many times faster than real time.",
)  # fmt: skip
@click.option(
    "--from", "from_s", type=Moment(), default=None, envvar="REGULARS_FROM", show_envvar=True,
    help="Send events from this time on.",
)  # fmt: skip
@click.option(
    "--to", "to_s", type=Moment(), default=None, envvar="REGULARS_TO", show_envvar=True,
    help="Send events before this time; the last clock record names it.",
)  # fmt: skip
@click.option(
    "--currency", default=None, envvar="REGULARS_CURRENCY", show_envvar=True,
    help="Currency of the file's amounts (ISO 4217), if it is not the data set's own; it decides the minor units.",
)  # fmt: skip
@click.option(
    "--restart", is_flag=True, envvar="REGULARS_RESTART", show_envvar=True,
    help="Start from the beginning, even if an earlier replay stopped in the middle.",
)  # fmt: skip
@setting_options("bootstrap_servers", "topic_prefix", "cache_dir")
def command(
    dataset: str,
    file: Path,
    speed: SendingPace,
    from_s: float | None,
    to_s: float | None,
    currency: str | None,
    restart: bool,
    **options: Any,
) -> None:
    """Send FILE, a real DATASET, as events in event-time order, with clock records between them.

    After an interruption the same command continues where the replay stopped. Silence in the past moves customers only if
    the workers run with REGULARS_CLOCK=event. docs/datasets.md describes the data sets; `generic` reads a parquet or csv
    file with the columns customer_id, purchased_at, amount.
    """
    import asyncio
    import re

    from streams.sources.replaying import NothingToReplay, ReplayPlan, run_replay
    from streams.sources.sender import PartitionsDiffer, SendFailed
    from streams.sources.tables import FileRefused

    if currency is not None and re.fullmatch("[A-Z]{3}", currency) is None:
        raise click.BadParameter(f"{currency!r} is no ISO 4217 code such as GBP", param_hint="--currency")
    if from_s is not None and to_s is not None and from_s >= to_s:
        raise click.BadParameter("it must be after --from", param_hint="--to")
    settings = settings_from(**options)
    plan = ReplayPlan(dataset, file, speed, from_s, to_s, currency, restart)
    try:
        sent = asyncio.run(run_replay(settings, plan, say=lambda line: click.echo(line, err=True), bar=True))
    except (FileRefused, NothingToReplay, PartitionsDiffer, SendFailed) as exc:
        raise Failure(str(exc)) from exc
    if not sent.finished:
        raise Failure("stopped before the end", "the same command continues from here, --restart starts again")
