"""How far the group is behind: every partition of the input topics, assigned or not, in records and in seconds.

A client of its own reads the offsets, because the figures of a stalled worker freeze with it. Committed offsets are read
before end offsets: a figure may be a moment too high, never too low.
"""

import asyncio
import time
from collections.abc import Awaitable, Iterable, Mapping
from contextlib import AsyncExitStack
from typing import NamedTuple, TypeVar

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import GroupCoordinatorNotAvailableError, KafkaError

from schemas.events import GROUP_TOPICS
from streams.kafka.clients import admin_client
from streams.kafka.cluster import CONNECT_LIMIT_S, Layout, connected, first_timestamp, layout
from streams.kafka.errors import AccessRefused, BrokerLost, TopicsNotReady
from streams.kafka.members import owners
from streams.kafka.readers import reader
from streams.kafka.refusals import explaining_refusals, unreached
from streams.settings import Settings

EVERY_S = 2.0
# An age takes one fetch per lagging partition, about a millisecond; one that is not read by then keeps its last value.
AGES_LIMIT_S = 1.5
# Seven samples in a row without an answer: the last sample says nothing about now.
SAMPLE_LIMIT_S = 15.0
# Aiokafka gives a request up after 40 s, and tries once more; closing connections takes milliseconds.
GIVEN_UP_S = 60.0
CLOSE_LIMIT_S = 5.0

log = structlog.get_logger(__name__)

T = TypeVar("T")


class PartitionLag(NamedTuple):
    """One partition of the group. Offsets are Kafka's: the next record to read, the next to be written."""

    topic: str
    partition: int
    start: int
    end: int
    committed: int | None  # None: the group has committed nothing here and would read from `start`
    records: int
    seconds: float | None  # age of the oldest unprocessed record by its broker timestamp; 0.0: none; None: not known
    stalled_s: float  # how long `committed` has not moved although records wait; 0.0: none wait


class Observed(NamedTuple):
    """The end of a partition at a moment: every record written before `at_s` (epoch seconds) has an offset below `end`."""

    end: int
    at_s: float


class LagMonitor:
    """Samples the group's lag every two seconds and keeps the last sample as plain data.

    Call `sample()` once, or start `run()` as a task. While the broker is away, the last figures stay, `error` is set and
    `sampled_at` grows old; the broker is asked again until it answers.
    """

    def __init__(self, settings: Settings, every_s: float = EVERY_S) -> None:
        self._settings, self._every_s = settings, every_s
        self._topics = [settings.topic(name) for name in GROUP_TOPICS]
        self._clients: _Clients | None = None
        self._leaders: Layout = {}
        self._oldest: dict[TopicPartition, tuple[int, float]] = {}  # offset, and the timestamp of its record
        self._waiting: dict[TopicPartition, tuple[int, float]] = {}  # committed offset, unmoved since when (monotonic)
        self.lags: Mapping[TopicPartition, PartitionLag] = {}
        self.ends: Mapping[TopicPartition, Observed] = {}
        self.sampled_at: float | None = None  # epoch seconds
        self.error: str | None = None
        self._made_at = time.time()

    @property
    def age_s(self) -> float:
        """Seconds since the last sample; before the first one, since this monitor was made."""
        return time.time() - (self._made_at if self.sampled_at is None else self.sampled_at)

    @property
    def fresh(self) -> bool:
        """Whether the last sample still describes the present."""
        return self.sampled_at is not None and self.age_s <= SAMPLE_LIMIT_S

    async def run(self) -> None:
        """Samples until it is cancelled."""
        try:
            while True:
                began = time.monotonic()
                try:
                    await self.sample()
                except (BrokerLost, AccessRefused, TopicsNotReady) as exc:
                    if self.error is None:
                        log.warning("lag unknown", reason=str(exc))
                    self.error = str(exc)
                else:
                    self.error = None
                await asyncio.sleep(max(0.1, self._every_s - (time.monotonic() - began)))
        finally:
            await self.close()

    async def sample(self) -> Mapping[TopicPartition, PartitionLag]:
        """The lag now.

        Raises:
            BrokerLost: the broker did not answer; the next call connects again.
            AccessRefused: a broker answers and refuses this client.
            TopicsNotReady: an input topic does not exist.
        """
        return await self._answer(self._sample())

    async def owners(self) -> Mapping[TopicPartition, str]:
        """The worker that each partition is assigned to, by name and host. Call it after `sample`.

        Raises:
            BrokerLost: the broker did not answer.
            AccessRefused: a broker answers and refuses this client.
        """
        assert self._clients is not None
        return await self._answer(owners(self._clients.admin, self._settings.consumer_group))

    async def _answer(self, asking: Awaitable[T]) -> T:
        """What Kafka answers; after a failure the next question connects again."""
        try:
            async with explaining_refusals(self._settings), asyncio.timeout(GIVEN_UP_S):
                return await asking
        except (KafkaError, OSError, TimeoutError) as exc:
            await self.close()
            raise unreached(self._settings, exc) from exc

    async def close(self) -> None:
        """Closes the connections."""
        clients, self._clients, self._leaders = self._clients, None, {}
        if clients is not None:
            # While the broker is away, stopping a consumer may take for ever, or raise the CancelledError of its own fetch.
            closing = asyncio.ensure_future(clients.close())
            await asyncio.wait({closing}, timeout=CLOSE_LIMIT_S)
            closing.cancel()
            await asyncio.gather(closing, return_exceptions=True)

    async def _sample(self) -> Mapping[TopicPartition, PartitionLag]:
        if self._clients is None:
            self._clients = await _Clients.connect(self._settings)
        consumer = self._clients.consumer
        if not self._leaders:
            self._leaders = await layout(self._clients.client, self._topics, self._settings.bootstrap_servers)
        tps = list(self._leaders)
        committed = await self._clients.committed(self._settings.consumer_group)
        asked_at = time.time()
        ends = await consumer.end_offsets(tps)
        starts = await consumer.beginning_offsets(tps)
        begins = {tp: max(starts[tp], committed.get(tp, starts[tp])) for tp in tps}
        await self._find_oldest({tp: begin for tp, begin in begins.items() if begin < ends[tp]})

        self.lags = {tp: self._lag(tp, starts[tp], ends[tp], committed.get(tp), begins[tp]) for tp in tps}
        self.ends = {tp: Observed(ends[tp], asked_at) for tp in tps}
        self.sampled_at = time.time()
        return self.lags

    def _lag(self, tp: TopicPartition, start: int, end: int, committed: int | None, begin: int) -> PartitionLag:
        records, now = max(0, end - begin), time.monotonic()
        seconds: float | None = 0.0
        stalled_s = 0.0
        if records:
            oldest = self._oldest.get(tp)
            seconds = None if oldest is None else max(0.0, time.time() - oldest[1])
            at, since = self._waiting.get(tp, (-1, now))
            self._waiting[tp] = (begin, since) if at == begin else (begin, now)
            stalled_s = now - self._waiting[tp][1]
        else:
            self._waiting.pop(tp, None)
        return PartitionLag(tp.topic, tp.partition, start, end, committed, records, seconds, stalled_s)

    async def _find_oldest(self, begins: Mapping[TopicPartition, int]) -> None:
        """Reads the timestamp of the record at each of `begins`; one that is known already is not read again."""
        assert self._clients is not None
        self._oldest = {tp: oldest for tp, oldest in self._oldest.items() if tp in begins}
        client = self._clients.client
        unknown = [tp for tp, begin in begins.items() if self._oldest.get(tp, (-1, 0.0))[0] != begin]
        fetches = {
            tp: asyncio.ensure_future(first_timestamp(client, self._leaders[tp], tp, begins[tp])) for tp in unknown
        }
        if not fetches:
            return
        await asyncio.wait(fetches.values(), timeout=AGES_LIMIT_S)
        for tp, fetch in fetches.items():
            if not fetch.done():
                fetch.cancel()
            elif (stamp := fetch.result()) is not None and stamp >= 0:  # -1: a producer that sets no timestamps
                self._oldest[tp] = (begins[tp], stamp)


class _Clients(NamedTuple):
    """A consumer for offsets, an admin client for the group, and a plain client for single fetches."""

    consumer: AIOKafkaConsumer
    admin: AIOKafkaAdminClient
    client: AIOKafkaClient
    stack: AsyncExitStack

    @classmethod
    async def connect(cls, settings: Settings) -> "_Clients":
        async with AsyncExitStack() as stack:
            consumer = await stack.enter_async_context(reader(settings))
            client = await stack.enter_async_context(connected(settings))
            admin = admin_client(settings)
            stack.push_async_callback(admin.close)
            async with asyncio.timeout(CONNECT_LIMIT_S):
                await admin.start()
            return cls(consumer, admin, client, stack.pop_all())
        raise AssertionError("unreachable")

    async def committed(self, group: str) -> dict[TopicPartition, int]:
        """The group's committed offsets; empty where no group has ever committed on this cluster."""
        try:
            offsets = await self.admin.list_consumer_group_offsets(group)
        except GroupCoordinatorNotAvailableError:
            return {}
        return {tp: commit.offset for tp, commit in offsets.items() if commit.offset >= 0}

    async def close(self) -> None:
        await self.stack.aclose()


def total(lags: Iterable[PartitionLag]) -> tuple[int, float]:
    """How many records wait in all partitions together, and the age of the oldest one in seconds."""
    rows = list(lags)
    return sum(row.records for row in rows), max((row.seconds or 0.0 for row in rows), default=0.0)
