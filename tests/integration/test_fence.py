"""The fence on a real broker: who claimed before can't write any more, and nothing of it gets into the log."""

import asyncio
import time
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import ProducerFenced

from streams.plane.fence import Writers


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
