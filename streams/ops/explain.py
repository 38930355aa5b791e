"""All that the topics say of one customer: where they stand, how they came there, what comes next.

Read backwards from the end of the customer's partition of each topic, in growing blocks, so that the latest of a key is
found without reading what is older.
"""

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

import numpy as np
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord

from models.learning.scorer import SnapshotScorer
from schemas.changes import Change, Standing, decode_change, decode_standing
from schemas.learning import SCORES
from schemas.states import CustomerState, decode_state
from schemas.times import from_rfc3339
from streams.kafka.errors import TopicsNotReady
from streams.kafka.readers import connect, layout, read_span, reader
from streams.kafka.topics import partition_of
from streams.ops.served_model import served_scorer
from streams.settings import Settings

FIRST_BLOCK = 20_000


class Customer(NamedTuple):
    """What is known of a customer; None: nothing there."""

    customer_id: str
    partition: int
    state: CustomerState | None
    standing: Standing | None
    changes: tuple[Change, ...]  # the latest, newest first; none of before an erasure


async def look_up(settings: Settings, customer_id: str, history: int, first_block: int = FIRST_BLOCK) -> Customer:
    """The customer, with the latest `history` changes; `first_block` records are read first, then twice as many, ...

    Raises:
        BrokerAway: no broker answers.
        TopicMissing: the topics aren't there.
    """
    changes_topic, standings_topic = settings.topic("segment-changes"), settings.topic("customer-segments")
    client = await connect(settings)
    try:
        topics = [settings.changelog_topic, standings_topic, changes_topic]
        found = await layout(client, topics, settings.bootstrap_servers)
    finally:
        await client.close()
    key = customer_id.encode()
    partition = partition_of(key, sum(tp.topic == changes_topic for tp in found))
    async with reader(settings) as consumer:
        state = await _latest(consumer, TopicPartition(settings.changelog_topic, partition), key, first_block)
        standing = await _latest(consumer, TopicPartition(standings_topic, partition), key, first_block)
        changes = await _changes(consumer, TopicPartition(changes_topic, partition), key, first_block, history)
    known = None if state is None else decode_state(state)
    if known is not None and known.erased_at is not None:
        since = known.erased_at
        changes = tuple(change for change in changes if from_rfc3339(change.changed_at) > since)
    return Customer(
        customer_id,
        partition,
        known,
        None if standing is None else decode_standing(standing),
        changes,
    )


async def spend_interval(settings: Settings, standing: Standing) -> tuple[float, float] | None:
    """Between which amounts the customer's spend of 90 days ends up, four times in five; None before a snapshot is served.

    By the snapshot that workers serve now, for the scores of the standing (`models.learning.intervals`).
    """
    try:
        scorer = await served_scorer(settings)
    except TopicsNotReady:
        return None
    if not isinstance(scorer, SnapshotScorer) or not standing.scores.keys() >= set(SCORES):
        return None
    low, high = scorer.intervals(np.array([[standing.scores[name] for name in SCORES]]))[0].tolist()
    return low, high


async def _latest(consumer: AIOKafkaConsumer, tp: TopicPartition, key: bytes, block: int) -> bytes | None:
    async for records in _backwards(consumer, tp, key, block):
        if records:
            value: bytes | None = records[0].value
            return value
    return None


async def _changes(
    consumer: AIOKafkaConsumer, tp: TopicPartition, key: bytes, block: int, most: int
) -> tuple[Change, ...]:
    found: dict[int, Change] = {}  # a change that was delivered twice counts once
    async for records in _backwards(consumer, tp, key, block):
        for record in records:
            change = decode_change(record.value)
            found.setdefault(change.sequence, change)
        if len(found) >= most or 1 in found:
            break
    return tuple(found[sequence] for sequence in sorted(found, reverse=True)[:most])


async def _backwards(
    consumer: AIOKafkaConsumer, tp: TopicPartition, key: bytes, block: int
) -> AsyncIterator[Sequence[ConsumerRecord]]:
    """The records of `key`, block by block from the end; within a block newest first."""
    start = (await consumer.beginning_offsets([tp]))[tp]
    end = (await consumer.end_offsets([tp]))[tp]
    while end > start:
        begin = max(start, end - block)
        mine: list[ConsumerRecord] = []
        async for records in read_span(consumer, {tp: (begin, end)}):
            mine += [record for record in records if record.key == key]
        yield mine[::-1]
        end, block = begin, block * 2
