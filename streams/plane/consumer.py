"""Faust's consumer with micro-batches: polls go to the agent whole, and the pipeline says what may be committed.

Faust keeps the thread, the group, the assignor, the listener and the commit loop. The records of a `BatchTopic` leave its
per-record path: one poll becomes one event.

This relies on the inside of faust 0.15.3 and aiokafka 0.14; `tests/contracts/test_seams_libraries.py` guards that.
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

import structlog
from aiokafka.structs import ConsumerRecord
from faust.transport.consumer import ensure_TP
from faust.transport.drivers import aiokafka as base
from faust.types import TP, ConsumerMessage

from streams.kafka.errors import InfrastructureFailure
from streams.plane.batch import Batch, BatchTopic
from streams.plane.crash import crash_point
from streams.plane.lease import Lease
from streams.plane.pipeline import Pipeline
from streams.plane.polling import ConsumerThread, Poll
from streams.plane.ports import World
from streams.plane.progress import Span

log = structlog.get_logger(__name__)

# While a partition is throttled, a poll without records ends after this time, and the next one looks at the throttle again.
THROTTLED_POLL_S = 0.05

# A poll that has no partition to ask comes back after this time.
NOTHING_ASSIGNED_S = 0.02


class Consumer(base.Consumer):
    """Faust's consumer, which gives the agent batches, and commits what the pipeline's progress allows.

    Args:
        pipeline: its progress says what may be committed; it hears of each assignment's end.
        lease: begins with the assignment.
        world: claims, which end with the assignment, and the process that a refusal ends.
    """

    def __init__(self, *args: Any, pipeline: Pipeline, lease: Lease, world: World, **kwargs: Any) -> None:
        self._pipeline, self._lease, self._world = pipeline, lease, world
        self._progress = pipeline.progress
        self._delivered: dict[TP, int] = {}  # the next offset to hand to the agent
        super().__init__(*args, **kwargs)

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon, lease=self._lease, world=self._world)

    async def create_topic(self, *args: Any, **kwargs: Any) -> None:
        """Does nothing: `regulars topics create` makes the topics, and the app checks them when it starts."""

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Does nothing: faust's stall detector counts events, but a batch of many partitions is a single event."""

    # --- fetch

    def _batch_topics(self) -> dict[str, BatchTopic]:
        return {name: topic for topic in self.app.topics if isinstance(topic, BatchTopic) for name in topic.topics}

    async def _getmany(
        self,
        active_partitions: set[TP],
        timeout: float,  # noqa: ASYNC109 - faust's name
    ) -> Mapping[TP, list[ConsumerRecord]]:
        topics = self._batch_topics()
        progress = self._progress
        active = active_partitions - self._pipeline.throttled
        if len(active) < len(active_partitions):
            timeout = THROTTLED_POLL_S
        if self.app.rebalancing:
            # Until the rebalance ends, faust may still seek, and flow_control.resume() clears every queue: poll no batches.
            active = {tp for tp in active if tp.topic not in topics}
        if not active:  # for fetched_records an empty set means all partitions
            await self.sleep(NOTHING_ASSIGNED_S)
            return {}
        epoch, generation = progress.epoch, self.app.consumer_generation_id
        poll = await self._thread.poll(active, timeout)
        self._pass_holes(active, poll, epoch, topics)
        hot: dict[BatchTopic, dict[TP, list[ConsumerRecord]]] = {}
        cold: dict[TP, list[ConsumerRecord]] = {}
        for tp, records in poll.records.items():
            if (topic := topics.get(tp.topic)) is None:
                cold[tp] = records
            else:
                hot.setdefault(topic, {})[tp] = records
        for topic, parts in hot.items():
            current = epoch == progress.epoch and generation == self.app.consumer_generation_id
            if not (current and self.flow_active and not self.app.rebalancing):
                await self._rewind()  # the fetch position has moved past records that will not be processed
                break
            if not await self._deliver(topic, self._batch(parts, poll, epoch, generation)):
                await self._rewind()
                break
        return cold

    def _pass_holes(self, active: set[TP], poll: Poll, epoch: int, topics: Mapping[str, BatchTopic]) -> None:
        """Advances where a fetch passed offsets without records (transaction markers, compaction) and nothing waits."""
        progress = self._progress
        if epoch != progress.epoch or self.app.rebalancing:
            return
        for tp in active:
            if tp.topic in topics and tp not in poll.records and (start := self._delivered.get(tp)) is not None:
                position = self._thread.reached(tp)
                if position is not None and position > start == progress.position(tp):
                    progress.done(epoch, {tp: Span(start, position)})
                    self._delivered[tp] = position

    def _batch(self, parts: dict[TP, list[ConsumerRecord]], poll: Poll, epoch: int, generation: int) -> Batch:
        spans = {}
        for tp, records in parts.items():
            start = self._delivered[tp]
            if records[0].offset < start:
                raise InfrastructureFailure(
                    f"{tp.topic}[{tp.partition}] continues at offset {records[0].offset}, but {start} was reached before: "
                    "the topic lost records or was made again; reset the group's offsets to accept that"
                )
            spans[tp] = Span(start, max(poll.positions[tp], records[-1].offset + 1))
        return Batch(parts, spans, epoch, generation, poll.bytes)

    async def _deliver(self, topic: BatchTopic, batch: Batch) -> bool:
        """Puts the batch into the agent's queue and waits for room there; False where the flow stopped instead."""
        tp, records = next(iter(batch.records.items()))
        last = records[-1]
        message = ConsumerMessage(
            tp.topic,
            tp.partition,
            last.offset,
            last.timestamp / 1000.0,
            0,
            None,
            None,
            batch,
            None,
            0,
            0,
            tp,
            generation_id=batch.generation,
        )
        put = asyncio.ensure_future(topic.put(self.app.create_event(None, batch, {}, message)))
        # flow_control.clear() cancels putters that wait (mode/utils/queues.py, ThrowableQueue.clear). A CancelledError
        # that leaves this coroutine would end the Fetcher, and its handler the worker (faust/transport/consumer.py).
        try:
            if not put.done():
                await self.wait_first(put, self.suspend_flow.wait())
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
        finally:
            if not put.done():
                put.cancel()
        if put.cancelled() or not put.done() or put.exception() is not None:
            return False
        self._delivered.update({tp: span.end for tp, span in batch.spans.items()})
        return True

    async def _rewind(self) -> None:
        try:
            await self.perform_seek()
        except Exception as exc:  # the partitions are not assigned at the moment: the rebalance seeks when it ends
            log.debug("rewind left to the rebalance", error=repr(exc))

    async def perform_seek(self) -> None:
        """Seeks every partition to the next record to process. It differs from faust's method in four ways.

        It also seeks where nothing, or 0, was committed; aiokafka skips those. Within an assignment it seeks to what is
        done, not to what is committed. It goes past records that retention has deleted, and counts them. It uses only
        what the broker answered for this assignment.
        """
        progress = self._progress
        epoch = progress.epoch
        committed = {ensure_TP(tp): offset for tp, offset in (await self.seek_to_committed()).items()}
        topics = self._batch_topics()
        hot = {tp: offset for tp, offset in committed.items() if tp.topic in topics}
        fresh = [tp for tp, offset in hot.items() if not offset]
        earliest = {ensure_TP(tp): at for tp, at in (await self.earliest_offsets(*hot) if hot else {}).items()}
        known = {tp: position for tp in hot if (position := progress.position(tp)) is not None}
        stood = hot | known
        lost = {tp: at for tp, at in stood.items() if at is not None and at < earliest[tp]}
        if seeks := {tp: max(stood[tp] or 0, earliest[tp]) for tp in {*fresh, *known, *lost}}:
            await self.seek_wait(seeks)
        if epoch != progress.epoch:
            return  # another assignment has begun: its own seek follows
        for tp, at in lost.items():
            self._pipeline.count_lost(tp, at, earliest[tp])
        hot.update({tp: earliest[tp] for tp in {*fresh, *lost}})
        for tp, offset in committed.items():
            self._read_offset[tp] = offset if offset is not None and offset >= 0 else None
            if offset is not None:
                self._committed_offset[tp] = offset or None
        progress.begin(hot)
        progress.commit(epoch, {tp: offset for tp, offset in committed.items() if offset})
        self._delivered.update({tp: position for tp in hot if (position := progress.position(tp)) is not None})

    # --- commit

    def _filter_committable_offsets(self, tps: Iterable[TP]) -> dict[TP, int]:
        offsets: dict[TP, int] = super()._filter_committable_offsets(tps)
        committable = self._progress.committable()
        return offsets | {tp: offset for tp, offset in committable.items() if self._should_commit(tp, offset)}

    async def _commit_offsets(self, offsets: Mapping[TP, int], start_new_transaction: bool = True) -> bool:
        epoch = self._progress.epoch
        crash_point("before_commit")
        committed: bool = await super()._commit_offsets(offsets, start_new_transaction)
        if committed:
            crash_point("after_commit")
            self._progress.commit(epoch, offsets)
        return committed

    async def commit_and_end_transactions(self) -> None:
        """The last commit before a revoke or the end: of everything that is done by now.

        Where a commit of faust's loop is under way, faust's method only waits for it. That commit may have begun before the
        last chunk was done, and the records of that chunk would come again.
        """
        while await self.maybe_wait_for_commit_to_finish():
            pass
        await super().commit_and_end_transactions()

    # --- assignment

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Waits for the batch in flight, commits, then forgets the assignment."""
        if revoked:
            log.info("partitions revoked", partitions=self._numbers(revoked))
        await super().on_partitions_revoked(revoked)
        self._forget()
        for tp in revoked:
            # Faust pops it before its last commit sets it again. It would be stale when the partition returns.
            self._committed_offset.pop(tp, None)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Begins a new assignment; its positions come with the seek that ends the rebalance."""
        log.info("partitions assigned", partitions=self._numbers(assigned), generation=generation_id)
        self._forget()
        self._lease.renew(self._lease.clock())
        await super().on_partitions_assigned(assigned, generation_id)

    def _numbers(self, tps: Iterable[TP]) -> list[int]:
        return sorted({tp.partition for tp in tps if tp.topic in self._pipeline.job.topics})

    def _forget(self) -> None:
        self._pipeline.forget()
        self._world.forget_claims()
        self._delivered.clear()
