"""Runs the product's own worker on a real broker, and reads what it says, with another client."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from confluent_kafka import Message, Producer

from streams.kafka.topics import create
from streams.ops.lag import LagMonitor, total
from streams.settings import Settings
from whole_topic import read_whole

ROOT = Path(__file__).parents[2]


class Shop:
    """The product's topics under a prefix of their own, a producer for them, and workers."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings.model_copy(update={"app_id": f"{settings.topic_prefix}group"})
        asyncio.run(create(self.settings))
        self.processes: list[subprocess.Popen[bytes]] = []
        self._producer = Producer(
            {
                "bootstrap.servers": settings.bootstrap_servers,
                "partitioner": "murmur2_random",
                "message.max.bytes": 4_000_000,
            }
        )

    # --- producing

    def send(
        self,
        topic: str,
        value: bytes | dict[str, Any] | None,
        key: str | bytes | None = "",
        partition: int = -1,
        headers: dict[str, bytes] | None = None,
    ) -> None:
        """Produces a record; an event's key is its customer where none is given."""
        if isinstance(value, dict):
            key = value["customer_id"] if key == "" else key
            value = json.dumps(value).encode()
        self._producer.produce(self.settings.topic(topic), value, key, partition, headers=headers)

    def clock(self, at: str) -> None:
        """Says on every input partition that event time has reached `at`."""
        for topic in ("clickstream", "purchases", "reviews"):
            for partition in range(self.settings.partitions):
                self.send(topic, b"", None, partition, {"regulars-clock": at.encode()})
        self.flush()

    def flush(self) -> None:
        """Waits until everything produced is in Kafka."""
        assert self._producer.flush(30) == 0

    # --- processes

    def environment(self, name: str) -> dict[str, str]:
        """What a process `name` of this shop runs with."""
        settings = self.settings
        return {
            **os.environ,
            "REGULARS_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
            "REGULARS_TOPIC_PREFIX": settings.topic_prefix,
            "REGULARS_APP_ID": settings.app_id,
            "REGULARS_PARTITIONS": str(settings.partitions),
            "REGULARS_DATA_DIR": str(settings.data_dir / name),
            "REGULARS_CACHE_DIR": str(settings.data_dir / "cache"),
            "REGULARS_INSTANCE_ID": name,
            "REGULARS_SESSION_TIMEOUT_S": "6",
            "REGULARS_CLOCK": "event",
            "REGULARS_WEB_PORT": "0",
            "REGULARS_COMMIT_INTERVAL_S": "0.2",
        }

    def start(self, *command: str, name: str = "w1", **environment: str) -> "subprocess.Popen[bytes]":
        """Starts a command of the product, a worker where none is given."""
        with (self.settings.data_dir.parent / f"{name}-{len(self.processes)}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *(command or ("streams.cli", "worker"))],
                env={**self.environment(name), **environment},
                cwd=ROOT,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.processes.append(process)
        return process

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Runs `regulars ARGUMENTS` to its end."""
        return subprocess.run(
            [sys.executable, "-m", "streams.cli", *arguments],
            env=self.environment("tool"),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def stop(self, process: "subprocess.Popen[bytes]") -> int:
        """SIGTERM, and the exit code."""
        process.send_signal(signal.SIGTERM)
        return process.wait(60)

    def close(self) -> None:
        """Kills whatever still runs."""
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()

    # --- reading

    def read(self, topic: str) -> list[Message]:
        """Every record of a topic, partition by partition in order."""
        return read_whole(self.settings.bootstrap_servers, self.settings.topic(topic))

    def lag(self) -> int:
        """Records that the group hasn't committed yet."""
        return asyncio.run(_lag(self.settings))

    def settle(self, process: "subprocess.Popen[bytes]", deadline_s: float = 90.0) -> None:
        """Waits until everything produced has been processed and committed."""
        self.flush()
        self.until(lambda: self.lag() == 0, process, deadline_s)

    @staticmethod
    def until(condition: Callable[[], Any], process: "subprocess.Popen[bytes]", deadline_s: float = 90.0) -> Any:
        """Waits for a condition while the process lives."""
        end = time.monotonic() + deadline_s
        while not (value := condition()):
            assert process.poll() is None, f"the process ended with {process.returncode}"
            assert time.monotonic() < end, f"not within {deadline_s} s"
            time.sleep(0.2)
        return value


async def _lag(settings: Settings) -> int:
    """In this process: the command line takes a second of CPU each time it starts, and waiting asks often."""
    monitor = LagMonitor(settings)
    try:
        return total((await monitor.sample()).values())[0]
    finally:
        await monitor.close()


def changes_of(messages: Sequence[Message]) -> dict[str, list[dict[str, Any]]]:
    """Change bodies by customer, in order of delivery."""
    found: dict[str, list[dict[str, Any]]] = {}
    for message in messages:
        body = json.loads(message.value() or b"null")
        found.setdefault(body["customer_id"], []).append(body)
    return found
