"""Which partitions are this worker's, what is under way on them, and whether it may still write to them.

A partition is owned from the moment its store is complete until a rebalance takes it, or until the broker says that
another worker has claimed it. Whatever began before that must not write after it.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterator
from typing import Any

import structlog

from streams.kafka.errors import BrokerLost
from streams.plane.batch import Turn
from streams.plane.errors import Fenced
from streams.plane.lease import Lease
from streams.plane.ports import World
from streams.plane.progress import Progress
from streams.plane.records import Job, PartitionGone

log = structlog.get_logger(__name__)

# How long a worker whose write was refused as an earlier owner's waits to hear from the group that it is out.
FENCED_PATIENCE_S = 60.0
LEASE_CHECK_S = 0.05


class Owned:
    """One partition of this worker.

    Attributes:
        lock: held by the one chunk that is under way.
        confirmed: changelog offset up to which outputs were acknowledged.
        marked: the last value of `confirmed` that the changelog itself holds.
        turns: what polls brought and no chunk has taken yet.
    """

    __slots__ = ("confirmed", "lock", "marked", "turns")

    def __init__(self, confirmed: int) -> None:
        self.lock = asyncio.Lock()
        self.confirmed = self.marked = confirmed
        self.turns: deque[Turn] = deque()


class Ownership:
    """The partitions of one assignment.

    Args:
        job: hears of each partition that comes and goes.
        progress: its epoch says which assignment it is.
        lease: whether this worker is still a member of the group.
        world: what is asked for the store, and ended by a failure.
    """

    def __init__(self, job: Job[Any], progress: Progress, lease: Lease, world: World) -> None:
        self._job, self._progress, self._lease, self._world = job, progress, lease, world
        self._owned: dict[int, Owned] = {}
        self._hearing: set[asyncio.Task[None]] = set()  # tasks that wait to hear that a partition is gone
        self.in_flight = 0  # chunks, and work from outside

    def __contains__(self, partition: int) -> bool:
        return partition in self._owned

    def partitions(self) -> frozenset[int]:
        """Partitions that this worker owns and whose stores are complete."""
        return frozenset(self._owned)

    def all(self) -> list[tuple[int, Owned]]:
        """Every owned partition, by number."""
        return sorted(self._owned.items())

    def owned(self, partition: int) -> Owned:
        """The owned partition.

        Raises:
            PartitionGone: it is not owned.
        """
        try:
            return self._owned[partition]
        except KeyError:
            raise PartitionGone(partition) from None

    def check(self, partition: int, owned: Owned) -> None:
        """Refuses work on a partition that left since the work began, even if it came back.

        Raises:
            PartitionGone: it left.
        """
        if self._owned.get(partition) is not owned:
            raise PartitionGone(partition)

    async def may_write(self, partition: int, owned: Owned) -> None:
        """Returns when the lease is held; while Kafka is away it waits for a heartbeat's answer.

        Raises:
            PartitionGone: the answer was that this worker is out, or a rebalance took the partition.
            BrokerLost: no answer for the lease's patience.
        """
        lease = self._lease
        while not lease.held:
            if lease.lost:
                raise PartitionGone(partition)
            if lease.hopeless:
                raise BrokerLost(f"Kafka did not answer a heartbeat for {lease.silence_s:.0f} s")
            await asyncio.sleep(LEASE_CHECK_S)
        self.check(partition, owned)

    @property
    def may_mark(self) -> bool:
        """Whether a write that begins now still arrives as a member's."""
        return self._lease.held

    @contextlib.contextmanager
    def under_way(self, partition: int) -> Iterator[None]:
        """Counts its block as in flight. A partition that turns out to be another worker's is given up.

        Raises:
            PartitionGone: the broker refused a write because another worker has claimed the partition.
        """
        self.in_flight += 1
        try:
            yield
        except Fenced as exc:
            self._give_up(partition, exc)
            raise PartitionGone(partition) from None
        finally:
            self.in_flight -= 1

    def open(self, partition: int, confirmed: int) -> None:
        """Takes a partition whose store is complete."""
        self._job.restored(partition, self._world.states().items(partition))
        self._owned[partition] = Owned(confirmed)

    def forget(self) -> None:
        """Ends the assignment: no partition is owned, and work under way can no longer write."""
        owned, self._owned = self._owned, {}
        for partition in owned:
            self._job.revoked(partition)

    def _give_up(self, partition: int, exc: Fenced) -> None:
        """Gives up a partition that another worker has claimed: this one was out of the group and is yet to hear it."""
        log.warning("partition lost: another worker has claimed it", partition=partition)
        if self._owned.pop(partition, None) is not None:
            self._job.revoked(partition)
        hearing = asyncio.create_task(self._hear(self._progress.epoch, exc))
        self._hearing.add(hearing)
        hearing.add_done_callback(self._hearing.discard)

    async def _hear(self, epoch: int, exc: Fenced) -> None:
        # A heartbeat's answer ends the assignment in a second or so. Where none does, somebody outside the group writes
        # under its name; the process must not go on as if it owned what it cannot write to.
        give_up_at = self._lease.clock() + FENCED_PATIENCE_S
        while self._progress.epoch == epoch:
            if self._lease.clock() > give_up_at:
                self._world.fail(exc)
            await asyncio.sleep(0.1)
