"""`regulars bench common`: throughput under backlog and latency at a steady rate of the common job."""

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

from aiokafka import AIOKafkaConsumer, TopicPartition
from feed import PARTITIONS, fill, make_topics, trickle  # beside this file

HERE = Path(__file__).parent
WARM_UP_S = 5.0


class Worker:
    """A worker process in a folder of its own."""

    def __init__(self, servers: str, topic: str, group: str, events: int, poll: int, folder: Path) -> None:
        variables = {
            "REGULARS_BOOTSTRAP_SERVERS": servers,
            "REGULARS_TOPIC_PREFIX": "",
            "REGULARS_APP_ID": group,
            "REGULARS_PARTITIONS": str(PARTITIONS),
            "REGULARS_DATA_DIR": str(folder),
            "REGULARS_MAX_POLL_RECORDS": str(poll),
            "REGULARS_WEB_PORT": "0",
            "PYTHONPATH": str(HERE.parents[1]),
        }
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "worker.py"), topic, f"{group}-out", str(events)],
            env={**os.environ, **variables},
            stdout=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        """The next line it says.

        Raises:
            SystemExit: it ended instead.
        """
        assert self.process.stdout is not None
        if not (line := self.process.stdout.readline()):
            raise SystemExit(f"the worker ended with code {self.process.wait()}")
        return line.rstrip()

    def stop(self) -> None:
        """Ends it."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)


async def changes(servers: str, topic: str, seconds: float) -> list[float]:
    """Milliseconds from the event to its change, of the probes among the changes of the next `seconds`."""
    consumer = AIOKafkaConsumer(bootstrap_servers=servers, fetch_max_wait_ms=5)
    await consumer.start()
    latencies_ms = []
    try:
        tps = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
        consumer.assign(tps)
        await consumer.seek_to_end(*tps)
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            for records in (await consumer.getmany(timeout_ms=50)).values():
                now = time.time_ns()
                late = time.monotonic() - began > WARM_UP_S
                latencies_ms += [
                    (now - int(record.key[1:])) / 1e6 for record in records if late and record.key[:1] == b"L"
                ]
    finally:
        await consumer.stop()
    return sorted(latencies_ms)


async def measure_latency(
    servers: str, topic: str, group: str, rate: int, seconds: float, customers: int
) -> list[float]:
    """Latencies, with the producer in this process."""
    measuring = asyncio.create_task(changes(servers, f"{group}-out", seconds))
    await asyncio.sleep(0.5)
    await trickle(servers, topic, rate, seconds - 1, customers)
    return await measuring


def main() -> None:
    """Prints one line for throughput and one for latency."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--bootstrap-servers", default="127.0.0.1:9092")
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--customers", type=int, default=100_000)
    parser.add_argument("--poll", type=int, default=8_000)
    parser.add_argument("--rate", type=int, default=1_000)
    parser.add_argument("--seconds", type=float, default=25.0)
    parser.add_argument("--topic", default="", help="a topic that holds the events already")
    options = parser.parse_args()
    servers, group = options.bootstrap_servers, f"bench-{uuid.uuid4().hex[:8]}"
    topic = options.topic or f"{group}-in"
    live = f"{group}-live"
    new = [f"{group}-out", live, *([] if options.topic else [topic])]
    asyncio.run(make_topics(servers, new, [f"{group}-customers-changelog"]))
    if not options.topic:
        asyncio.run(fill(servers, topic, options.events, options.customers))
    with tempfile.TemporaryDirectory() as folder:
        if options.events:
            worker = Worker(servers, topic, group, options.events, options.poll, Path(folder) / "backlog")
            try:
                while "events," not in (line := worker.line()):
                    pass
                print(f"throughput: {line}")
            finally:
                worker.stop()
        if options.seconds:
            group = f"{group}-l"
            asyncio.run(make_topics(servers, [f"{group}-out"], [f"{group}-customers-changelog"]))
            worker = Worker(servers, live, group, 0, options.poll, Path(folder) / "live")
            try:
                while worker.line() != "ready":
                    pass
                latencies_ms = asyncio.run(
                    measure_latency(servers, live, group, options.rate, options.seconds, options.customers)
                )
            finally:
                worker.stop()
            if not latencies_ms:
                raise SystemExit("no change was seen: is the broker too slow?")
            p50, p90, p99 = (
                latencies_ms[min(len(latencies_ms) - 1, int(len(latencies_ms) * part))] for part in (0.5, 0.9, 0.99)
            )
            print(
                f"latency at {options.rate} events/s, event to change: p50 {p50:.1f} ms, p90 {p90:.1f} ms, "
                f"p99 {p99:.1f} ms, max {latencies_ms[-1]:.1f} ms ({len(latencies_ms)} changes)"
            )


if __name__ == "__main__":
    main()
