"""The fence on a real broker: who claimed before can't write any more, and nothing of it gets into the log."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import ProducerFenced

from streams.broker import Broker
from streams.kafka.patience import outlasting, patiently
from streams.plane.fence import Claims, FencedProducer
from tests.faults.proxy import Proxy


@asynccontextmanager
async def _worker(broker: str, group: str) -> AsyncIterator["Worker"]:
    producer = outlasting(FencedProducer(bootstrap_servers=broker, acks="all", enable_idempotence=True))
    await producer.start()
    try:
        yield Worker(producer, Claims(lambda: producer, group))
    finally:
        await producer.stop()


class Worker(NamedTuple):
    """Somebody who claims and writes."""

    producer: FencedProducer
    claims: Claims

    async def write(self, topic: str, partition: int, value: bytes) -> int:
        """The offset that one record got."""
        batch = self.producer.create_batch(self.claims.of(partition))
        batch.append(timestamp=int(time.time() * 1000), key=b"k", value=value, headers=[])
        batch.close()
        async with asyncio.timeout(20):
            return int((await (await self.producer.send_batch(batch, topic, partition=partition))).offset)

    def producer_id(self, partition: int) -> int:
        """Which producer this one is to the broker."""
        identity = self.claims.of(partition)
        assert identity is not None
        return int(identity.producer_id)


async def _values(broker: str, topic: str) -> list[bytes]:
    consumer = AIOKafkaConsumer(bootstrap_servers=broker, auto_offset_reset="earliest")
    await consumer.start()
    try:
        tp = TopicPartition(topic, 0)
        consumer.assign([tp])
        end = (await consumer.end_offsets([tp]))[tp]
        found: list[bytes] = []
        while await consumer.position(tp) < end:
            found += [r.value for records in (await consumer.getmany(timeout_ms=500)).values() for r in records]
        return found
    finally:
        await consumer.stop()


async def _make(broker: str, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 2, 1)])
    await admin.close()


async def test_after_a_claim_the_writer_before_is_refused_by_the_broker(broker: str, prefix: str) -> None:
    """Up to the claim it may write, and the claim comes after that; then nothing it sends is in the log."""
    topic = f"{prefix}log"
    await _make(broker, topic)
    async with _worker(broker, prefix) as early, _worker(broker, prefix) as late:
        await early.claims.take(0)
        await early.write(topic, 0, b"before")
        await late.claims.take(0)
        await early.write(topic, 0, b"in between")
        await late.write(topic, 0, b"claim")
        with pytest.raises(ProducerFenced):
            await early.write(topic, 0, b"after")
        await late.write(topic, 0, b"and on")
    assert await _values(broker, topic) == [b"before", b"in between", b"claim", b"and on"]


async def test_a_claim_of_one_partition_leaves_the_others_alone(broker: str, prefix: str) -> None:
    """Partitions move one by one: whoever keeps one goes on writing to it, in the same requests as before."""
    topic = f"{prefix}log"
    await _make(broker, topic)
    async with _worker(broker, prefix) as stays, _worker(broker, prefix) as comes:
        await asyncio.gather(stays.claims.take(0), stays.claims.take(1))
        await comes.claims.take(1)
        await comes.write(topic, 1, b"claim")
        mine, lost = await asyncio.gather(
            stays.write(topic, 0, b"mine"), stays.write(topic, 1, b"lost"), return_exceptions=True
        )
        assert mine == 0
        assert isinstance(lost, ProducerFenced)
        assert await stays.write(topic, 0, b"still mine") == 1


async def test_what_was_made_under_an_earlier_claim_stays_refused_after_a_new_one(broker: str, prefix: str) -> None:
    """A worker that lost a partition and has it again doesn't send its old batches under the new claim."""
    topic = f"{prefix}log"
    await _make(broker, topic)
    async with _worker(broker, prefix) as worker:
        await worker.claims.take(0)
        old = worker.producer.create_batch(worker.claims.of(0))
        old.append(timestamp=0, key=b"k", value=b"old", headers=[])
        old.close()
        worker.claims.forget()
        await worker.claims.take(0)
        await worker.write(topic, 0, b"claim")
        with pytest.raises(ProducerFenced):
            await (await worker.producer.send_batch(old, topic, partition=0))
        await worker.write(topic, 0, b"and on")
    assert await _values(broker, topic) == [b"claim", b"and on"]


async def test_a_claim_waits_for_a_broker_that_is_away_and_the_one_before_stays(
    tmp_path: Path, free_port: int, prefix: str
) -> None:
    """Cut connections: the claim takes until the broker is back; till then, what was claimed before is not given up."""
    topic = f"{prefix}log"
    proxy = Proxy(free_port)
    kafka = Broker.start(tmp_path / "kafka", free_port, heap="512m", properties=proxy.advertised)
    try:
        await _make(kafka.bootstrap, topic)
        async with _worker(proxy.servers, prefix) as worker:
            await worker.claims.take(0)
            before = worker.claims.of(0)
            proxy.refuse()
            claim = asyncio.ensure_future(patiently("the claim", lambda: worker.claims.take(0), 60))
            await asyncio.wait({claim}, timeout=1)  # time passes while the broker is away
            assert not claim.done()
            assert worker.claims.of(0) is before
            proxy.accept()
            await claim
            assert worker.claims.of(0) is not before
            assert await worker.write(topic, 0, b"claimed again") == 0
    finally:
        kafka.stop()
        proxy.close()


async def test_a_claim_at_a_broker_that_forgot_the_id_goes_on_and_fences_from_there(
    tmp_path: Path, free_port: int, prefix: str
) -> None:
    """The id comes back as another producer: its holder writes on, the next claim refuses it; the one before slips by.

    That is why a worker claims again long before a cluster forgets (a week; here, some seconds).
    """
    forgetful = {
        "transactional.id.expiration.ms": "1000",
        "transaction.remove.expired.transaction.cleanup.interval.ms": "500",
    }
    kafka = Broker.start(tmp_path / "kafka", free_port, heap="512m", properties=forgetful)
    topic = f"{prefix}log"
    try:
        await _make(kafka.bootstrap, topic)
        async with AsyncExitStack() as stack:
            asleep, owner, later = [await stack.enter_async_context(_worker(kafka.bootstrap, prefix)) for _ in "123"]
            await asleep.claims.take(0)
            await asleep.write(topic, 0, b"before")
            deadline = time.monotonic() + 60
            known = asleep.producer_id(0)
            while True:
                await owner.claims.take(0)
                if owner.producer_id(0) != known:
                    break
                assert time.monotonic() < deadline, "the broker never forgot"
                await asyncio.wait({asyncio.ensure_future(asyncio.sleep(5))})  # an ask would keep the id alive
            await owner.write(topic, 0, b"claim under another id")
            await owner.write(topic, 0, b"and on")
            await later.claims.take(0)
            await later.write(topic, 0, b"later claim")
            if later.producer_id(0) == owner.producer_id(0):
                with pytest.raises(ProducerFenced):
                    await owner.write(topic, 0, b"refused")
            await asleep.write(topic, 0, b"slipped by")
        values = await _values(kafka.bootstrap, topic)
        assert values == [b"before", b"claim under another id", b"and on", b"later claim", b"slipped by"]
    finally:
        kafka.stop()
