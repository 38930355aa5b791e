"""`regulars dead-letters`: which records were refused and why, and sending them back after a fix."""

import asyncio
import json
import sys
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

import click

from streams.commands.failures import kafka_errors_as_failures
from streams.commands.options import Decorated, Failure, Moment, setting_options, settings_from

if TYPE_CHECKING:
    from streams.ops.dead_letters import Choice, RefusalGroup, RefusedRecord
    from streams.settings import Settings

_connection = setting_options("bootstrap_servers", "topic_prefix", "app_id", "group")
T = TypeVar("T")

# Wider than any row.
UNCUT_COLUMNS = 10_000


@click.group("dead-letters")
def command() -> None:
    """Records that are no events, or that are in the wrong partition."""


def _choice(command: Decorated) -> Decorated:
    """The options by which letters are chosen."""
    options = (
        click.option(
            "--field",
            "fields",
            multiple=True,
            help="Only of this field, as $.amount_minor; may be repeated.",
        ),
        click.option("--topic", "topics", multiple=True, help="Only from this topic, as purchases; may be repeated."),
        click.option("--since", "since_s", type=Moment(), help="Only refused since this day (UTC) or RFC 3339 time."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@command.command("list")
@_connection
@click.option("--reason", "reasons", multiple=True, help="Only letters of this reason; may be repeated.")
@_choice
@click.option("--each", is_flag=True, help="One line per letter instead of one per kind of mistake and producer.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
def list_(
    reasons: tuple[str, ...],
    fields: tuple[str, ...],
    topics: tuple[str, ...],
    since_s: float | None,
    each: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """List refused records: what was wrong, how many, when, where and whose; never what is in them.

    Records are one line if reason, field, topic, producer and detail, numbers aside, are equal. The producer is what the
    record's header regulars-producer says, or else ce_source.

    A record that was sent back and refused again counts once, by its latest letter.
    """
    from streams.ops.dead_letters import grouped, survey

    settings = settings_from(**options)
    choice = _chosen(settings, reasons, fields, topics, since_s)
    refused = [record for record in _run(survey(settings)) if choice.takes(record.letter)]
    rows = [_letter_row(record) for record in refused] if each else [_group_row(group) for group in grouped(refused)]
    if as_json:
        for row in rows:
            click.echo(json.dumps(row))
    elif rows:
        _print(rows)
    else:
        is_limited = reasons or fields or topics or since_s is not None
        click.echo("no dead letters" + (" of those that were asked for" if is_limited else ""))


def _letter_row(record: "RefusedRecord") -> dict[str, Any]:
    """One refused record, as the list shows it."""
    from schemas.times import to_rfc3339

    letter, again, sent_back, _ = record
    return {
        "reason": letter.reason,
        "field": letter.field,
        "topic": letter.topic,
        "partition": letter.source_partition,
        "offset": letter.source_offset,
        "at": to_rfc3339(int(letter.written_s)),
        "again": again,
        "sent_back": sent_back,
        "producer": letter.producer,
        "detail": letter.detail,
    }


def _group_row(group: "RefusalGroup") -> dict[str, Any]:
    """Records that are one line of the list."""
    from schemas.times import to_rfc3339

    return {
        "reason": group.reason,
        "field": group.field,
        "topic": group.topic,
        "count": group.records,
        "sent_back": group.sent_back,
        "again": group.again,
        "first": f"{group.first.source_partition}/{group.first.source_offset}",
        "first_at": to_rfc3339(int(group.first.written_s)),
        "last": f"{group.last.source_partition}/{group.last.source_offset}",
        "last_at": to_rfc3339(int(group.last.written_s)),
        "producer": group.producer,
        "detail": group.last.detail,
    }


@command.command()
@_connection
@click.option("--reason", "reasons", multiple=True, required=True, help="Send letters of this reason; may be repeated.")
@_choice
@click.option("--send", is_flag=True, help="Send them. Without it the command only shows what it would send.")
@click.option("--again", is_flag=True, help="Also send those that were sent back before.")
def replay(
    reasons: tuple[str, ...],
    fields: tuple[str, ...],
    topics: tuple[str, ...],
    since_s: float | None,
    send: bool,
    again: bool,
    **options: Any,
) -> None:
    """Send letters back to the topics they came from: same key, value and headers, and a header that names the origin.

    Letters that were sent back before are left out. Correct the cause first: a record that is refused again is a new letter.
    """
    from streams.ops.resending import replay as send_back

    settings = settings_from(**options)
    choice = _chosen(settings, reasons, fields, topics, since_s)
    counts = _run(send_back(settings, choice, send=send, again=again))
    for topic, count in sorted(counts.by_topic.items()):
        click.echo(f"{'sent' if send else 'would send'} {count:,} to {topic}")
    if not counts.by_topic:
        click.echo(f"nothing to send: no dead letters of {', '.join(reasons)}" + (" are left" if counts.before else ""))
    if counts.before:
        click.echo(f"left out {counts.before:,} that were sent back before; --again sends them as well")
    if counts.too_large:
        click.echo(f"left out {counts.too_large:,} that are too large to send: cut, or more than an input topic takes")
    if counts.unfit:
        click.echo(f"left out {counts.unfit:,} that are empty, or came from no input topic of this prefix")
    if counts.by_topic and not send:
        click.echo("nothing was sent; --send does it")


def _chosen(
    settings: "Settings",
    reasons: tuple[str, ...],
    fields: tuple[str, ...],
    topics: tuple[str, ...],
    since_s: float | None,
) -> "Choice":
    """The choice that the options make; a topic may be named with or without its prefix."""
    from streams.ops.dead_letters import Choice

    full = {name for topic in topics for name in (topic, settings.topic(topic))}
    return Choice(reasons, fields, full, since_s)


def _run(work: Coroutine[Any, Any, T]) -> T:
    from aiokafka.errors import MessageSizeTooLargeError

    way_out = "run it again; workers recognise what arrived by its event id"
    with kafka_errors_as_failures("Kafka refused", way_out):
        try:
            return asyncio.run(work)
        except MessageSizeTooLargeError as exc:
            raise Failure(
                "a letter is larger than its input topic takes",
                "raise its max.message.bytes; `regulars topics check` says how",
            ) from exc


def _print(rows: list[dict[str, Any]]) -> None:
    """Prints a table as wide as the terminal; without a terminal each row is one whole line."""
    from rich.console import Console
    from rich.table import Table

    numbers = ("count", "sent_back", "again", "partition", "offset")
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in rows[0]:
        table.add_column(name.replace("_", " "), justify="right" if name in numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(name, value) for name, value in row.items()))
    Console(width=None if sys.stdout.isatty() else UNCUT_COLUMNS).print(table)


def _cell(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    return f"{value:,}" if name in ("count", "sent_back", "again") else str(value)
