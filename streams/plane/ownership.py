"""Which partitions this worker owns, whether it may still write to them, and what it leaves to their next owner."""

import asyncio
import contextlib
import gc
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import structlog
from faust.types import TP

from streams.kafka.errors import BrokerLost
from streams.kafka.patience import patiently
from streams.plane.batch import Turn
from streams.plane.changelog import ChangelogWriter
from streams.plane.crash import crash_point
from streams.plane.errors import Fenced
from streams.plane.lease import Lease
from streams.plane.ports import World
from streams.plane.progress import Progress
from streams.plane.records import Job, PartitionGone

log = structlog.get_logger(__name__)

# A last marker before a revoke or a stop only spares the next owner from sending outputs again. It is worth no more time.
MARK_TIMEOUT_S = 2.0

# A write was refused because another worker has claimed the partition. For so long this worker waits until the group
# confirms that it is no longer a member.
FENCED_PATIENCE_S = 60.0

LEASE_CHECK_S = 0.05
MEMBERSHIP_CHECK_S = 0.1


class OwnedPartition:
    """One partition of this worker.

    Attributes:
        lock: gives the chunks of the partition their serial order; `asyncio.Lock` is fair.
        confirmed: the changelog offset up to which all outputs were sent.
        marked: the confirmed offset that was written to the changelog last.
        turns: what polls brought, in order, and no chunk has taken yet.
    """

    __slots__ = ("confirmed", "lock", "marked", "number", "turns")

    def __init__(self, number: int, confirmed: int) -> None:
        self.number = number
        self.lock = asyncio.Lock()
        self.confirmed = self.marked = confirmed
        self.turns: deque[Turn] = deque()


class Ownership:
    """The partitions of one assignment, from the restore of their stores until another worker owns them.

    Args:
        job: hears of each partition that comes or goes.
        progress: ends with the assignment.
        lease: whether this worker may write.
        changelog: writes markers.
        world: local store, claims, and the process that a failure ends.

    Attributes:
        ready: the assignment is complete, and no rebalance or stop has begun.
        closing: no work from outside is taken any more.
        in_flight: chunks and other work that have begun and not ended.
        throttled: topic partitions that polls leave out; a rebalance ends that.
    """

    def __init__(
        self,
        job: Job[Any],
        *,
        progress: Progress,
        lease: Lease,
        changelog: ChangelogWriter,
        world: World,
    ) -> None:
        self.progress = progress
        self.ready = False
        self.closing = False
        self.in_flight = 0
        self.throttled: frozenset[TP] = frozenset()
        self._job, self._lease, self._changelog, self._world = job, lease, changelog, world
        self._owned: dict[int, OwnedPartition] = {}
        self._waits_for_group: set[asyncio.Task[None]] = set()  # an event loop keeps no strong reference to a task

    # --- owning

    def partitions(self) -> frozenset[int]:
        """Partitions that this worker owns and whose stores are complete."""
        return frozenset(self._owned)

    def owns(self, partition: int) -> bool:
        """Whether the partition is this worker's."""
        return partition in self._owned

    def of(self, partition: int) -> OwnedPartition:
        """The partition.

        Raises:
            PartitionGone: it is not owned.
        """
        try:
            return self._owned[partition]
        except KeyError:
            raise PartitionGone(partition) from None

    def check(self, owned: OwnedPartition) -> None:
        """Raises PartitionGone where the partition left after the work began, even if it has come back since."""
        if self._owned.get(owned.number) is not owned:
            raise PartitionGone(owned.number)

    async def open(self, partition: int, confirmed: int, check: Callable[[], None]) -> None:
        """Takes a partition whose store is complete, with a turn for others between portions of it.

        Args:
            partition: its number.
            confirmed: the changelog offset up to which all outputs were sent.
            check: raises where a rebalance has begun; the partition is then not taken.
        """
        try:
            for portion, _ in enumerate(self._job.restored(partition, self._world.states().items(partition))):
                if portion == 0:
                    # Containers that the job fills from here on. A pass of the garbage collector through those of ten
                    # million customers would take half a second, and find nothing.
                    gc.freeze()
                await asyncio.sleep(0)
                check()
        except BaseException:
            self._job.revoked(partition)
            raise
        self._owned[partition] = OwnedPartition(partition, confirmed)

    def resume(self) -> None:
        """A rebalance ended: work from outside is taken."""
        self.closing = False
        self.ready = True

    def forget(self) -> None:
        """Ends the assignment at once: holds are dropped, chunks in flight can no longer write or count."""
        owned, self._owned = self._owned, {}
        self.ready = False
        self.closing = True
        self.throttled = frozenset()
        self.progress.forget()
        for partition in owned:
            self._job.revoked(partition)

    # --- fencing

    async def may_write(self, owned: OwnedPartition) -> None:
        """Returns when the lease is held. While Kafka is away it waits for the answer to a heartbeat.

        Raises:
            PartitionGone: this worker is no longer a member of the group, or a rebalance took the partition.
            BrokerLost: no answer came for the lease's patience.
        """
        lease = self._lease
        while not lease.held:
            if lease.lost:
                raise PartitionGone(owned.number)
            if lease.hopeless:
                raise BrokerLost(f"Kafka did not answer a heartbeat for {lease.silence_s:.0f} s")
            await asyncio.sleep(LEASE_CHECK_S)
        self.check(owned)

    @contextlib.contextmanager
    def under_way(self, partition: int) -> Iterator[None]:
        """Work on the partition, which a revoke waits for.

        Raises:
            PartitionGone: another worker has claimed the partition. This worker has given it up.
        """
        self.in_flight += 1
        try:
            yield
        except Fenced as exc:
            self._give_up(partition, exc)
            raise PartitionGone(partition) from None
        finally:
            self.in_flight -= 1

    def _give_up(self, partition: int, exc: Fenced) -> None:
        """This worker was out of the group and has yet to hear so; the partition has another owner."""
        log.warning("partition lost: another worker has claimed it", partition=partition)
        if self._owned.pop(partition, None) is not None:
            self._job.revoked(partition)
        waiting = asyncio.create_task(self._wait_for_group(self.progress.epoch, exc))
        self._waits_for_group.add(waiting)
        waiting.add_done_callback(self._waits_for_group.discard)

    async def _wait_for_group(self, epoch: int, exc: Fenced) -> None:
        # The answer to a heartbeat ends the assignment within about a second. Where no answer does, a process outside
        # the group writes under its name. This worker must not go on as the owner of what it cannot write to.
        give_up_at = self._lease.clock() + FENCED_PATIENCE_S
        while self.progress.epoch == epoch:
            if self._lease.clock() > give_up_at:
                self._world.fail(exc)
            await asyncio.sleep(MEMBERSHIP_CHECK_S)

    async def claim_again(self) -> None:
        """Claims every partition again, each between two of its chunks. One that leaves meanwhile is skipped.

        Each claim adds a record to the changelog. The local store notes that offset. Otherwise, if nothing else happens
        in the partition, the next start would take its store for one that was not in use.
        """
        for partition in sorted(self._owned):
            with contextlib.suppress(PartitionGone):
                await patiently("claiming again", partial(self._claim_again, partition))

    async def _claim_again(self, partition: int) -> None:
        owned = self.of(partition)
        with self.under_way(partition):
            async with owned.lock:
                await self.may_write(owned)
                await self._world.claim(partition)
                self.check(owned)
                await self._mark(owned)

    # --- marking

    async def close(self) -> None:
        """Gives up every partition. It marks what is confirmed, so that the next owner sends no output again."""
        marks = []
        for owned in list(self._owned.values()):
            async with owned.lock:
                if owned.marked < owned.confirmed and self._lease.held:
                    marks.append(self._mark(owned))
        try:
            async with asyncio.timeout(MARK_TIMEOUT_S):
                await asyncio.gather(*marks)
        except Exception as exc:  # nothing is lost: the next owner sends the last chunk's outputs again
            log.warning("confirmed offsets could not be marked", error=repr(exc))
        crash_point("during_revoke")
        self.forget()

    async def _mark(self, owned: OwnedPartition) -> None:
        offset = await (await self._changelog.send(owned.number, (), owned.confirmed)).acknowledged()
        owned.marked = owned.confirmed = offset
        self._world.states().write(owned.number, (), offset, confirmed=offset)
