"""The data plane of one worker: what a job's surroundings may ask of it, and what a rebalance does to it.

A chunk is all records of one partition number in one poll, over all input topics, with what further small polls brought
while the chunk before was under way; or work without records. Chunks of a partition run one after another:

1. decode; read the states of the keys; step
2. check that this worker may still write (lease)
3. send dead letters and the changelog; wait for both
4. send outputs; wait for them; tell the job
5. write the local store: states, changelog offset, confirmed offset
6. progress: now the records' offsets may be committed

`chunks.py` takes polls in (steps 1 and 6), `stepping.py` steps, `effects.py` holds the order (steps 1 to 5), `ownership.py`
knows which partitions are this worker's.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import structlog
from aiokafka.structs import ConsumerRecord
from faust.types import TP

from streams.kafka.patience import patiently
from streams.plane.batch import Batch
from streams.plane.chunks import Chunks
from streams.plane.counters import Counters
from streams.plane.crash import crash_point
from streams.plane.effects import Effecting
from streams.plane.failures import Failures
from streams.plane.lease import Lease
from streams.plane.ownership import Ownership
from streams.plane.ports import World
from streams.plane.progress import Progress, Stale
from streams.plane.records import Job, Output, PartitionGone, Work
from streams.plane.stepping import Stepper
from streams.plane.ticks import Callback, Ticks

log = structlog.get_logger(__name__)

# A last marker on revoke or stop only saves a successor from sending outputs again; it is not worth a longer wait.
MARK_TIMEOUT_S = 2.0

DRAIN_TIMEOUT_S = 5.0


class InputPosition(NamedTuple):
    """Where an input topic partition stands: next offsets, and how many records are held.

    `done`: everything below is processed (or held). `committed`: None before the first commit of this assignment.
    """

    done: int
    committed: int | None
    held: int


class Pipeline:
    """Runs a job over the partitions that this worker owns.

    Args:
        job: what is run.
        world: store, sender, committed offsets; the process that a failure ends.
        changelog: full name of the topic that holds every state.
        lease: whether this worker may write.
        failures: which chunks made the job fail, over restarts.
    """

    def __init__(self, job: Job[Any], world: World, changelog: str, lease: Lease, failures: Failures) -> None:
        self.job = job
        self.progress = Progress()
        self.counters = Counters()
        self.throttled: frozenset[TP] = frozenset()
        self.ready = False
        self._world = world
        self._closing = False
        self._drains: list[Callback] = []
        self._ticks = Ticks(world, lambda: self.ready)
        self._ownership = Ownership(job, self.progress, lease, world)
        stepper = Stepper(job, self._ownership, self.counters)
        self._effecting = Effecting(changelog, world, stepper, self._ownership, self.counters)
        self._chunks = Chunks(job, self.progress, self._ownership, self._effecting, self.counters, failures, world)

    # --- records of polls

    async def submit(self, batch: Batch) -> None:
        """Starts a batch; returns when there is room for the next one. Chunks of a partition keep their order."""
        await self._chunks.submit(batch)

    async def process(self, batch: Batch) -> None:
        """Runs a poll's chunks; returns when all are durable."""
        await self._chunks.process(batch)

    # --- for the job's surroundings

    def partitions(self) -> frozenset[int]:
        """Partitions that this worker owns and whose stores are complete."""
        return self._ownership.partitions()

    def multi_get(self, partition: int, keys: list[bytes]) -> list[bytes | None]:
        """States of keys of an owned partition, in order; None where there is none.

        Raises:
            PartitionGone: the partition is not owned.
        """
        self._ownership.owned(partition)
        return self._world.states().multi_get(partition, keys)

    def items(self, partition: int) -> Iterator[tuple[bytes, bytes]]:
        """Every key and state of an owned partition, in byte order. Consume it before any await.

        Raises:
            PartitionGone: the partition is not owned.
        """
        self._ownership.owned(partition)
        return self._world.states().items(partition)

    async def apply(self, partition: int, work: Work) -> None:
        """Steps `work` that has no records, in the partition's serial order, and returns when its effects are durable.

        Raises:
            PartitionGone: the partition is not owned, or stopped being so before anything was written.
        """
        await self.release(partition, (), work)

    async def release(self, partition: int, records: Sequence[ConsumerRecord], work: Work) -> None:
        """As `apply`, and then `records`, held until now, no longer hold commits back.

        Raises:
            PartitionGone: as in `apply`; the records come again where the partition goes.
        """
        if self._closing:
            raise PartitionGone(partition)
        owned, epoch = self._ownership.owned(partition), self.progress.epoch
        try:
            with self._ownership.under_way(partition):
                async with owned.lock:
                    if epoch != self.progress.epoch:
                        raise PartitionGone(partition)
                    self._ownership.check(partition, owned)
                    await self._effecting.run(partition, owned, work)
                    # Step 6: the records that were held are done.
                    self.progress.release(
                        epoch, [(TP(record.topic, record.partition), record.offset) for record in records]
                    )
        except Stale:
            raise PartitionGone(partition) from None
        except PartitionGone:
            raise
        except Exception as exc:
            self._world.fail(exc)
            raise

    def throttle(self, tps: Iterable[TP]) -> None:
        """Leaves topic partitions out of polls, without blocking others; a rebalance ends it."""
        self.throttled |= frozenset(tps)

    def unthrottle(self, tps: Iterable[TP]) -> None:
        """Takes topic partitions into polls again."""
        self.throttled -= frozenset(tps)

    def on_tick(self, interval_s: float, callback: Callback) -> None:
        """Awaits `callback` every `interval_s` while `ready`; see `ticks.Ticks.add`."""
        self._ticks.add(interval_s, callback)

    def on_drain(self, callback: Callback) -> None:
        """Awaits `callback` on SIGTERM, for at most 5 s, before the last commit: the place to release held records."""
        self._drains.append(callback)

    async def tick(self, is_stopped: Callable[[], bool]) -> None:
        """Runs the registered callbacks until `is_stopped`."""
        await self._ticks.run(is_stopped)

    def positions(self) -> dict[TP, InputPosition]:
        """Where every assigned input topic partition stands."""
        return {
            tp: InputPosition(done, self._world.committed(tp), self.progress.held(tp))
            for partition in self._ownership.partitions()
            for topic in self.job.topics
            if (done := self.progress.position(tp := TP(topic, partition))) is not None
        }

    # --- restores and claims

    def open(self, partition: int, confirmed: int) -> None:
        """Takes a partition whose store is complete."""
        self._ownership.open(partition, confirmed)

    async def resend(self, partition: int, outputs: list[Output]) -> None:
        """Sends outputs of a restore again, in order, and waits for them."""
        await self._effecting.resend(partition, outputs)

    def count_restore(self, records: int, seconds: float) -> None:
        """Counts a restore that has finished."""
        self.counters.restored_records += records
        self.counters.restore_s += seconds

    def count_lost(self, tp: TP, start: int, first: int) -> None:
        """Counts the records from offset `start`, where the topic partition stood, up to but not including `first`."""
        self.counters.lost[tp.topic] += first - start
        log.error(
            "records deleted before they were read: retention is shorter than this group was behind",
            topic=tp.topic,
            partition=tp.partition,
            stood_at=start,
            goes_on_at=first,
            lost=first - start,
        )

    async def claim_again(self) -> None:
        """Claims each partition again between two of its chunks; one that goes away meanwhile is its next owner's.

        What that adds to the changelog is written down. A store that does not know of it, of a partition in which
        nothing happens, would be taken at the next start for one that slept.
        """
        for partition in sorted(self._ownership.partitions()):
            with contextlib.suppress(PartitionGone):
                await patiently("claiming again", partial(self._claim, partition))

    async def _claim(self, partition: int) -> None:
        owned = self._ownership.owned(partition)
        with self._ownership.under_way(partition):
            async with owned.lock:
                await self._ownership.may_write(partition, owned)
                await self._world.claim(partition)
                self._ownership.check(partition, owned)
                await self._effecting.mark(partition, owned)

    # --- assignment

    def resume(self) -> None:
        """Takes work from outside, and ticks, after a rebalance."""
        self._closing = False
        self.ready = True

    async def quiesce(self, *, stopping: bool) -> None:
        """Takes no more work from outside and waits until what is under way, batches included, is durable."""
        self.ready = False
        if stopping:
            for drain in self._drains:
                try:
                    async with asyncio.timeout(DRAIN_TIMEOUT_S):
                        await drain()
                except (TimeoutError, PartitionGone):
                    log.warning("held records were not finished in time; they come again after a restart")
        self._closing = True
        # Once per rebalance; an event would have to be set at every chunk.
        while self._ownership.in_flight or self._chunks.under_way:  # noqa: ASYNC110
            await asyncio.sleep(0.005)

    async def close(self) -> None:
        """Gives every partition up: writes down what is confirmed, so that a successor sends nothing again."""
        marks = []
        for partition, owned in self._ownership.all():
            async with owned.lock:
                if owned.marked < owned.confirmed and self._ownership.may_mark:
                    marks.append(self._effecting.mark(partition, owned))
        try:
            async with asyncio.timeout(MARK_TIMEOUT_S):
                await asyncio.gather(*marks)
        except Exception as exc:  # nothing is lost: the successor sends the last chunk's outputs again
            log.warning("confirmed offsets not written down", error=repr(exc))
        crash_point("during_revoke")
        self.forget()

    def forget(self) -> None:
        """Ends the assignment at once: holds are dropped, chunks in flight can no longer write or count."""
        self.ready = False
        self._closing = True
        self.throttled = frozenset()
        self.progress.forget()
        self._ownership.forget()
