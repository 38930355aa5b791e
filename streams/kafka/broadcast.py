"""Topics that every process reads in full: policies and model snapshots.

A consumer group would give each record to one worker only. So a consumer without a group reads the topic's one partition
from its start, is ready when it has read what was there when it started, and then follows the topic.
"""

import asyncio
from collections.abc import Callable, Sequence

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import ConsumerStoppedError

from streams.kafka.clients import PATIENT_MS, groupless_consumer
from streams.kafka.errors import TopicsNotReady
from streams.kafka.patience import leave
from streams.kafka.refusals import explaining_refusals
from streams.settings import Settings

OnRecord = Callable[[bytes, bytes | None], bool | None]
OnPast = Callable[[Sequence[ConsumerRecord]], None]

# At the start so many latest values of a key are kept: where the callback refuses one, the one before it is still there.
_KEPT_VALUES = 3

# Limit of one poll: `stop` is noticed this soon. A record that comes ends the poll at once.
_POLL_MS = 500


class Broadcast:
    """Calls `on_record` with the latest record of each key at the start, and with each newer record as it comes.

    At the start `on_record` gets only the latest value per key, in the order of offsets, and nothing for a key whose latest
    value is null. Where it gives False, it refuses the value: it then gets the one before it, as far as the topic has one.
    If `on_past` is given, it gets every record of the topic at the start instead. Afterwards each poll gives the latest
    record per key in it, null included. An exception of a callback leaves `start` or `run`: let it end the process, or
    catch it in the callback.
    """

    def __init__(self, settings: Settings, topic: str, on_record: OnRecord, on_past: OnPast | None = None) -> None:
        """A broadcast that is not started.

        Args:
            settings: which cluster.
            topic: the topic's name without the prefix (`model-snapshots`).
            on_record: takes key and value; None is a tombstone.
            on_past: takes every record that the topic has at the start, in order, once.
        """
        self.ready = False
        self._tp = TopicPartition(settings.topic(topic), 0)
        self._on_record, self._on_past = on_record, on_past
        self._settings = settings
        self._stopping = asyncio.Event()
        self._consumer: AIOKafkaConsumer | None = None

    async def start(self) -> None:
        """Reads the topic to its end as of now.

        Raises:
            TopicsNotReady: the topic does not exist, or has several partitions.
            AccessRefused: a broker answers and refuses this client.
            KafkaError: no broker answers.
        """
        consumer = self._consumer = groupless_consumer(self._settings, max_wait_ms=PATIENT_MS)
        try:
            async with explaining_refusals(self._settings):
                await consumer.start()
            await self._read_to_end(consumer)
        except BaseException:
            self._consumer = None  # `start` may be called again
            await leave(consumer)
            raise
        self.ready = not self._stopping.is_set()

    async def _read_to_end(self, consumer: AIOKafkaConsumer) -> None:
        await check_exists(consumer, self._tp.topic)
        consumer.assign([self._tp])
        await consumer.seek_to_beginning(self._tp)
        end = (await consumer.end_offsets([self._tp]))[self._tp]
        past: list[ConsumerRecord] = []
        latest: dict[bytes, list[bytes | None]] = {}
        check_single_partition(consumer, self._tp.topic)
        # The consumer's position decides, not the records' offsets: compaction leaves holes, at the end as well.
        while not self._stopping.is_set() and await consumer.position(self._tp) < end:
            records = await self._poll()
            if self._on_past is None:  # snapshots are large and share one key: only the latest ones are kept in memory
                _keep_recent(records, latest)
            else:
                past += records
        if self._on_past is None:
            for key, values in latest.items():
                self._deliver_first_good(key, values)
        elif not self._stopping.is_set():
            self._on_past(past)

    async def run(self) -> None:
        """Follows the topic until `stop`; waits while the broker is away."""
        while not self._stopping.is_set():
            latest: dict[bytes, bytes | None] = {}
            _keep_latest(await self._poll(), latest)
            self._deliver(latest)

    async def stop(self) -> None:
        """Ends `run` within one poll and disconnects. May be called at any time, and twice."""
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
            return []  # `stop` was called meanwhile
        return records

    def _deliver_first_good(self, key: bytes, values: list[bytes | None]) -> None:
        for value in reversed(values):
            if value is None or self._on_record(key, value) is not False:
                return

    def _deliver(self, latest: dict[bytes, bytes | None]) -> None:
        for key, value in latest.items():
            self._on_record(key, value)


def _keep_latest(records: Sequence[ConsumerRecord], latest: dict[bytes, bytes | None]) -> None:
    for record in records:
        latest.pop(record.key, None)  # so that the dictionary keeps the order of the latest offsets
        latest[record.key] = record.value


def _keep_recent(records: Sequence[ConsumerRecord], recent: dict[bytes, list[bytes | None]]) -> None:
    for record in records:
        values = recent.pop(record.key, [])
        recent[record.key] = [*values, record.value][-_KEPT_VALUES:]


async def check_exists(consumer: AIOKafkaConsumer, topic: str) -> None:
    """Raises TopicsNotReady if there is no `topic`. Asks for all topics: asking for one by name could create it."""
    if topic not in await consumer.topics():
        raise TopicsNotReady(f"topic {topic} is missing; make it with `regulars topics create`")


def check_single_partition(consumer: AIOKafkaConsumer, topic: str) -> None:
    """Raises TopicsNotReady if `topic`, which `consumer` reads, has more than one partition."""
    partitions = consumer.partitions_for_topic(topic) or {0}
    if len(partitions) != 1:
        raise TopicsNotReady(f"topic {topic} has {len(partitions)} partitions, must be 1; see `regulars topics check`")


async def read_latest(settings: Settings, topic: str) -> dict[bytes, bytes]:
    """The latest value of each key of a broadcast topic, as of now. Raises as `Broadcast.start`."""
    return {key: values[0] for key, values in (await read_recent(settings, topic)).items()}


async def read_recent(settings: Settings, topic: str) -> dict[bytes, list[bytes]]:
    """The latest values of each key, the newest first, for readers who may refuse one. Raises as `Broadcast.start`."""
    recent: dict[bytes, list[bytes]] = {}

    def keep(key: bytes, value: bytes | None) -> bool:
        if value is not None:
            recent.setdefault(key, []).append(value)
        return False

    broadcast = Broadcast(settings, topic, keep)
    try:
        await broadcast.start()
    finally:
        await broadcast.stop()
    return recent
