"""The trainer's connection to Kafka: it reads model-train as a member of the group, and writes snapshots and dead letters.

Kafka may be away for `patience_s` at any moment: starts, reads and writes wait for it.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError, KafkaTimeoutError

from schemas.letters import Headers
from schemas.topics import DEAD_LETTERS, MODEL_SNAPSHOTS, MODEL_TRAIN
from streams.kafka.broadcast import check_exists, check_single_partition, read_recent
from streams.kafka.clients import lasting_producer, member_consumer
from streams.kafka.errors import BrokerLost
from streams.kafka.incarnations import ids_of
from streams.kafka.patience import leave, patiently
from streams.kafka.refusals import explaining_refusals
from streams.settings import Settings
from streams.training.pages import TrainerView

# 500 labels take about a tenth of a second to learn, in which the loop sends no heartbeat; one is due every 3 seconds.
_POLL_RECORDS, _POLL_MS = 500, 500
# A dead letter has up to 2 MiB and its headers (`schemas.letters`), a snapshot less; both topics take 4 MiB.
_REQUEST_BYTES = 4 * 1024 * 1024
# How often the end of model-train is asked for, and how long the answer may take: it usually takes milliseconds.
_ASK_EVERY_S = 5.0
# A commit only shows the lag: if it isn't answered in this time, the next one will be.
_COMMIT_TIMEOUT_S = 5.0

T = TypeVar("T")


class StopRequested(Exception):
    """The trainer was asked to stop while it waited for Kafka."""


class Connection:
    """One consumer and one producer, from `start` to `close`.

    Args:
        settings: which cluster, topics and group.
        view: learns of each answer of Kafka.
        patience_s: how long Kafka may be away.
    """

    def __init__(self, settings: Settings, view: TrainerView, patience_s: float) -> None:
        self.group = f"{settings.consumer_group}-trainer"
        self._settings, self._view, self._patience_s = settings, view, patience_s
        self._tp = TopicPartition(settings.topic(MODEL_TRAIN), 0)
        self._asked_at = -_ASK_EVERY_S
        self._stopping = asyncio.Event()
        self._consumer = member_consumer(settings, self.group)
        self._producer = lasting_producer(settings, max_request_bytes=_REQUEST_BYTES)

    async def start(self, stopping: asyncio.Event, listener: ConsumerRebalanceListener) -> None:
        """Connects, looks for the topics and joins the group; `listener` learns what the group assigns.

        Raises:
            TopicsNotReady: a topic does not exist.
            AccessRefused: a broker answers and refuses this client.
            BrokerLost: Kafka was away for longer than `patience_s`.
            StopRequested: `stopping` was set meanwhile.
        """
        self._stopping = stopping
        await self._patiently("starting the producer", partial(self._start, self._producer))
        await self._patiently("starting the consumer", partial(self._start, self._consumer))
        for topic in (MODEL_TRAIN, MODEL_SNAPSHOTS, DEAD_LETTERS):
            name = self._settings.topic(topic)
            await self._patiently(f"looking for {name}", partial(check_exists, self._consumer, name))
        self._consumer.subscribe([self._tp.topic], listener=listener)

    async def close(self) -> None:
        """Leaves the group and disconnects, whether Kafka answers or not."""
        await leave(self._consumer)
        await leave(self._producer)

    @property
    def is_assigned(self) -> bool:
        """Whether the group has assigned model-train to this trainer."""
        return self._tp in self._consumer.assignment()

    async def poll(self) -> list[ConsumerRecord]:
        """The next records of model-train; none after half a second. Asks for the topic's end every few seconds."""
        poll = partial(self._consumer.getmany, timeout_ms=_POLL_MS, max_records=_POLL_RECORDS)
        records: list[ConsumerRecord] = (await self._patiently(f"reading {self._tp.topic}", poll)).get(self._tp, [])
        if time.monotonic() - self._asked_at >= _ASK_EVERY_S:
            await self.end()
        return records

    async def snapshots(self) -> dict[bytes, list[bytes]]:
        """The latest values of each key of model-snapshots, the newest first."""
        read = partial(read_recent, self._settings, MODEL_SNAPSHOTS)
        return await self._patiently(f"reading {self._settings.topic(MODEL_SNAPSHOTS)}", read)

    def check_partitions(self) -> None:
        """Raises TopicsNotReady when model-train has several partitions."""
        check_single_partition(self._consumer, self._tp.topic)

    async def start_offset(self) -> int:
        """The offset of the first record that model-train still has."""
        ask = partial(self._consumer.beginning_offsets, [self._tp])
        first: int = (await self._patiently(f"asking for the start of {self._tp.topic}", ask))[self._tp]
        return first

    async def topic_id(self) -> str:
        """Kafka's id of model-train; empty: not known."""
        ids = await self._patiently(f"id of {self._tp.topic}", partial(ids_of, self._settings, [self._tp.topic]))
        return ids.topics.get(self._tp.topic, "")

    async def end(self) -> int:
        """The offset of the next record that model-train will get."""
        return await self._patiently(f"asking for the end of {self._tp.topic}", self._ask_end, _ASK_EVERY_S)

    def seek(self, offset: int) -> None:
        """The next poll begins at `offset`."""
        self._consumer.seek(self._tp, offset)

    async def commit(self, offset: int) -> None:
        """Shows the group's progress. It isn't repeated if it fails: nothing but the lag depends on it."""
        with contextlib.suppress(KafkaError, TimeoutError):
            async with asyncio.timeout(_COMMIT_TIMEOUT_S):
                await self._consumer.commit({self._tp: offset})

    async def write(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers | None = None) -> None:
        """Writes one record and waits until it is acknowledged. A stop doesn't end the wait: it waits for this.

        Raises:
            BrokerLost: Kafka did not acknowledge it in `patience_s`.
        """
        name = self._settings.topic(topic)
        send = partial(self._producer.send, name, value=value, key=key, headers=headers)
        delivery: asyncio.Future[Any] = await patiently(f"writing {name}", send, self._patience_s)
        try:
            async with asyncio.timeout(self._patience_s):
                await delivery
        except TimeoutError:
            raise BrokerLost(
                f"writing {name}: Kafka did not acknowledge a record in {self._patience_s:.0f} s"
            ) from None

    async def _start(self, client: AIOKafkaConsumer | AIOKafkaProducer) -> None:
        async with explaining_refusals(self._settings):
            await client.start()

    async def _ask_end(self) -> int:
        try:
            end: int = (await self._consumer.end_offsets([self._tp]))[self._tp]
        except BaseException:
            self._view.end = None  # while Kafka doesn't answer the end isn't known
            raise
        self._asked_at = time.monotonic()
        self._view.answered(end)
        return end

    async def _patiently(self, what: str, attempt: Callable[[], Awaitable[T]], limit_s: float | None = None) -> T:
        """What `attempt` gives while Kafka may be away; some calls of aiokafka would wait for an answer for ever.

        Raises:
            BrokerLost: it was away for longer than `patience_s`.
            StopRequested: the trainer was asked to stop meanwhile.
        """
        limit_s = self._patience_s if limit_s is None else limit_s

        async def bounded() -> T:
            try:
                async with asyncio.timeout(limit_s):
                    return await attempt()
            except TimeoutError:
                raise KafkaTimeoutError(f"no answer for {limit_s:.0f} s") from None

        answer = await patiently(what, bounded, self._patience_s, sleep=self._pause)
        self._view.beat()
        return answer

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        if self._stopping.is_set():
            raise StopRequested
