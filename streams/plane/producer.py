"""Faust's producer, idempotent and fenced: whole record batches to one partition, under the identity of its claim.

This relies on the inside of faust 0.15.3 and aiokafka 0.14; `tests/contracts/test_seams_libraries.py` guards that.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, ProducerFenced, TopicAuthorizationFailedError
from faust.transport.drivers import aiokafka as base

from streams.kafka.clients import PRODUCER_OPTIONS
from streams.kafka.errors import BrokerLost, InfrastructureFailure, RecordTooLarge, TopicsNotReady
from streams.kafka.patience import DELIVERY_TIMEOUT_S, outlasting, patiently, within
from streams.plane.errors import Fenced
from streams.plane.fence import Claims, FencedProducer
from streams.plane.records import CLAIM_KEY, Headers, PartitionGone
from streams.plane.topic_layout import TopicLayout

# The broker's default max.message.bytes is 1,048,588 for a whole record batch; leave room for its framing.
MAX_BATCH_BYTES = 1_000_000

# Kafka's type of a timestamp that the broker gave.
LOG_APPEND_TIME = 1

ALLOW_WRITE = "give the worker's principal Write and Describe on the topics and Write on the transactional ids"


class Delivery:
    """Record batches on their way to one partition.

    Attributes:
        appended_at: when the broker appended the last one, epoch seconds; None: not acknowledged yet, or it stamps no time.
    """

    __slots__ = ("_batches", "_lost", "_where", "appended_at")

    def __init__(
        self, where: str, batches: list[tuple[asyncio.Future[Any], int]], lost: Callable[[], Exception]
    ) -> None:
        self._where, self._batches, self._lost = where, batches, lost
        self.appended_at: float | None = None

    async def acknowledged(self) -> int:
        """Waits until all in-sync replicas have everything; the offset of the last record.

        Raises:
            RecordTooLarge: a record is larger than the topic takes.
            BrokerLost: no answer came for `DELIVERY_TIMEOUT_S`.
            TopicsNotReady: the topic was deleted.
            Fenced: another worker has claimed the partition.
            InfrastructureFailure: the broker refused the records for another reason.
        """
        last = -1
        try:
            async with within(DELIVERY_TIMEOUT_S):
                for future, count in self._batches:
                    written = await future
                    last = max(last, written.offset + count - 1)
                    if written.timestamp_type == LOG_APPEND_TIME:
                        self.appended_at = written.timestamp / 1000.0
        except TimeoutError as exc:
            raise self._lost() from exc
        except MessageSizeTooLargeError as exc:
            raise RecordTooLarge(f"{self._where}: a record exceeds the topic's max.message.bytes; raise that") from exc
        except ProducerFenced as exc:
            raise Fenced(f"{self._where}: another worker has claimed this partition") from exc
        except TopicAuthorizationFailedError as exc:
            raise InfrastructureFailure(f"{self._where}: Kafka does not allow to write there; {ALLOW_WRITE}") from exc
        except KafkaError as exc:
            raise InfrastructureFailure(f"{self._where}: Kafka refused the records: {exc!r}") from exc
        return last


class Producer(base.Producer):
    """See the module. Topics with one partition for all are written to without a claim: no writer is fenced there.

    Args:
        layout: how many partitions each topic has.
    """

    _producer_type = FencedProducer

    def __init__(self, *args: Any, layout: TopicLayout, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.claims = Claims(self._ensure_producer, self.app.conf.id)
        self._layout = layout

    def _new_producer(self, transactional_id: str | None = None) -> Any:
        return outlasting(super()._new_producer(transactional_id))

    async def on_start(self) -> None:
        """Starts the client that all partitions share, waiting for a broker that is away."""
        await super(base.Producer, self).on_start()
        producer = self._producer = self._new_producer()
        self.beacon.add(producer)
        await patiently("starting the producer", producer.start)

    async def claim(self, topic: str, partition: int) -> None:
        """Makes this worker the only one that can write to the partition, beginning with a record in `topic`.

        Raises:
            Fenced: another worker claimed it at the same time, and later.
            BrokerLost: no answer came for `DELIVERY_TIMEOUT_S`.
        """
        try:
            async with within(DELIVERY_TIMEOUT_S):
                await self.claims.take(partition)
        except TimeoutError as exc:
            raise BrokerLost(f"{topic}[{partition}]: no producer id for {DELIVERY_TIMEOUT_S:.0f} s") from exc
        await (await self.send_batch(topic, partition, [(CLAIM_KEY, b"", [])])).acknowledged()

    def client(self) -> AIOKafkaClient:
        """The connected client, for single requests."""
        made: AIOKafkaClient = self._ensure_producer().client
        return made

    async def create_topic(self, *args: Any, **kwargs: Any) -> None:
        """Does nothing: `regulars topics create` makes the topics, and the app checks them when it starts."""

    def _settings_extra(self) -> Mapping[str, Any]:
        return {**super()._settings_extra(), **PRODUCER_OPTIONS}

    def partition_of(self, topic: str, partition: int) -> int:
        """The partition of `topic` for an output of `partition`: the same number, or 0 where there is only one."""
        return 0 if self._layout.partitions_of(topic) == 1 else partition

    def _identity(self, topic: str, partition: int) -> Any:
        if not self._layout.is_fenced(topic):
            return None
        identity = self.claims.of(partition)
        if identity is None:  # the client's own identity would get past the fence
            raise PartitionGone(partition)
        return identity

    async def send_batch(
        self, topic: str, partition: int, records: Iterable[tuple[bytes | None, bytes | None, Headers]]
    ) -> Delivery:
        """Hands records over in order, in as few record batches as they fit in.

        Raises:
            PartitionGone: this worker has not claimed the partition.
            BrokerLost: Kafka was away for `DELIVERY_TIMEOUT_S`.
            TopicsNotReady: the topic was deleted.
            InfrastructureFailure: the records could not be sent for another reason.
        """
        producer: FencedProducer = self._ensure_producer()
        identity = self._identity(topic, partition)
        now_ms = int(time.time() * 1000)
        where = f"{topic}[{partition}]"
        batches: list[tuple[asyncio.Future[Any], int]] = []

        async def hand_over(batch: Any) -> asyncio.Future[Any]:
            # A new client knows no topic: its first batch waits for metadata, and the broker may be away.
            delivery: asyncio.Future[Any] = await patiently(
                where, lambda: producer.send_batch(batch, topic, partition=partition), DELIVERY_TIMEOUT_S
            )
            return delivery

        def lost() -> Exception:
            if producer.client.cluster.partitions_for_topic(topic) is None:
                return TopicsNotReady(f"topic {topic} was deleted; make it again with `regulars topics create`")
            return BrokerLost(f"{where}: Kafka did not acknowledge for {DELIVERY_TIMEOUT_S:.0f} s")

        batch, count = producer.create_batch(identity), 0
        append = batch.append
        try:
            for key, value, headers in records:
                if append(timestamp=now_ms, key=key, value=value, headers=headers) is None:
                    batches.append((await hand_over(batch), count))
                    batch, count = producer.create_batch(identity), 0
                    append = batch.append
                    append(timestamp=now_ms, key=key, value=value, headers=headers)  # the first record always fits
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
