"""A pipeline with a store, a sender and a job that write down what they are asked."""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

from aiokafka.structs import ConsumerRecord
from faust.types import TP

from streams.kafka.incarnations import TopicIds
from streams.plane.batch import Batch
from streams.plane.errors import Fenced
from streams.plane.failures import Failures
from streams.plane.lease import Lease
from streams.plane.pipeline import Pipeline
from streams.plane.progress import Span
from streams.plane.records import CLAIM_KEY, Effects, Headers, Output, PartitionGone, Put


class Failed(Exception):
    """The process would have ended."""


class Disk:
    """A store in memory; `log` is shared with the sender, so that the order of all effects shows."""

    def __init__(self, log: list[Any]) -> None:
        self.log, self.data, self.saved = log, dict[bytes, bytes](), dict[int, tuple[int, int | None]]()

    def multi_get(self, partition: int, keys: list[bytes]) -> list[bytes | None]:
        """States."""
        return [self.data.get(key) for key in keys]

    def write(
        self, partition: int, items: Iterable[tuple[bytes, bytes | None]], offset: int, confirmed: int | None = None
    ) -> None:
        """Notes the write."""
        items = list(items)
        self.log.append(("store", partition, [key for key, _ in items], offset, confirmed))
        for key, value in items:
            if value is None:
                self.data.pop(key, None)
            else:
                self.data[key] = value

    def items(self, partition: int) -> Iterator[tuple[bytes, bytes]]:
        """All."""
        yield from self.data.items()


class Ack:
    """An acknowledgement that a test may hold back."""

    def __init__(self, net: "Net", name: str, partition: int, offset: int) -> None:
        self.net, self.name, self.partition, self.offset = net, name, partition, offset

    async def acknowledged(self) -> int:
        """Waits while the topic is blocked."""
        while self.name in self.net.blocked:  # noqa: ASYNC110 - a test unblocks it
            await asyncio.sleep(0)
        if self.partition in self.net.fenced:
            raise Fenced(self.name)
        self.net.log.append(("acked", self.name))
        return self.offset


class Net:
    """A sender that notes what it is given."""

    def __init__(self, log: list[Any]) -> None:
        self.log, self.blocked, self.ends = log, set[str](), dict[tuple[str, int], int]()
        self.records: list[tuple[str, int, bytes, bytes | None, Headers]] = []
        self.fenced: set[int] = set()  # partitions that another worker has claimed

    async def send_batch(
        self, topic: str, partition: int, records: Iterable[tuple[bytes, bytes | None, Headers]]
    ) -> Ack:
        """Notes records."""
        records = list(records)
        self.records += [(topic, partition, *record) for record in records]
        self.log.append(("sent", topic, [key for key, _, _ in records]))
        self.ends[topic, partition] = self.ends.get((topic, partition), 0) + len(records)
        return Ack(self, topic, partition, self.ends[topic, partition] - 1)

    def partition_of(self, topic: str, partition: int) -> int:
        """The same."""
        return partition


class Items(NamedTuple):
    """Records by key."""

    keys: list[bytes]
    held: Sequence[ConsumerRecord] = ()


class Echo:
    """A job that counts a key's chunks and says so; `bad` keys raise, `held` ones are kept, `dead` ones are refused."""

    topics = ("clicks", "purchases")
    outputs = ("changes", "dead")
    gathered: tuple[str, ...] = ()

    def __init__(self, log: list[Any]) -> None:
        self.log = log
        self.decoded: list[tuple[int, list[tuple[str, int]]]] = []
        self.gone: list[int] = []

    def decode(self, partition: int, records: Sequence[ConsumerRecord]) -> Items:
        """Keys of the records."""
        self.decoded.append((partition, [(record.topic, record.offset) for record in records]))
        keys = list(dict.fromkeys(record.key for record in records if record.key != b"held"))
        return Items(keys, [record for record in records if record.key == b"held"])

    def step(self, partition: int, work: Items, values: Sequence[bytes | None]) -> Effects:
        """Counts."""
        if b"bad" in work.keys:
            raise ZeroDivisionError
        puts = []
        for key, value in zip(work.keys, values, strict=True):
            if key not in (b"dead", b"quiet"):
                count = b"%d" % (int(value or b"0") + 1)
                puts.append(Put(key, count, [Output("changes", key, count, [("h", b"1")])]))
        twice = puts if b"twice" in work.keys else []
        dead = [Output("dead", key, b"?", []) for key in work.keys if key == b"dead"]
        return Effects(puts + twice, dead, lambda: self.log.append(("told", work.keys)))

    def origin(self, changelog_id: str, partition: int, offset: int, number: int) -> tuple[str, bytes]:
        """Where an output was written first."""
        return "origin", f"{changelog_id}/{partition}/{offset}/{number}".encode()

    def refuse(self, partition: int, record: ConsumerRecord, cause: Exception) -> Output:
        """The dead letter of a record that makes the step fail."""
        return Output("dead", record.key, b"!", [("why", type(cause).__name__.encode())])

    def restored(self, partition: int, items: Iterator[tuple[bytes, bytes]]) -> Iterator[None]:
        """Nothing."""
        return iter(())

    def revoked(self, partition: int) -> None:
        """Notes it."""
        self.gone.append(partition)


class Bench:
    """A pipeline that owns partitions 0 and 1 from offset 0 on."""

    def __init__(self, folder: Path) -> None:
        self.log: list[Any] = []
        self.claimed: list[int] = []
        self.gone_at_claim: set[int] = set()
        self.log_id = ""
        self.disk, self.net, self.job = Disk(self.log), Net(self.log), Echo(self.log)
        self.lease = Lease(10, 20)
        self.lease.renew(self.lease.clock())
        self.failures = Failures(folder)
        self.pipeline = Pipeline(self.job, self, "log", self.lease, self.failures)

    @classmethod
    async def started(cls, folder: Path) -> Self:
        """One that has its partitions."""
        bench = cls(folder)
        for partition in (0, 1):
            await bench.open(partition)
        bench.pipeline.progress.begin({TP(topic, number): 0 for topic in Echo.topics for number in (0, 1)})
        bench.pipeline.resume()
        return bench

    async def open(self, partition: int) -> None:
        """Takes a partition; no rebalance begins meanwhile."""
        await self.pipeline.open(partition, -1, lambda: None)

    def states(self) -> Disk:
        """The local store."""
        return self.disk

    def sender(self) -> Net:
        """What takes records."""
        return self.net

    def committed(self, tp: TP) -> int | None:
        """Nothing is committed here."""
        return None

    async def claim(self, partition: int) -> None:
        """Claims a partition with a record in the changelog, unless it goes away just then."""
        if partition in self.gone_at_claim:
            raise PartitionGone(partition)
        self.claimed.append(partition)
        await (await self.net.send_batch("log", partition, [(CLAIM_KEY, b"", [])])).acknowledged()

    def topic_ids(self) -> TopicIds:
        """No broker, no ids."""
        return TopicIds()

    def changelog_id(self) -> str:
        """The id of the log, if it has one."""
        return self.log_id

    async def check_topics_unchanged(self) -> None:
        """They are."""

    def forget_claims(self) -> None:
        """There are none."""

    def fail(self, exc: BaseException) -> None:
        """Ends the process, as far as a test can."""
        raise Failed from exc

    def batch(self, *records: tuple[str, int, int, bytes]) -> Batch:
        """A batch of (topic, partition, offset, key)."""
        by_tp: dict[TP, list[ConsumerRecord]] = {}
        for topic, partition, offset, key in records:
            by_tp.setdefault(TP(topic, partition), []).append(
                ConsumerRecord(topic, partition, offset, 0, 0, key, b"", None, 0, 0, ())
            )
        progress = self.pipeline.progress
        spans = {tp: Span(progress.position(tp) or 0, found[-1].offset + 1) for tp, found in by_tp.items()}
        return Batch(by_tp, spans, progress.epoch, 1)
