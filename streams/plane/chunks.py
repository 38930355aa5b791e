"""Polls become chunks: all records of one partition number, over all input topics, as one piece of work.

Chunks of one partition run one after another, those of different partitions beside each other. What further small polls
bring while a chunk is under way joins the next one.
"""

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from typing import Any

import structlog
from aiokafka.structs import ConsumerRecord
from faust.types import TP

from streams.kafka.errors import InfrastructureFailure
from streams.plane.batch import Batch, Turn
from streams.plane.counters import Counters
from streams.plane.crash import crash_point
from streams.plane.effects import Effecting
from streams.plane.failures import Failures, JobFailed
from streams.plane.ownership import Owned, Ownership
from streams.plane.ports import World
from streams.plane.progress import Progress, Stale
from streams.plane.records import Effects, Job, PartitionGone

log = structlog.get_logger(__name__)

# While one batch waits for acknowledgements, the next one's partitions are worked on: polls alternate between
# partitions, so most of that wait is filled. A third would only hold memory.
BATCHES_AT_ONCE = 2

# Small batches do not hold up the next poll: what comes while a partition waits for acknowledgements is its next chunk,
# all of it, instead of one chunk per poll. That takes a cycle of two round trips to the broker off each event's way.
SMALL_RECORDS = 500
SMALL_BYTES = 1 << 20  # records of the size of events; larger ones would fill memory, sixty-four portions of them
SMALL_BATCHES_AT_ONCE = 64
POLL_INTERVAL_S = 0.004  # between two polls while something is under way: each costs the time of some events


class Chunks:
    """Takes polls in, and runs their chunks.

    Args:
        job: decodes records.
        progress: which records are done.
        ownership: the partitions and their serial order.
        effecting: makes work durable.
        counters: what is counted on the way.
        failures: which chunks made the job fail before.
        world: is ended by a failure.
    """

    def __init__(
        self,
        job: Job[Any],
        progress: Progress,
        ownership: Ownership,
        effecting: Effecting,
        counters: Counters,
        failures: Failures,
        world: World,
    ) -> None:
        self._job, self._progress, self._ownership = job, progress, ownership
        self._effecting, self._counters = effecting, counters
        self._failures, self._world = failures, world
        self._batches: dict[asyncio.Task[None], Batch] = {}
        self._topic_order = {topic: index for index, topic in enumerate(job.topics)}

    @property
    def under_way(self) -> bool:
        """Whether a batch is not durable yet."""
        return bool(self._batches)

    async def submit(self, batch: Batch) -> None:
        """Starts a batch; returns when there is room for the next one. Chunks of a partition keep their order."""
        # asyncio.Lock is fair: this batch's chunks wait for their partitions behind those of the one before
        task = asyncio.create_task(self.process(batch))
        self._batches[task] = batch
        task.add_done_callback(self._batches.pop)
        while len(self._batches) >= BATCHES_AT_ONCE:
            small = self._are_small(self._batches.values())
            await asyncio.wait(
                self._batches, timeout=POLL_INTERVAL_S if small else None, return_when=asyncio.FIRST_COMPLETED
            )
            if small:
                break

    @staticmethod
    def _are_small(batches: Iterable[Batch]) -> bool:
        batches = list(batches)
        return (
            len(batches) < SMALL_BATCHES_AT_ONCE
            and sum(batch.size for batch in batches) <= SMALL_RECORDS
            and sum(batch.bytes for batch in batches) <= SMALL_BYTES
        )

    async def process(self, batch: Batch) -> None:
        """Runs a poll's chunks, those of different partitions beside each other; returns when all are durable."""
        groups = batch.partitions()
        if len(groups) == 1:
            ((partition, tps),) = groups.items()
            await self._guarded(partition, self._chunk(partition, tps, batch))
        else:
            await asyncio.gather(
                *(self._guarded(partition, self._chunk(partition, tps, batch)) for partition, tps in groups.items())
            )

    async def _guarded(self, partition: int, chunk: Awaitable[None]) -> None:
        try:
            with self._ownership.under_way(partition):
                await chunk
        except (PartitionGone, Stale):
            log.info("chunk dropped: the partition went away", partition=partition)
        except Exception as exc:
            self._world.fail(exc)

    async def _chunk(self, partition: int, tps: list[TP], batch: Batch) -> None:
        owned = self._ownership.owned(partition)
        owned.turns.append(turn := Turn(batch, tps))
        async with owned.lock:
            if turn.is_taken:
                return  # with the chunk before
            epoch = self._progress.epoch
            turns = next_turns(owned, epoch)
            if not turns:
                raise Stale
            self._ownership.check(partition, owned)
            records = self._fresh(turns)
            held: Sequence[ConsumerRecord] = ()
            if records:
                held = await self._run(partition, owned, records)
            # Step 6: now the records' offsets may be committed.
            for each in turns:
                self._progress.done(
                    epoch,
                    {tp: each.batch.spans[tp] for tp in each.tps},
                    [(TP(record.topic, record.partition), record.offset) for record in held],
                )
            self._counters.records += len(records)

    async def _run(self, partition: int, owned: Owned, records: list[ConsumerRecord]) -> Sequence[ConsumerRecord]:
        """Steps 1 to 5 of a chunk; gives the records that the job holds."""
        if self._failures.is_suspect(partition, records):
            log.warning("these records made two starts fail: looking for the one at fault", partition=partition)
            held = await self._search(partition, owned, records)
            self._failures.clear(partition)
            return held
        try:
            return await self._attempt(partition, owned, records)
        except JobFailed:
            self._failures.note(partition, records)
            raise

    async def _attempt(self, partition: int, owned: Owned, records: list[ConsumerRecord]) -> Sequence[ConsumerRecord]:
        # Step 1 begins: decode.
        try:
            with self._counters.timed("decode"):
                work = self._job.decode(partition, records)
        except InfrastructureFailure:
            raise
        except Exception as exc:
            raise JobFailed(exc) from exc
        crash_point("after_decode")
        # Steps 1 to 5.
        await self._effecting.run(partition, owned, work)
        held: Sequence[ConsumerRecord] = work.held
        return held

    async def _search(self, partition: int, owned: Owned, records: list[ConsumerRecord]) -> list[ConsumerRecord]:
        """Runs the chunk in halves until the record that makes the job fail is alone; that one is a dead letter."""
        try:
            return list(await self._attempt(partition, owned, records))
        except JobFailed as exc:
            if len(records) == 1:
                await self._set_aside(partition, owned, records[0], exc.cause)
                return []
        middle = len(records) // 2
        held = await self._search(partition, owned, records[:middle])
        return held + await self._search(partition, owned, records[middle:])

    async def _set_aside(self, partition: int, owned: Owned, record: ConsumerRecord, cause: Exception) -> None:
        log.error(
            "a record makes the job fail: it is a dead letter now, please report the exception",
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            exception=type(cause).__name__,
        )
        self._counters.set_aside[record.topic] += 1
        letter = self._job.refuse(partition, record, cause)
        await self._effecting.make_durable(partition, owned, Effects([], [letter]))

    def _fresh(self, turns: Sequence[Turn]) -> list[ConsumerRecord]:
        """Records of the turns, by topic in the job's order, then by offset."""
        fresh: list[ConsumerRecord] = []
        for tp in sorted({tp for turn in turns for tp in turn.tps}, key=lambda tp: self._topic_order[tp.topic]):
            done = self._progress.position(tp)
            for turn in turns:
                records = turn.batch.records.get(tp)
                if records:
                    # after a rewind within an assignment, records that were handed over before come again
                    again = done is not None and records[0].offset < done
                    fresh += [record for record in records if record.offset >= (done or 0)] if again else records
                    done = max(done or 0, records[-1].offset + 1)
        return fresh


def next_turns(owned: Owned, epoch: int) -> list[Turn]:
    """Takes the turns that make the next chunk: the first, and small ones behind it. Earlier assignments' are dropped."""
    chunk: list[Turn] = []
    records = 0
    while owned.turns:
        turn = owned.turns[0]
        if turn.batch.epoch == epoch:
            records += sum(len(turn.batch.records[tp]) for tp in turn.tps)
            if chunk and records > SMALL_RECORDS:
                break
            chunk.append(turn)
        turn.is_taken = True
        owned.turns.popleft()
    return chunk
