"""The processes of an acceptance run, and what they leave in Kafka: a broker, workers, a replay, and the topics' records.

Knows nothing of the product's code: it runs the command line and reads with another client.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
INPUTS = ("clickstream", "purchases", "reviews")
# No worker that lives is silent for so long.
STALL_LIMIT_S = 180.0
# The log counts as complete when it has been still for so long. On a busy machine a worker pauses for seconds.
SETTLED_S = 10.0


class StepFailed(Exception):
    """A step of the verification could not be done; the message says which and why."""


class Stage:
    """The processes: a broker unless one is given, workers, the replay. Everything it starts ends with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.prefix = f"verify-{uuid.uuid4().hex[:8]}-"
        self.app_id = self.prefix + "regulars"
        self.workers: list[subprocess.Popen[bytes]] = []
        self._own_broker = not os.environ.get("REGULARS_BOOTSTRAP_SERVERS")
        self.servers = os.environ.get("REGULARS_BOOTSTRAP_SERVERS") or f"127.0.0.1:{_free_port()}"
        self._environment = {
            **os.environ,
            "REGULARS_BOOTSTRAP_SERVERS": self.servers,
            "REGULARS_TOPIC_PREFIX": self.prefix,
            "REGULARS_APP_ID": self.app_id,
            "REGULARS_CLOCK": "event",
            "REGULARS_WEB_PORT": "0",
            "REGULARS_PSEUDONYM_KEY": "only-for-tests-only-for-tests-only-for-tests",
        }

    def __enter__(self) -> "Stage":
        if self._own_broker:
            port = self.servers.rpartition(":")[2]
            # Without the variable: it would name the broker that is only now to be started.
            self.run("broker", "start", "--port", port, "--dir", str(self.folder / "broker"), named=False)
        try:
            self.run("topics", "create")
        except StepFailed:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.terminate()
        for worker in self.workers:
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.wait(20)
            worker.kill()
            worker.wait()
        if self._own_broker:
            self.run("broker", "stop", "--dir", str(self.folder / "broker"), named=False)

    def run(self, *arguments: str, named: bool = True) -> None:
        """Runs `regulars ...` to its end."""
        environment = dict(self._environment)
        if not named:
            del environment["REGULARS_BOOTSTRAP_SERVERS"]
        done = subprocess.run(_command(*arguments), cwd=ROOT, env=environment, capture_output=True, check=False)
        if done.returncode != 0:
            raise StepFailed(f"regulars {' '.join(arguments)}: exit code {done.returncode}: {_last_line(done.stderr)}")

    def start(self, number: int) -> None:
        """Starts worker `number`, with its own folder, kept from the one before it."""
        with (self.folder / f"worker-{number}.log").open("ab") as log:
            worker = subprocess.Popen(
                _command("worker", "--data-dir", str(self.folder / f"data-{number}")),
                cwd=ROOT,
                env=self._environment,
                stdout=log,
                stderr=log,
            )
        self.workers[number : number + 1] = [worker]

    def begin_replay(self, path: Path, speed: str) -> subprocess.Popen[bytes]:
        """Starts the replay beside the workers."""
        with (self.folder / "replay.log").open("wb") as log:
            return subprocess.Popen(
                _command("replay", "online-retail", str(path), "--speed", speed, "--restart"),
                cwd=ROOT,
                env={**self._environment, "REGULARS_CACHE_DIR": str(self.folder / "cache")},
                stdout=log,
                stderr=log,
            )

    def follow(self, replay: subprocess.Popen[bytes], kills: int) -> None:
        """Waits until the replay is through and processed; kills a worker at `kills` points on the way."""
        from confluent_kafka import Consumer, TopicPartition

        client = Consumer(
            {"bootstrap.servers": self.servers, "group.id": self.prefix + self.app_id, "enable.auto.commit": False}
        )
        topics = client.list_topics(timeout=20).topics
        spots = [
            TopicPartition(self.prefix + name, number)
            for name in INPUTS
            for number in topics[self.prefix + name].partitions
        ]
        killed, best, moved = 0, -1, time.monotonic()
        while True:
            sent_all = replay.poll() is not None
            if sent_all and replay.returncode != 0:
                raise StepFailed(f"regulars replay: {_last_line((self.folder / 'replay.log').read_bytes())}")
            for number, worker in enumerate(self.workers):
                if worker.poll() is not None:
                    said = _last_line((self.folder / f"worker-{number}.log").read_bytes())
                    raise StepFailed(f"worker {number} ended with exit code {worker.returncode}: {said}")
            ends = sum(_watermarks(client, spot)[1] for spot in spots)
            done = sum(max(0, spot.offset) for spot in client.committed(spots, timeout=20))
            if done != best:
                best, moved = done, time.monotonic()
            if sent_all and done == ends:
                break
            if sent_all and killed < kills and done >= ends * (killed + 1) / (kills + 1):
                number = killed % len(self.workers)
                self.workers[number].send_signal(signal.SIGKILL)
                self.workers[number].wait()
                self.start(number)
                killed += 1
                print(f"worker {number} killed (-9) at {done:,} of {ends:,} records, and started again")
            if time.monotonic() - moved > STALL_LIMIT_S:
                raise StepFailed(f"no progress for {STALL_LIMIT_S:.0f} s at {done:,} of {ends:,} records")
            time.sleep(0.2)
        self._settle(client)
        client.close()
        if killed < kills:
            raise StepFailed(f"only {killed} of {kills} kills came to pass: the workers were through before")

    def _settle(self, client: Any) -> None:
        """Waits until the log of changes has been still for a while: silence is no record that could be counted."""
        before, since = -1, time.monotonic()
        while time.monotonic() - since < SETTLED_S:
            now = sum(high for _, high in self._bounds(client, "segment-changes").values())
            if now != before:
                before, since = now, time.monotonic()
            time.sleep(0.2)

    def _bounds(self, client: Any, name: str) -> dict[int, tuple[int, int]]:
        from confluent_kafka import TopicPartition

        topic = self.prefix + name
        numbers = client.list_topics(topic, timeout=20).topics[topic].partitions
        return {number: _watermarks(client, TopicPartition(topic, number)) for number in numbers}

    def records(self, name: str) -> Iterator[tuple[bytes, bytes | None]]:
        """Every (key, value) of a topic, partition by partition."""
        from confluent_kafka import Consumer, KafkaError, TopicPartition

        settings = {
            "bootstrap.servers": self.servers,
            "group.id": self.prefix + "reader",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
        client = Consumer(settings)
        for number in self._bounds(client, name):
            client.assign([TopicPartition(self.prefix + name, number, 0)])
            while True:
                message = client.poll(20)
                if message is None:
                    raise StepFailed(f"reading {name} [{number}]: no answer for 20 s")
                error = message.error()
                if error is None:
                    yield message.key(), message.value()
                elif error.code() == KafkaError._PARTITION_EOF:
                    break
                else:
                    raise StepFailed(f"reading {name} [{number}]: {error.str()}")
        client.close()


def _watermarks(client: Any, spot: Any) -> tuple[int, int]:
    """First and next offset; a topic that was made a moment ago has no leader for another moment."""
    from confluent_kafka import KafkaException

    deadline = time.monotonic() + 20.0
    while True:
        try:
            low, high = client.get_watermark_offsets(spot, timeout=20)
        except KafkaException as exc:
            if time.monotonic() > deadline:
                raise StepFailed(f"{spot.topic} [{spot.partition}] can't be read: {exc.args[0].str()}") from exc
            time.sleep(0.2)
        else:
            return low, high


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "streams.cli", *arguments]


def _last_line(output: bytes) -> str:
    lines = output.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
