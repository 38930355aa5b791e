"""A wave at midnight: many customers fall due at one second, while events go on. Their p99 in it, against quiet.

    python benchmarks/wave.py [--due 100000] [--rate 1000] [--quiet 25] [--prepare 120]

Uses the Kafka that REGULARS_BOOTSTRAP_SERVERS names, under a topic prefix of its own. `--due` customers bought 30 days
before one second that lies `--prepare` seconds ahead; when they are known, events come at `--rate` a second, and at that
second all of them become at risk. Latency is from handing a purchase of a customer never heard of to the producer until its
change is read from `segment-changes`; a wave's throughput is changes a second from its first to its last.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import numpy as np
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from whole.run import Traffic

from schemas.changes import decode_change
from schemas.times import DAY_S
from streams.kafka.security import kafka_options
from streams.settings import Settings

WARM_S = 5.0  # of the quiet time, not counted
PATIENCE_S = 240.0


class Log:
    """What was read from `segment-changes`: (time read, latency in ms) of live purchases, and times of at-risk moves."""

    def __init__(self) -> None:
        self.live: list[tuple[float, float]] = []
        self.due: list[float] = []
        self.read = self.known = 0

    async def follow(self, settings: Settings) -> None:
        """Until cancelled."""
        consumer = AIOKafkaConsumer(**kafka_options(settings), fetch_max_wait_ms=5, auto_offset_reset="earliest")
        await consumer.start()
        try:
            consumer.assign([TopicPartition(settings.topic("segment-changes"), p) for p in range(settings.partitions)])
            while True:
                for records in (await consumer.getmany(timeout_ms=20)).values():
                    now = time.time()
                    self.read += len(records)
                    for record in records:
                        if record.key[:1] == b"L":
                            self.live.append((now, (time.time_ns() - int(record.key[1:])) / 1e6))
                        elif b'"current":"active"' in record.value:
                            self.known += 1
                        elif b'"current":"at_risk"' in record.value and record.key[:1] == b"w":
                            self.due.append(now)
                            if len(self.due) == 1:
                                print(f"first: {decode_change(record.value).changed_at}", flush=True)
        finally:
            await consumer.stop()


async def seed(settings: Settings, traffic: Traffic, customers: int, at: float) -> None:
    """One purchase of each customer at `at`."""
    producer = AIOKafkaProducer(**kafka_options(settings), max_batch_size=1 << 19, linger_ms=20)
    await producer.start()
    for number in range(customers):
        topic, key, value = traffic.event(number, at, f"w{number:07d}", "purchase")
        await producer.send(settings.topic(topic), value, key=key)
    await producer.stop()


async def settled(log: Log, customers: int) -> None:
    """Returns when every customer is known and nothing has moved for three seconds."""
    began, seen, since = time.time(), -1, time.time()
    while log.known < customers or time.time() - since < 3:
        if log.read != seen:
            seen, since = log.read, time.time()
        if time.time() - began > PATIENCE_S:
            raise TimeoutError(f"{log.known} customers and {log.read} changes after {PATIENCE_S:.0f} s")
        await asyncio.sleep(0.2)


async def live(settings: Settings, traffic: Traffic, rate: int, stopping: asyncio.Event) -> None:
    """Events at `rate` a second; every tenth a first purchase."""
    producer = AIOKafkaProducer(**kafka_options(settings), linger_ms=0)
    await producer.start()
    began, number = time.perf_counter(), 0
    while not stopping.is_set():
        await asyncio.sleep(max(began + number / rate - time.perf_counter(), 0.0))
        known = None if number % 10 else f"L{time.time_ns():020d}"
        topic, key, value = traffic.event(10**8 + number, time.time(), known, "purchase" if known else None)
        if topic != "reviews":  # texts are another benchmark's matter
            await producer.send(settings.topic(topic), value, key=key)
        number += 1
    await producer.stop()


async def measure(settings: Settings, given: argparse.Namespace) -> None:
    """Seeds, waits, lets the second come, and prints."""
    traffic, log, stopping = Traffic(20_000), Log(), asyncio.Event()
    following = asyncio.create_task(log.follow(settings))
    due_at = float(int(time.time() + given.prepare))
    await seed(settings, traffic, given.due, due_at - 30 * DAY_S)
    await settled(log, given.due)
    start = due_at - given.quiet
    print(f"{given.due} customers known, {start - time.time():.0f} s before events begin", flush=True)
    await asyncio.sleep(max(start - time.time(), 0.0))
    began = time.time()
    producing = asyncio.create_task(live(settings, traffic, given.rate, stopping))
    while len(log.due) < given.due and time.time() - due_at < PATIENCE_S:  # noqa: ASYNC110 - another process's records
        await asyncio.sleep(0.1)
    await asyncio.sleep(3.0)
    stopping.set()
    await producing
    await asyncio.sleep(2.0)
    following.cancel()
    first, last = log.due[0], log.due[-1]
    quiet = [ms for at, ms in log.live if began + WARM_S < at < first]
    during = [ms for at, ms in log.live if first <= at <= last]
    for name, lags in (("quiet", quiet), ("in the wave", during)):
        p50, p90, p99, worst = np.percentile(lags, [50, 90, 99, 100])
        print(f"{name}: n {len(lags)}, p50 {p50:.1f}, p90 {p90:.1f}, p99 {p99:.1f}, max {worst:.1f} ms")
    print(
        f"wave: {len(log.due)} of {given.due} in {last - first:.1f} s, {len(log.due) / (last - first):.0f}/s, the first "
        f"{first - due_at:.1f} s after its second; p99 {np.percentile(during, 99) / np.percentile(quiet, 99):.2f} x quiet"
    )


def main() -> None:
    """Makes topics, runs the worker, measures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--due", type=int, default=100_000)
    parser.add_argument("--rate", type=int, default=1_000)
    parser.add_argument("--quiet", type=float, default=25.0)
    parser.add_argument("--prepare", type=float, default=120.0)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="regulars-wave-"))
    settings = Settings(topic_prefix=f"wave-{uuid.uuid4().hex[:6]}-")
    environment = {
        **os.environ,
        "REGULARS_TOPIC_PREFIX": settings.topic_prefix,
        "REGULARS_DATA_DIR": str(folder / "data"),
        "REGULARS_WEB_PORT": "0",
        "REGULARS_PSEUDONYM_KEY": "only-for-benchmarks-only-for-benchmarks",
        "REGULARS_CLOCK_GRACE_S": "1",
    }
    program = [sys.executable, "-m", "streams.cli"]
    subprocess.run([*program, "topics", "create"], env=environment, check=True, stdout=subprocess.DEVNULL)
    with (folder / "worker.log").open("wb") as out:
        worker = subprocess.Popen([*program, "worker"], env=environment, stdout=out, stderr=out)
    try:
        asyncio.run(measure(settings, given))
    finally:
        worker.terminate()
        worker.wait(30)


if __name__ == "__main__":
    main()
