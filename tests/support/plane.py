"""Drives the data plane's test worker from outside: topics, input, processes, and what must hold in the end.

The oracle reads topics only and shares no code with the data plane.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic

from asking import patiently
from streams.settings import Settings
from whole_topic import read_whole

ROOT = Path(__file__).parents[2]


class Plane:
    """One set of topics on a real broker, and the workers that run on it."""

    def __init__(self, settings: Settings, changes: int | None = None) -> None:
        # a group of its own: what other tests leave behind in theirs doesn't matter
        self.settings = settings = settings.model_copy(update={"app_id": f"{settings.topic_prefix}group"})
        self.admin = AdminClient({"bootstrap.servers": settings.bootstrap_servers})
        self.workers: list[WorkerProcess] = []
        self.sent: list[tuple[str, bytes, bytes]] = []
        self._producer = Producer(
            {"bootstrap.servers": settings.bootstrap_servers, "partitioner": "murmur2_random", "linger.ms": 2}
        )
        self._asking = Consumer(
            {
                "bootstrap.servers": settings.bootstrap_servers,
                "group.id": settings.consumer_group,
                "enable.auto.commit": False,
            }
        )
        counts = dict.fromkeys(("a", "b", "changes", "dead"), settings.partitions)
        counts["changes"] = changes or settings.partitions
        self.make_topics(*(NewTopic(self.topic(name), count, 1) for name, count in counts.items()))
        self.make_changelog()

    def topic(self, name: str) -> str:
        """Full name of a topic."""
        return self.settings.topic(name)

    def make_topics(self, *topics: NewTopic) -> None:
        """Creates topics and waits until they are there."""
        for made in self.admin.create_topics(list(topics)).values():
            made.result(30)

    def make_changelog(self) -> None:
        """Creates the changelog."""
        compacted = {"cleanup.policy": "compact"}
        self.make_topics(NewTopic(self.settings.changelog_topic, self.settings.partitions, 1, config=compacted))

    def delete_changelog_records(self) -> None:
        """Deletes every record of the changelog so far, as a wrong retention would."""
        topic = self.settings.changelog_topic
        self.configure(topic, "cleanup.policy", "compact,delete")  # without "delete", Kafka refuses
        self.delete_records(topic)
        self.configure(topic, "cleanup.policy", "compact")

    def configure(self, topic: str, name: str, value: str) -> None:
        """Alters one setting of a topic (full name)."""
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
        resource.add_incremental_config(ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET))
        for altered in self.admin.incremental_alter_configs([resource]).values():
            altered.result(30)

    def delete_records(self, topic: str) -> None:
        """Deletes every record so far of a topic (full name), as its retention would."""
        ends = self._ask(lambda consumer, tp: consumer.get_watermark_offsets(tp, 10)[1], topic)
        wanted = [TopicPartition(topic, partition, end) for partition, end in ends.items()]
        for deleted in self.admin.delete_records(wanted).values():
            deleted.result(30)

    def send(self, topic: str, key: bytes, value: bytes, partition: int = -1) -> None:
        """Produces one input record; `flush` waits for all."""
        self.sent.append((topic, key, value))
        self._producer.produce(self.topic(topic), value, key=key, partition=partition)
        self._producer.poll(0)

    def send_numbers(self, count: int, keys: int = 40) -> None:
        """Produces numbers over both topics and waits until they are there."""
        for index in range(len(self.sent), len(self.sent) + count):
            self.send("ab"[index // keys % 2], b"k%d" % (index * 7 % keys), b"%d" % (index % 10))
        self.flush()

    def flush(self) -> None:
        """Waits until everything produced is in Kafka."""
        assert self._producer.flush(30) == 0

    def start(
        self, name: str = "w1", *, static: bool = True, data_dir: Path | None = None, **env: str
    ) -> "WorkerProcess":
        """Starts a worker; a `static` member may come back at once after a kill."""
        settings = self.settings
        variables = {
            "REGULARS_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
            "REGULARS_TOPIC_PREFIX": settings.topic_prefix,
            "REGULARS_APP_ID": settings.app_id,
            "REGULARS_PARTITIONS": str(settings.partitions),
            "REGULARS_DATA_DIR": str(data_dir or settings.data_dir / name),
            "REGULARS_INSTANCE_ID": name if static else "",
            "REGULARS_SESSION_TIMEOUT_S": "6",
            "REGULARS_COMMIT_INTERVAL_S": "0.2",
            "REGULARS_MAX_POLL_RECORDS": "100",
            "REGULARS_WEB_PORT": "0",
        }
        worker = WorkerProcess({**os.environ, **variables, **env})
        self.workers.append(worker)
        return worker

    def close(self) -> None:
        """Kills whatever still runs."""
        for worker in self.workers:
            worker.kill()
        self._asking.close()

    # --- what is in Kafka

    def records(self, topic: str) -> list[Any]:
        """Every record of a topic, partition by partition in order."""
        return read_whole(self.settings.bootstrap_servers, topic)

    def ends(self, topic: str) -> dict[int, int]:
        """End offset of each partition."""
        return self._ask(lambda consumer, tp: consumer.get_watermark_offsets(tp, 10)[1], self.topic(topic))

    def committed(self, topic: str) -> dict[int, int]:
        """Committed offset of each partition; 0 where there is none."""
        return self._ask(lambda consumer, tp: max(0, consumer.committed([tp], 10)[0].offset), self.topic(topic))

    def commit(self, topic: str, partition: int, offset: int) -> bool:
        """Sets what the group has committed, as Kafka's own tool does; False while the group has members."""
        try:
            self._asking.commit(offsets=[TopicPartition(self.topic(topic), partition, offset)], asynchronous=False)
        except KafkaException:
            return False
        return True

    def _ask(self, ask: Callable[[Consumer, TopicPartition], int], topic: str) -> dict[int, int]:
        partitions = range(self.settings.partitions)
        return patiently(lambda: {each: ask(self._asking, TopicPartition(topic, each)) for each in partitions})

    def lag(self) -> int:
        """Input records that are not committed."""
        return sum(
            self.ends(topic)[partition] - offset
            for topic in ("a", "b")
            for partition, offset in self.committed(topic).items()
        )

    def states(self) -> dict[bytes, list[Any]]:
        """Key -> [sequence, sum, offsets], from the changelog alone."""
        states: dict[bytes, list[Any]] = {}
        for record in self.records(self.settings.changelog_topic):
            if record.key().startswith(b"\xff"):
                continue
            if record.value() is None:
                states.pop(record.key(), None)
            else:
                states[record.key()] = msgspec.msgpack.decode(record.value())
        return states

    # --- what must hold

    def verify(self) -> "Verdict":
        """Compares states and outputs with what was sent (numbers only, no erasures)."""
        sums: dict[bytes, int] = defaultdict(int)
        counts: dict[bytes, int] = defaultdict(int)
        for _, key, value in self.sent:
            if value.isdigit() or value == b"hold":
                sums[key] += 1000 if value == b"hold" else int(value)
                counts[key] += 1
        wrong = [f"input: {len(self.sent)} sent, {sum(counts.values())} are numbers"] if not counts else []
        states = self.states()
        for key, count in counts.items():
            if (found := states.get(key, [0, 0])[:2]) != [count, sums[key]]:
                wrong.append(f"state of {key!r}: {found}, must be {[count, sums[key]]}")
        outputs: dict[tuple[bytes, int], set[bytes]] = defaultdict(set)
        seen = repeated = 0
        highest: dict[bytes, int] = defaultdict(int)
        for record in self.records(self.topic("changes")):
            sequence = json.loads(record.value())[0]
            assert record.headers() == [("n", b"%d" % sequence)]
            seen += 1
            repeated += record.value() in outputs[record.key(), sequence]
            outputs[record.key(), sequence].add(record.value())
            if sequence > highest[record.key()] + 1:
                wrong.append(f"{record.key()!r}: sequence {sequence} came after {highest[record.key()]}")
            highest[record.key()] = max(highest[record.key()], sequence)
        for key, count in counts.items():
            if highest[key] != count:
                wrong.append(f"{key!r}: {highest[key]} changes, must be {count}")
        wrong += [f"{key!r} {sequence}: different bytes" for (key, sequence), all_ in outputs.items() if len(all_) > 1]
        return Verdict(wrong, seen, repeated)


class Verdict:
    """What the oracle found: violations, output records, and how many of those were repeats."""

    def __init__(self, wrong: Sequence[str], outputs: int, repeated: int) -> None:
        self.wrong, self.outputs, self.repeated = list(wrong[:20]), outputs, repeated


class WorkerProcess:
    """A worker process and the lines that it wrote."""

    def __init__(self, env: dict[str, str]) -> None:
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.plane_worker"],
            cwd=ROOT,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            self.lines.extend(line.rstrip() for line in lines)

    def last_line(self, start: str) -> str | None:
        """The last line that begins with `start`."""
        return next((line for line in reversed(list(self.lines)) if line.startswith(start)), None)

    def wait_for(self, start: str, deadline_s: float = 60.0) -> str:
        """Waits until the worker writes a line that begins with `start`."""
        end = time.monotonic() + deadline_s
        while (line := self.last_line(start)) is None:
            if self.process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"worker never wrote {start!r}:\n" + "\n".join(self.lines[-30:]))
            time.sleep(0.02)
        return line

    def wait(self, deadline_s: float = 60.0) -> int:
        """The exit code, once the process ended and all its lines were read."""
        try:
            code = self.process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            raise AssertionError("worker still runs:\n" + "\n".join(self.lines[-30:])) from None
        self._reader.join(5)
        return code

    def stop(self) -> int:
        """Asks the process to end; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """Kills the process where it runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.wait()
