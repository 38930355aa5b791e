"""Erasing customers: the records that say so, and waiting until the table shows it."""

import asyncio
from collections.abc import Collection, Sequence
from typing import NamedTuple

from aiokafka import AIOKafkaProducer, TopicPartition

from schemas.events import ERASE_HEADER, ERASURES
from schemas.times import to_rfc3339
from streams.kafka.readers import connect, layout, reader
from streams.kafka.security import kafka_options, telling
from streams.kafka.topics import partition_of
from streams.settings import Settings

POLL_MS = 200


class Sent(NamedTuple):
    """An erasure that Kafka has."""

    customer_id: str
    partition: int  # of `purchases`, like `offset`
    offset: int


class Erasing(NamedTuple):
    """Erasures that were sent, and where the table `customer-segments` stood before."""

    sent: tuple[Sent, ...]
    table: dict[TopicPartition, int]


async def send(settings: Settings, customer_ids: Sequence[str], at: float) -> Erasing:
    """Sends an erasure of each customer to the partition of its key, once each, and waits until Kafka has all.

    Args:
        settings: which cluster and topics.
        customer_ids: who is to be erased; it may be somebody of whom nothing is known.
        at: no event of theirs up to this moment counts any more, epoch seconds.

    Raises:
        BrokerAway: no broker answers.
        TopicMissing: a topic isn't there.
        KafkaError: one could not be sent; those before it may have been.
    """
    purchases, standings = settings.topic(ERASURES), settings.topic("customer-segments")
    client = await connect(settings)
    try:
        found = await layout(client, [purchases, standings], settings.bootstrap_servers)
    finally:
        await client.close()
    partitions = sum(tp.topic == purchases for tp in found)
    async with reader(settings) as consumer:
        table = dict(await consumer.end_offsets([tp for tp in found if tp.topic == standings]))
    headers = [(ERASE_HEADER, to_rfc3339(at).encode())]
    producer = AIOKafkaProducer(**kafka_options(settings), acks="all", enable_idempotence=True)
    async with telling(settings):
        await producer.start()
    try:
        sent = []
        for customer_id in dict.fromkeys(customer_ids):
            key = customer_id.encode()
            partition = partition_of(key, partitions)
            done = await producer.send_and_wait(purchases, None, key, partition, headers=headers)
            sent.append(Sent(customer_id, partition, done.offset))
    finally:
        await producer.stop()
    return Erasing(tuple(sent), table)


async def wait(settings: Settings, erasing: Erasing, within_s: float) -> Collection[str]:
    """Waits until `customer-segments` has a null of each customer; gives those of whom it has none `within_s` later.

    Raises:
        BrokerAway: no broker answers.
    """
    missing = {sent.customer_id for sent in erasing.sent}
    loop = asyncio.get_running_loop()
    until = loop.time() + within_s
    async with reader(settings) as consumer:
        wanted = {sent.partition for sent in erasing.sent}
        starts = {tp: offset for tp, offset in erasing.table.items() if tp.partition in wanted}
        consumer.assign(list(starts))
        for tp, offset in starts.items():
            consumer.seek(tp, offset)
        while missing and loop.time() < until:
            for records in (await consumer.getmany(timeout_ms=POLL_MS)).values():
                missing -= {record.key.decode() for record in records if record.value is None}
    return sorted(missing)
