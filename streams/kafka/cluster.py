"""Single questions to a cluster: who answers, which partitions a topic has, when a record was written."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaConnectionError, KafkaError, for_code
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.record.memory_records import MemoryRecords

from streams.kafka.clients import admin_client, plain_client
from streams.kafka.errors import BrokerLost, TopicsNotReady
from streams.kafka.refusals import LOOK_LIMIT_S, explaining_refusals, unreached
from streams.settings import Settings

CONNECT_LIMIT_S = 15.0

Layout = dict[TopicPartition, int]  # node id of each partition's leader


async def connect(settings: Settings) -> AIOKafkaClient:
    """A connected client for single requests; close it.

    Raises:
        BrokerLost: no broker answers.
        AccessRefused: a broker answers and refuses this client.
    """
    client = plain_client(settings)
    try:
        async with explaining_refusals(settings), asyncio.timeout(CONNECT_LIMIT_S):
            await client.bootstrap()
    except (KafkaError, OSError, TimeoutError) as exc:
        await client.close()
        raise unreached(settings, exc) from exc
    return client


@contextlib.asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[AIOKafkaClient]:
    """As `connect`, closed when the block ends."""
    client = await connect(settings)
    try:
        yield client
    finally:
        await client.close()


async def layout(client: AIOKafkaClient, topics: Sequence[str], servers: str) -> Layout:
    """Every partition of `topics`, in order, with its leader.

    Asks the broker for all topics: asking for one by name may create it.

    Raises:
        TopicsNotReady: one of `topics` does not exist.
    """
    cluster = await client.fetch_all_metadata()
    leaders: Layout = {}
    for topic in topics:
        numbers = cluster.partitions_for_topic(topic)
        if not numbers:
            raise TopicsNotReady.missing(topic, servers)
        for number in sorted(numbers):
            tp = TopicPartition(topic, number)
            leaders[tp] = cluster.leader_for_partition(tp)
    return leaders


async def layout_of(settings: Settings, topics: Sequence[str]) -> Layout:
    """As `layout`, asked over a connection of its own. Raises as `connect` and `layout`."""
    async with connected(settings) as client:
        return await layout(client, topics, settings.bootstrap_servers)


async def first_timestamp(client: AIOKafkaClient, node: int, tp: TopicPartition, offset: int) -> float | None:
    """Broker timestamp (epoch seconds) of the first record at or after `offset`; None: there is no such record.

    Fetches exactly one batch: a `max_bytes` of 1 still gives the first batch whole. A consumer would prefetch more, and
    would hold its other partitions back meanwhile.
    """
    answer = await client.send(node, FetchRequest(0, 1, 1, 0, [(tp.topic, [(tp.partition, offset, 1)])]))
    for _, partitions in answer.topics:
        for _, code, *_, message_set in partitions:
            if code:
                raise for_code(code)(f"{tp.topic} [{tp.partition}] at {offset}")
            records = MemoryRecords(message_set)
            while records.has_next():
                for record in records.next_batch():
                    if record.offset >= offset:
                        return float(record.timestamp) / 1000.0
    return None


async def who_answers(settings: Settings) -> tuple[str, list[str]]:
    """Id of the cluster, and the addresses that its brokers advertise, each as ``host:port``.

    Raises:
        AccessRefused: a broker answers and refuses this client.
        BrokerLost: no broker answers.
    """
    admin = admin_client(settings)
    try:
        async with explaining_refusals(settings), asyncio.timeout(LOOK_LIMIT_S):
            await admin.start()
            cluster = await admin.describe_cluster()
    except (KafkaConnectionError, OSError, TimeoutError) as exc:
        raise BrokerLost.at(settings.bootstrap_servers, type(exc).__name__) from exc
    finally:
        await admin.close()
    return cluster["cluster_id"] or "", [f"{broker['host']}:{broker['port']}" for broker in cluster["brokers"]]
