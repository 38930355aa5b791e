"""Readers of topics without a group: offsets, and records from any offset. Never commit, never join."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError, for_code
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import ConsumerRecord

from streams.kafka.security import AccessRefused, kafka_options, telling
from streams.settings import Settings

# A partition that says it has more records but gives none for so long is a broker problem, not a slow one.
SILENCE_LIMIT_S = 30.0
CONNECT_LIMIT_S = 15.0

# What aiokafka would print about a broker that is away is in the exception already.
logging.getLogger("aiokafka").addHandler(logging.NullHandler())

Layout = dict[TopicPartition, int]  # node id of each partition's leader


class BrokerAway(Exception):
    """No broker answers. Start one (`regulars broker start`) or name another (REGULARS_BOOTSTRAP_SERVERS)."""

    def __init__(self, servers: str, why: object) -> None:
        super().__init__(
            f"no Kafka broker answers at {servers} ({why}); start one with `regulars broker start`, "
            f"or name another with --bootstrap-servers or REGULARS_BOOTSTRAP_SERVERS"
        )


class TopicMissing(Exception):
    """A topic does not exist. `regulars topics create` makes it; the worker makes the changelog."""

    def __init__(self, topic: str, servers: str) -> None:
        super().__init__(f"topic {topic} does not exist at {servers}; make it with `regulars topics create`")


@contextlib.asynccontextmanager
async def reader(settings: Settings) -> AsyncIterator[AIOKafkaConsumer]:
    """A started consumer without a group.

    Raises:
        BrokerAway: it could not connect.
        AccessRefused: a broker is there and refuses.
    """
    consumer = AIOKafkaConsumer(
        **kafka_options(settings),
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=4 << 20,
        fetch_max_wait_ms=50,
    )
    try:
        async with telling(settings), asyncio.timeout(CONNECT_LIMIT_S):
            await consumer.start()
    except (KafkaError, OSError, TimeoutError) as exc:
        await consumer.stop()
        raise unreached(settings, exc) from exc
    try:
        yield consumer
    finally:
        await consumer.stop()


async def connect(settings: Settings) -> AIOKafkaClient:
    """A client for single requests. Raises as `reader`."""
    client = AIOKafkaClient(**kafka_options(settings))
    try:
        async with telling(settings), asyncio.timeout(CONNECT_LIMIT_S):
            await client.bootstrap()
    except (KafkaError, OSError, TimeoutError) as exc:
        await client.close()
        raise unreached(settings, exc) from exc
    return client


def unreached(settings: Settings, exc: Exception) -> Exception:
    """What to raise for what came out of `telling`: a refusal as it is, anything else as a broker that is away."""
    return exc if isinstance(exc, AccessRefused) else BrokerAway(settings.bootstrap_servers, type(exc).__name__)


async def layout(client: AIOKafkaClient, topics: Sequence[str], servers: str) -> Layout:
    """Every partition of `topics`, in order, with its leader. Asks for all topics: to ask for one may create it.

    Raises:
        TopicMissing: the broker doesn't know one of `topics`.
    """
    cluster = await client.fetch_all_metadata()
    leaders: Layout = {}
    for topic in topics:
        numbers = cluster.partitions_for_topic(topic)
        if not numbers:
            raise TopicMissing(topic, servers)
        for number in sorted(numbers):
            tp = TopicPartition(topic, number)
            leaders[tp] = cluster.leader_for_partition(tp)
    return leaders


async def first_timestamp(client: AIOKafkaClient, node: int, tp: TopicPartition, offset: int) -> float | None:
    """Broker timestamp (epoch seconds) of the first record at or after `offset`, or None where there is none.

    One fetch of exactly one batch: `max_bytes` of 1 still gives the first batch whole. A consumer would prefetch more
    and hold its other partitions back meanwhile.
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


async def read_span(
    consumer: AIOKafkaConsumer, spans: dict[TopicPartition, tuple[int, int]]
) -> AsyncIterator[Sequence[ConsumerRecord]]:
    """The records of each partition from its first offset up to (not with) its last, in chunks of one partition.

    Offsets of compacted topics have holes: the end is where the consumer's position is, not the last record's offset.

    Raises:
        BrokerAway: nothing came for `SILENCE_LIMIT_S`.
    """
    open_spans = {tp: end for tp, (start, end) in spans.items() if start < end}
    if not open_spans:
        return
    consumer.assign(list(open_spans))
    for tp in open_spans:
        consumer.seek(tp, spans[tp][0])
    loop = asyncio.get_running_loop()
    heard = loop.time()
    while open_spans:
        # A partition that is through stays assigned and what comes of it is dropped: paused, its prefetched records
        # would hold back the fetches of the others.
        polled = await consumer.getmany(timeout_ms=500)
        for tp, records in polled.items():
            if tp in open_spans:
                heard, end = loop.time(), open_spans[tp]
                yield records if records[-1].offset < end else [r for r in records if r.offset < end]
        for tp, end in list(open_spans.items()):
            if await consumer.position(tp) >= end:
                del open_spans[tp]
        if loop.time() - heard > SILENCE_LIMIT_S:
            raise BrokerAway(", ".join(sorted({tp.topic for tp in open_spans})), f"silent for {SILENCE_LIMIT_S:.0f} s")


async def read_topic(settings: Settings, topic: str) -> AsyncIterator[Sequence[ConsumerRecord]]:
    """Every record of `topic` as of the call, in chunks of one partition.

    Raises:
        BrokerAway: no broker answers.
        AccessRefused: a broker is there and refuses.
        TopicMissing: the topic isn't there.
    """
    client = await connect(settings)
    try:
        tps = list(await layout(client, [topic], settings.bootstrap_servers))
    finally:
        await client.close()
    async with reader(settings) as consumer:
        starts, ends = await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)
        async for records in read_span(consumer, {tp: (starts[tp], ends[tp]) for tp in tps}):
            yield records
