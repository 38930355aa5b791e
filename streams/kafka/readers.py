"""Reading topics without a group, from any offset. Readers never commit and never join."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord

from streams.kafka.clients import groupless_consumer
from streams.kafka.cluster import CONNECT_LIMIT_S, layout_of
from streams.kafka.errors import BrokerLost
from streams.kafka.refusals import explaining_refusals, unreached
from streams.settings import Settings

# A partition that has more records but delivers none for this long has a broker problem; it is not merely slow.
SILENCE_LIMIT_S = 30.0

# Aiokafka would log about a broker that is away what the exception says already.
logging.getLogger("aiokafka").addHandler(logging.NullHandler())


@contextlib.asynccontextmanager
async def reader(settings: Settings) -> AsyncIterator[AIOKafkaConsumer]:
    """A started consumer without a group.

    Raises:
        BrokerLost: no broker answers.
        AccessRefused: a broker answers and refuses this client.
    """
    consumer = groupless_consumer(settings)
    try:
        async with explaining_refusals(settings), asyncio.timeout(CONNECT_LIMIT_S):
            await consumer.start()
    except (KafkaError, OSError, TimeoutError) as exc:
        await consumer.stop()
        raise unreached(settings, exc) from exc
    try:
        yield consumer
    finally:
        await consumer.stop()


async def read_span(
    consumer: AIOKafkaConsumer, spans: dict[TopicPartition, tuple[int, int]]
) -> AsyncIterator[Sequence[ConsumerRecord]]:
    """The records of each partition from its first offset up to, and without, its end offset; one partition per chunk.

    Offsets of a compacted topic have holes: a partition is read to its end when the consumer's position is there, not
    when a record has the last offset.

    Raises:
        BrokerLost: no record came for `SILENCE_LIMIT_S`.
    """
    open_spans = {tp: end for tp, (start, end) in spans.items() if start < end}
    if not open_spans:
        return
    consumer.assign(list(open_spans))
    for tp in open_spans:
        consumer.seek(tp, spans[tp][0])
    loop = asyncio.get_running_loop()
    last_record_at = loop.time()
    while open_spans:
        # A partition that is read to its end stays assigned, and what still comes of it is dropped. Were it paused, its
        # prefetched records would hold back the fetches of the others.
        polled = await consumer.getmany(timeout_ms=500)
        for tp, records in polled.items():
            if tp in open_spans:
                last_record_at, end = loop.time(), open_spans[tp]
                yield records if records[-1].offset < end else [r for r in records if r.offset < end]
        for tp, end in list(open_spans.items()):
            if await consumer.position(tp) >= end:
                del open_spans[tp]
        if loop.time() - last_record_at > SILENCE_LIMIT_S:
            topics = ", ".join(sorted({tp.topic for tp in open_spans}))
            raise BrokerLost(
                f"{topics}: the broker sent no record for {SILENCE_LIMIT_S:.0f} s, although there are more"
            )


async def read_topic(settings: Settings, topic: str) -> AsyncIterator[Sequence[ConsumerRecord]]:
    """Every record that `topic` has at the time of the call, one partition per chunk.

    Raises:
        BrokerLost: no broker answers.
        AccessRefused: a broker answers and refuses this client.
        TopicsNotReady: the topic does not exist.
    """
    tps = list(await layout_of(settings, [topic]))
    async with reader(settings) as consumer:
        starts, ends = await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)
        async for records in read_span(consumer, {tp: (starts[tp], ends[tp]) for tp in tps}):
            yield records
