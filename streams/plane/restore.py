"""Makes a partition's local store complete from the changelog, and sends outputs that may never have been sent.

Where the local store and the changelog differ, the changelog is right, because every other worker and every export reads it.
See `plan` for each case.

The outputs of a changelog record are sent after the record is acknowledged. The next record of `CONFIRMED_KEY` holds the
changelog offset up to which outputs were sent. So the outbox of every record beyond the confirmed offset is sent again: the
same keys, values and headers, in order, before the flow of records resumes.

A local store has a confirmed offset, too: a chunk is written there after its outputs were acknowledged. Only the write that
ends a chunk or a restore sets it. The states of a store that a killed restore left behind are ahead of that offset, and must
not be taken for confirmed.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, NamedTuple, Protocol

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from streams.kafka.changelog import PLANE_PREFIX
from streams.kafka.errors import BrokerLost
from streams.kafka.patience import DELIVERY_TIMEOUT_S, PATIENCE_S, RETRY_S, away, leave
from streams.plane.crash import crash_point
from streams.plane.directory import LOCK_WAIT_S
from streams.plane.errors import ChangelogTruncated, Fenced
from streams.plane.fetch import spans
from streams.plane.outbox import Unconfirmed
from streams.plane.progress import Progress
from streams.plane.records import Output, confirmed_of
from streams.plane.store import BulkStore, Saved, StoreLocked

log = structlog.get_logger(__name__)

# Kafka forgets a tombstone 24 hours (delete.retention.ms) after compaction. A store that was not in use for longer could
# miss one and bring an erased key back. Half of that time leaves room for a topic with a shorter one and for wrong clocks.
STALE_AFTER_S = 12 * 3600.0

# Only the records of the last chunk are unconfirmed. With more records to read than this, the restore looks at the end of
# the changelog first. Otherwise it would collect the outboxes of the whole changelog on its way.
PROBE_BEYOND = 5_000
PROBE_RECORDS = 2_000

# RocksDB's own log costs a third more time per record; without it, a flush at the end costs some 20 ms per partition.
UNLOGGED_BEYOND = 20_000

# After each partition the event loop gets so many turns to answer a probe of its health: to accept, to read, to answer, to
# write.
TURNS_OF_A_PAGE = 10

POLL_MS = 200
CLAIM_CHECK_S = 0.1


class Plan(NamedTuple):
    """How to restore one partition.

    Attributes:
        start: the changelog offset to read from.
        confirmed: the offset up to which the local store confirms outputs.
        void: why the local store is void; None: it is not.
    """

    start: int
    confirmed: int
    void: str | None


def plan(
    saved: Saved | None, beginning: int, end: int, now: float, changelog_id: str = "", *, accepted: bool = False
) -> Plan:
    """How to restore a partition whose changelog holds offsets from `beginning` up to, not including, `end`.

    - Nothing is saved: read everything.
    - The store is of another changelog than the one with `changelog_id`, which was made again or is another cluster's: it is
      void.
    - The store is ahead of the changelog, which lost acknowledged records: it is void.
    - The store is so old that a deletion may have come and gone: it is void.
    - Else read from the store's offset, or from the confirmed offset where that is lower.

    Raises:
        ChangelogTruncated: the changelog's beginning was deleted beyond the store's offset. To go on would miss those
            changes; to start again would miss all changes before them. Or everything is to be read, and the beginning was
            deleted, and that is not `accepted`. A person has to choose.
    """
    todo = _plan(saved, beginning, end, now, changelog_id)
    if beginning > 0 and (saved is None or todo.void is not None) and not accepted:
        why = "there is no local store" if todo.void is None else f"the local store cannot be used ({todo.void})"
        raise ChangelogTruncated(
            f"the changelog begins at offset {beginning}: states that were written before may be gone, and {why}; start the "
            "worker whose store is complete, bring the records back, or set REGULARS_ACCEPT_TRUNCATED_CHANGELOG=true to go "
            "on with what the changelog still has"
        )
    return todo


def _plan(saved: Saved | None, beginning: int, end: int, now: float, changelog_id: str) -> Plan:
    if saved is None:
        return Plan(beginning, -1, None)
    if saved.changelog_id and changelog_id and saved.changelog_id != changelog_id:
        other = f"it is of the changelog with id {saved.changelog_id}, and this one has {changelog_id}"
        return Plan(beginning, -1, other)
    if saved.offset >= end:
        return Plan(beginning, -1, f"at offset {saved.offset} it is ahead of the changelog, which ends at {end}")
    if saved.offset + 1 < beginning:
        raise ChangelogTruncated(
            f"changelog records {saved.offset + 1} to {beginning - 1} were deleted and the local store has not seen "
            "them; bring them back, or, to go on with what the changelog still has, delete the local store and set "
            "REGULARS_ACCEPT_TRUNCATED_CHANGELOG=true"
        )
    if end > saved.offset + 1 and now - saved.at > STALE_AFTER_S:
        hours = (now - saved.at) / 3600
        return Plan(beginning, -1, f"it was last written {hours:.0f} hours ago: keys may have been erased since")
    return Plan(max(beginning, min(saved.offset, saved.confirmed) + 1), saved.confirmed, None)


class Overtaken(Exception):
    """Another rebalance began: this restore's partitions may have another owner by now."""


class RestoredInto(Protocol):
    """What a restore needs of the pipeline."""

    @property
    def progress(self) -> Progress:
        """The progress; its epoch names the current assignment."""

    async def open(self, partition: int, confirmed: int, check: Callable[[], None]) -> None:
        """Takes a partition whose store is complete; `check` raises where a rebalance has begun."""

    async def resend(self, partition: int, outputs: list[Output]) -> None:
        """Sends outputs again, and waits until they are acknowledged."""

    def count_restore(self, records: int, seconds: float) -> None:
        """Counts a restore that has finished."""


class RestoringWorld(Protocol):
    """What a restore needs of the process."""

    def states(self) -> BulkStore:
        """The local store."""

    async def claim(self, partition: int) -> None:
        """Makes this worker the only one that can write to a partition, with one record in the changelog."""

    def changelog_id(self) -> str:
        """Kafka's id of the changelog; empty: not known."""

    def fail(self, exc: BaseException) -> None:
        """Ends the process."""


class Restorer:
    """Restores the partitions of an assignment. One restore runs at a time; a new assignment ends the one before.

    Args:
        pipeline: takes each partition whose store is complete, and sends outputs again.
        world: local store, claims, and the process that a failure ends.
        new_consumer: makes the consumer that reads the changelog.
        topic: the changelog.
        accepted: whether it may begin later than what the local store knows.
    """

    def __init__(
        self,
        pipeline: "RestoredInto",
        world: "RestoringWorld",
        new_consumer: Callable[[], AIOKafkaConsumer],
        topic: str,
        *,
        accepted: bool = False,
    ) -> None:
        self._pipeline, self._world, self._new_consumer, self._topic = pipeline, world, new_consumer, topic
        self._accepted = accepted
        self._one_at_a_time = asyncio.Lock()
        self._read_so_far = 0

    @property
    def busy(self) -> bool:
        """Whether partitions are being restored."""
        return self._one_at_a_time.locked()

    async def restore(self, partitions: Iterable[int]) -> None:
        """Restores `partitions`; returns early where another rebalance begins.

        A failure ends the process here, because faust ignores what this hook raises.
        """
        epoch = self._pipeline.progress.epoch
        async with self._one_at_a_time:
            try:
                await self._persist(sorted(partitions), epoch)
            except Fenced as exc:
                if epoch == self._pipeline.progress.epoch:
                    self._world.fail(exc)
                log.info("restore overtaken by another worker's claim")
            except Overtaken:
                log.info("restore overtaken by another rebalance")
            except asyncio.CancelledError:
                raise
            except BaseException as exc:
                self._world.fail(exc)

    async def _persist(self, partitions: list[int], epoch: int) -> None:
        """Restores, and begins again where Kafka was away; the local stores keep what they have."""
        since = time.monotonic()
        while True:
            read = self._read_so_far
            try:
                return await self._restore(partitions, epoch)
            except KafkaError as exc:
                self._check(epoch)
                if not away(exc):
                    raise
                if self._read_so_far > read:
                    since = time.monotonic()
                if (silent_s := time.monotonic() - since) > PATIENCE_S:
                    raise BrokerLost(f"restore: Kafka has been away for {silent_s:.0f} s ({exc})") from exc
                log.warning("restore interrupted, Kafka is away", error=type(exc).__name__)
            await asyncio.sleep(RETRY_S)

    def _check(self, epoch: int) -> None:
        if epoch != self._pipeline.progress.epoch:
            raise Overtaken

    async def _restore(self, partitions: list[int], epoch: int) -> None:
        self._check(epoch)
        if not partitions:
            return
        began = time.perf_counter()
        store = self._world.states()
        for partition in partitions:
            await self._open(store, partition, epoch)
        consumer = self._new_consumer()
        try:
            await consumer.start()
            tps = {partition: TopicPartition(self._topic, partition) for partition in partitions}
            ends_before = await consumer.end_offsets(list(tps.values()))
            self._check(epoch)
            # An earlier owner may write up to its partition's claim, and those records are read. After it nothing gets in.
            await self._claim_all(partitions, epoch)
            ends = await consumer.end_offsets(list(tps.values()))
            beginnings = await consumer.beginning_offsets(list(tps.values()))
            consumer.assign(list(tps.values()))
            consumer.pause(*tps.values())
            self._check(epoch)
            changelog_id = self._world.changelog_id()
            tails: dict[TopicPartition, Unconfirmed] = {}
            starts: dict[TopicPartition, int] = {}
            for partition, tp in tps.items():
                todo = plan(
                    store.saved(partition),
                    beginnings[tp],
                    ends_before[tp],
                    time.time(),
                    changelog_id,
                    accepted=self._accepted,
                )
                if todo.void is not None:
                    store.set_aside(partition, todo.void)
                    store.open(partition)
                store.name_changelog(partition, changelog_id)
                if todo.start == beginnings[tp] > 0:
                    log.error("the beginning of the changelog was deleted", partition=partition, first=beginnings[tp])
                tails[tp], starts[tp] = Unconfirmed(todo.confirmed), todo.start
                if todo.start == ends_before[tp] == ends[tp] - 1:
                    starts[tp] = ends[tp]  # the only record is this worker's claim
                if ends[tp] - todo.start > PROBE_BEYOND:
                    await self._probe(consumer, tp, tails[tp], todo.start, ends[tp], epoch)
            records = await self._read(consumer, store, tails, starts, ends, epoch)
        finally:
            await leave(consumer)
        self._check(epoch)
        for partition, tp in tps.items():
            await self._finish(store, partition, tails[tp], ends[tp] - 1, epoch)
            for _ in range(TURNS_OF_A_PAGE):
                await asyncio.sleep(0)
            self._check(epoch)
        seconds = time.perf_counter() - began
        self._pipeline.count_restore(records, seconds)
        log.info("restored", partitions=partitions, records=records, seconds=round(seconds, 2))

    async def _claim_all(self, partitions: list[int], epoch: int) -> None:
        # Aiokafka looks for a coordinator for ever. A claim that arrived after the partitions moved would fence their new
        # owner.
        claims = {asyncio.ensure_future(self._world.claim(partition)) for partition in partitions}
        under_way, give_up = claims, time.monotonic() + DELIVERY_TIMEOUT_S
        try:
            while under_way:
                done, under_way = await asyncio.wait(under_way, timeout=CLAIM_CHECK_S)
                for claim in done:
                    claim.result()
                self._check(epoch)
                if under_way and time.monotonic() > give_up:
                    raise BrokerLost(f"partitions could not be claimed for {DELIVERY_TIMEOUT_S:.0f} s")
        finally:
            # Also the claims beside one that failed: the claims of a later attempt must be the last.
            for claim in under_way:
                claim.cancel()
            await asyncio.gather(*claims, return_exceptions=True)

    async def _open(self, store: BulkStore, partition: int, epoch: int) -> None:
        give_up = time.monotonic() + LOCK_WAIT_S
        while True:
            self._check(epoch)
            try:
                store.open(partition)
            except StoreLocked:
                if time.monotonic() > give_up:
                    raise
                await asyncio.sleep(0.2)
            else:
                return

    async def _probe(
        self, consumer: Any, tp: TopicPartition, tail: Unconfirmed, start: int, end: int, epoch: int
    ) -> None:
        """Finds the last confirmed offset, from the end backwards, in steps that grow."""
        width = PROBE_RECORDS
        while True:
            first = max(start, end - width)
            confirmed = False
            consumer.resume(tp)
            consumer.seek(tp, first)
            while await consumer.position(tp) < end:
                for records in (await consumer.getmany(tp, timeout_ms=POLL_MS)).values():
                    for record in records:
                        if (offset := confirmed_of(record, self._world.changelog_id())) is not None:
                            tail.confirm(offset)
                            confirmed = True
                self._check(epoch)
            consumer.pause(tp)
            if confirmed or first == start:
                return
            width *= 8

    async def _read(
        self,
        consumer: Any,
        store: BulkStore,
        tails: dict[TopicPartition, Unconfirmed],
        starts: dict[TopicPartition, int],
        ends: dict[TopicPartition, int],
        epoch: int,
    ) -> int:
        bulk = {tp for tp, start in starts.items() if ends[tp] - start > UNLOGGED_BEYOND}
        count = 0
        async with aclosing(spans(consumer._client, starts, ends)) as reading:
            async for tp, records, position in reading:
                self._check(epoch)
                states = self._states(records, tails[tp])
                store.write(tp.partition, states, position - 1, logged=tp not in bulk)
                crash_point("during_restore")
                count += len(records)
                self._read_so_far += len(records)
        self._check(epoch)
        return count

    def _states(self, records: Sequence[Any], tail: Unconfirmed) -> list[tuple[bytes, bytes | None]]:
        states = []
        for record in records:
            key = record.key
            if key[:2] != PLANE_PREFIX:
                states.append((key, record.value))
                tail.add(record.offset, record.headers)
            elif (confirmed := confirmed_of(record, self._world.changelog_id())) is not None:
                tail.confirm(confirmed)
            else:
                tail.add_part(record)
        return states

    async def _finish(self, store: BulkStore, partition: int, tail: Unconfirmed, last: int, epoch: int) -> None:
        store.flush(partition)
        if outputs := tail.outputs():
            log.info("sending outputs again", partition=partition, outputs=len(outputs), after=tail.confirmed)
            await self._pipeline.resend(partition, outputs)
            self._check(epoch)
        # -1: the changelog is empty, so there is no offset to note.
        if last >= 0:
            store.write(partition, (), last, confirmed=last)
        await self._pipeline.open(partition, last, partial(self._check, epoch))
