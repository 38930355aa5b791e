"""Reads spans of partitions as fast as the broker gives them: the next fetch is under way while records are handled.

A consumer makes an object of eleven fields per record, and asks for more only when the last records are taken. A restore of
millions of records would spend a third of its time on that.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import CorruptRecordException, LeaderNotAvailableError, for_code
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.record.memory_records import MemoryRecords

# Per partition and fetch: some ten thousand states. All partitions of a worker are fetched at once.
PARTITION_BYTES = 2 << 20
FETCH_BYTES = 32 << 20
WAIT_MS = 500

# A request leaves the process some turns of the event loop after it was made.
TURNS_OF_A_REQUEST = 6


async def spans(
    client: AIOKafkaClient, starts: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
) -> AsyncGenerator[tuple[TopicPartition, Sequence[Any], int], None]:
    """A partition, its next records in order, and the offset after them, until each partition is at its end.

    Records have `offset`, `key`, `value` and `headers`. The offset after them also passes the holes that compaction and
    transactions leave. Records beyond the end may come, too.

    Raises:
        KafkaError: the broker is away, has no leader for a partition, or no longer has the offset; start again.
    """
    positions = {tp: start for tp, start in starts.items() if start < ends[tp]}
    under_way: dict[asyncio.Task[Any], int] = {}
    try:
        while positions:
            _ask(client, positions, under_way)
            done, _ = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                del under_way[task]
                fetched = _records_in(task.result(), positions)
                for tp in [tp for tp, position in positions.items() if position >= ends[tp]]:
                    del positions[tp]
                if positions:
                    _ask(client, positions, under_way)
                    for _ in range(TURNS_OF_A_REQUEST):
                        await asyncio.sleep(0)
                for tp, start, batches, position in fetched:
                    yield tp, [record for batch in batches for record in batch if record.offset >= start], position
                    await asyncio.sleep(0)
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


def _ask(
    client: AIOKafkaClient, positions: Mapping[TopicPartition, int], under_way: dict[asyncio.Task[Any], int]
) -> None:
    """One request to every leader that has none under way."""
    wanted: dict[int, dict[str, list[tuple[int, int, int]]]] = {}
    busy = set(under_way.values())
    for tp, position in positions.items():
        leader = client.cluster.leader_for_partition(tp)
        if leader is None or leader == -1:
            client.force_metadata_update()
            raise LeaderNotAvailableError(f"{tp.topic}[{tp.partition}]")
        if leader not in busy:
            wanted.setdefault(leader, {}).setdefault(tp.topic, []).append((tp.partition, position, PARTITION_BYTES))
    for leader, topics in wanted.items():
        request = FetchRequest(WAIT_MS, 1, FETCH_BYTES, 0, list(topics.items()))
        under_way[asyncio.ensure_future(client.send(leader, request))] = leader


def _records_in(
    response: Any, positions: dict[TopicPartition, int]
) -> list[tuple[TopicPartition, int, list[Any], int]]:
    """Partition, requested offset, batches and the offset after them, per partition; advances `positions`."""
    fetched = []
    for topic, partitions in response.topics:
        for partition, code, *_, records in partitions:
            tp = TopicPartition(topic, partition)
            if code:
                raise for_code(code)(f"{topic}[{partition}] at offset {positions[tp]}")
            start, batches = positions[tp], []
            memory = MemoryRecords(records or b"")
            while memory.has_next():
                batch = memory.next_batch()
                if not batch.validate_crc():
                    raise CorruptRecordException(f"{topic}[{partition}] beyond offset {positions[tp]}")
                positions[tp] = max(positions[tp], batch.next_offset)
                if not batch.is_control_batch:
                    batches.append(batch)
            if positions[tp] > start:
                fetched.append((tp, start, batches, positions[tp]))
    return fetched
