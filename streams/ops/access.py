"""Everything that the topics hold about one customer, with what it is used for: the counterpart of an erasure.

Input topics and dead letters are read in full, because a producer's mistake can put a record of the customer anywhere in
them. What workers write lies in the customer's partition, or under a pseudonym of theirs.
"""

import base64
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, NamedTuple

import msgspec
from aiokafka.structs import ConsumerRecord

from schemas.campaigns import reward_id
from schemas.events import CLICKSTREAM, ERASURES, PURCHASES, REVIEWS
from schemas.stored import decode_state
from schemas.times import to_rfc3339
from schemas.topics import (
    ACTION_REWARDS,
    ACTIONS,
    CHANGELOG,
    CUSTOMER_SEGMENTS,
    DEAD_LETTERS,
    MODEL_TRAIN,
    OUTCOMES,
    SEGMENT_CHANGES,
    TOPICS,
)
from streams.kafka.cluster import layout_of
from streams.kafka.readers import read_span, reader
from streams.kafka.topics import DAY_MS, kept_for, partition_of
from streams.settings import Settings

#: What the records of each topic are used for.
USES: Mapping[str, str] = {
    CLICKSTREAM: "what the customer did in the shop: counted into the state",
    PURCHASES: "what the customer bought and gave back: counted into the state",
    REVIEWS: "what the customer wrote: read for its sentiment and topics, counted into the state",
    ERASURES: "requests to erase the customer",
    CHANGELOG: "the state: counts, sums, times, scores and segments, from which the customer is scored",
    CUSTOMER_SEGMENTS: "where the customer stands: read by the CRM",
    SEGMENT_CHANGES: "each move between segments, and why: read by the CRM",
    ACTIONS: "what campaigns decided about the customer: carried out by the CRM",
    OUTCOMES: "what became of these decisions: campaigns are judged by it",
    ACTION_REWARDS: "what the customer did after each decision, under a pseudonym: campaigns learn from it",
    MODEL_TRAIN: "numbers about the customer and what followed, under a pseudonym: models learn from it",
    DEAD_LETTERS: "records that were refused: kept for those who mend them",
}
#: Topics in which a producer's mistake can put a record of the customer into any partition, or under another key.
SEARCHED = frozenset({CLICKSTREAM, PURCHASES, REVIEWS, ERASURES, DEAD_LETTERS, OUTCOMES})

#: What else can hold something of a customer, and cannot be looked up by an id.
ELSEWHERE: Mapping[str, str] = {
    "local stores of workers": "copies of the state in the changelog",
    "text caches of workers": "numbers made of texts, under a keyed digest of the text and without ids",
    "learnt models": "weights in which no customer can be told from another",
    "memory of workers": "the latest 1,000 changes, for the dashboard",
    "logs of workers": "who looked the customer up, under a keyed digest of the id",
    "the shop's own systems": "what its CRM and other readers of the topics have stored",
}


class HeldRecord(NamedTuple):
    """One record of the customer. `value`: JSON where it is JSON, the state's numbers by name, or {"base64": bytes}."""

    partition: int
    offset: int
    written_at: str
    headers: dict[str, str]
    value: Any


class HeldTopic(NamedTuple):
    """What one topic holds of the customer. `kept_days`: None where only a later record or an erasure ends it."""

    topic: str
    used_for: str
    kept_days: float | None
    records: list[HeldRecord]


class Matcher:
    """Tells which records are of a customer.

    Args:
        customer_id: the customer.
        pseudonym: names somebody in labels and rewards; None: the key of pseudonyms is not known here.
    """

    def __init__(self, customer_id: str, pseudonym: Callable[[str], str] | None) -> None:
        self._id, self._key, self._pseudonym = customer_id, customer_id.encode(), pseudonym
        self._quoted = msgspec.json.encode(customer_id)

    def is_theirs(self, topic: str, record: ConsumerRecord) -> bool:
        """Whether `record` of `topic` (a declared name) is of the customer."""
        key: bytes = record.key or b""
        if topic == MODEL_TRAIN:
            return self._pseudonym is not None and key.startswith(f"{self._pseudonym(self._id)}:".encode())
        if topic == ACTION_REWARDS:
            return self._is_reward(key)
        return key == self._key or (topic in SEARCHED and self._quoted in (record.value or b""))

    def _is_reward(self, key: bytes) -> bool:
        parts = key.decode(errors="replace").split(":")
        if self._pseudonym is None or len(parts) != 3 or not parts[2].isdecimal():
            return False
        return reward_id(self._pseudonym, self._id, parts[1], int(parts[2])).encode() == key


async def held(
    settings: Settings, customer_id: str, pseudonym: Callable[[str], str] | None
) -> AsyncIterator[HeldTopic]:
    """What each topic of `USES` holds, one after the other.

    Args:
        settings: which cluster and topics.
        customer_id: exact, as in the events.
        pseudonym: as in `Matcher`.

    Raises:
        BrokerLost: no broker answers.
        AccessRefused: a broker answers and refuses this client.
        TopicsNotReady: a topic does not exist.
    """
    matcher = Matcher(customer_id, pseudonym)
    limited = [each.name for each in TOPICS if each.name in USES and (each.kept_days or not each.is_compacted)]
    kept_ms = await kept_for(settings, limited)
    for name, use in USES.items():
        topic = settings.changelog_topic if name == CHANGELOG else settings.topic(name)
        tps = list(await layout_of(settings, [topic]))
        if name not in SEARCHED | {MODEL_TRAIN, ACTION_REWARDS}:
            own = partition_of(customer_id.encode(), len(tps))
            tps = [tp for tp in tps if tp.partition == own]
        records: list[HeldRecord] = []
        async with reader(settings) as consumer:
            starts, ends = await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)
            async for chunk in read_span(consumer, {tp: (starts[tp], ends[tp]) for tp in tps}):
                records += [_shown(name, record) for record in chunk if matcher.is_theirs(name, record)]
        ms = kept_ms.get(name)
        yield HeldTopic(topic, use, None if ms is None else ms / DAY_MS, records)


def _shown(topic: str, record: ConsumerRecord) -> HeldRecord:
    return HeldRecord(
        record.partition,
        record.offset,
        to_rfc3339(record.timestamp / 1000.0),
        {name: (value or b"").decode(errors="replace") for name, value in record.headers if name != "outbox"},
        _value(topic, record.value),
    )


def _value(topic: str, value: bytes | None) -> Any:
    if value is None:
        return None
    if topic == CHANGELOG:
        return msgspec.to_builtins(decode_state(value))
    try:
        return msgspec.json.decode(value)
    except msgspec.DecodeError:
        return {"base64": base64.b64encode(value).decode()}
