"""Events of the common job: the same ones for every peer, made with a fixed seed.

A customer's share of events falls with the square root of its rank, one event in ten is a purchase.
"""

import asyncio
import json
import random
import time
from collections import defaultdict
from collections.abc import Iterator

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from streams.kafka.topics import partition_of

PARTITIONS = 8


def events(count: int, customers: int) -> Iterator[tuple[bytes, bytes]]:
    """(key, JSON) of each event, in order."""
    chance = random.Random(7)
    for index in range(count):
        customer = f"c{int(customers * chance.random() ** 2):07d}"
        event = {
            "event_id": f"e{index:09d}",
            "customer_id": customer,
            "type": "purchase" if chance.random() < 0.1 else "view",
            "product_id": f"p{chance.randrange(5000)}",
            "amount_cents": chance.randrange(100, 20000),
            "event_time": 1.7e9 + index * 0.05,
            "session_id": f"s{chance.randrange(100000)}",
        }
        yield customer.encode(), json.dumps(event).encode()


async def make_topics(servers: str, names: list[str], compacted: list[str]) -> None:
    """Creates topics; `compacted` ones are compacted."""
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        made = [NewTopic(name, PARTITIONS, 1) for name in names]
        made += [NewTopic(name, PARTITIONS, 1, topic_configs={"cleanup.policy": "compact"}) for name in compacted]
        await admin.create_topics(made)
    finally:
        await admin.close()
    await asyncio.sleep(1)


async def fill(servers: str, topic: str, count: int, customers: int) -> None:
    """Produces the events as fast as it goes, in whole batches."""
    producer = AIOKafkaProducer(bootstrap_servers=servers, max_batch_size=500_000, acks=1)
    await producer.start()
    try:
        waiting: dict[int, list[tuple[bytes, bytes]]] = defaultdict(list)
        for key, value in events(count, customers):
            records = waiting[partition := partition_of(key, PARTITIONS)]
            records.append((key, value))
            if len(records) == 2_000:
                await _send(producer, topic, partition, records)
                records.clear()
        for partition, records in waiting.items():
            await _send(producer, topic, partition, records)
        await producer.flush()
    finally:
        await producer.stop()


async def _send(producer: AIOKafkaProducer, topic: str, partition: int, records: list[tuple[bytes, bytes]]) -> None:
    batch = producer.create_batch()
    for key, value in records:
        if batch.append(key=key, value=value, timestamp=None) is None:
            await producer.send_batch(batch, topic, partition=partition)
            batch = producer.create_batch()
            batch.append(key=key, value=value, timestamp=None)
    batch.close()
    await producer.send_batch(batch, topic, partition=partition)


async def trickle(servers: str, topic: str, rate: int, seconds: float, customers: int) -> None:
    """Produces `rate` events a second; every tenth is a fresh customer's purchase that moves its tier at once.

    Such a customer's id is its moment, ``L<nanoseconds>``.
    """
    producer = AIOKafkaProducer(bootstrap_servers=servers, linger_ms=0)
    await producer.start()
    chance = random.Random(7)
    try:
        began, sent = time.perf_counter(), 0
        while (passed := time.perf_counter() - began) < seconds:
            while sent < passed * rate:
                probe = sent % 10 == 0
                key = b"L%020d" % time.time_ns() if probe else b"c%07d" % chance.randrange(customers)
                event = {
                    "event_id": f"l{sent:09d}",
                    "customer_id": key.decode(),
                    "type": "purchase" if probe else "view",
                    "product_id": "p1",
                    "amount_cents": 60_000 if probe else 1,
                    "event_time": time.time(),
                    "session_id": "s",
                }
                await producer.send(topic, json.dumps(event).encode(), key=key, partition=partition_of(key, PARTITIONS))
                sent += 1
            await asyncio.sleep(0.0005)
        await producer.flush()
    finally:
        await producer.stop()
