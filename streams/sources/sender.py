"""Sends a timeline to the three input topics, each partition in event-time order, and waits until all of it is acked.

The batches are built here. A record's timestamp is the time of sending, not event time: a broker deletes by timestamp, so
it would drop a replay of old events at once. Event time is inside the event.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, Self

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from schemas.events import INPUT_TOPICS
from streams.kafka.clients import producer as new_producer
from streams.kafka.cluster import layout_of
from streams.kafka.refusals import explaining_refusals, unreached
from streams.kafka.topics import partition_of
from streams.settings import Settings
from streams.sources.events import ClockRecord, EventRecord
from streams.sources.pace import MAX, SendingPace

# Around 500 events per batch. A request carries up to one batch per partition, so 24 partitions make 3 MB per request.
BATCH_BYTES = 128 * 1024
# A topic with few events must not wait until its batch is full: event time is the lowest over the three topics.
BATCH_AGE_S = 0.05
# An event may go this much too early, so that 10,000 events/s take 500 wake-ups per second, not 10,000.
TICK_S = 0.002
# Items between two turns of the event loop; about 5 ms of work.
STRIDE = 256
# How many keys' partitions are remembered: murmur2 is pure Python here and takes about 5 us per key.
KEYS_REMEMBERED = 1_000_000

Headers = Sequence[tuple[str, bytes]]
Progress = Callable[[int, float], None]


class SendFailed(Exception):
    """The broker did not accept a batch. Repair the broker, then run the same command again."""

    def __init__(self, tp: TopicPartition, why: BaseException) -> None:
        super().__init__(
            f"{tp.topic} [{tp.partition}] took no more events ({type(why).__name__}); "
            f"look at the broker, then run the same command again"
        )


class PartitionsDiffer(Exception):
    """The input topics have different partition counts, so a customer's events would not meet in one worker."""

    def __init__(self, counts: dict[str, int]) -> None:
        listed = ", ".join(f"{topic}: {count}" for topic, count in counts.items())
        super().__init__(f"the input topics have different partition counts ({listed}); see `regulars topics check`")


class Acks(Protocol):
    """How far sending has come in each partition."""

    def done(self, topic: str, partition: int) -> int:
        """Items of the timeline below this index are already in the partition."""

    def acked(self, topic: str, partition: int, below: int, offset: int) -> None:
        """The partition's items below index `below` are in it; the last one has `offset`."""


class SendResult(NamedTuple):
    """The result of one call of `send`.

    Attributes:
        events: sent and acked.
        skipped: events that an earlier call had sent.
        finished: the timeline's end was reached.
        last_s: event time reached, 0 where nothing was sent.
        elapsed_s: processing time.
    """

    events: int
    skipped: int
    finished: bool
    last_s: float
    elapsed_s: float


@dataclass(slots=True)
class _Slot:
    """One partition: the batch being filled, the index after its last item, and the index to begin from."""

    topic: str
    partition: int
    start: int = 0
    below: int = 0
    batch: Any = None  # an aiokafka BatchBuilder


class TimelineSender:
    """An idempotent producer for timelines. Use `TimelineSender.open`."""

    def __init__(self, producer: AIOKafkaProducer, topics: Sequence[str], partitions: int, headers: Headers) -> None:
        self._producer = producer
        self._partitions = partitions
        self._headers = list(headers)
        self._slots = {
            name: [_Slot(topic, number) for number in range(partitions)]
            for name, topic in zip(INPUT_TOPICS, topics, strict=True)
        }
        self._all = [slot for slots in self._slots.values() for slot in slots]
        self._where: dict[bytes, int] = {}
        self._in_flight: set[asyncio.Future[Any]] = set()
        self._failure: SendFailed | None = None
        self._acks: Acks | None = None
        self._submitted_s = 0.0

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, settings: Settings, headers: Headers = ()) -> AsyncIterator[Self]:
        """A started sender; `headers` go on every record.

        Raises:
            BrokerLost: no broker answers.
            AccessRefused: a broker is there and refuses.
            TopicsNotReady: an input topic does not exist.
            PartitionsDiffer: the input topics are not partitioned alike.
        """
        topics = [settings.topic(name) for name in INPUT_TOPICS]
        partitions = await _count_partitions(settings, topics)
        producer = new_producer(settings, max_batch_bytes=BATCH_BYTES)
        try:
            async with explaining_refusals(settings):
                await producer.start()
        except (KafkaError, OSError) as exc:
            await producer.stop()
            raise unreached(settings, exc) from exc
        try:
            yield cls(producer, topics, partitions, headers)
        finally:
            await producer.stop()

    @property
    def partitions(self) -> int:
        """Partitions of each input topic."""
        return self._partitions

    async def send(
        self,
        timeline: Iterable[EventRecord | ClockRecord],
        pace: SendingPace = MAX,
        *,
        acks: Acks | None = None,
        progress: Progress | None = None,
        stop: asyncio.Event | None = None,
    ) -> SendResult:
        """Sends `timeline` and waits until all of it is acked.

        Args:
            timeline: pulled one by one, each after the item before it was placed.
            pace: how fast.
            acks: items that it calls done are skipped; it is called as further items are acked.
            progress: called a few times a second with (events sent or skipped, event time).
            stop: once it is set, nothing more is pulled; what was pulled is sent and acked.

        Raises:
            SendFailed: the broker refused a batch, or did not answer within the request timeout.
        """
        self._acks = acks
        for slot in self._all:
            slot.start = 0 if acks is None else acks.done(slot.topic, slot.partition)
        begun_s = time.monotonic()
        walk = iter(timeline)
        index = events = skipped = 0
        first_s: float | None = None
        last_s = 0.0
        finished = False
        try:
            while not (stop is not None and stop.is_set()):
                if first_s is not None and pace.rate is not None:
                    await self._wait(begun_s + pace.due_s(events, 0.0), stop)
                item = next(walk, None)
                if item is None:
                    finished = True
                    break
                if pace.times is not None and first_s is not None:
                    await self._wait(begun_s + pace.due_s(events, item.at_s - first_s), stop)
                sent = await self._place(item, index)
                index += 1
                if sent and first_s is None:
                    first_s, begun_s = item.at_s, time.monotonic()
                if isinstance(item, EventRecord):
                    events += sent
                    skipped += not sent
                if sent:
                    last_s = item.at_s
                if index % STRIDE == 0:
                    await self._breathe()
                    if progress is not None:
                        progress(events + skipped, item.at_s)
        finally:
            # Also when cancelled or failed: what was pulled is either acked or known not to be.
            await self._flush()
        if progress is not None:
            progress(events + skipped, last_s)
        return SendResult(events, skipped, finished, last_s, time.monotonic() - begun_s)

    async def _place(self, item: EventRecord | ClockRecord, index: int) -> bool:
        """Puts an item into its batches; False if an earlier call had sent it."""
        if isinstance(item, ClockRecord):
            headers = [item.header(), *self._headers]
            open_slots = [slot for slot in self._all if index >= slot.start]
            for slot in open_slots:
                await self._append(slot, index, None, b"", headers)
            return bool(open_slots)
        slot = self._slots[item.topic][self._partition(item.key)]
        if index < slot.start:
            return False
        await self._append(slot, index, item.key, item.value, self._headers)
        return True

    async def _append(
        self, slot: _Slot, index: int, key: bytes | None, value: bytes, headers: list[tuple[str, bytes]]
    ) -> None:
        now_ms = int(time.time() * 1000)
        if slot.batch is None:
            slot.batch = self._producer.create_batch()
        if slot.batch.append(timestamp=now_ms, key=key, value=value, headers=headers) is None:
            await self._submit(slot)
            slot.batch = self._producer.create_batch()
            slot.batch.append(timestamp=now_ms, key=key, value=value, headers=headers)
        slot.below = index + 1

    async def _submit(self, slot: _Slot) -> None:
        """Hands the slot's batch to the producer; waits while the partition's batch before it is still queued."""
        batch, below = slot.batch, slot.below
        if batch is None:
            return
        slot.batch = None
        tp = TopicPartition(slot.topic, slot.partition)
        try:
            future = await self._producer.send_batch(batch, slot.topic, partition=slot.partition)
        except KafkaError as exc:
            raise SendFailed(tp, exc) from exc
        count = batch.record_count()
        self._in_flight.add(future)

        def settle(done: asyncio.Future[Any]) -> None:
            self._in_flight.discard(done)
            if done.cancelled():
                return
            why = done.exception()
            if why is not None:
                self._failure = self._failure or SendFailed(tp, why)
            elif self._acks is not None and self._failure is None:
                self._acks.acked(slot.topic, slot.partition, below, done.result().offset + count - 1)

        future.add_done_callback(settle)

    async def _submit_all(self) -> None:
        self._submitted_s = time.monotonic()
        for slot in self._all:
            if slot.batch is not None:
                await self._submit(slot)
        if self._failure is not None:
            raise self._failure

    async def _breathe(self) -> None:
        """Lets the producer's own tasks run, and sends batches that have waited long enough."""
        if self._failure is not None:
            raise self._failure
        if time.monotonic() - self._submitted_s > BATCH_AGE_S:
            await self._submit_all()
        await asyncio.sleep(0)

    async def _flush(self) -> None:
        if self._failure is None:
            await self._submit_all()
        while self._in_flight:
            await asyncio.wait(set(self._in_flight))
        if self._failure is not None:
            raise self._failure

    async def _wait(self, until_s: float, stop: asyncio.Event | None) -> None:
        if until_s - time.monotonic() <= TICK_S:
            return
        await self._submit_all()
        delay_s = until_s - time.monotonic()
        if delay_s <= 0:
            return
        if stop is None:
            await asyncio.sleep(delay_s)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay_s):
                await stop.wait()

    def _partition(self, key: bytes) -> int:
        number = self._where.get(key)
        if number is None:
            if len(self._where) >= KEYS_REMEMBERED:
                self._where.clear()
            number = self._where[key] = partition_of(key, self._partitions)
        return number


async def _count_partitions(settings: Settings, topics: Sequence[str]) -> int:
    leaders = await layout_of(settings, topics)
    counts: dict[str, int] = {topic: sum(tp.topic == topic for tp in leaders) for topic in topics}
    if len(set(counts.values())) > 1:
        raise PartitionsDiffer(counts)
    return next(iter(counts.values()))
