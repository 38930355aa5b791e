"""Erasing customers: sending the erasures, and waiting until the table shows them. This writes."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from schemas.erasures import erasure_headers
from schemas.events import ERASURES, INPUT_TOPICS
from schemas.topics import CUSTOMER_SEGMENTS
from streams.kafka.clients import admin_client, started
from streams.kafka.clients import producer as new_producer
from streams.kafka.cluster import layout_of
from streams.kafka.members import owners
from streams.kafka.readers import reader
from streams.kafka.refusals import explaining_refusals, unreached
from streams.kafka.topics import partition_of
from streams.settings import Settings

POLL_MS = 200


class SentErasure(NamedTuple):
    """An erasure that Kafka has."""

    customer_id: str
    partition: int  # of `erasures`, like `offset`
    offset: int


class Erasing(NamedTuple):
    """The erasures that were sent, and the end of each partition of `customer-segments` before that."""

    sent: tuple[SentErasure, ...]
    table: dict[TopicPartition, int]


async def send(settings: Settings, customer_ids: Sequence[str], at: float) -> Erasing:
    """Sends one erasure per customer, to the partition of the customer's key, and waits until Kafka has all of them.

    Args:
        settings: which cluster and topics.
        customer_ids: who is to be erased; unknown customers are allowed.
        at: events of these customers up to this moment no longer count, epoch seconds.

    Raises:
        BrokerLost: no broker answers.
        TopicsNotReady: a topic does not exist.
        KafkaError: an erasure could not be sent; those before it may have been.
    """
    erasures, standings = settings.topic(ERASURES), settings.topic(CUSTOMER_SEGMENTS)
    tps = await layout_of(settings, [erasures, standings, *map(settings.topic, INPUT_TOPICS)])
    partitions = sum(tp.topic == erasures for tp in tps)
    async with reader(settings) as consumer:
        ends = dict(await consumer.end_offsets(tps))
    sent = []
    async with started(new_producer(settings), settings, f"writing to {erasures}") as producer:
        for customer_id in dict.fromkeys(customer_ids):
            key = customer_id.encode()
            partition = partition_of(key, partitions)
            before = {name: ends[TopicPartition(settings.topic(name), partition)] for name in INPUT_TOPICS}
            written = await producer.send_and_wait(erasures, None, key, partition, headers=erasure_headers(at, before))
            sent.append(SentErasure(customer_id, partition, written.offset))
    return Erasing(tuple(sent), {tp: end for tp, end in ends.items() if tp.topic == standings})


async def workers(settings: Settings, erasing: Erasing) -> Mapping[str, str]:
    """Per customer the worker that reads their erasure; without one: nobody does at present.

    Raises:
        BrokerLost: no broker answers.
        AccessRefused: a broker answers and refuses this client.
    """
    admin = admin_client(settings)
    try:
        async with explaining_refusals(settings):
            await admin.start()
            reads = await owners(admin, settings.consumer_group)
    except (KafkaError, OSError) as exc:
        raise unreached(settings, exc) from exc
    finally:
        await admin.close()
    topic = settings.topic(ERASURES)
    return {
        sent.customer_id: reads[tp] for sent in erasing.sent if (tp := TopicPartition(topic, sent.partition)) in reads
    }


async def wait(settings: Settings, erasing: Erasing, within_s: float) -> Collection[str]:
    """Waits until `customer-segments` has a null per erased customer, at most `within_s`; gives those without one.

    Raises:
        BrokerLost: no broker answers.
    """
    missing = {sent.customer_id for sent in erasing.sent}
    loop = asyncio.get_running_loop()
    until = loop.time() + within_s
    async with reader(settings) as consumer:
        partitions = {sent.partition for sent in erasing.sent}
        starts = {tp: offset for tp, offset in erasing.table.items() if tp.partition in partitions}
        consumer.assign(list(starts))
        for tp, offset in starts.items():
            consumer.seek(tp, offset)
        while missing and loop.time() < until:
            for records in (await consumer.getmany(timeout_ms=POLL_MS)).values():
                missing -= {record.key.decode() for record in records if record.value is None}
    return sorted(missing)
