"""Everything that is held about one customer, as one file: the counterpart of `streams.ops.erasing`.

Each topic is read from its beginning to the end that it had at the call. Nothing is kept in memory but the latest record of
each key of this customer where a topic is compacted; all other records go to the file as they are read.
"""

import os
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord

from schemas.times import DAY_S, to_rfc3339
from schemas.topics import MODEL_TRAIN, TOPICS, Declaration
from streams.kafka.cluster import connected, layout
from streams.kafka.errors import TopicsNotReady
from streams.kafka.readers import read_span, reader
from streams.kafka.topics import kept_for, partition_of
from streams.keys import pseudonym_key, pseudonym_of
from streams.ops.drafts import draft_of
from streams.ops.places import ELSEWHERE, IMPERSONAL, PLACES, CustomerNames, Place
from streams.ops.readable import record_as_json
from streams.settings import OWNER_ALONE, Settings
from streams.signin.lookups import digest_of, lookup_key

DECLARED: dict[str, Declaration] = {topic.name: topic for topic in TOPICS}


class HeldRecords(NamedTuple):
    """What one topic held.

    Attributes:
        topic: full name.
        records: how many are in the file.
        replaced: how many older ones of the same keys Kafka has not deleted yet.
        is_missing: the topic does not exist.
    """

    topic: str
    records: int
    replaced: int
    is_missing: bool = False


async def write_access(settings: Settings, customer_id: str, out: Path) -> list[HeldRecords]:
    """Writes everything that is held about the customer to `out` (JSON); the file appears whole or not at all.

    Only its owner can read the file.

    Raises:
        BrokerLost: no broker answers.
        TopicsNotReady: no topic exists.
        WrongSetting: there is no secret, so that pseudonyms cannot be computed.
        OSError: `out` cannot be written.
    """
    key = pseudonym_key(settings)
    names = CustomerNames(customer_id, cache(lambda name: pseudonym_of(name, key)))
    partitions = await _partitions(settings)
    kept = await kept_for(settings, [name for name, tps in partitions.items() if tps])
    held = []
    with draft_of(out) as draft, _for_its_owner(draft) as file:
        file.write(_opened(_header(settings, names, digest_of(customer_id, lookup_key(settings)))))
        async with reader(settings) as consumer:
            ends = await consumer.end_offsets([tp for tps in partitions.values() for tp in tps])
            for i, place in enumerate(PLACES):
                tps = partitions[place.topic]
                if tps and not place.every_partition:
                    tps = [tps[partition_of(names.key, len(tps))]]
                spans = {tp: (start, ends[tp]) for tp, start in (await consumer.beginning_offsets(tps)).items()}
                head = _place(settings, place, kept.get(place.topic), spans)
                file.write((b",\n" if i else b"") + _opened(head, "records"))
                found = await _write_records(file, consumer, place, names, spans)
                file.write(b"],%s" % msgspec.json.encode(dict(zip(("count", "replaced"), found, strict=True)))[1:])
                held.append(HeldRecords(settings.topic(place.topic), *found, is_missing=not tps))
        file.write(b"],\n%s\n" % msgspec.json.encode(_elsewhere(settings))[1:])
    return held


async def _write_records(
    file: BinaryIO,
    consumer: AIOKafkaConsumer,
    place: Place,
    names: CustomerNames,
    spans: dict[TopicPartition, tuple[int, int]],
) -> tuple[int, int]:
    """Writes the customer's records; gives how many, and how many older ones of a compacted topic are left out."""
    latest: dict[bytes | None, ConsumerRecord] = {}
    written = replaced = 0
    async for record in _owned(consumer, place, names, spans):
        if DECLARED[place.topic].is_compacted:
            replaced += record.key in latest
            latest[record.key] = record
        else:
            _write_record(file, place, record, first=not written)
            written += 1
    for record in latest.values():
        _write_record(file, place, record, first=not written)
        written += 1
    return written, replaced


async def _owned(
    consumer: AIOKafkaConsumer, place: Place, names: CustomerNames, spans: dict[TopicPartition, tuple[int, int]]
) -> AsyncIterator[ConsumerRecord]:
    async for records in read_span(consumer, spans):
        for record in records:
            if place.owns(names, record):
                yield record


def _write_record(file: BinaryIO, place: Place, record: ConsumerRecord, first: bool) -> None:
    file.write((b"\n" if first else b",\n") + msgspec.json.encode(record_as_json(place.topic, record)))


async def _partitions(settings: Settings) -> dict[str, list[TopicPartition]]:
    """The partitions of each place by its declared topic; none where the topic does not exist.

    Raises:
        TopicsNotReady: no topic exists.
    """
    partitions: dict[str, list[TopicPartition]] = {}
    async with connected(settings) as client:
        for place in PLACES:
            topic = settings.topic(place.topic)
            partitions[place.topic] = []
            with suppress(TopicsNotReady):
                partitions[place.topic] = list(await layout(client, [topic], settings.bootstrap_servers))
    if not any(partitions.values()):
        raise TopicsNotReady.missing(settings.topic(PLACES[0].topic), settings.bootstrap_servers)
    return partitions


def _header(settings: Settings, names: CustomerNames, digest: str) -> dict[str, Any]:
    return {
        "customer_id": names.customer_id,
        "made_at": to_rfc3339(time.time()),
        "cluster": settings.bootstrap_servers,
        "group": settings.consumer_group,
        "named_as": {
            "topics": names.customer_id,
            MODEL_TRAIN: names.pseudonym(names.customer_id),
            "logs": digest,
        },
    }


def _place(
    settings: Settings, place: Place, kept_ms: int | None, spans: dict[TopicPartition, tuple[int, int]]
) -> dict[str, Any]:
    declared = DECLARED[place.topic]
    latest = "the latest record of each key" if declared.is_compacted else "every record"
    days = "" if kept_ms is None else f" for {kept_ms / 1000 / DAY_S:.3g} days"
    # A topic that is compacted and has no age limit of its own keeps a key's latest record whatever the cluster's default.
    for_good = kept_ms is None or (declared.is_compacted and declared.kept_days is None)
    return {
        "topic": settings.topic(place.topic),
        "exists": bool(spans),
        "used_for": place.used_for,
        "reached_by": place.reached_by,
        "kept": f"{latest}, until it is replaced or erased" if for_good else f"{latest}{days}",
        "read": {str(tp.partition): list(span) for tp, span in sorted(spans.items())},
    }


def _elsewhere(settings: Settings) -> dict[str, Any]:
    return {
        "nothing_about_customers": [
            {"topic": settings.topic(topic), "holds": holds} for topic, holds in IMPERSONAL.items()
        ],
        "not_read": [each._asdict() for each in ELSEWHERE],
    }


def _opened(head: dict[str, Any], members: str = "places") -> bytes:
    """A JSON object whose last member is a list that is still open."""
    return msgspec.json.encode(head)[:-1] + b',"%s":[' % members.encode()


def _for_its_owner(path: Path) -> BinaryIO:
    """A new file, for its owner alone."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 & ~OWNER_ALONE), "wb")
