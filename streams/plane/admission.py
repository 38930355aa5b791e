"""Which records and which work form the next chunk of a partition, and when the next poll may come.

A chunk is all records of one partition number in one poll, over all input topics. What further small polls brought while
the chunk before was under way joins it. Work without records (a moment of silence, a text that has been read) is a chunk
of its own. Chunks of one partition run one after another, those of different partitions beside each other.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Sequence
from typing import Any

import structlog
from aiokafka.structs import ConsumerRecord

from streams.plane.batch import Batch, Turn
from streams.plane.effects import Chunk, DurableOrder
from streams.plane.failures import JobFailed
from streams.plane.fault_search import FaultSearch
from streams.plane.ownership import OwnedPartition, Ownership
from streams.plane.ports import World
from streams.plane.progress import Progress, Stale
from streams.plane.records import Job, PartitionGone, Work

log = structlog.get_logger(__name__)

# While one batch waits for acknowledgements, the partitions of the next one are worked on: polls alternate between
# partitions, so this fills most of the wait. A third batch would only take memory.
BATCHES_AT_ONCE = 2

# Small batches do not hold up the next poll. What comes while a partition waits for acknowledgements becomes its next
# chunk, all of it, instead of one chunk per poll. That removes a cycle of two round trips to the broker per event.
SMALL_RECORDS = 500
SMALL_BYTES = 1 << 20  # for records of the size of events; sixty-four batches of larger ones would fill the memory
SMALL_BATCHES_AT_ONCE = 64
POLL_INTERVAL_S = 0.004  # between two polls while something is under way; each poll costs the time of several events


class Admission:
    """Forms chunks and hands them to the durable order.

    Args:
        job: names the input topics in the order in which a chunk has their records.
        ownership: the partitions and their turns.
        search: takes chunks that made two starts fail.
        order: takes all other chunks through the six steps.
        world: the process that a failure ends.
    """

    def __init__(
        self, job: Job[Any], *, ownership: Ownership, search: FaultSearch, order: DurableOrder, world: World
    ) -> None:
        self._ownership, self._search, self._order, self._world = ownership, search, order, world
        self._topic_order = {topic: index for index, topic in enumerate(job.topics)}
        self._batches: dict[asyncio.Task[None], Batch] = {}

    @property
    def busy(self) -> bool:
        """Whether a batch or other work is under way."""
        return bool(self._batches) or self._ownership.in_flight > 0

    # --- records

    async def submit(self, batch: Batch) -> None:
        """Starts a batch; returns when there is room for the next one. The chunks of a partition keep their order."""
        # The lock of a partition is fair: the chunks of this batch wait behind those of the batch before.
        task = asyncio.create_task(self.process(batch))
        self._batches[task] = batch
        task.add_done_callback(self._batches.pop)
        while len(self._batches) >= BATCHES_AT_ONCE:
            under_way = self._batches.values()
            small = (
                len(under_way) < SMALL_BATCHES_AT_ONCE
                and sum(batch.size for batch in under_way) <= SMALL_RECORDS
                and sum(batch.bytes for batch in under_way) <= SMALL_BYTES
            )
            await asyncio.wait(
                self._batches, timeout=POLL_INTERVAL_S if small else None, return_when=asyncio.FIRST_COMPLETED
            )
            if small:
                break

    async def process(self, batch: Batch) -> None:
        """Runs the chunks of one poll; returns when all are durable."""
        groups = batch.partitions()
        if len(groups) == 1:
            ((partition, tps),) = groups.items()
            await self._guard(partition, self._chunk(partition, Turn(batch, tps)))
        else:
            await asyncio.gather(
                *(self._guard(partition, self._chunk(partition, Turn(batch, tps))) for partition, tps in groups.items())
            )

    async def _guard(self, partition: int, chunk: Awaitable[None]) -> None:
        try:
            with self._ownership.under_way(partition):
                await chunk
        except (PartitionGone, Stale):
            log.info("chunk dropped: the partition is no longer this worker's", partition=partition)
        except Exception as exc:
            self._world.fail(exc)

    async def _chunk(self, partition: int, turn: Turn) -> None:
        owned = self._ownership.of(partition)
        owned.turns.append(turn)
        async with owned.lock:
            if turn.taken:
                return  # by the chunk before
            epoch = self._ownership.progress.epoch
            turns = _next_turns(owned.turns, epoch)
            if not turns:
                raise Stale
            self._ownership.check(owned)
            spans = [{tp: each.batch.spans[tp] for tp in each.tps} for each in turns]
            chunk = Chunk(epoch, self._unseen(turns), spans)
            if chunk.records and self._search.is_suspect(owned, chunk):
                await self._search.run(owned, chunk)
            else:
                await self._attempt(owned, chunk)

    async def _attempt(self, owned: OwnedPartition, chunk: Chunk) -> None:
        try:
            await self._order.run(owned, chunk)
        except JobFailed:
            self._search.note(owned, chunk)
            raise

    def _unseen(self, turns: Sequence[Turn]) -> list[ConsumerRecord]:
        """Records of the turns that were not handed over before, by topic in the job's order, then by offset."""
        progress: Progress = self._ownership.progress
        records: list[ConsumerRecord] = []
        for tp in sorted({tp for turn in turns for tp in turn.tps}, key=lambda tp: self._topic_order[tp.topic]):
            done = progress.position(tp)
            for turn in turns:
                polled = turn.batch.records.get(tp)
                if polled:
                    # After a rewind within an assignment, records that were handed over before come again.
                    repeated = done is not None and polled[0].offset < done
                    records += [record for record in polled if record.offset >= (done or 0)] if repeated else polled
                    done = max(done or 0, polled[-1].offset + 1)
        return records

    # --- work without records

    async def apply(self, partition: int, work: Work, released: Sequence[ConsumerRecord] = ()) -> None:
        """Steps `work` in the partition's order; returns when its effects are durable and `released` no longer held.

        Raises:
            PartitionGone: the partition is not owned, or stopped being so before anything was written.
        """
        ownership = self._ownership
        if ownership.closing:
            raise PartitionGone(partition)
        owned, epoch = ownership.of(partition), ownership.progress.epoch
        try:
            with ownership.under_way(partition):
                async with owned.lock:
                    if epoch != ownership.progress.epoch:
                        raise PartitionGone(partition)
                    ownership.check(owned)
                    await self._order.run(owned, Chunk(epoch, work=work, released=released))
        except Stale:
            raise PartitionGone(partition) from None
        except PartitionGone:
            raise
        except Exception as exc:
            self._world.fail(exc)
            raise


def _next_turns(turns: deque[Turn], epoch: int) -> list[Turn]:
    """Takes the turns of the next chunk: the first, and small ones behind it. Those of earlier assignments are dropped."""
    taken: list[Turn] = []
    records = 0
    while turns:
        turn = turns[0]
        if turn.batch.epoch == epoch:
            records += turn.size
            if taken and records > SMALL_RECORDS:
                break
            taken.append(turn)
        turn.taken = True
        turns.popleft()
    return taken
