"""`regulars events`: checks events before they are sent."""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from schemas.events import INPUT_TOPICS
from streams.commands.failures import kafka_errors_as_failures
from streams.commands.options import Failure, setting_options, settings_from

if TYPE_CHECKING:
    from streams.ops.event_check import Check, CheckedRecord, GivenRecord
    from streams.settings import Settings

# Of one kind of mistake; a file of a million wrong records would hide the other kinds.
SHOWN_OF_A_KIND = 5


@click.group("events")
def command() -> None:
    """Events that producers send."""


@command.command("check")
@click.argument("source")
@click.option(
    "--topic",
    type=click.Choice(INPUT_TOPICS),
    help="The topic that the events are for. Needed unless SOURCE is that topic.",
)
@click.option(
    "--key-separator",
    help="Each line is key, this separator, event, as with the console producer's key.separator. [default: no keys]",
)
@click.option("--all", "show_all", is_flag=True, help=f"Show every mistake, not the first {SHOWN_OF_A_KIND} of a kind.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per mistake, and one of the totals.")
@setting_options("bootstrap_servers", "topic_prefix", "future_limit_s")
def check_events(
    source: str, topic: str | None, key_separator: str | None, show_all: bool, as_json: bool, **options: Any
) -> None:
    r"""Check the events in SOURCE: a file with one event per line, `-` for standard input, or a topic in Kafka.

    Names every mistake of each record: line, field, what was found, what is allowed, and a hint. Of a topic, key,
    partition and headers are checked, too. Exit code 0: a worker accepts every record. 1: it refuses some. The text of
    customers is never shown.
    """
    settings = settings_from(**options)
    file = _opened(source)
    for_topic = topic or source.removeprefix(settings.topic_prefix)
    if for_topic not in INPUT_TOPICS:
        raise click.UsageError(f"name the topic that the events are for: --topic {'|'.join(INPUT_TOPICS)}")
    if file is None and key_separator is not None:
        raise click.UsageError("--key-separator is for files; records of a topic have keys of their own")
    with kafka_errors_as_failures("Kafka refused", "name a topic that this client may read"):
        check = asyncio.run(_checked(settings, source, file, for_topic, key_separator, show_all, as_json))
    if as_json:
        click.echo(json.dumps(_totals(check)))
    else:
        _summarise(check, keyed=file is None or key_separator is not None)
    if check.valid < check.records:
        raise Failure(
            f"{check.records - check.valid:,} of {check.records:,} records are not valid events",
            "mend them by the hints; docs/mistakes.md lists more",
        )


def _opened(source: str) -> IO[bytes] | None:
    """The file that SOURCE names; None: it names a topic."""
    if source == "-":
        return sys.stdin.buffer
    try:
        if Path(source).is_file() or "/" in source:
            return Path(source).open("rb")
    except OSError as exc:
        raise Failure(f"cannot read {source}: {exc.strerror or exc}", "name a file, - or a topic") from exc
    return None


async def _checked(
    settings: "Settings",
    source: str,
    file: IO[bytes] | None,
    topic: str,
    separator: str | None,
    show_all: bool,
    as_json: bool,
) -> "Check":
    from streams.ops.event_check import Check, lines_of, partitions_of, records_of

    shown: Counter[tuple[str, str]] = Counter()
    if file is not None:
        check = Check(topic, settings.future_limit_s)
        with file:
            for record in lines_of(file, None if separator is None else separator.encode()):
                _show(check.check(record), shown, show_all, as_json)
        return check
    name = settings.topic(source) if source in INPUT_TOPICS else source
    check = Check(topic, settings.future_limit_s, await partitions_of(settings, name))
    records: AsyncIterator[GivenRecord] = records_of(settings, name)
    async for record in records:
        _show(check.check(record), shown, show_all, as_json)
    return check


def _show(checked: "CheckedRecord", shown: Counter[tuple[str, str]], show_all: bool, as_json: bool) -> None:
    """Prints what was found in one record."""
    record = checked.record
    place = {"line": record.line} if record.line else {"partition": record.partition, "offset": record.offset}
    if as_json:
        for mistake in checked.mistakes:
            click.echo(json.dumps(place | mistake._asdict()))
        for note in checked.notes:
            click.echo(json.dumps(place | {"note": note}))
        return
    for mistake in checked.mistakes:
        kind = mistake.reason, mistake.field
        shown[kind] += 1
        if show_all or shown[kind] <= SHOWN_OF_A_KIND:
            click.echo(f"{record.place}: {mistake.reason} at {mistake.field}: {mistake.detail}")
    for note in checked.notes:
        shown["note", note] += 1
        if show_all or shown["note", note] <= SHOWN_OF_A_KIND:
            click.echo(f"{record.place}: note: {note}")


def _totals(check: "Check") -> dict[str, Any]:
    return {
        "records": check.records,
        "valid": check.valid,
        "mistakes": check.mistakes,
        "kinds": [{"reason": reason, "field": field, "count": n} for (reason, field), n in check.kinds.most_common()],
        "notes": [{"note": note, "count": n} for note, n in check.notes.most_common()],
        "currencies": dict(check.currencies),
    }


def _summarise(check: "Check", *, keyed: bool) -> None:
    for (reason, field), count in check.kinds.most_common():
        click.echo(f"{count:,} x {reason} at {field}")
    for note, count in check.notes.most_common():
        click.echo(f"{count:,} x note: {note}")
    if not keyed:
        click.echo("keys were not checked: the lines have none; a record's key must be its customer_id")
    if check.valid == check.records:
        click.echo(f"{check.records:,} records: all are valid events")
