"""A topic that reaches every process in full: policies and model snapshots.

Not through the consumer group, which would give each record to one worker only: a consumer without a group reads the
topic's one partition from its start, is ready at what was its end when it started, then follows it.
"""

import asyncio
from collections.abc import Callable, Sequence

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import ConsumerStoppedError

from streams.kafka.errors import TopicsNotReady
from streams.kafka.patience import leave
from streams.kafka.security import kafka_options, telling
from streams.settings import Settings

OnRecord = Callable[[bytes, bytes | None], None]
OnPast = Callable[[Sequence[ConsumerRecord]], None]

# Of one poll; how soon `stop` is noticed, as a live record ends the wait at once.
_POLL_MS = 500
# A snapshot is at most 1 MB; a fetch brings a handful.
_FETCH_BYTES = 4 * 1024 * 1024


class Broadcast:
    """Gives `on_record` the latest record of each key, at the start, and each newer one as it comes.

    At the start only the latest value of a key is given, in the order of offsets, and nothing for a key whose latest
    value is null; `on_past` is given all that the topic has instead. Afterwards every poll gives the latest of each key in
    it, null included. An exception in a callback comes out of `start` or `run`: let it end the process, or catch it inside.
    """

    def __init__(self, settings: Settings, topic: str, on_record: OnRecord, on_past: OnPast | None = None) -> None:
        """A broadcast that isn't started.

        Args:
            topic: short name (`model-snapshots`).
            on_record: takes key and value, None for a tombstone.
            on_past: takes every record that the topic has at the start, in order, once.
        """
        self.ready = False
        self._tp = TopicPartition(settings.topic(topic), 0)
        self._on_record, self._on_past = on_record, on_past
        self._settings = settings
        self._stopping = asyncio.Event()
        self._consumer: AIOKafkaConsumer | None = None

    async def start(self) -> None:
        """Reads to the topic's end as of now.

        Raises:
            TopicsNotReady: no such topic, or one of several partitions.
            AccessRefused: a broker is there and refuses.
            KafkaError: the broker can't be reached.
        """
        consumer = self._consumer = AIOKafkaConsumer(
            **kafka_options(self._settings),
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            max_partition_fetch_bytes=_FETCH_BYTES,
        )
        try:
            async with telling(self._settings):
                await consumer.start()
            await self._read_to_end(consumer)
        except BaseException:
            self._consumer = None  # a later `start` begins anew
            await leave(consumer)
            raise
        self.ready = not self._stopping.is_set()

    async def _read_to_end(self, consumer: AIOKafkaConsumer) -> None:
        await check_exists(consumer, self._tp.topic)
        consumer.assign([self._tp])
        await consumer.seek_to_beginning(self._tp)
        end = (await consumer.end_offsets([self._tp]))[self._tp]
        past: list[ConsumerRecord] = []
        latest: dict[bytes, bytes | None] = {}
        check_single_partition(consumer, self._tp.topic)
        # The position counts, not the records' offsets: compaction leaves holes, also at the end.
        while not self._stopping.is_set() and await consumer.position(self._tp) < end:
            records = await self._poll()
            if self._on_past is None:  # a snapshot is large, and of one key: only the latest is kept
                _fold(records, latest)
            else:
                past += records
        if self._on_past is None:
            self._deliver({key: value for key, value in latest.items() if value is not None})
        elif not self._stopping.is_set():
            self._on_past(past)

    async def run(self) -> None:
        """Follows the topic until `stop`; a broker that is away is waited for."""
        while not self._stopping.is_set():
            latest: dict[bytes, bytes | None] = {}
            _fold(await self._poll(), latest)
            self._deliver(latest)

    async def stop(self) -> None:
        """Ends `run` within a poll and leaves the broker. May be called at any time, and twice."""
        self._stopping.set()
        self.ready = False
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await leave(consumer)

    async def _poll(self) -> list[ConsumerRecord]:
        consumer = self._consumer
        if consumer is None:
            return []
        try:
            records: list[ConsumerRecord] = (await consumer.getmany(self._tp, timeout_ms=_POLL_MS)).get(self._tp, [])
        except ConsumerStoppedError:
            return []  # `stop` came meanwhile
        return records

    def _deliver(self, latest: dict[bytes, bytes | None]) -> None:
        for key, value in latest.items():
            self._on_record(key, value)


def _fold(records: Sequence[ConsumerRecord], latest: dict[bytes, bytes | None]) -> None:
    for record in records:
        latest.pop(record.key, None)  # so that the order is that of the latest offsets
        latest[record.key] = record.value


async def check_exists(consumer: AIOKafkaConsumer, topic: str) -> None:
    """Raises TopicsNotReady unless `topic` is there; asks for all topics, as asking for one by name could create it."""
    if topic not in await consumer.topics():
        raise TopicsNotReady(f"topic {topic} is missing; make it with `regulars topics create`")


def check_single_partition(consumer: AIOKafkaConsumer, topic: str) -> None:
    """Raises TopicsNotReady unless `topic`, which `consumer` reads, has exactly one partition."""
    partitions = consumer.partitions_for_topic(topic) or {0}
    if len(partitions) != 1:
        raise TopicsNotReady(f"topic {topic} has {len(partitions)} partitions, must be 1; see `regulars topics check`")


async def read_latest(settings: Settings, topic: str) -> dict[bytes, bytes]:
    """The latest value of each key of a broadcast topic, as of now. Raises as `Broadcast.start`."""
    latest: dict[bytes, bytes] = {}

    def keep(key: bytes, value: bytes | None) -> None:
        if value is not None:
            latest[key] = value

    broadcast = Broadcast(settings, topic, keep)
    try:
        await broadcast.start()
    finally:
        await broadcast.stop()
    return latest
