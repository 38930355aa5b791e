"""The one learner: model-train in, model-snapshots out.

    take over -> { poll -> dead letters acked -> learn in order -> publish when due, acked } -> publish, leave

What was learnt and how far model-train was read are in one snapshot, so the last published snapshot is the only
checkpoint: whoever takes over restores it and reads on from its offset. The offsets committed to the group only show
the lag. A version that the scoreboard finds worse than the one before is taken back at once: what is published then has
the previous version's weights, and learning goes on from those. model-train has one partition, so the group gives it to
one trainer; a second one stays a spare until the first leaves. Stopped at any point, it has published whole snapshots
or none.

Kafka may be away for `streams.kafka.patience.PATIENCE_S` at any moment: starts, reads and writes wait for it. Where the
group took model-train away meanwhile, what was learnt and not published is learnt again, from the last snapshot on.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError, KafkaTimeoutError

from models.learning.course import Course
from models.learning.learner import Judged, Learner
from models.learning.snapshots import DYNAMIC, Snapshot, SnapshotError, decode_snapshot, encode_snapshot
from models.scores import Scorer
from schemas.learning import Label
from schemas.topics import DEAD_LETTERS, MODEL_SNAPSHOTS, MODEL_TRAIN
from streams.kafka.broadcast import check_exists, check_single_partition, read_latest
from streams.kafka.clients import lasting_producer, member_consumer
from streams.kafka.errors import BrokerLost
from streams.kafka.patience import PATIENCE_S, leave, patiently
from streams.kafka.refusals import explaining_refusals
from streams.settings import Settings
from streams.training.labels import decoded
from streams.training.pages import State, TrainerView

SNAPSHOT_KEY = DYNAMIC.encode()

# 500 labels take about a tenth of a second to learn, in which the loop sends no heartbeat; one is due every 3 seconds.
_POLL_RECORDS, _POLL_MS = 500, 500
# A dead letter has up to 2 MiB and its headers (`schemas.letters`), a snapshot less; both topics take 4 MiB.
_REQUEST_BYTES = 4 * 1024 * 1024
# How often the end of model-train is asked for, and how long an answer may take: it is there in milliseconds.
_ASK_EVERY_S = 5.0
# A commit only shows the lag; where it isn't answered in this time the next one will be.
_COMMIT_TIMEOUT_S = 5.0

log = structlog.get_logger("regulars.trainer")

T = TypeVar("T")


class _Stopped(Exception):
    """Asked to stop while Kafka was waited for."""


@dataclass(frozen=True)
class Pace:
    """A snapshot is due after `labels` new labels, or `interval_s` after the last one if there is a new label."""

    labels: int
    interval_s: float

    def due(self, new_labels: int, elapsed_s: float) -> bool:
        """Whether to publish.

        >>> Pace(100, 30.0).due(100, 1.0), Pace(100, 30.0).due(1, 30.0), Pace(100, 30.0).due(0, 99.0)
        (True, True, False)
        """
        return new_labels >= self.labels or (new_labels > 0 and elapsed_s >= self.interval_s)


class Trainer(ConsumerRebalanceListener):
    """One trainer process; `run` until told to stop.

    Attributes:
        published: the last snapshot that this process published.
        view: what the pages show of it.
        patience_s: how long Kafka may be away.
    """

    def __init__(
        self,
        settings: Settings,
        names: tuple[str, ...],
        feature_set: str,
        prior: Scorer,
        pace: Pace,
        view: TrainerView | None = None,
    ) -> None:
        self.published: Snapshot | None = None
        self.view = TrainerView() if view is None else view
        self.patience_s = PATIENCE_S
        self._settings, self._pace = settings, pace
        self._names, self._feature_set, self._prior = names, feature_set, prior
        self._tp = TopicPartition(settings.topic(MODEL_TRAIN), 0)
        self._course: Course | None = None
        self._labels_published = 0
        self._published_at = self._turned_at = time.monotonic()
        self._asked_at = -_ASK_EVERY_S
        self._idle = False
        self._epoch = 0  # revocations so far
        self._stopping = asyncio.Event()
        self._consumer = member_consumer(settings, f"{settings.app_id}-trainer")
        self._producer = lasting_producer(settings, max_request_bytes=_REQUEST_BYTES)

    @property
    def learning(self) -> bool:
        """Whether it has model-train and has taken over from the last snapshot."""
        return self._course is not None

    async def run(self, stopping: asyncio.Event) -> None:
        """Learns and publishes until `stopping` is set, then publishes what is new.

        Raises:
            TopicsNotReady: a topic isn't there, or has several partitions.
            AccessRefused: a broker is there and refuses.
            BrokerLost: Kafka was away for longer than `patience_s`, or didn't acknowledge a record in it.
            KafkaError: it refused what was asked.
        """
        self._stopping = stopping
        try:
            with contextlib.suppress(_Stopped):
                await self._join()
                while not stopping.is_set():
                    await self._turn()
            if self._course is not None and self._course.learner.labels > self._labels_published:
                await self._publish(self._course)
        finally:
            await leave(self._consumer)
            await leave(self._producer)

    async def _join(self) -> None:
        await self._patiently("starting the producer", partial(self._started, self._producer))
        await self._patiently("starting the consumer", partial(self._started, self._consumer))
        for topic in (MODEL_TRAIN, MODEL_SNAPSHOTS, DEAD_LETTERS):
            name = self._settings.topic(topic)
            await self._patiently(f"looking for {name}", partial(check_exists, self._consumer, name))
        self._consumer.subscribe([self._tp.topic], listener=self)

    async def _started(self, client: AIOKafkaConsumer | AIOKafkaProducer) -> None:
        async with explaining_refusals(self._settings):
            await client.start()

    async def _turn(self) -> None:
        self._turned_at = time.monotonic()
        poll = partial(self._consumer.getmany, timeout_ms=_POLL_MS, max_records=_POLL_RECORDS)
        records = (await self._patiently(f"reading {self._tp.topic}", poll)).get(self._tp, [])
        if time.monotonic() - self._asked_at >= _ASK_EVERY_S:
            await self._patiently(f"asking for the end of {self._tp.topic}", self._look_at_end, _ASK_EVERY_S)
        if self._tp not in self._consumer.assignment():
            self._say_idle()
            return
        if self._course is None:
            # What the poll brought is from the committed offset; it comes again from the checkpoint's.
            self._course = await self._take_over()
            return
        course = self._course
        if records:
            labels = await self._decoded(records)
            if course is not self._course:
                return  # the partition went while dead letters were sent
            rollbacks = course.learner.rollbacks
            counts = course.learn(labels, records[-1].offset + 1)
            self.view.count_learnt(counts.learnt, course.next_offset)
            if course.learner.rollbacks > rollbacks:
                await self._publish(course)
            if counts.foreign:
                log.warning("labels of another feature set passed over", count=counts.foreign, own=self._feature_set)
        elapsed_s = time.monotonic() - self._published_at
        if self._pace.due(course.learner.labels - self._labels_published, elapsed_s):
            await self._publish(course)

    async def on_partitions_revoked(self, revoked: Sequence[TopicPartition]) -> None:
        """Another trainer may go on from the last snapshot; so does this one if the partition comes back."""
        self._epoch += 1
        self._give_up("joining")

    async def on_partitions_assigned(self, assigned: Sequence[TopicPartition]) -> None:
        """Taking over is done in the loop: an exception in here would only be logged."""
        self.view.state = "taking over" if assigned else "spare"

    def _give_up(self, state: State) -> None:
        self._course = None
        self.view.state, self.view.next_offset = state, None

    async def _take_over(self) -> Course | None:
        epoch = self._epoch
        check_single_partition(self._consumer, self._tp.topic)
        read = partial(read_latest, self._settings, MODEL_SNAPSHOTS)
        course = self._restored(await self._patiently(f"reading {self._settings.topic(MODEL_SNAPSHOTS)}", read))
        course.learner.on_judged = self._tell
        ask = partial(self._consumer.beginning_offsets, [self._tp])
        first = (await self._patiently(f"asking for the start of {self._tp.topic}", ask))[self._tp]
        end = await self._patiently(f"asking for the end of {self._tp.topic}", self._look_at_end, _ASK_EVERY_S)
        if course.learner.labels and not first <= course.next_offset <= end:
            log.warning(
                "model-train doesn't hold the checkpoint's offset; learning goes on from its start",
                next_offset=course.next_offset, first=first, end=end,
            )  # fmt: skip
        else:
            first = max(course.next_offset, first)
        if epoch != self._epoch:
            return None  # the partition went meanwhile
        course.next_offset = first
        self._consumer.seek(self._tp, first)
        self._labels_published, self._published_at = course.learner.labels, time.monotonic()
        self._idle = False
        self.view.state, self.view.next_offset = "learning", first
        log.info("learning", labels=course.learner.labels, next_offset=first, backlog=end - first)
        return course

    def _restored(self, latest: dict[bytes, bytes]) -> Course:
        data = latest.get(SNAPSHOT_KEY)
        if data is not None:
            try:
                return Course.restored(decode_snapshot(data, self._feature_set), self._prior)
            except SnapshotError as exc:
                log.warning("the last snapshot can't be restored; learning starts anew", reason=str(exc))
        return Course(Learner(self._names, self._feature_set, self._prior))

    def _tell(self, judged: Judged) -> None:
        """Says what a block of labels brought to light."""
        for score in judged.drifts:
            log.warning("drift: outcomes have moved away from the forecasts", score=score)
        verdict = judged.verdict
        if verdict is not None:
            log.warning(
                "rolled back: the served version is worse than the previous one beyond noise",
                withdrawn=None if self.published is None else self.published.version,
                score=verdict.score,
                labels=verdict.labels,
                loss=round(verdict.served, 4),
                previous_loss=round(verdict.previous, 4),
                back_to_labels=verdict.previous_labels,
            )

    async def _decoded(self, records: Sequence[ConsumerRecord]) -> list[Label]:
        labels, dead = decoded(records, self._feature_set, len(self._names))
        for key, value, headers in dead:
            await self._acked(self._settings.topic(DEAD_LETTERS), key=key, value=value, headers=headers)
        if dead:
            log.warning("labels that can't be read are in the dead letters", count=len(dead))
        return labels

    async def _acked(self, topic: str, **record: Any) -> None:
        # A stop doesn't end this wait: what is written here is what a stop waits for.
        send = partial(self._producer.send, topic, **record)
        delivery: asyncio.Future[Any] = await patiently(f"writing {topic}", send, self.patience_s)
        try:
            async with asyncio.timeout(self.patience_s):
                await delivery
        except TimeoutError:
            raise BrokerLost(
                f"writing {topic}: Kafka did not acknowledge a record in {self.patience_s:.0f} s"
            ) from None

    async def _publish(self, course: Course) -> None:
        if time.monotonic() - self._turned_at > self._settings.session_timeout_s / 2:
            # This process was held up so long that the group may have given model-train to another.
            log.warning("held up; taking over anew from the last snapshot")
            self._give_up("taking over")
            return
        snapshot = course.snapshot()
        await self._acked(self._settings.topic(MODEL_SNAPSHOTS), value=encode_snapshot(snapshot), key=SNAPSHOT_KEY)
        self.published = snapshot
        self.view.count_published(time.time())
        self._labels_published, self._published_at = snapshot.labels, time.monotonic()
        with contextlib.suppress(KafkaError, TimeoutError):
            async with asyncio.timeout(_COMMIT_TIMEOUT_S):
                await self._consumer.commit({self._tp: snapshot.next_offset})
        losses = {
            f"{measure}.{score}": round(values[measure], 4)
            for score, values in snapshot.quality.items()
            for measure in ("log_loss", "prior_log_loss", "auc")
            if measure in values
        } | {
            f"{contestant}.{score}": round(loss, 4)
            for score, board in snapshot.scoreboard.items()
            for contestant, loss in board.items()
        }
        log.info("published", version=snapshot.version, labels=snapshot.labels, rollbacks=snapshot.rollbacks, **losses)

    async def _look_at_end(self) -> int:
        try:
            end: int = (await self._consumer.end_offsets([self._tp]))[self._tp]
        except BaseException:
            self.view.end = None  # while nobody answers nobody knows
            raise
        self._asked_at = time.monotonic()
        self.view.answered(end)
        return end

    async def _patiently(self, what: str, attempt: Callable[[], Awaitable[T]], limit_s: float | None = None) -> T:
        """What `attempt` gives while Kafka may be away; some calls of aiokafka would wait for an answer for ever.

        Raises:
            BrokerLost: it was away for longer than `patience_s`.
            _Stopped: the trainer was told to stop meanwhile.
        """
        limit_s = self.patience_s if limit_s is None else limit_s

        async def bounded() -> T:
            try:
                async with asyncio.timeout(limit_s):
                    return await attempt()
            except TimeoutError:
                raise KafkaTimeoutError(f"no answer for {limit_s:.0f} s") from None

        found = await patiently(what, bounded, self.patience_s, sleep=self._pause)
        self.view.beat()
        return found

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        if self._stopping.is_set():
            raise _Stopped

    def _say_idle(self) -> None:
        if not self._idle:
            log.info("waiting for model-train; another trainer may have it", group=f"{self._settings.app_id}-trainer")
            self._idle = True
