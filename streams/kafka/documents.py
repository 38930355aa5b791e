"""Topics of published documents, compacted: each record carries what was published before it under its key.

A record's header `regulars-history` is msgpack, an array of ``[unix seconds, document]``, newest first; the record's own
document is the first of them.
"""

import time
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import structlog
from aiokafka.structs import ConsumerRecord

from schemas.headers import HISTORY_HEADER
from streams.kafka.clients import producer as new_producer
from streams.kafka.clients import started
from streams.kafka.refusals import explaining_refusals
from streams.settings import Settings

# A document has at most 32 KiB, so a record with this many stays below 1 MiB, the brokers' default limit.
MOST_VERSIONS = 20

log = structlog.get_logger(__name__)


class PublishedDocument(NamedTuple):
    """A document as it was published; in the header it is an array of two."""

    at: float  # unix seconds
    document: str


_history = msgspec.msgpack.Decoder(list[PublishedDocument])
_encode = msgspec.msgpack.Encoder().encode


def recorded(record: ConsumerRecord) -> list[PublishedDocument]:
    """The versions in the record's header; none where it has no header, or one that can't be read."""
    values = [value for name, value in record.headers if name == HISTORY_HEADER]
    try:
        return _history.decode(values[-1] or b"") if values else []
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        log.error("the history of a published document can't be read", offset=record.offset, why=str(exc))
        return []


def versions_in(record: ConsumerRecord) -> tuple[PublishedDocument, ...]:
    """The record's document, and those that were published before it, newest first."""
    document = record.value.decode(errors="replace")
    versions = recorded(record)
    if not versions or versions[0].document != document:  # written by another program
        versions = [PublishedDocument(record.timestamp / 1000, document), *versions]
    return tuple(versions)


async def send_document(
    settings: Settings, topic: str, key: bytes, document: str, before: Sequence[PublishedDocument]
) -> None:
    """Writes `document` to `topic` (name without the prefix) with what was published before it."""
    now = PublishedDocument(time.time(), document)
    versions = [now, *(PublishedDocument(*each) for each in before if each.document != document)]
    await send_value(settings, topic, key, document.encode(), [(HISTORY_HEADER, _encode(versions[:MOST_VERSIONS]))])


async def send_value(
    settings: Settings, topic: str, key: bytes, value: bytes | None, headers: Sequence[tuple[str, bytes]] = ()
) -> None:
    """Writes one record to `topic` (name without the prefix), and waits until Kafka has it.

    Raises:
        BrokerLost: no broker answers.
        AccessRefused: a broker answers and refuses this client.
    """
    name = settings.topic(topic)
    purpose = f"writing to {name}"
    async with (
        started(new_producer(settings), settings, purpose) as producer,
        explaining_refusals(settings, purpose),
    ):
        await producer.send_and_wait(name, value, key, headers=list(headers))
