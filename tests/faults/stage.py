"""Topics, worker processes and the evidence of what they did; all by the command line and a client of another make."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from tests.faults import decided
from tests.faults.commands import output_of
from tests.faults.oracle import INPUTS, Evidence, Record, Verdict, judge

ROOT = Path(__file__).resolve().parents[2]
POLL_S = 0.05
TELL_S = 5.0
SESSION_S = 6.0  # the broker's least (group.min.session.timeout.ms)


class Undecided(Exception):
    """The run did not come to an end that could be judged; the message says where it stood."""


class Worker:
    """One `regulars worker` process and what it said on stderr."""

    def __init__(self, name: str, env: dict[str, str], data_dir: Path) -> None:
        self.name = name
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "streams.cli", "worker", "--data-dir", str(data_dir)],
            cwd=ROOT,
            env=env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            self.lines.extend(line.rstrip() for line in lines)

    @property
    def alive(self) -> bool:
        """Whether the process runs (or is stopped, but not ended)."""
        return self.process.poll() is None

    def signal(self, number: int) -> None:
        """Sends a signal."""
        self.process.send_signal(number)

    def wait(self, deadline_s: float = 60.0) -> int:
        """Exit code (-9: killed), once it ended and all it said was read."""
        try:
            code = self.process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            self.tell_stacks()
            raise Undecided(
                f"worker {self.name} still runs:\n" + "\n".join(line[:300] for line in self.lines[-15:])
            ) from None
        self._reader.join(5)
        return code

    def tell_stacks(self) -> None:
        """Has it log where it stands."""
        said = len(self.lines)
        if self.alive and not self.stopped():
            self.signal(signal.SIGUSR1)
            deadline = time.monotonic() + TELL_S
            while len(self.lines) == said and time.monotonic() < deadline:
                time.sleep(POLL_S)

    def stop(self) -> int:
        """Asks it to end; exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """SIGKILL, also to one that is stopped."""
        if self.alive:
            self.process.kill()
            self.wait()

    def at_work(self) -> bool:
        """Whether it has restored an assignment."""
        return any('"event": "restored"' in line for line in list(self.lines))

    def peak_mib(self) -> int:
        """The most memory that it has held so far."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM"))

    def stopped(self) -> bool:
        """Whether it is in SIGSTOP."""
        with contextlib.suppress(OSError):
            return Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
        return False


class Stage:
    """One set of topics on a broker and the workers that run on it. Everything it starts ends with it."""

    def __init__(self, servers: str, folder: Path, *, partitions: int = 4, cache_dir: Path | None = None) -> None:
        self.servers, self.folder, self.partitions = servers, folder, partitions
        self.prefix = f"f{uuid.uuid4().hex[:8]}-"
        self.group = f"{self.prefix}group"
        self.workers: dict[str, Worker] = {}
        self.started: list[Worker] = []
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("REGULARS_")},
            "REGULARS_BOOTSTRAP_SERVERS": servers,
            "REGULARS_TOPIC_PREFIX": self.prefix,
            "REGULARS_APP_ID": self.group,
            "REGULARS_GROUP": self.group,
            "REGULARS_PARTITIONS": str(partitions),
            "REGULARS_CLOCK": "event",
            "REGULARS_WEB_PORT": "0",
            "REGULARS_SESSION_TIMEOUT_S": str(SESSION_S),
            "REGULARS_COMMIT_INTERVAL_S": "0.2",
            "REGULARS_DEVICE": "cpu",
            "REGULARS_PSEUDONYM_KEY": "only-for-tests-only-for-tests-only-for-tests",
        }
        if cache_dir is not None:
            self.environment["REGULARS_CACHE_DIR"] = str(cache_dir)
        self._asking = self._client(self.group)
        self.command("topics", "create")
        self._publish_campaign()

    def _publish_campaign(self) -> None:
        """Every run has a campaign on: its document, as another program would write it."""
        producer = Producer({"bootstrap.servers": self.servers, "log_level": 0})
        producer.produce(f"{self.prefix}campaigns", decided.DOCUMENT.encode(), decided.RULES.name.encode())
        if producer.flush(60):
            raise Undecided("the campaign could not be published")

    def close(self) -> None:
        """Kills whatever still runs."""
        for worker in self.started:
            worker.kill()
        self._asking.close()

    def write_logs(self, folder: Path) -> None:
        """What every worker said, a file each in the order of their starts."""
        folder.mkdir(parents=True, exist_ok=True)
        for number, worker in enumerate(self.started):
            text = "\n".join([*worker.lines, f"exit code {worker.process.poll()}", ""])
            (folder / f"{number:03}-{worker.name}.log").write_text(text)

    def __enter__(self) -> "Stage":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- processes

    def command(self, *arguments: str) -> str:
        """Runs `regulars ...` to its end; what it printed."""
        return output_of(arguments, self.environment, Undecided)

    def data_dir(self, name: str) -> Path:
        """The local store of a worker."""
        return self.folder / self.prefix / name

    def start(self, name: str = "w1", *, static: bool = True, **env: str) -> Worker:
        """Starts a worker over the store of its name; a static member may come back at once after a kill."""
        variables = {"REGULARS_INSTANCE_ID": name if static else "", **env}
        worker = Worker(name, self.environment | variables, self.data_dir(name))
        self.workers[name] = worker
        self.started.append(worker)
        return worker

    # --- Kafka

    def _client(self, group: str) -> Consumer:
        return Consumer(
            {
                "bootstrap.servers": self.servers,
                "group.id": group,
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 10,
                "socket.timeout.ms": 10_000,
                "log_level": 0,
            }
        )

    def _ask(self, ask: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + 90
        while True:
            try:
                return ask()
            except KafkaException:  # a broker that restarts
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def ends(self, name: str) -> list[int]:
        """End offset of each partition of a topic."""
        tps = [TopicPartition(self.prefix + name, partition) for partition in range(self.partitions)]
        return [int(self._ask(lambda tp=tp: self._asking.get_watermark_offsets(tp, 10))[1]) for tp in tps]

    def committed(self) -> dict[tuple[str, int], int]:
        """Committed offset of each input partition."""
        tps = [TopicPartition(self.prefix + name, p) for name in INPUTS for p in range(self.partitions)]
        found = self._ask(lambda: self._asking.committed(tps, 10))
        return {(tp.topic.removeprefix(self.prefix), tp.partition): max(0, tp.offset) for tp in found}

    def lag(self) -> int:
        """Input records that are not committed."""
        done = sum(self.committed().values())
        return sum(sum(self.ends(name)) for name in INPUTS) - done

    def until(self, condition: Callable[[], Any], what: str, deadline_s: float = 90.0) -> Any:
        """Polls until `condition` is true; gives its value."""
        deadline = time.monotonic() + deadline_s
        while not (value := condition()):
            if time.monotonic() > deadline:
                for worker in self.workers.values():
                    worker.tell_stacks()
                said = {name: [line[:300] for line in worker.lines[-8:]] for name, worker in self.workers.items()}
                raise Undecided(
                    f"not within {deadline_s:.0f} s: {what}; lag {self.lag()}; {json.dumps(said, indent=1)}"
                )
            time.sleep(POLL_S)
        return value

    def drained(self, deadline_s: float = 120.0) -> None:
        """Returns when nothing waits and the log of changes has been still for a second."""
        self.until(lambda: self.lag() == 0, "nothing waits", deadline_s)
        before, since = [-1], time.monotonic()
        while time.monotonic() - since < 1.0:
            now = self.ends("segment-changes")
            if now != before:
                before, since = now, time.monotonic()
            time.sleep(0.1)

    def records(self, *names: str) -> dict[str, list[Record]]:
        """Every record of the topics as of now, a topic's by partition and offset."""
        client = self._client(self.prefix + "reader")
        found: dict[tuple[str, int], list[Record]] = {}
        try:
            tps = [TopicPartition(self.prefix + name, p, 0) for name in names for p in range(self.partitions)]
            left = {(tp.topic, tp.partition) for tp in tps}
            client.assign(tps)
            while left:
                messages = client.consume(2000, 0.1)
                for message in messages:
                    place = message.topic(), message.partition()
                    error = message.error()
                    if error is None:
                        headers = tuple((name, value or b"") for name, value in message.headers() or ())
                        topic = place[0].removeprefix(self.prefix)
                        record = Record(topic, place[1], message.offset(), message.key(), message.value(), headers)
                        found.setdefault(place, []).append(record)
                    elif error.code() == KafkaError._PARTITION_EOF:
                        left.discard(place)
                    elif not error.retriable():
                        raise Undecided(f"reading {place}: {error.str()}")
        finally:
            client.close()
        return {
            name: [record for p in range(self.partitions) for record in found.get((self.prefix + name, p), ())]
            for name in names
        }

    def evidence(self) -> Evidence:
        """Whole topics, and the states as `regulars state export` has them."""
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            file = Path(folder) / "states.parquet"
            self.command("state", "export", "--out", str(file))
            rows = pq.read_table(file).to_pylist()
        topics = self.records(*INPUTS, "segment-changes", "customer-segments", "dead-letters", "actions")
        return Evidence(
            [record for name in INPUTS for record in topics[name]],
            topics["segment-changes"],
            topics["customer-segments"],
            topics["dead-letters"],
            {row["customer_id"]: row | {"segments": dict(row["segments"])} for row in rows},
            topics["actions"],
        )

    def judge(self) -> Verdict:
        """The oracle's word on everything so far."""
        return judge(self.evidence())


def metrics(port: int) -> dict[str, float]:
    """A worker's metrics by name with labels, without the label `app_id` that all of them have."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        lines = re.sub(r'app_id="[^"]*",?', "", answer.read().decode()).replace("{}", "").splitlines()
    return {name: float(value) for line in lines if line[:1] != "#" for name, _, value in [line.rpartition(" ")]}
