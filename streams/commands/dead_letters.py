"""`regulars dead-letters`: what was refused and why, and sending it back after a fix."""

import asyncio
import json
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

import click

from streams.commands.options import Failure, setting_options, settings_from

if TYPE_CHECKING:
    from streams.ops.dead_letters import Letter
    from streams.settings import Settings

_connection = setting_options("bootstrap_servers", "topic_prefix", "app_id")
T = TypeVar("T")


@click.group("dead-letters")
def command() -> None:
    """Records that were no events, or that lie in the wrong partition."""


@command.command("list")
@_connection
@click.option("--reason", "reasons", multiple=True, help="Only letters of this reason; may be given several times.")
@click.option("--each", is_flag=True, help="One line a letter instead of one a reason, field and topic.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def list_(reasons: tuple[str, ...], each: bool, as_json: bool, **options: Any) -> None:
    """Show what was refused: reason, field, topic, how many, and where the records lie; never what is in them."""
    from streams.ops.dead_letters import heaps

    found = _run(_read(settings_from(**options), reasons))
    if each:
        rows = [
            {
                "reason": letter.reason,
                "field": letter.field,
                "topic": letter.topic,
                "partition": letter.source_partition,
                "offset": letter.source_offset,
                "detail": letter.detail,
            }
            for letter in found
        ]
    else:
        rows = [
            {
                "reason": heap.reason,
                "field": heap.field,
                "topic": heap.topic,
                "count": heap.letters,
                "first": f"{heap.first.source_partition}/{heap.first.source_offset}",
                "last": f"{heap.last.source_partition}/{heap.last.source_offset}",
            }
            for heap in heaps(found)
        ]
    if as_json:
        for row in rows:
            click.echo(json.dumps(row))
    elif rows:
        _print(rows)
    else:
        click.echo("no dead letters" + (f" of {', '.join(reasons)}" if reasons else ""))


@command.command()
@_connection
@click.option(
    "--reason", "reasons", multiple=True, required=True, help="Send letters of this reason; may be given several times."
)
@click.option("--send", is_flag=True, help="Send them. Without it the command only says what it would send.")
@click.option("--again", is_flag=True, help="Also those that were sent back before.")
def replay(reasons: tuple[str, ...], send: bool, again: bool, **options: Any) -> None:
    """Send letters back to the topics they came from: same key, value and headers, and one that says where they were.

    Letters that were sent back before are left out. Mend the cause first: what is refused again is a new dead letter.
    """
    from streams.ops.dead_letters import replay as send_back

    done = _run(send_back(settings_from(**options), reasons, send=send, again=again))
    for topic, count in sorted(done.by_topic.items()):
        click.echo(f"{'sent' if send else 'would send'} {count:,} to {topic}")
    if not done.by_topic:
        click.echo(f"nothing to send: no dead letters of {', '.join(reasons)}" + (" are left" if done.before else ""))
    if done.before:
        click.echo(f"left out {done.before:,} that were sent back before; --again sends them, too")
    if done.unfit:
        click.echo(f"left out {done.unfit:,} that are empty, or came from no input topic of this prefix")
    if done.by_topic and not send:
        click.echo("nothing was sent; --send does it")


async def _read(settings: "Settings", reasons: tuple[str, ...]) -> "list[Letter]":
    from streams.ops.dead_letters import letters

    return [
        letter._replace(key=None, value=None, headers=())
        async for letter in letters(settings)
        if not reasons or letter.reason in reasons
    ]


def _run(work: Coroutine[Any, Any, T]) -> T:
    from aiokafka.errors import KafkaError

    from streams.ops.cluster import BrokerAway, TopicMissing
    from streams.security import DENIALS, AccessRefused

    try:
        return asyncio.run(work)
    except (BrokerAway, TopicMissing) as exc:
        raise Failure(str(exc)) from exc
    except (AccessRefused, *DENIALS):
        raise  # the command line says the same of it for every command
    except KafkaError as exc:
        raise Failure(f"Kafka refused: {exc!r}", "run it again; what arrived is known by its event id") from exc


def _print(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in rows[0]:
        table.add_column(name, justify="right" if name in ("count", "partition", "offset") else "left", overflow="fold")
    for row in rows:
        table.add_row(*(f"{value:,}" if name == "count" else str(value) for name, value in row.items()))
    Console().print(table)
