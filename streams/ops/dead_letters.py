"""Dead letters: what is there and why, and sending them back to where they came from once the cause is mended.

A letter is named by its origin (topic, partition, offset): a crash may have written it twice, but it counts once.
What was sent back is remembered as committed offsets, one consumer group a reason (`replay_group`), so that a second
replay sends only what came since. Kafka forgets the offsets of such a group after a week (`offsets.retention.minutes`).
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import GroupCoordinatorNotAvailableError
from aiokafka.structs import ConsumerRecord

from schemas.events import CLOCK_HEADER, INPUT_TOPICS, LETTER_HEADERS
from streams.ops.cluster import connect, layout, read_topic
from streams.security import kafka_options, telling
from streams.settings import Settings

REPLAYED_FROM = "regulars-replayed-from"
UNKNOWN = "unknown"
# A letter carries up to 2 MiB: this many in flight are at most 100 MB, and enough that the round trip doesn't count.
IN_FLIGHT = 50
MAX_REQUEST_BYTES = 4 << 20


class Letter(NamedTuple):
    """One dead letter: where it lies, where it came from, why it was refused, and the record as it came."""

    partition: int  # in dead-letters, like `at`
    at: int
    topic: str
    source_partition: int
    source_offset: int
    reason: str
    field: str
    detail: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]  # those that the producer gave it

    @property
    def origin(self) -> str:
        """`topic/partition/offset` of the record that was refused."""
        return f"{self.topic}/{self.source_partition}/{self.source_offset}"

    @property
    def is_clock(self) -> bool:
        """Whether it says the time of the partition that it came from, and is nothing in another."""
        return not self.key and self.source_partition >= 0 and any(name == CLOCK_HEADER for name, _ in self.headers)


class Heap(NamedTuple):
    """Letters that were refused for the same thing: how many, and where the first and the last came from."""

    reason: str
    field: str
    topic: str
    letters: int
    first: Letter
    last: Letter


class Replay(NamedTuple):
    """What a replay did, or would do: letters to send by topic, letters left out and why."""

    by_topic: Mapping[str, int]
    before: int  # sent back by an earlier replay
    unfit: int  # without key and value, or from a topic that is no input of this prefix


def letter_of(record: ConsumerRecord) -> Letter:
    """The letter in a record of `dead-letters`; headers that are missing give `UNKNOWN` and -1."""
    ours = {name: value.decode(errors="replace") for name, value in record.headers if name in LETTER_HEADERS}
    return Letter(
        record.partition,
        record.offset,
        ours.get("regulars-topic", UNKNOWN),
        _number(ours.get("regulars-partition")),
        _number(ours.get("regulars-offset")),
        ours.get("regulars-reason", UNKNOWN),
        ours.get("regulars-field", ""),
        ours.get("regulars-detail", ""),
        record.key,
        record.value,
        tuple((name, value) for name, value in record.headers if name not in (*LETTER_HEADERS, REPLAYED_FROM)),
    )


def _number(text: str | None) -> int:
    return int(text) if text is not None and re.fullmatch("[0-9]{1,19}", text) else -1


async def letters(settings: Settings) -> AsyncIterator[Letter]:
    """Every letter as of now, each origin once, a partition of the topic after the other.

    Raises:
        BrokerAway: no broker answers.
        TopicMissing: there is no `dead-letters`.
    """
    seen: set[str] = set()
    async for records in read_topic(settings, settings.topic("dead-letters")):
        for letter in map(letter_of, records):
            if letter.source_offset < 0 or letter.origin not in seen:
                seen.add(letter.origin)
                yield letter


def heaps(found: Iterable[Letter]) -> list[Heap]:
    """Letters by reason, field and topic, the largest heap first."""
    together: dict[tuple[str, str, str], Heap] = {}
    for letter in found:
        name = letter.reason, letter.field, letter.topic
        bare = letter._replace(key=None, value=None, headers=())
        heap = together.get(name)
        if heap is None:
            together[name] = Heap(*name, 1, bare, bare)
        else:
            together[name] = heap._replace(letters=heap.letters + 1, last=bare)
    return sorted(together.values(), key=lambda heap: (-heap.letters, heap[:3]))


def replay_group(settings: Settings, reason: str) -> str:
    """The consumer group whose offsets say which letters of a reason were sent back."""
    return f"{settings.app_id}-replayed-{reason}"


async def replay(settings: Settings, reasons: Sequence[str], *, send: bool, again: bool = False) -> Replay:
    """Sends the letters of `reasons` back to their topics, where their keys belong; without `send` only counts them.

    Key, value and the producer's own headers are the original's; `REPLAYED_FROM` names the origin. A clock record goes
    to the partition that it came from. The letter stays where it is. A crash on the way sends some twice: the
    customer's state knows a recent event id again.

    Args:
        settings: which cluster and topics.
        reasons: of the letters that are meant.
        send: whether anything is sent.
        again: also what an earlier replay sent.

    Raises:
        BrokerAway: no broker answers.
        TopicMissing: there is no `dead-letters`.
        KafkaError: a record could not be sent; what was sent before it is not remembered.
    """
    homes = {settings.topic(name) for name in INPUT_TOPICS}
    done = {} if again else {reason: await _replayed(settings, reason) for reason in reasons}
    by_topic: dict[str, int] = {}
    before = unfit = 0
    ends: dict[str, dict[TopicPartition, int]] = {reason: {} for reason in reasons}
    async with _sender(settings, send) as sender:
        async for letter in letters(settings):
            if letter.reason not in ends:
                continue
            tp = TopicPartition(settings.topic("dead-letters"), letter.partition)
            if letter.at < done.get(letter.reason, {}).get(tp, 0):
                before += 1
                continue
            ends[letter.reason][tp] = letter.at + 1
            if letter.topic not in homes or (letter.key is None and letter.value is None):
                unfit += 1
                continue
            by_topic[letter.topic] = by_topic.get(letter.topic, 0) + 1
            await sender(letter)
    if send:
        for reason, offsets in ends.items():
            await _remember(settings, reason, offsets)
    return Replay(by_topic, before, unfit)


@asynccontextmanager
async def _sender(settings: Settings, send: bool) -> AsyncIterator[Callable[[Letter], Awaitable[None]]]:
    """What sends one letter, or nothing; on the way out everything is acknowledged."""
    if not send:
        yield _nothing
        return
    producer = AIOKafkaProducer(
        **kafka_options(settings),
        acks="all",
        enable_idempotence=True,
        max_request_size=MAX_REQUEST_BYTES,
    )
    async with telling(settings):
        await producer.start()
    on_their_way = []

    async def sender(letter: Letter) -> None:
        headers = [*letter.headers, (REPLAYED_FROM, letter.origin.encode())]
        partition = letter.source_partition if letter.is_clock else None
        on_their_way.append(await producer.send(letter.topic, letter.value, letter.key, partition, headers=headers))
        if len(on_their_way) >= IN_FLIGHT:
            await asyncio.gather(*on_their_way)
            on_their_way.clear()

    try:
        yield sender
        await asyncio.gather(*on_their_way)
    finally:
        await producer.stop()


async def _nothing(_: Letter) -> None:
    """A dry run."""


def _group(settings: Settings, reason: str) -> AIOKafkaConsumer:
    return AIOKafkaConsumer(
        **kafka_options(settings),
        group_id=replay_group(settings, reason),
        enable_auto_commit=False,
    )


async def _replayed(settings: Settings, reason: str) -> dict[TopicPartition, int]:
    """Up to which offset letters of the reason were sent back."""
    client = await connect(settings)
    try:
        tps = list(await layout(client, [settings.topic("dead-letters")], settings.bootstrap_servers))
    finally:
        await client.close()
    consumer = _group(settings, reason)
    async with telling(settings):
        await consumer.start()
    try:
        consumer.assign(tps)
        return {tp: await consumer.committed(tp) or 0 for tp in tps}
    except GroupCoordinatorNotAvailableError:  # a cluster on which no group has ever committed
        return {}
    finally:
        await consumer.stop()


async def _remember(settings: Settings, reason: str, offsets: Mapping[TopicPartition, int]) -> None:
    if not offsets:
        return
    consumer = _group(settings, reason)
    async with telling(settings):
        await consumer.start()
    try:
        consumer.assign(list(offsets))
        await consumer.commit(dict(offsets))
    finally:
        await consumer.stop()
