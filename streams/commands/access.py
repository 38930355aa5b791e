"""`regulars access`: everything that is held about one customer, in one file."""

import asyncio
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streams.commands.options import Failure, setting_options, settings_from

if TYPE_CHECKING:
    from streams.ops.access import HeldTopic
    from streams.settings import Settings


@click.command("access")
@click.argument("customer")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The file that is written, for its owner alone. One that exists is replaced.",
)
@setting_options("bootstrap_servers", "topic_prefix", "app_id")
def command(customer: str, out: Path, **options: Any) -> None:
    """Write everything that is held about CUSTOMER to one JSON file, with what it is used for; from the topics alone.

    The counterpart of `regulars erase`. Input topics and dead letters are read in full. Labels and rewards stand under
    pseudonyms: set REGULARS_PSEUDONYM_KEY_FILE as the workers have it, or they are left out, and the file says so.
    """
    from schemas.patterns import id_mistake

    settings = settings_from(**options)
    if (mistake := id_mistake(customer)) is not None:
        raise click.UsageError(f"a customer id {mistake}")
    topics, has_pseudonyms = asyncio.run(_held(settings, customer))
    _write(out, _document(customer, topics, has_pseudonyms))
    records = sum(len(topic.records) for topic in topics)
    if not has_pseudonyms:
        click.echo(
            "labels and rewards are left out: REGULARS_PSEUDONYM_KEY_FILE is not set as the workers have it", err=True
        )
    click.echo(f"{records:,} records in {sum(bool(topic.records) for topic in topics)} topics: {out}")


async def _held(settings: "Settings", customer: str) -> tuple[list["HeldTopic"], bool]:
    from functools import partial

    from streams.keys import pseudonym, pseudonym_key
    from streams.ops.access import held
    from streams.settings import WrongSetting

    names = None
    with suppress(WrongSetting):
        names = partial(pseudonym, pseudonym_key(settings))
    topics = []
    async for topic in held(settings, customer, names):
        click.echo(f"  {topic.topic:<32} {len(topic.records):>7,}")
        topics.append(topic)
    return topics, names is not None


def _document(customer: str, topics: list["HeldTopic"], has_pseudonyms: bool) -> dict[str, Any]:
    from schemas.times import to_rfc3339
    from streams.ops.access import ELSEWHERE

    return {
        "customer_id": customer,
        "read_at": to_rfc3339(time.time()),
        "labels_and_rewards_searched": has_pseudonyms,
        "topics": [topic._asdict() | {"records": [record._asdict() for record in topic.records]} for topic in topics],
        "elsewhere": ELSEWHERE,
    }


def _write(out: Path, document: dict[str, Any]) -> None:
    import msgspec

    body = msgspec.json.format(msgspec.json.encode(document), indent=2)
    try:
        out.unlink(missing_ok=True)
        with os.fdopen(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(body + b"\n")
    except OSError as exc:
        raise Failure(f"{out}: {exc.strerror}", "name another file with --out") from exc
