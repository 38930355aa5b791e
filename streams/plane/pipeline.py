"""The data plane as a job's surroundings see it: what they may ask, and what they may have done.

Inside, `admission` forms chunks, `effects` takes each through the six steps of the durable order, `stepping` steps chunks
together, `ownership` knows which partitions are this worker's, and `fault_search` finds the record that makes the job fail.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any

import structlog
from aiokafka.structs import ConsumerRecord
from faust.types import TP

from streams.plane.admission import Admission
from streams.plane.batch import Batch
from streams.plane.changelog import ChangelogWriter
from streams.plane.counters import Counters
from streams.plane.effects import DurableOrder
from streams.plane.failures import Failures
from streams.plane.fault_search import FaultSearch
from streams.plane.gaps import ExplainedOffsets, Losses
from streams.plane.lease import Lease
from streams.plane.ownership import Ownership
from streams.plane.ports import World
from streams.plane.progress import InputPosition, Progress, Span
from streams.plane.records import Job, Output, Work
from streams.plane.ticks import Ticks

log = structlog.get_logger(__name__)

QUIET_CHECK_S = 0.005


class Pipeline:
    """Runs a job over the partitions that this worker owns.

    Args:
        job: what is run.
        world: local store, sender, claims, and the process that a failure ends.
        changelog_topic: full name of the changelog.
        lease: whether this worker may write.
        failures: remembers over restarts which chunks made the job fail.
    """

    def __init__(self, job: Job[Any], world: World, changelog_topic: str, lease: Lease, failures: Failures) -> None:
        self.job = job
        self.counters = Counters()
        self.progress = Progress()
        self.explained = ExplainedOffsets()
        self._losses = Losses(self.counters)
        self._world = world
        changelog = ChangelogWriter(changelog_topic, world)
        self._ownership = Ownership(job, progress=self.progress, lease=lease, changelog=changelog, world=world)
        self._order = DurableOrder(
            job, changelog=changelog, ownership=self._ownership, counters=self.counters, world=world
        )
        search = FaultSearch(job, order=self._order, failures=failures, counters=self.counters)
        self._admission = Admission(job, ownership=self._ownership, search=search, order=self._order, world=world)
        self._ticks = Ticks(self._ownership, world)

    # --- what the job's surroundings may ask

    @property
    def ready(self) -> bool:
        """Whether the assignment is complete, and no rebalance or stop has begun."""
        return self._ownership.ready

    def partitions(self) -> frozenset[int]:
        """Partitions that this worker owns and whose stores are complete."""
        return self._ownership.partitions()

    def multi_get(self, partition: int, keys: list[bytes]) -> list[bytes | None]:
        """The states of keys of an owned partition, in order; None where there is none.

        Raises:
            PartitionGone: the partition is not owned.
        """
        self._ownership.of(partition)
        return self._world.states().multi_get(partition, keys)

    def items(self, partition: int) -> Iterator[tuple[bytes, bytes]]:
        """Every key and state of an owned partition, in byte order. Consume it before any await.

        Raises:
            PartitionGone: the partition is not owned.
        """
        self._ownership.of(partition)
        return self._world.states().items(partition)

    def positions(self) -> dict[TP, InputPosition]:
        """Where every assigned input topic partition stands."""
        progress = self.progress
        return {
            tp: InputPosition(done, progress.committed(tp), progress.held(tp))
            for partition in self.partitions()
            for topic in self.job.topics
            if (done := progress.position(tp := TP(topic, partition))) is not None
        }

    # --- what the job's surroundings may have done

    async def apply(self, partition: int, work: Work) -> None:
        """Steps `work`, which has no records, in the partition's order; returns when its effects are durable.

        Raises:
            PartitionGone: the partition is not owned, or stopped being so before anything was written.
        """
        await self._admission.apply(partition, work)

    async def release(self, partition: int, records: Sequence[ConsumerRecord], work: Work) -> None:
        """As `apply`. Afterwards `records`, which the job held until now, no longer hold commits back.

        Raises:
            PartitionGone: as in `apply`; the records come again at the partition's next owner.
        """
        await self._admission.apply(partition, work, records)

    def throttle(self, tps: Iterable[TP]) -> None:
        """Leaves topic partitions out of polls, without blocking others; a rebalance ends it."""
        self._ownership.throttled |= frozenset(tps)

    def unthrottle(self, tps: Iterable[TP]) -> None:
        """Takes topic partitions into polls again."""
        self._ownership.throttled -= frozenset(tps)

    def on_tick(self, interval_s: float, callback: Callable[[], Awaitable[None]]) -> None:
        """Awaits `callback` every `interval_s` while `ready`, never twice at a time; register before the app starts.

        PartitionGone from it is ignored; any other exception ends the process.
        """
        self._ticks.on_tick(interval_s, callback)

    def on_drain(self, callback: Callable[[], Awaitable[None]]) -> None:
        """Awaits `callback` on SIGTERM, for at most 5 s, before the last commit: the place to release held records."""
        self._ticks.on_drain(callback)

    async def claim_again(self) -> None:
        """Claims every partition again, so that Kafka does not forget who may write to it."""
        await self._ownership.claim_again()

    async def stamped(self, topic: str, key: bytes) -> float | None:
        """Writes a null under `key` to a topic of one partition; when the broker appended it, None: it stamps no time."""
        delivery = await self._world.sender().send_batch(topic, 0, [(key, None, [])])
        await delivery.acknowledged()
        return delivery.appended_at

    # --- what the agent and the consumer call

    async def submit(self, batch: Batch) -> None:
        """Starts a batch; returns when there is room for the next one."""
        await self._admission.submit(batch)

    async def process(self, batch: Batch) -> None:
        """Runs a batch; returns when all of it is durable."""
        await self._admission.process(batch)

    @property
    def throttled(self) -> frozenset[TP]:
        """Topic partitions that polls leave out."""
        return self._ownership.throttled

    def count_lost(self, tp: TP, holes: Iterable[Span]) -> None:
        """Counts the records of an input partition that were deleted before they were read; `holes` are in order."""
        self._losses.count(tp, holes)

    # --- what the app and the restore call: the life of an assignment

    async def resend(self, partition: int, outputs: list[Output]) -> None:
        """Sends outputs of a restore again, in order, and waits for them."""
        await self._order.resend(partition, outputs)

    async def open(self, partition: int, confirmed: int, check: Callable[[], None]) -> None:
        """Takes a partition: `Ownership.open`."""
        await self._ownership.open(partition, confirmed, check)

    def count_restore(self, records: int, seconds: float) -> None:
        """A restore finished."""
        self.counters.restored_records += records
        self.counters.restore_s += seconds

    def resume(self) -> None:
        """A rebalance ended: work from outside is taken, ticks run."""
        self._ownership.resume()

    async def tick(self, stopped: Callable[[], bool]) -> None:
        """Runs the registered callbacks until `stopped`."""
        await self._ticks.run(stopped)

    async def quiesce(self, *, stopping: bool) -> None:
        """Takes no more work from outside and waits until what is under way, batches included, is durable."""
        self._ownership.ready = False
        if stopping:
            await self._ticks.drain()
        self._ownership.closing = True
        while self._admission.busy:  # noqa: ASYNC110 - once per rebalance; an event would have to be set for every chunk
            await asyncio.sleep(QUIET_CHECK_S)

    async def close(self) -> None:
        """Gives every partition up. It marks what is confirmed, so that the next owner sends no output again."""
        await self._ownership.close()

    def forget(self) -> None:
        """Ends the assignment at once: holds are dropped, chunks in flight can no longer write or count."""
        self._ownership.forget()
