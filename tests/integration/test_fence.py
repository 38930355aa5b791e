"""The fence on a real broker: who claimed before can't write any more, and nothing of it gets into the log."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaConnectionError, ProducerFenced

from streams.broker import Broker
from streams.plane.fence import Writers
from streams.plane.patience import patiently
from tests.faults.proxy import Proxy


def _writers(broker: str, group: str) -> Writers:
    return Writers(lambda name: AIOKafkaProducer(bootstrap_servers=broker, acks="all", transactional_id=name), group)


async def _write(writer: Any, topic: str, partition: int, value: bytes) -> int:
    batch = writer.create_batch()
    batch.append(timestamp=int(time.time() * 1000), key=b"k", value=value, headers=[])
    batch.close()
    async with asyncio.timeout(20):
        return int((await (await writer.send_batch(batch, topic, partition=partition))).offset)


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
    early, late = _writers(broker, prefix), _writers(broker, prefix)
    await early.take(0)
    await _write(early.of(0), topic, 0, b"before")
    await late.take(0)
    await _write(early.of(0), topic, 0, b"in between")
    await _write(late.of(0), topic, 0, b"claim")

    with pytest.raises(ProducerFenced):
        await _write(early.of(0), topic, 0, b"after")
    await _write(late.of(0), topic, 0, b"and on")

    assert await _values(broker, topic) == [b"before", b"in between", b"claim", b"and on"]
    await early.close()
    await late.close()


async def test_a_claim_of_one_partition_leaves_the_others_alone(broker: str, prefix: str) -> None:
    """Partitions move one by one: whoever keeps one goes on writing to it."""
    topic = f"{prefix}log"
    await _make(broker, topic)
    stays, comes = _writers(broker, prefix), _writers(broker, prefix)
    await asyncio.gather(stays.take(0), stays.take(1))
    await comes.take(1)
    await _write(comes.of(1), topic, 1, b"claim")

    assert await _write(stays.of(0), topic, 0, b"mine") == 0
    await stays.close()
    await comes.close()


async def test_a_claim_waits_for_a_broker_that_is_away_and_the_writer_before_stays(broker: str, prefix: str) -> None:
    """Refused connections: the claim fails and what was claimed before can still write; with patience it succeeds."""
    topic = f"{prefix}log"
    await _make(broker, topic)
    proxy = Proxy(int(broker.rpartition(":")[2]))
    try:
        writers = _writers(proxy.servers, prefix)
        await writers.take(0)
        proxy.refuse()

        with pytest.raises(KafkaConnectionError):
            await writers.take(0)
        assert await _write(writers.of(0), topic, 0, b"mine") == 0

        claim = asyncio.ensure_future(patiently("the claim", lambda: writers.take(0), 60))
        await asyncio.wait({claim}, timeout=1)  # time passes while the broker is away
        assert not claim.done()
        proxy.accept()
        await claim
        assert await _write(writers.of(0), topic, 0, b"claimed again") == 1
        await writers.close()
    finally:
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
        asleep, owner, later = (_writers(kafka.bootstrap, prefix) for _ in range(3))
        await asleep.take(0)
        await _write(asleep.of(0), topic, 0, b"before")
        deadline = time.monotonic() + 60
        known = asleep.of(0)._txn_manager.producer_id
        while True:
            await owner.take(0)
            if owner.of(0)._txn_manager.producer_id != known:
                break
            assert time.monotonic() < deadline, "the broker never forgot"
            known = owner.of(0)._txn_manager.producer_id
            await asyncio.wait({asyncio.ensure_future(asyncio.sleep(5))})  # an ask would keep the id alive

        await _write(owner.of(0), topic, 0, b"claim under another id")
        await _write(owner.of(0), topic, 0, b"and on")
        await later.take(0)
        await _write(later.of(0), topic, 0, b"later claim")
        if later.of(0)._txn_manager.producer_id == owner.of(0)._txn_manager.producer_id:
            with pytest.raises(ProducerFenced):
                await _write(owner.of(0), topic, 0, b"refused")
        await _write(asleep.of(0), topic, 0, b"slipped by")

        values = await _values(kafka.bootstrap, topic)
        assert values == [b"before", b"claim under another id", b"and on", b"later claim", b"slipped by"]
        for writers in (asleep, owner, later):
            await writers.close()
    finally:
        kafka.stop()
