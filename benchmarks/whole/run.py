"""The whole job on one worker: 90 % clicks, 9 % purchases, 1 % reviews whose vectors are cached, scoring on.

    regulars bench whole [--events 300000] [--customers 20000] [--rate 1000 --seconds 25]

Uses a topic prefix of its own. Prints events/s from the first record
taken to the last offset committed, CPU a event of the worker, and with --rate the latency from produce to the change as a
consumer sees it, p50 and p99, over purchases of customers never heard of (each makes two changes).
"""

import argparse
import asyncio
import os
import random
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from schemas.changes import Trace
from schemas.times import from_rfc3339, to_rfc3339
from streams.kafka.security import kafka_options
from streams.settings import Settings

HERE = Path(__file__).resolve().parent
KINDS = ["view"] * 14 + ["add_to_cart", "add_to_cart", "remove_from_cart", "wishlist", "checkout", "view"]
WORDS = [
    "soft",
    "shirt",
    "colour",
    "fits",
    "perfect",
    "size",
    "small",
    "returned",
    "cheap",
    "love",
    "dress",
    "thin",
    "bad",
]
encode = msgspec.json.Encoder().encode
Array = npt.NDArray[np.float64]


class Traffic:
    """Random events, a skewed population, one a millisecond of event time."""

    def __init__(self, customers: int, seed: int = 7) -> None:
        self.random = random.Random(seed)
        self.customers = customers
        self.texts = [" ".join(self.random.choices(WORDS, k=20)) for _ in range(500)]

    def event(
        self, number: int, at: float, customer: str | None = None, kind: str | None = None
    ) -> tuple[str, bytes, bytes]:
        """Topic, key, value."""
        rnd = self.random
        if customer is None:
            customer = f"c{int(self.customers * rnd.random() ** 2):07d}"
        draw = 0.95 if kind == "purchase" else rnd.random()
        common = {"event_id": f"e{number:09d}", "customer_id": customer, "event_time": to_rfc3339(at)}
        product = f"p{rnd.randrange(5000)}"
        if draw < 0.9:
            value = {
                **common,
                "type": rnd.choice(KINDS),
                "session_id": f"s{number // 20}",
                "product_id": product,
                "category": "shoes",
                "price_minor": rnd.randrange(100, 9000),
                "currency": "GBP",
                "device": "phone",
            }
            return "clickstream", customer.encode(), encode(value)
        if draw < 0.99:
            price = rnd.randrange(100, 9000)
            value = {
                **common,
                "type": "purchase",
                "order_id": f"o{number}",
                "amount_minor": price * 2,
                "currency": "GBP",
                "items": [{"product_id": product, "quantity": 2, "unit_price_minor": price}],
            }
            return "purchases", customer.encode(), encode(value)
        value = {**common, "type": "review", "text": rnd.choice(self.texts), "rating": rnd.randrange(1, 6)}
        return "reviews", customer.encode(), encode(value)


async def produce(settings: Settings, traffic: Traffic, events: int) -> None:
    """`events` in one go, batches of a megabyte, murmur2 of the key."""
    producer = AIOKafkaProducer(
        **kafka_options(settings), max_batch_size=1 << 19, linger_ms=20, enable_idempotence=True
    )
    await producer.start()
    start = time.time() - events / 1000 - 60
    for number in range(events):
        topic, key, value = traffic.event(number, start + number / 1000)
        await producer.send(settings.topic(topic), value, key=key)
    await producer.flush()
    await producer.stop()


async def latency(settings: Settings, traffic: Traffic, rate: int, seconds: float) -> Array:
    """Milliseconds from handing a purchase to the producer to consuming it, scoring it and reading its change."""
    topic = settings.topic("segment-changes")
    consumer = AIOKafkaConsumer(**kafka_options(settings), fetch_max_wait_ms=5)
    await consumer.start()
    tps = [TopicPartition(topic, p) for p in range(settings.partitions)]
    consumer.assign(tps)
    await consumer.seek_to_end(*tps)
    producer = AIOKafkaProducer(**kafka_options(settings), linger_ms=0)
    await producer.start()
    changes: list[tuple[float, float, bytes]] = []
    done = asyncio.Event()

    async def read() -> None:
        while not done.is_set():
            for records in (await consumer.getmany(timeout_ms=20)).values():
                now = time.time()
                changes.extend((now, int(r.key[1:]) / 1e9, r.value) for r in records if r.key[:1] == b"L")

    reading = asyncio.create_task(read())
    began = time.perf_counter()
    for number in range(int(rate * seconds)):
        ahead = began + number / rate - time.perf_counter()
        if ahead > 0:
            await asyncio.sleep(ahead)
        if number % 10 == 0:
            sent = traffic.event(10**8 + number, time.time(), f"L{time.time_ns():020d}", "purchase")
        else:
            sent = traffic.event(10**8 + number, time.time())
        await producer.send(settings.topic(sent[0]), sent[2], key=sent[1])
    await asyncio.sleep(1.0)
    done.set()
    await reading
    await producer.stop()
    await consumer.stop()
    warm = changes[0][0] + 5 if changes else 0.0
    rows = []
    for read_at, sent_at, body in changes:
        if read_at > warm:
            trace = msgspec.json.decode(body, type=_Traced).trace
            stages = [from_rfc3339(at) for at in (trace.consumed_at, trace.scored_at)]
            rows.append([(at - sent_at) * 1e3 for at in (*stages, read_at)])
    return np.array(rows)


class _Traced(msgspec.Struct):
    trace: Trace


def main() -> None:
    """Makes topics, produces, runs the worker, prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bootstrap-servers", default=Settings().bootstrap_servers)
    parser.add_argument("--events", type=int, default=300_000)
    parser.add_argument("--customers", type=int, default=20_000)
    parser.add_argument("--poll", type=int, default=8_000)
    parser.add_argument("--rate", type=int, default=1_000)
    parser.add_argument("--seconds", type=float, default=25.0)
    parser.add_argument("--pyspy", default="", help="write a profile of the worker there (raw format)")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="regulars-bench-"))
    settings = Settings(bootstrap_servers=given.bootstrap_servers, topic_prefix=f"bench-{uuid.uuid4().hex[:6]}-")
    environment = {
        **os.environ,
        "PYTHONPATH": str(HERE.parents[1]),
        "REGULARS_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
        "REGULARS_TOPIC_PREFIX": settings.topic_prefix,
        "REGULARS_DATA_DIR": str(folder / "data"),
        "REGULARS_WEB_PORT": "0",
        "REGULARS_PSEUDONYM_KEY": "only-for-benchmarks-only-for-benchmarks",
        "REGULARS_MAX_POLL_RECORDS": str(given.poll),
    }
    subprocess.run(
        [sys.executable, "-m", "streams.cli", "topics", "create"],
        env=environment,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    traffic = Traffic(given.customers)
    (folder / "texts.json").write_bytes(encode(traffic.texts))
    asyncio.run(produce(settings, traffic, given.events))
    worker = subprocess.Popen(
        [sys.executable, str(HERE / "worker.py"), str(given.events), str(folder / "texts.json")],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        follow(worker, given.pyspy)
        if given.seconds and given.rate:
            lags = asyncio.run(latency(settings, traffic, given.rate, given.seconds))
            print_latency(lags, given.rate)
    finally:
        worker.terminate()
        worker.wait(30)


def follow(worker: "subprocess.Popen[str]", profile: str) -> None:
    """Prints the worker's lines until its throughput comes; with `profile`, records it there once it is warm."""
    spy = None
    assert worker.stdout is not None
    for line in worker.stdout:
        print(line.strip(), flush=True)
        if line.startswith("warm") and profile:
            py_spy = str(Path(sys.executable).with_name("py-spy"))
            spy = subprocess.Popen([py_spy, "record", "-p", str(worker.pid), "-d", "12", "-f", "raw", "-o", profile])
        if "events/s" in line or "/s, CPU" in line:
            break
    if spy is not None:
        spy.wait()


def print_latency(lags: Array, rate: int) -> None:
    """Prints percentiles of the milliseconds (n, 3) until a purchase was consumed, scored and its change read."""
    if not len(lags):
        print("no change was seen")
        return
    for name, column in zip(("consumed", "scored", "read"), lags.T, strict=True):
        p50, p90, p99, worst = np.percentile(column, [50, 90, 99, 100])
        print(
            f"{rate}/s, n {len(lags)}, purchase to change {name}: "
            f"p50 {p50:.1f}, p90 {p90:.1f}, p99 {p99:.1f}, max {worst:.1f} ms"
        )


if __name__ == "__main__":
    main()
