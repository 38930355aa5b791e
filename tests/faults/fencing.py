"""What a fenced changelog costs: milliseconds a chunk of four ways to write one, on the broker that is named.

    python -m tests.faults.fencing [--rounds 6 --chunks 200 --partitions 8 --records 50 --bytes 400]

idempotent      one producer for all partitions, one acknowledged request a chunk; nothing is fenced
epoch           a producer a partition with the epoch of its `transactional.id`, but no transactions: fenced
transaction     a producer a partition; begin, add partition, produce, commit: fenced
late commit     as above, but the next chunk, not the caller, waits for the commit

Each partition writes its chunks one after another, all partitions at once, as a worker under load does.
"""

import argparse
import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable

import numpy as np
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from streams.settings import Settings

Write = Callable[[], Awaitable[None]]


def _batch(producer: AIOKafkaProducer, records: int, size: int) -> object:
    batch = producer.create_batch()
    for number in range(records):
        batch.append(timestamp=int(time.time() * 1000), key=b"%d" % number, value=b"x" * size, headers=[])
    batch.close()
    return batch


async def _writer(producer: AIOKafkaProducer, topic: str, partition: int, records: int, size: int) -> Write:
    async def write() -> None:
        await (await producer.send_batch(_batch(producer, records, size), topic, partition=partition))

    return write


async def _idempotent(
    servers: str, topic: str, partition: int, records: int, size: int
) -> tuple[AIOKafkaProducer, Write]:
    producer = _shared.get(topic)
    if producer is None:
        producer = _shared[topic] = AIOKafkaProducer(bootstrap_servers=servers, acks="all", enable_idempotence=True)
        await producer.start()
    return producer, await _writer(producer, topic, partition, records, size)


_shared: dict[str, AIOKafkaProducer] = {}


async def _epoch(servers: str, topic: str, partition: int, records: int, size: int) -> tuple[AIOKafkaProducer, Write]:
    producer = AIOKafkaProducer(bootstrap_servers=servers, acks="all", transactional_id=f"{topic}-{partition}")
    await producer.start()
    producer._txn_manager.transactional_id = None
    return producer, await _writer(producer, topic, partition, records, size)


async def _transaction(
    servers: str, topic: str, partition: int, records: int, size: int, late: bool = False
) -> tuple[AIOKafkaProducer, Write]:
    producer = AIOKafkaProducer(bootstrap_servers=servers, acks="all", transactional_id=f"{topic}-{partition}")
    await producer.start()
    last: asyncio.Task[None] | None = None

    async def write() -> None:
        nonlocal last
        if last is not None:
            await last
        await producer.begin_transaction()
        await (await producer.send_batch(_batch(producer, records, size), topic, partition=partition))
        last = asyncio.create_task(producer.commit_transaction())
        if not late:
            await last

    return producer, write


async def _late(servers: str, topic: str, partition: int, records: int, size: int) -> tuple[AIOKafkaProducer, Write]:
    return await _transaction(servers, topic, partition, records, size, late=True)


WAYS = {"idempotent": _idempotent, "epoch": _epoch, "transaction": _transaction, "late commit": _late}


async def _round(servers: str, way: str, given: argparse.Namespace) -> tuple[list[float], float, float]:
    """Milliseconds of each chunk, chunks a second, CPU milliseconds a chunk; producers and topic of its own."""
    topic = f"fencing-{uuid.uuid4().hex[:8]}"
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    await admin.create_topics([NewTopic(topic, given.partitions, 1)])
    await asyncio.sleep(0.5)
    made = [await WAYS[way](servers, topic, p, given.records, given.bytes) for p in range(given.partitions)]
    took: list[float] = []

    async def chunks(write: Write, count: int) -> None:
        for _ in range(count):
            began = time.perf_counter()
            await write()
            took.append(1000 * (time.perf_counter() - began))

    await asyncio.gather(*(chunks(write, 5) for _, write in made))  # connections, first sight of the topic
    took.clear()
    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(chunks(write, given.chunks) for _, write in made))
    wall, used = time.perf_counter() - began, time.process_time() - cpu
    for producer, _ in made:
        await producer.stop()
    await admin.delete_topics([topic])
    await admin.close()
    return took, len(took) / wall, 1000 * used / len(took)


async def _measure(given: argparse.Namespace) -> None:
    """Rounds of all ways in turn, so that what else the machine does falls on each alike; every round is printed."""
    servers = Settings().bootstrap_servers
    found: dict[str, list[tuple[list[float], float, float]]] = {way: [] for way in given.ways}
    for number in range(given.rounds):
        # every other round backwards: none is always the first, or always after the same one
        for way in given.ways if number % 2 == 0 else given.ways[::-1]:
            took, rate, cpu = await _round(servers, way, given)
            found[way].append((took, rate, cpu))
            p50, p99 = np.percentile(took, [50, 99])
            print(
                f"round {number + 1} {way:<12} p50 {p50:6.2f} p99 {p99:7.2f} ms {rate:6.0f}/s CPU {cpu:.2f} ms",
                flush=True,
            )
    # Only rounds side by side can be compared: over all of them a busy minute would count against whoever met it.
    first = given.ways[0]
    for way in given.ways[1:]:
        pairs = list(zip(found[first], found[way], strict=True))
        times = [float(np.median(b[0]) / np.median(a[0])) for a, b in pairs]
        rates, cpus = [b[1] / a[1] for a, b in pairs], [b[2] / a[2] for a, b in pairs]
        print(
            f"{way} to {first}, round by round: p50 x {np.median(times):.2f} ({min(times):.2f} to {max(times):.2f}; "
            f"slower in {sum(ratio > 1 for ratio in times)} of {len(times)}), "
            f"chunks/s x {np.median(rates):.2f}, CPU x {np.median(cpus):.2f}"
        )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    for name, default in (("rounds", 6), ("chunks", 200), ("partitions", 8), ("records", 50), ("bytes", 400)):
        parser.add_argument(f"--{name}", type=int, default=default)
    asyncio.run(_measure(parser.parse_args()))


if __name__ == "__main__":
    main()
