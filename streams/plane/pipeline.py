"""One chunk's order, from the records of a poll to durable effects, and what a job's surroundings may ask and do.

A chunk is all records of one partition number in one poll, over all input topics, with what further small polls brought
while the chunk before was under way; or work without records. Chunks of a partition run one after another:

1. decode; read the states of the keys; step
2. check that this worker may still write (lease)
3. send dead letters and the changelog; wait for both
4. send outputs; wait for them; tell the job
5. write the local store: states, changelog offset, confirmed offset
6. progress: now the records' offsets may be committed

Whatever fails, nothing after it happens: before 3 nothing was said to the world, between 3 and 5 the restore sends the
outputs again (`restore.py`), before 6 the records come again and the job skips those that its states have seen.
"""

import asyncio
import contextlib
import time
from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

import structlog
from aiokafka.structs import ConsumerRecord
from faust.types import TP

from streams.kafka.errors import BrokerLost, Fenced
from streams.kafka.patience import patiently
from streams.plane.batch import Batch
from streams.plane.crash import crash_point, crash_point_in_flight
from streams.plane.lease import Lease
from streams.plane.progress import Progress, Stale
from streams.plane.records import (
    CONFIRMED_KEY,
    OUTBOX_HEADER,
    Effects,
    Headers,
    Job,
    Output,
    PartitionGone,
    Put,
    Together,
    Work,
    encode_outbox,
)

log = structlog.get_logger(__name__)

# A last marker on revoke or stop only saves a successor from sending outputs again; it isn't worth a longer wait.
MARK_TIMEOUT_S = 2.0

DRAIN_TIMEOUT_S = 5.0

# How long a worker whose write was refused as an earlier owner's waits to hear from the group that it is out.
FENCED_PATIENCE_S = 60.0

# While one batch waits for acknowledgements, the next one's partitions are worked on: polls alternate between
# partitions, so most of that wait is filled. A third would only hold memory.
BATCHES_AT_ONCE = 2

# Small batches don't hold up the next poll: what comes while a partition waits for acknowledgements is its next chunk, all
# of it, instead of one chunk a poll. That takes a cycle of two round trips to the broker off each event's way.
SMALL_RECORDS = 500
SMALL_BYTES = 1 << 20  # records of the size of events; larger ones would fill memory, sixty-four portions of them
SMALL_BATCHES_AT_ONCE = 64
POLL_INTERVAL_S = 0.004  # between two polls while something is under way: each costs the time of some events

NO_HEADERS: Headers = []


class Position(NamedTuple):
    """Where an input topic partition stands: next offsets, and how many records are held.

    `done`: everything below is processed (or held). `committed`: None before the first commit of this assignment.
    """

    done: int
    committed: int | None
    held: int


class Counters:
    """What the pipeline did since the process began; `seconds` by stage, of the event loop's time."""

    def __init__(self) -> None:
        self.records = 0
        self.chunks = 0
        self.puts = 0
        self.outputs = 0
        self.dead_letters = 0
        self.changelog_records = 0
        self.resent = 0
        self.restored_records = 0
        self.restore_s = 0.0
        self.lost: Counter[str] = Counter()  # offsets by topic that were deleted before they were read
        self.seconds: dict[str, float] = dict.fromkeys(("decode", "get", "step", "produce", "write"), 0.0)


class States(Protocol):
    """The local store, as the pipeline uses it; see `store.BulkStore`."""

    def multi_get(self, partition: int, keys: list[bytes]) -> list[bytes | None]:
        """States of keys, in order."""

    def write(
        self, partition: int, items: Iterable[tuple[bytes, bytes | None]], offset: int, confirmed: int | None = None
    ) -> None:
        """Writes states and offsets at once."""

    def items(self, partition: int) -> Iterator[tuple[bytes, bytes]]:
        """Every key and state."""


class Acknowledgement(Protocol):
    """Records on their way; see `transport.Delivery`."""

    async def acknowledged(self) -> int:
        """Waits until they are safe; offset of the last one."""


class Sender(Protocol):
    """Sends records to one partition; see `transport.Producer`."""

    async def send_batch(
        self, topic: str, partition: int, records: Iterable[tuple[bytes | None, bytes | None, Headers]]
    ) -> Acknowledgement:
        """Hands records over in order."""

    def partition_of(self, topic: str, partition: int) -> int:
        """Where an output that was caused in `partition` goes."""


class Changelog:
    """Writes a partition's changelog: the one seam at which a fenced writer can take over."""

    def __init__(self, topic: str, sender: Callable[[], Sender]) -> None:
        self.topic, self._sender = topic, sender

    async def send(self, partition: int, puts: Iterable[Put], confirmed: int) -> Acknowledgement:
        """Sends states with their outboxes, then the marker that says what is confirmed; its offset is acknowledged."""
        records = [
            (put.key, put.value, [(OUTBOX_HEADER, encode_outbox(put.outputs))] if put.outputs else NO_HEADERS)
            for put in puts
        ]
        records.append((CONFIRMED_KEY, b"%d" % confirmed, NO_HEADERS))
        return await self._sender().send_batch(self.topic, partition, records)


class _Turn:
    """What a poll brought for one partition, waiting for the chunks before it."""

    __slots__ = ("batch", "taken", "tps")

    def __init__(self, batch: Batch, tps: list[TP]) -> None:
        self.batch, self.tps, self.taken = batch, tps, False


class _Owned:
    """A partition of this worker: its serial order, the confirmed changelog offset and the last one written down."""

    __slots__ = ("confirmed", "lock", "marked", "turns")

    def __init__(self, confirmed: int) -> None:
        self.lock = asyncio.Lock()
        self.confirmed = self.marked = confirmed
        self.turns: deque[_Turn] = deque()

    def take(self, epoch: int) -> list[_Turn]:
        """Turns that make the next chunk: the first, and small ones behind it; earlier assignments' are dropped."""
        found: list[_Turn] = []
        records = 0
        while self.turns:
            turn = self.turns[0]
            if turn.batch.epoch == epoch:
                records += sum(len(turn.batch.records[tp]) for tp in turn.tps)
                if found and records > SMALL_RECORDS:
                    break
                found.append(turn)
            turn.taken = True
            self.turns.popleft()
        return found


class Pipeline:
    """Runs a job over the partitions that this worker owns.

    Args:
        job: what is run.
        store, sender: given lazily, because faust makes them when the app starts.
        changelog: writes states.
        lease: whether this worker may write.
        fail: ends the process; never returns in production.
    """

    def __init__(
        self,
        job: Job[Any],
        *,
        store: Callable[[], States],
        sender: Callable[[], Sender],
        changelog: Changelog,
        lease: Lease,
        fail: Callable[[BaseException], None],
    ) -> None:
        self.job = job
        self.progress = Progress()
        self.throttled: frozenset[TP] = frozenset()
        self.counters = Counters()
        self.ready = False
        self._store, self._sender, self._changelog, self._lease, self._fail = store, sender, changelog, lease, fail
        self._owned: dict[int, _Owned] = {}
        self._closing = False
        self._unstepped: list[tuple[int, Work, Sequence[bytes | None], asyncio.Future[Effects]]] = []
        self._waiting: set[asyncio.Task[None]] = set()  # to hear that a partition is gone
        self._in_flight = 0  # chunks, and work from outside
        self._batches: dict[asyncio.Task[None], Batch] = {}
        self._ticks: list[tuple[float, Callable[[], Awaitable[None]]]] = []
        self._drains: list[Callable[[], Awaitable[None]]] = []
        self._topic_order = {topic: index for index, topic in enumerate(job.topics)}
        # set by the app: committed offset of a topic partition
        self.committed: Callable[[TP], int | None] = lambda tp: None

    # --- for the job's surroundings

    def partitions(self) -> frozenset[int]:
        """Partitions that this worker owns and whose stores are complete."""
        return frozenset(self._owned)

    def multi_get(self, partition: int, keys: list[bytes]) -> list[bytes | None]:
        """States of keys of an owned partition, in order; None where there is none.

        Raises:
            PartitionGone: the partition isn't owned.
        """
        self._owned_or_gone(partition)
        return self._store().multi_get(partition, keys)

    def items(self, partition: int) -> Iterator[tuple[bytes, bytes]]:
        """Every key and state of an owned partition, in byte order. Consume it before any await.

        Raises:
            PartitionGone: the partition isn't owned.
        """
        self._owned_or_gone(partition)
        return self._store().items(partition)

    async def apply(self, partition: int, work: Work) -> None:
        """Steps `work` that has no records, in the partition's serial order, and returns when its effects are durable.

        Raises:
            PartitionGone: the partition isn't owned, or stopped being so before anything was written.
        """
        await self._from_outside(partition, work, ())

    async def release(self, partition: int, records: Sequence[ConsumerRecord], work: Work) -> None:
        """As `apply`, and then `records`, held until now, no longer hold commits back.

        Raises:
            PartitionGone: as in `apply`; the records come again where the partition goes.
        """
        await self._from_outside(partition, work, records)

    async def claim_again(self, claim: Callable[[int], Awaitable[None]]) -> None:
        """Awaits `claim` of each partition between two of its chunks; one that goes away meanwhile is its next owner's.

        What that adds to the changelog is written down: a store that doesn't know of it, of a partition in which nothing
        happens, is taken at the next start for one that slept.
        """
        for partition in sorted(self._owned):
            with contextlib.suppress(PartitionGone):
                await patiently("claiming again", partial(self._claim, partition, claim))

    async def _claim(self, partition: int, claim: Callable[[int], Awaitable[None]]) -> None:
        owned = self._owned_or_gone(partition)
        with self._under_way(partition):
            async with owned.lock:
                await self._may_write(partition, owned)
                await claim(partition)
                self._check(partition, owned)
                await self._mark(partition, owned)

    def throttle(self, tps: Iterable[TP]) -> None:
        """Leaves topic partitions out of polls, without blocking others; a rebalance ends it."""
        self.throttled |= frozenset(tps)

    def unthrottle(self, tps: Iterable[TP]) -> None:
        """Takes topic partitions into polls again."""
        self.throttled -= frozenset(tps)

    def on_tick(self, interval_s: float, callback: Callable[[], Awaitable[None]]) -> None:
        """Awaits `callback` every `interval_s` while `ready`, never twice at a time; register before the app starts.

        It may raise PartitionGone (ignored); any other exception ends the process.
        """
        self._ticks.append((interval_s, callback))

    def on_drain(self, callback: Callable[[], Awaitable[None]]) -> None:
        """Awaits `callback` on SIGTERM, for at most 5 s, before the last commit: the place to release held records."""
        self._drains.append(callback)

    def positions(self) -> dict[TP, Position]:
        """Where every assigned input topic partition stands."""
        return {
            tp: Position(done, self.committed(tp), self.progress.held(tp))
            for tp in self._tps(self._owned)
            if (done := self.progress.position(tp)) is not None
        }

    # --- chunks

    async def submit(self, batch: Batch) -> None:
        """Starts a batch; returns when there is room for the next one. Chunks of a partition keep their order."""
        # asyncio.Lock is fair: this batch's chunks wait for their partitions behind those of the one before
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
            with self._under_way(partition):
                await chunk
        except (PartitionGone, Stale):
            log.info("chunk dropped: the partition went away", partition=partition)
        except Exception as exc:
            self._fail(exc)

    @contextlib.contextmanager
    def _under_way(self, partition: int) -> Iterator[None]:
        """What `quiesce` waits for. A partition that turns out to be another worker's is given up."""
        self._in_flight += 1
        try:
            yield
        except Fenced as exc:
            self._lost(partition, exc)
            raise PartitionGone(partition) from None
        finally:
            self._in_flight -= 1

    async def _chunk(self, partition: int, tps: list[TP], batch: Batch) -> None:
        owned = self._owned_or_gone(partition)
        owned.turns.append(turn := _Turn(batch, tps))
        async with owned.lock:
            if turn.taken:
                return  # with the chunk before
            epoch = self.progress.epoch
            turns = owned.take(epoch)
            if not turns:
                raise Stale
            self._check(partition, owned)
            records = self._fresh(turns)
            held: list[tuple[TP, int]] = []
            if records:
                began = time.perf_counter()
                work = self.job.decode(partition, records)
                self.counters.seconds["decode"] += time.perf_counter() - began
                crash_point("after_decode")
                await self._effect(partition, owned, work)
                held = [(TP(record.topic, record.partition), record.offset) for record in work.held]
            for one in turns:
                self.progress.done(epoch, {tp: one.batch.spans[tp] for tp in one.tps}, held)
            self.counters.records += len(records)

    def _fresh(self, turns: Sequence[_Turn]) -> list[ConsumerRecord]:
        """Records of the turns, by topic in the job's order, then by offset."""
        records: list[ConsumerRecord] = []
        for tp in sorted({tp for turn in turns for tp in turn.tps}, key=lambda tp: self._topic_order[tp.topic]):
            done = self.progress.position(tp)
            for turn in turns:
                found = turn.batch.records.get(tp)
                if found:
                    # after a rewind within an assignment, records that were handed over before come again
                    again = done is not None and found[0].offset < done
                    records += [record for record in found if record.offset >= (done or 0)] if again else found
                    done = max(done or 0, found[-1].offset + 1)
        return records

    async def _from_outside(self, partition: int, work: Work, records: Sequence[ConsumerRecord]) -> None:
        if self._closing:
            raise PartitionGone(partition)
        owned, epoch = self._owned_or_gone(partition), self.progress.epoch
        try:
            with self._under_way(partition):
                async with owned.lock:
                    if epoch != self.progress.epoch or self._owned.get(partition) is not owned:
                        raise PartitionGone(partition)
                    await self._effect(partition, owned, work)
                    self.progress.release(
                        epoch, [(TP(record.topic, record.partition), record.offset) for record in records]
                    )
        except Stale:
            raise PartitionGone(partition) from None
        except PartitionGone:
            raise
        except Exception as exc:
            self._fail(exc)
            raise

    def _stepped(self, partition: int, work: Work, values: Sequence[bytes | None]) -> "asyncio.Future[Effects]":
        """The effects of a chunk; chunks that are ready in the same turn of the loop are stepped in one call."""
        future: asyncio.Future[Effects] = asyncio.get_running_loop().create_future()
        self._unstepped.append((partition, work, values, future))
        if len(self._unstepped) == 1:
            asyncio.get_running_loop().call_soon(self._step_all)
        return future

    def _step_all(self) -> None:
        waiting, self._unstepped = self._unstepped, []
        taken = []
        for chunk in waiting:
            if chunk[0] in self._owned:
                taken.append(chunk)
            elif not chunk[3].done():  # a rebalance came in between
                chunk[3].set_exception(PartitionGone(chunk[0]))
        if not taken:
            return
        began = time.perf_counter()
        try:
            if isinstance(self.job, Together):
                effects = self.job.steps([(partition, work, values) for partition, work, values, _ in taken])
            else:
                effects = [self.job.step(partition, work, values) for partition, work, values, _ in taken]
        except Exception as exc:  # whoever waits for a step ends the process over it
            for *_, future in taken:
                if not future.done():
                    future.set_exception(exc)
            return
        self.counters.seconds["step"] += time.perf_counter() - began
        for (*_, future), effect in zip(taken, effects, strict=True):
            if not future.done():
                future.set_result(effect)

    async def _effect(self, partition: int, owned: _Owned, work: Work) -> None:
        """The order of a chunk from the states to the local store; the caller holds the partition's lock."""
        counters, seconds, clock = self.counters, self.counters.seconds, time.perf_counter
        began = clock()
        values = self._store().multi_get(partition, work.keys) if work.keys else []
        got = clock()
        seconds["get"] += got - began
        effects = await self._stepped(partition, work, values)
        stepped = clock()
        counters.chunks += 1
        puts, dead_letters, told = effects
        if not puts and not dead_letters:
            return
        if len({put.key for put in puts}) < len(puts):
            raise ValueError(f"partition {partition}: a step put one key twice")
        crash_point("before_changelog")
        await self._may_write(partition, owned)
        crash_point("after_lease")
        letters = await self._send(partition, dead_letters)
        self._check(partition, owned)
        if puts:
            writing = await self._changelog.send(partition, puts, owned.confirmed)
            await crash_point_in_flight("between_changelog_and_ack")
            offset = await writing.acknowledged()
        for letter in letters:
            await letter.acknowledged()
        crash_point("before_outputs")
        self._check(partition, owned)  # else the restore of whoever has it now has sent them
        sent = await self._send(partition, [output for put in puts for output in put.outputs])
        for delivery in sent:
            await delivery.acknowledged()
            crash_point("between_output_acks")
        if told is not None:
            told()
        produced = clock()
        seconds["produce"] += produced - stepped
        counters.dead_letters += len(dead_letters)
        if puts:
            crash_point("before_store")
            owned.marked, owned.confirmed = owned.confirmed, offset
            self._store().write(partition, [(put.key, put.value) for put in puts], offset, confirmed=offset)
            seconds["write"] += clock() - produced
            counters.puts += len(puts)
            counters.changelog_records += len(puts) + 1
            counters.outputs += sum(len(put.outputs) for put in puts)
            crash_point("after_store")

    async def _may_write(self, partition: int, owned: _Owned) -> None:
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
            await asyncio.sleep(0.05)
        self._check(partition, owned)

    def _check(self, partition: int, owned: _Owned) -> None:
        """Raises PartitionGone where the partition left since the work began, even if it came back."""
        if self._owned.get(partition) is not owned:
            raise PartitionGone(partition)

    async def _send(self, partition: int, outputs: Sequence[Output]) -> list[Acknowledgement]:
        if not outputs:
            return []
        sender = self._sender()
        by_topic: dict[str, list[tuple[bytes | None, bytes | None, Headers]]] = defaultdict(list)
        for topic, key, value, headers in outputs:
            by_topic[topic].append((key, value, headers))
        return [
            await sender.send_batch(topic, sender.partition_of(topic, partition), records)
            for topic, records in by_topic.items()
        ]

    async def resend(self, partition: int, outputs: list[Output]) -> None:
        """Sends outputs of a restore again, in order, and waits for them."""
        deliveries = await self._send(partition, outputs)
        await crash_point_in_flight("during_resend")
        for delivery in deliveries:
            await delivery.acknowledged()
        self.counters.resent += len(outputs)

    def count_restore(self, records: int, seconds: float) -> None:
        """A restore finished."""
        self.counters.restored_records += records
        self.counters.restore_s += seconds

    def count_lost(self, tp: TP, start: int, first: int) -> None:
        """Records from offset `start` on, where the topic partition stood, up to, not including, `first` are gone."""
        self.counters.lost[tp.topic] += first - start
        log.error(
            "records deleted before they were read: retention is shorter than this group was behind",
            topic=tp.topic,
            partition=tp.partition,
            stood_at=start,
            goes_on_at=first,
            lost=first - start,
        )

    # --- assignment

    def open(self, partition: int, confirmed: int) -> None:
        """Takes a partition whose store is complete."""
        items = self._store().items(partition)
        self.job.restored(partition, items)
        self._owned[partition] = _Owned(confirmed)

    def resume(self) -> None:
        """A rebalance ended: work from outside is taken, ticks run."""
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
        while self._in_flight or self._batches:  # noqa: ASYNC110 - once a rebalance; an event would have to be set every chunk
            await asyncio.sleep(0.005)

    async def close(self) -> None:
        """Gives every partition up: writes down what is confirmed, so that a successor sends nothing again."""
        marks = []
        for partition, owned in list(self._owned.items()):
            async with owned.lock:
                if owned.marked < owned.confirmed and self._lease.held:
                    marks.append(self._mark(partition, owned))
        try:
            async with asyncio.timeout(MARK_TIMEOUT_S):
                await asyncio.gather(*marks)
        except Exception as exc:  # nothing is lost: the successor sends the last chunk's outputs again
            log.warning("confirmed offsets not written down", error=repr(exc))
        crash_point("during_revoke")
        self.forget()

    async def _mark(self, partition: int, owned: _Owned) -> None:
        offset = await (await self._changelog.send(partition, (), owned.confirmed)).acknowledged()
        owned.marked = owned.confirmed = offset
        self._store().write(partition, (), offset, confirmed=offset)

    def forget(self) -> None:
        """Ends the assignment at once: holds are dropped, chunks in flight can no longer write or count."""
        owned, self._owned = self._owned, {}
        self.ready = False
        self._closing = True
        self.throttled = frozenset()
        self.progress.forget()
        for partition in owned:
            self.job.revoked(partition)

    def _lost(self, partition: int, exc: Fenced) -> None:
        """Gives up a partition that another worker has claimed: this one was out of the group and is yet to hear it."""
        log.warning("partition lost: another worker has claimed it", partition=partition)
        if self._owned.pop(partition, None) is not None:
            self.job.revoked(partition)
        waiting = asyncio.create_task(self._hear(self.progress.epoch, exc))
        self._waiting.add(waiting)
        waiting.add_done_callback(self._waiting.discard)

    async def _hear(self, epoch: int, exc: Fenced) -> None:
        # A heartbeat's answer ends the assignment in a second or so. Where none does, somebody outside the group writes
        # under its name; the process must not go on as if it owned what it can't write to.
        give_up = self._lease.clock() + FENCED_PATIENCE_S
        while self.progress.epoch == epoch:
            if self._lease.clock() > give_up:
                self._fail(exc)
            await asyncio.sleep(0.1)

    def _owned_or_gone(self, partition: int) -> _Owned:
        try:
            return self._owned[partition]
        except KeyError:
            raise PartitionGone(partition) from None

    def _tps(self, partitions: Iterable[int]) -> list[TP]:
        return [TP(topic, partition) for partition in partitions for topic in self.job.topics]

    # --- ticks

    async def tick(self, stopped: Callable[[], bool]) -> None:
        """Runs the registered callbacks until `stopped`."""
        await asyncio.gather(*(self._tick(interval_s, callback, stopped) for interval_s, callback in self._ticks))

    async def _tick(
        self, interval_s: float, callback: Callable[[], Awaitable[None]], stopped: Callable[[], bool]
    ) -> None:
        while not stopped():
            await asyncio.sleep(interval_s)
            if self.ready:
                try:
                    await callback()
                except (PartitionGone, Stale):
                    continue
                except Exception as exc:
                    self._fail(exc)
                    raise
