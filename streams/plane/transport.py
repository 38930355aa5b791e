"""Faust's aiokafka transport with micro-batches: polls go to the agent whole, and progress is explicit.

Faust keeps the thread, the group, the assignor, the listener and the commit loop. Records of a `BatchTopic` leave its
per-record path: one poll becomes one event. What may be committed is what the pipeline marked as durable.

This leans on the inside of faust 0.15.3 and aiokafka 0.14; `tests/contracts/test_seams_*.py` fail when that moves.
"""

import asyncio
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import structlog
from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.errors import (
    ConsumerStoppedError,
    GroupAuthorizationFailedError,
    InvalidSessionTimeoutError,
    KafkaError,
    MessageSizeTooLargeError,
    ProducerFenced,
    TopicAuthorizationFailedError,
)
from aiokafka.structs import ConsumerRecord
from faust.transport.consumer import ensure_TP
from faust.transport.drivers import aiokafka as base
from faust.types import TP, ConsumerMessage

from streams.kafka.errors import BrokerLost, Fenced, InfrastructureFailure, RecordTooLarge, TopicsNotReady
from streams.kafka.patience import DELIVERY_TIMEOUT_S, REQUEST_TIMEOUT_S, away, outlasting, patiently, renewing, within
from streams.plane.batch import Batch, BatchTopic
from streams.plane.crash import crash_point
from streams.plane.fence import FencedProducer, Writers
from streams.plane.portion import portion, taking_portions
from streams.plane.progress import Span
from streams.plane.records import CLAIM_KEY, Headers, PartitionGone

log = structlog.get_logger(__name__)

# Faust hard-codes 1500: on a quiet topic the broker would sit on a fetch, and with it on partitions added meanwhile.
FETCH_MAX_WAIT_MS = 50

# While a partition is throttled, a poll without records ends after this, so that it notices when the throttle ends.
THROTTLED_POLL_S = 0.05

# The broker's default max.message.bytes is 1,048,588 for a whole record batch; leave room for its framing.
MAX_BATCH_BYTES = 1_000_000


ALLOW_READ = "give the worker's principal Read and Describe on it and Read on the group"
ALLOW_WRITE = "give the worker's principal Write and Describe on the topics and Write on the transactional ids"


class Poll(NamedTuple):
    """What one poll returned: records by topic partition, and where each partition with records stands after it.

    `bytes`: keys, values and headers.
    """

    records: dict[TP, list[ConsumerRecord]]
    positions: dict[TP, int]
    bytes: int = 0


class ConsumerThread(base.AIOKafkaConsumerThread):
    """Faust's consumer thread; heartbeats renew the lease, polls also say where they ended."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        taking_portions()
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_MAX_WAIT_MS
        renewing(consumer._client)
        timeout_s = max(REQUEST_TIMEOUT_S, self.app.conf.broker_session_timeout)
        consumer._request_timeout_ms = consumer._client._request_timeout_ms = int(timeout_s * 1000)
        return consumer

    async def on_start(self) -> None:
        """Starts the consumer, waiting for a broker that is away, then listens to the answers its heartbeats get."""
        consumer = self._consumer = self._create_consumer(loop=self.thread_loop)
        self.time_started = time.monotonic()
        await patiently("starting the consumer", consumer.start)
        self._watch_heartbeats(consumer._coordinator)
        self._watch_refusals(consumer._coordinator)

    async def earliest_offsets(self, *partitions: TP) -> Mapping[TP, int]:
        """As faust's, waiting for a broker that is away: an exception in a rebalance would end the worker."""
        return await patiently("earliest offsets", lambda: super(ConsumerThread, self).earliest_offsets(*partitions))

    async def highwaters(self, *partitions: TP) -> Mapping[TP, int]:
        """As faust's, waiting for a broker that is away."""
        return await patiently("end offsets", lambda: super(ConsumerThread, self).highwaters(*partitions))

    def _watch_heartbeats(self, coordinator: Any) -> None:
        lease, heartbeat = self.app.lease, coordinator._do_heartbeat

        async def watched() -> bool:
            sent_at = lease.clock()
            answered: bool = await heartbeat()
            if answered:
                # a rebalance in progress also counts as answered, but asks for a rejoin
                lease.renew(sent_at, rebalancing=coordinator._rejoin_needed_fut.done())
            elif coordinator.generation == base.DEFAULT_GENERATION_ID:
                lease.lose()
            return answered

        coordinator._do_heartbeat = watched

    def _watch_refusals(self, coordinator: Any) -> None:
        """Ends the process where the group refuses it: aiokafka's coordinator then waits, for ever, to be asked why."""
        push = coordinator._push_error_to_user

        def pushed(exc: Exception) -> Any:
            if not away(exc):
                self.app.fail(InfrastructureFailure(self._refused(exc)))
            return push(exc)

        coordinator._push_error_to_user = pushed

    def _refused(self, exc: Exception) -> str:
        if isinstance(exc, InvalidSessionTimeoutError):
            return (
                f"Kafka refuses a session of {self.app.conf.broker_session_timeout:g} s (REGULARS_SESSION_TIMEOUT_S): it is "
                "beyond the brokers' group.min.session.timeout.ms or group.max.session.timeout.ms (unless set, 6 s and 30 "
                "minutes); change either"
            )
        if isinstance(exc, GroupAuthorizationFailedError):
            return f"Kafka does not allow to join the group {self.app.conf.id}; {ALLOW_READ}"
        if isinstance(exc, TopicAuthorizationFailedError):
            return f"Kafka does not allow to read {exc.args[0]}; {ALLOW_READ}"
        return f"Kafka refuses this worker in the group {self.app.conf.id}: {exc!r}"

    async def poll(self, active: set[TP], timeout_s: float) -> Poll:
        """Records of the `active` partitions, at most the configured number and a portion; empty after `timeout_s`."""
        # Not through the thread's method queue: its two workers cost four tasks a call, and this is every poll.
        future = asyncio.run_coroutine_threadsafe(self._poll(active, timeout_s), self.thread_loop)
        return await asyncio.wrap_future(future)

    async def _poll(self, active: set[TP], timeout_s: float) -> Poll:
        consumer = self._ensure_consumer()
        if not self.consumer.flow_active:
            return Poll({}, {})  # a fetch that begins after the flow stopped would wait for ever
        fetcher = consumer._fetcher
        if consumer._closed or fetcher._closed:
            raise ConsumerStoppedError
        with portion() as taking, fetcher._subscriptions.fetch_context():
            try:
                records = await fetcher.fetched_records(
                    active, timeout=timeout_s, max_records=consumer._max_poll_records
                )
            except TopicAuthorizationFailedError as exc:
                raise InfrastructureFailure(self._refused(exc)) from exc
            except UnicodeDecodeError as exc:
                raise InfrastructureFailure(self._unreadable(exc)) from exc
        if not records:
            return Poll({}, {})
        assignment = consumer._subscription.subscription.assignment
        return Poll(
            {ensure_TP(tp): found for tp, found in records.items()},
            {ensure_TP(tp): assignment.state_value(tp)._position for tp in records},
            taking.taken,
        )

    def _unreadable(self, exc: UnicodeDecodeError) -> str:
        """Which record aiokafka could not read, and how to go on: it never gets past the batch that holds it."""
        (found,) = (
            frame.f_locals
            for frame, _ in traceback.walk_tb(exc.__traceback__)
            if frame.f_code is PartitionRecords._unpack_records.__code__
        )
        tp, at, end = found["tp"], found["self"].next_fetch_offset, found["next_batch"].next_offset
        return (
            f"{tp.topic}[{tp.partition}]: the name of a header of the record at offset {at} is not UTF-8; "
            "mend its producer; to go on, leaving out what is from the committed offset up to there and the rest of its "
            f"batch, stop all workers and run Kafka's kafka-consumer-groups --group {self.app.conf.id} "
            f"--topic {tp.topic}:{tp.partition} --reset-offsets --to-offset {end} --execute"
        )

    def reached(self, tp: TP) -> int | None:
        """Position of the next fetch; None while unknown."""
        consumer = self._ensure_consumer()
        subscription = consumer._subscription.subscription
        assignment = None if subscription is None else subscription.assignment
        state = None if assignment is None else assignment.state_value(tp)
        return None if state is None else state._position


class Consumer(base.Consumer):
    """Faust's consumer; batches for the agent, and commits of what the pipeline's progress allows."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._delivered: dict[TP, int] = {}  # next offset to hand to the agent
        super().__init__(*args, **kwargs)

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def create_topic(self, *args: Any, **kwargs: Any) -> None:
        """Does nothing: topics are made by `regulars topics create` and checked when the app starts."""

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Does nothing: faust's stall detector counts events, and a batch is one event of one of its partitions."""

    # --- fetch

    def _batch_topics(self) -> dict[str, BatchTopic]:
        return {name: topic for topic in self.app.topics if isinstance(topic, BatchTopic) for name in topic.topics}

    async def _getmany(
        self,
        active_partitions: set[TP],
        timeout: float,  # noqa: ASYNC109 - faust's name
    ) -> Mapping[TP, list[ConsumerRecord]]:
        topics = self._batch_topics()
        pipeline = self.app.pipeline
        active = active_partitions - pipeline.throttled
        if len(active) < len(active_partitions):
            timeout = THROTTLED_POLL_S
        if self.app.rebalancing:
            # Until it ends faust may still seek, and flow_control.resume() clears every queue: take no batches.
            active = {tp for tp in active if tp.topic not in topics}
        if not active:  # fetched_records takes an empty set for all
            await self.sleep(0.02)
            return {}
        epoch, generation = pipeline.progress.epoch, self.app.consumer_generation_id
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
            current = epoch == pipeline.progress.epoch and generation == self.app.consumer_generation_id
            if not (current and self.flow_active and not self.app.rebalancing):
                await self._rewind()  # the fetch position has moved past records that nobody will process
                break
            if not await self._deliver(topic, self._batch(parts, poll, epoch, generation)):
                await self._rewind()
                break
        return cold

    def _pass_holes(self, active: set[TP], poll: Poll, epoch: int, topics: Mapping[str, BatchTopic]) -> None:
        """Moves on where a fetch passed offsets without records (transaction markers, compaction) and nothing waits."""
        progress = self.app.pipeline.progress
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
                    f"{tp.topic}[{tp.partition}] goes on at offset {records[0].offset}, below {start} where it stood: "
                    "the topic lost records or was made anew; reset the group's offsets to accept that"
                )
            spans[tp] = Span(start, max(poll.positions[tp], records[-1].offset + 1))
        return Batch(parts, spans, epoch, generation, poll.bytes)

    async def _deliver(self, topic: BatchTopic, batch: Batch) -> bool:
        """Puts the batch into the agent's queue, waiting for room; False where the flow stopped instead."""
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
        except Exception as exc:  # not assigned at the moment: the rebalance seeks when it ends
            log.debug("rewind left to the rebalance", error=repr(exc))

    async def perform_seek(self) -> None:
        """Seeks every partition to the next record to process.

        Unlike faust's: also where nothing, or 0, was committed (aiokafka skips those), within an assignment to what is
        done rather than committed, past what retention has deleted, saying so, and only by what the broker answered for
        this very assignment.
        """
        progress = self.app.pipeline.progress
        epoch = progress.epoch
        committed = {ensure_TP(tp): offset for tp, offset in (await self.seek_to_committed()).items()}
        topics = self._batch_topics()
        hot = {tp: offset for tp, offset in committed.items() if tp.topic in topics}
        fresh = [tp for tp, offset in hot.items() if not offset]
        found = await self.earliest_offsets(*hot) if hot else {}
        earliest = {ensure_TP(tp): offset for tp, offset in found.items()}
        known = {tp: position for tp in hot if (position := progress.position(tp)) is not None}
        stood = hot | known
        lost = {tp: at for tp, at in stood.items() if at is not None and at < earliest[tp]}
        if seeks := {tp: max(stood[tp] or 0, earliest[tp]) for tp in {*fresh, *known, *lost}}:
            await self.seek_wait(seeks)
        if epoch != progress.epoch:
            return  # another assignment meanwhile: its own seek follows
        for tp, at in lost.items():
            self.app.pipeline.count_lost(tp, at, earliest[tp])
        hot.update({tp: earliest[tp] for tp in {*fresh, *lost}})
        for tp, offset in committed.items():
            self._read_offset[tp] = offset if offset is not None and offset >= 0 else None
            if offset is not None:
                self._committed_offset[tp] = offset or None
        progress.begin(hot)
        self._delivered.update({tp: position for tp in hot if (position := progress.position(tp)) is not None})

    # --- commit

    def _filter_committable_offsets(self, tps: Iterable[TP]) -> dict[TP, int]:
        offsets: dict[TP, int] = super()._filter_committable_offsets(tps)
        committable = self.app.pipeline.progress.committable()
        return offsets | {tp: offset for tp, offset in committable.items() if self._should_commit(tp, offset)}

    async def _commit_offsets(self, offsets: Mapping[TP, int], start_new_transaction: bool = True) -> bool:
        crash_point("before_commit")
        committed: bool = await super()._commit_offsets(offsets, start_new_transaction)
        if committed:
            crash_point("after_commit")
        return committed

    async def commit_and_end_transactions(self) -> None:
        """The last commit before a revoke or the end: of all that is done by now.

        Faust's finds a commit of its loop under way, waits for it and leaves it at that; it may have begun before the last
        chunk was done, whose records would come again.
        """
        while await self.maybe_wait_for_commit_to_finish():
            pass
        await super().commit_and_end_transactions()

    def committed(self, tp: TP) -> int | None:
        """Last offset committed for the topic partition in this assignment; None: none yet."""
        offset: int | None = self._committed_offset.get(tp)
        return offset

    # --- assignment

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Waits for the batch in flight, commits, then forgets the assignment."""
        if revoked:
            log.info("partitions revoked", partitions=self._numbers(revoked))
        await super().on_partitions_revoked(revoked)
        self._forget()
        for tp in revoked:
            # faust pops it BEFORE its last commit sets it again: it would be stale when the partition returns
            self._committed_offset.pop(tp, None)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Starts a new assignment; positions come with the seek that ends the rebalance."""
        log.info("partitions assigned", partitions=self._numbers(assigned), generation=generation_id)
        self._forget()
        self.app.lease.renew(self.app.lease.clock())
        await super().on_partitions_assigned(assigned, generation_id)

    def _numbers(self, tps: Iterable[TP]) -> list[int]:
        return sorted({tp.partition for tp in tps if tp.topic in self.app.job.topics})

    def _forget(self) -> None:
        self.app.pipeline.forget()
        self.app.producer.writers.forget()
        self._delivered.clear()


class Delivery:
    """Record batches on their way to one partition."""

    __slots__ = ("_batches", "_lost", "_where")

    def __init__(
        self, where: str, batches: list[tuple[asyncio.Future[Any], int]], lost: Callable[[], Exception]
    ) -> None:
        self._where, self._batches, self._lost = where, batches, lost

    async def acknowledged(self) -> int:
        """Waits until all in-sync replicas have everything; offset of the last record.

        Raises:
            RecordTooLarge: a record is larger than the topic takes.
            BrokerLost: no answer for `DELIVERY_TIMEOUT_S`.
            TopicsNotReady: the topic has gone.
            InfrastructureFailure: the broker refused the records for another reason.
        """
        last = -1
        try:
            async with within(DELIVERY_TIMEOUT_S):
                for future, count in self._batches:
                    last = max(last, (await future).offset + count - 1)
        except TimeoutError as exc:
            raise self._lost() from exc
        except MessageSizeTooLargeError as exc:
            raise RecordTooLarge(f"{self._where}: a record exceeds the topic's max.message.bytes; raise that") from exc
        except ProducerFenced as exc:
            raise Fenced(f"{self._where}: another worker has claimed this partition meanwhile") from exc
        except TopicAuthorizationFailedError as exc:
            raise InfrastructureFailure(f"{self._where}: Kafka does not allow to write there; {ALLOW_WRITE}") from exc
        except KafkaError as exc:
            raise InfrastructureFailure(f"{self._where}: Kafka refused the records: {exc!r}") from exc
        return last


class Producer(base.Producer):
    """Faust's producer, idempotent, with whole record batches to a given partition.

    A claimed partition is written to under an identity of its own (`fence.py`); topics with one partition for all are
    not.
    """

    _producer_type = FencedProducer

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.writers = Writers(self._ensure_producer, self.app.conf.id)

    def _new_producer(self, transactional_id: str | None = None) -> Any:
        return outlasting(super()._new_producer(transactional_id))

    async def on_start(self) -> None:
        """Starts the producer that all partitions share, waiting for a broker that is away."""
        await super(base.Producer, self).on_start()
        producer = self._producer = self._new_producer()
        self.beacon.add(producer)
        await patiently("starting the producer", producer.start)

    async def claim(self, topic: str, partition: int) -> None:
        """Makes this worker the only one that can write to the partition, beginning with a record in `topic`.

        Raises:
            Fenced: another worker claimed it at the same time, and later.
            BrokerLost: no answer for `DELIVERY_TIMEOUT_S`.
        """
        try:
            async with within(DELIVERY_TIMEOUT_S):
                await self.writers.take(partition)
        except TimeoutError as exc:
            raise BrokerLost(f"{topic}[{partition}]: no producer id for {DELIVERY_TIMEOUT_S:.0f} s") from exc
        await (await self.send_batch(topic, partition, [(CLAIM_KEY, b"", [])])).acknowledged()

    async def create_topic(self, *args: Any, **kwargs: Any) -> None:
        """Does nothing: topics are made by `regulars topics create` and checked when the app starts."""

    def _settings_extra(self) -> Mapping[str, Any]:
        return {**super()._settings_extra(), "acks": "all", "enable_idempotence": True}

    def partition_of(self, topic: str, partition: int) -> int:
        """Where an output that was caused in `partition` goes: the same number, or 0 where there is only one."""
        # what the start found, not the producer's metadata: that knows a topic only after the first record for it
        return 0 if self.app.partition_counts[topic] == 1 else partition

    def _identity(self, topic: str, partition: int) -> Any:
        if self.app.partition_counts[topic] != self.app.conf.topic_partitions:
            return None
        identity = self.writers.of(partition)
        if identity is None:  # the shared one would get past the fence
            raise PartitionGone(partition)
        return identity

    async def send_batch(
        self, topic: str, partition: int, records: Iterable[tuple[bytes | None, bytes | None, Headers]]
    ) -> Delivery:
        """Hands records over in order, in as few record batches as fit; the delivery tells when they are safe."""
        producer: FencedProducer = self._ensure_producer()
        identity = self._identity(topic, partition)
        now_ms = int(time.time() * 1000)
        where = f"{topic}[{partition}]"
        batches: list[tuple[asyncio.Future[Any], int]] = []

        async def hand_over(batch: Any) -> asyncio.Future[Any]:
            # a new writer knows no topic: the first batch waits for metadata, which may not be there for a while
            delivery: asyncio.Future[Any] = await patiently(
                where, lambda: producer.send_batch(batch, topic, partition=partition), DELIVERY_TIMEOUT_S
            )
            return delivery

        def lost() -> Exception:
            if producer.client.cluster.partitions_for_topic(topic) is None:
                return TopicsNotReady(f"topic {topic} has gone; make it again with `regulars topics create`")
            return BrokerLost(f"{where}: Kafka did not acknowledge for {DELIVERY_TIMEOUT_S:.0f} s")

        batch, count = producer.create_batch(identity), 0
        append = batch.append
        try:
            for key, value, headers in records:
                if append(timestamp=now_ms, key=key, value=value, headers=headers) is None:
                    batches.append((await hand_over(batch), count))
                    batch, count = producer.create_batch(identity), 0
                    append = batch.append
                    append(timestamp=now_ms, key=key, value=value, headers=headers)  # the first always fits
                count += 1
            if count:
                batch.close()
                batches.append((await hand_over(batch), count))
        except BrokerLost as exc:
            raise lost() from exc
        except TopicAuthorizationFailedError as exc:
            raise InfrastructureFailure(f"{where}: Kafka does not allow to write there; {ALLOW_WRITE}") from exc
        except KafkaError as exc:
            raise InfrastructureFailure(f"{where}: records could not be sent: {exc!r}") from exc
        return Delivery(where, batches, lost)


class Transport(base.Transport):
    """What faust makes its consumer and producer from."""

    Consumer = Consumer
    Producer = Producer
