"""Faust's producer, idempotent and fenced, with whole record batches to a given partition.

This leans on the inside of faust 0.15.3 and aiokafka 0.14; `tests/contracts/test_seams_*.py` fail when that moves.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from aiokafka.errors import KafkaError, MessageSizeTooLargeError, ProducerFenced, TopicAuthorizationFailedError
from faust.transport.drivers import aiokafka as base

from streams.kafka.clients import PRODUCER_OPTIONS
from streams.kafka.errors import BrokerLost, InfrastructureFailure, RecordTooLarge, TopicsNotReady
from streams.kafka.patience import DELIVERY_TIMEOUT_S, outlasting, patiently, within
from streams.plane.errors import Fenced
from streams.plane.fence import FencedProducer, Writers
from streams.plane.records import CLAIM_KEY, Headers, PartitionGone

# The broker's default max.message.bytes is 1,048,588 for a whole record batch; leave room for its framing.
MAX_BATCH_BYTES = 1_000_000

ALLOW_WRITE = "give the worker's principal Write and Describe on the topics and Write on the transactional ids"


class Delivery:
    """Record batches on their way to one partition."""

    __slots__ = ("_batches", "_lost", "_where")

    def __init__(
        self, where: str, batches: list[tuple[asyncio.Future[Any], int]], lost: Callable[[], Exception]
    ) -> None:
        self._where, self._batches, self._lost = where, batches, lost

    async def acknowledged(self) -> int:
        """Waits until all in-sync replicas have everything; offset of the last record.

        Raises:
            RecordTooLarge: a record is larger than the topic takes.
            BrokerLost: no answer for `DELIVERY_TIMEOUT_S`.
            TopicsNotReady: the topic has gone.
            InfrastructureFailure: the broker refused the records for another reason.
        """
        last = -1
        try:
            async with within(DELIVERY_TIMEOUT_S):
                for future, count in self._batches:
                    last = max(last, (await future).offset + count - 1)
        except TimeoutError as exc:
            raise self._lost() from exc
        except MessageSizeTooLargeError as exc:
            raise RecordTooLarge(f"{self._where}: a record exceeds the topic's max.message.bytes; raise that") from exc
        except ProducerFenced as exc:
            raise Fenced(f"{self._where}: another worker has claimed this partition meanwhile") from exc
        except TopicAuthorizationFailedError as exc:
            raise InfrastructureFailure(f"{self._where}: Kafka does not allow to write there; {ALLOW_WRITE}") from exc
        except KafkaError as exc:
            raise InfrastructureFailure(f"{self._where}: Kafka refused the records: {exc!r}") from exc
        return last


class Producer(base.Producer):
    """Faust's producer, idempotent, with whole record batches to a given partition.

    A claimed partition is written to under an identity of its own (`fence.py`); topics with one partition for all are
    not.
    """

    _producer_type = FencedProducer

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.writers = Writers(self._ensure_producer, self.app.conf.id)

    def _new_producer(self, transactional_id: str | None = None) -> Any:
        return outlasting(super()._new_producer(transactional_id))

    async def on_start(self) -> None:
        """Starts the producer that all partitions share, waiting for a broker that is away."""
        await super(base.Producer, self).on_start()
        producer = self._producer = self._new_producer()
        self.beacon.add(producer)
        await patiently("starting the producer", producer.start)

    async def claim(self, topic: str, partition: int) -> None:
        """Makes this worker the only one that can write to the partition, beginning with a record in `topic`.

        Raises:
            Fenced: another worker claimed it at the same time, and later.
            BrokerLost: no answer for `DELIVERY_TIMEOUT_S`.
        """
        try:
            async with within(DELIVERY_TIMEOUT_S):
                await self.writers.take(partition)
        except TimeoutError as exc:
            raise BrokerLost(f"{topic}[{partition}]: no producer id for {DELIVERY_TIMEOUT_S:.0f} s") from exc
        await (await self.send_batch(topic, partition, [(CLAIM_KEY, b"", [])])).acknowledged()

    async def create_topic(self, *args: Any, **kwargs: Any) -> None:
        """Does nothing: topics are made by `regulars topics create` and checked when the app starts."""

    def _settings_extra(self) -> Mapping[str, Any]:
        return {**super()._settings_extra(), **PRODUCER_OPTIONS}

    def partition_of(self, topic: str, partition: int) -> int:
        """Where an output that was caused in `partition` goes: the same number, or 0 where there is only one."""
        # what the start found, not the producer's metadata: that knows a topic only after the first record for it
        return 0 if self.app.partition_counts[topic] == 1 else partition

    def _identity(self, topic: str, partition: int) -> Any:
        if self.app.partition_counts[topic] != self.app.conf.topic_partitions:
            return None
        identity = self.writers.of(partition)
        if identity is None:  # the shared one would get past the fence
            raise PartitionGone(partition)
        return identity

    async def send_batch(
        self, topic: str, partition: int, records: Iterable[tuple[bytes | None, bytes | None, Headers]]
    ) -> Delivery:
        """Hands records over in order, in as few record batches as fit; the delivery tells when they are safe."""
        producer: FencedProducer = self._ensure_producer()
        identity = self._identity(topic, partition)
        now_ms = int(time.time() * 1000)
        where = f"{topic}[{partition}]"
        batches: list[tuple[asyncio.Future[Any], int]] = []

        async def hand_over(batch: Any) -> asyncio.Future[Any]:
            # a new writer knows no topic: the first batch waits for metadata, which may not be there for a while
            delivery: asyncio.Future[Any] = await patiently(
                where, lambda: producer.send_batch(batch, topic, partition=partition), DELIVERY_TIMEOUT_S
            )
            return delivery

        def lost() -> Exception:
            if producer.client.cluster.partitions_for_topic(topic) is None:
                return TopicsNotReady(f"topic {topic} has gone; make it again with `regulars topics create`")
            return BrokerLost(f"{where}: Kafka did not acknowledge for {DELIVERY_TIMEOUT_S:.0f} s")

        batch, count = producer.create_batch(identity), 0
        append = batch.append
        try:
            for key, value, headers in records:
                if append(timestamp=now_ms, key=key, value=value, headers=headers) is None:
                    batches.append((await hand_over(batch), count))
                    batch, count = producer.create_batch(identity), 0
                    append = batch.append
                    append(timestamp=now_ms, key=key, value=value, headers=headers)  # the first always fits
                count += 1
            if count:
                batch.close()
                batches.append((await hand_over(batch), count))
        except BrokerLost as exc:
            raise lost() from exc
        except TopicAuthorizationFailedError as exc:
            raise InfrastructureFailure(f"{where}: Kafka does not allow to write there; {ALLOW_WRITE}") from exc
        except KafkaError as exc:
            raise InfrastructureFailure(f"{where}: records could not be sent: {exc!r}") from exc
        return Delivery(where, batches, lost)
