"""One customer as the topics have them: where they stand, how they came there, and what comes next.

The standing is made from the state in the changelog, as the worker's `/api/customers` makes it. The latest record in
customer-segments may be older: a click changes the scores without a new record.

Each topic is read backwards from the end of the customer's partition, in growing blocks. So the latest record of a key is
found without reading the older ones.
"""

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord

from models.learning.scorer import SnapshotScorer
from models.standing import standing
from schemas.changes import Change, Standing, decode_change, decode_standing
from schemas.learning import SCORES
from schemas.states import CustomerState
from schemas.stored import decode_state
from schemas.times import from_rfc3339
from schemas.topics import CUSTOMER_SEGMENTS, SEGMENT_CHANGES
from streams.kafka.cluster import layout_of
from streams.kafka.errors import TopicsNotReady
from streams.kafka.readers import read_span, reader
from streams.kafka.topics import partition_of
from streams.ops.served_model import served_scorer
from streams.settings import Settings

FIRST_BLOCK = 20_000


class CustomerHistory(NamedTuple):
    """What the topics have of a customer; None: nothing."""

    customer_id: str
    partition: int
    state: CustomerState | None
    standing: Standing | None
    changes: tuple[Change, ...]  # the latest ones, newest first; none from before an erasure


async def look_up(
    settings: Settings, customer_id: str, history: int, first_block: int = FIRST_BLOCK
) -> CustomerHistory:
    """The customer with the latest `history` changes.

    Args:
        settings: which cluster and topics.
        customer_id: exact, as in the events.
        history: how many changes at most.
        first_block: records of the first block; each further block has twice as many.

    Raises:
        BrokerLost: no broker answers.
        TopicsNotReady: a topic does not exist.
    """
    changes_topic, standings_topic = settings.topic(SEGMENT_CHANGES), settings.topic(CUSTOMER_SEGMENTS)
    tps = await layout_of(settings, [settings.changelog_topic, standings_topic, changes_topic])
    key = customer_id.encode()
    partition = partition_of(key, sum(tp.topic == changes_topic for tp in tps))
    async with reader(settings) as consumer:
        state = await _latest(consumer, TopicPartition(settings.changelog_topic, partition), key, first_block)
        published = await _latest(consumer, TopicPartition(standings_topic, partition), key, first_block)
        changes = await _changes(consumer, TopicPartition(changes_topic, partition), key, first_block, history)
    decoded = None if state is None else decode_state(state)
    if decoded is not None and decoded.erased_at is not None:
        since = decoded.erased_at
        changes = tuple(change for change in changes if from_rfc3339(change.changed_at) > since)
    record = None if published is None else decode_standing(published)
    if record is not None and decoded is not None and not decoded.is_erased:
        now = standing(customer_id, decoded, record.versions)
        record = msgspec.structs.replace(
            now,
            currency=record.currency,
            unit_minor=record.unit_minor,
            retired=record.retired,
            held_until={
                name: at for name, at in record.held_until.items() if record.since.get(name) == now.since.get(name)
            },
        )
    return CustomerHistory(customer_id, partition, decoded, record, changes)


async def spend_interval(settings: Settings, standing: Standing) -> tuple[float, float] | None:
    """Lower and upper amount of the customer's spend in 90 days, right four times in five; None: no snapshot is served.

    Computed by the snapshot that workers serve now, from the scores of the standing (`models.learning.intervals`).
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
    changes: dict[int, Change] = {}  # by sequence number: a change that was delivered twice counts once
    async for records in _backwards(consumer, tp, key, block):
        for record in records:
            change = decode_change(record.value)
            changes.setdefault(change.sequence, change)
        if len(changes) >= most or 1 in changes:
            break
    return tuple(changes[sequence] for sequence in sorted(changes, reverse=True)[:most])


async def _backwards(
    consumer: AIOKafkaConsumer, tp: TopicPartition, key: bytes, block: int
) -> AsyncIterator[Sequence[ConsumerRecord]]:
    """The records of `key`, one block after the other from the end; newest first within a block."""
    start = (await consumer.beginning_offsets([tp]))[tp]
    end = (await consumer.end_offsets([tp]))[tp]
    while end > start:
        begin = max(start, end - block)
        own: list[ConsumerRecord] = []
        async for records in read_span(consumer, {tp: (begin, end)}):
            own += [record for record in records if record.key == key]
        yield own[::-1]
        end, block = begin, block * 2
