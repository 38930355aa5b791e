"""The one learner: model-train in, model-snapshots out.

    take over -> { poll -> dead letters acked -> learn in order -> publish when due, acked } -> publish, leave

What was learnt and how far model-train was read are in one snapshot, so the last published snapshot is the only
checkpoint: whoever takes over restores it and reads on from its offset. The offsets committed to the group only show
the lag. A version that the scoreboard finds worse than the one before is taken back at once: what is published then has
the previous version's weights, and learning goes on from those. model-train has one partition, so the group gives it to
one trainer; a second one started by mistake stays idle until the first leaves. Stopped at any point, it has published
whole snapshots or none.
"""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError, KafkaTimeoutError

from models.learning.course import Course
from models.learning.learner import Judged, Learner
from models.learning.snapshots import DYNAMIC, Snapshot, SnapshotError, decode_snapshot, encode_snapshot
from models.scores import Scorer
from schemas.learning import Label, decode_label
from streams.broadcast import check_exists, check_single_partition, read_latest
from streams.plane.patience import leave
from streams.security import kafka_options, telling
from streams.settings import Settings

MODEL_TRAIN, MODEL_SNAPSHOTS, DEAD_LETTERS = "model-train", "model-snapshots", "dead-letters"
SNAPSHOT_KEY = DYNAMIC.encode()

# 500 labels take about a tenth of a second to learn, in which the loop sends no heartbeat; one is due every 3 seconds.
_POLL_RECORDS, _POLL_MS = 500, 500
# A dead letter is as large as it came, at most 1 MiB of a record and its headers.
_REQUEST_BYTES = 2 * 1024 * 1024
# aiokafka's idempotent producer tries again for ever; a broker that restarts is back within this, one that is gone is
# said to be.
_ACK_TIMEOUT_S = 30.0
# How often a trainer without labels asks whether the broker is still there.
_ASK_EVERY_S = 5.0
# A commit only shows the lag; where it isn't answered in this time the next one will be.
_COMMIT_TIMEOUT_S = 5.0

log = structlog.get_logger("regulars.trainer")


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
    """One trainer process; `run` until told to stop."""

    def __init__(self, settings: Settings, names: tuple[str, ...], feature_set: str, prior: Scorer, pace: Pace) -> None:
        self.published: Snapshot | None = None
        self.learning = False
        self._settings, self._pace = settings, pace
        self._names, self._feature_set, self._prior = names, feature_set, prior
        self._tp = TopicPartition(settings.topic(MODEL_TRAIN), 0)
        self._course: Course | None = None
        self._labels_published = 0
        self._published_at = self._turned_at = self._answered_at = time.monotonic()
        self._idle = False
        self._epoch = 0  # revocations so far
        self._consumer = AIOKafkaConsumer(
            **kafka_options(settings),
            group_id=f"{settings.app_id}-trainer",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            session_timeout_ms=int(settings.session_timeout_s * 1000),
            heartbeat_interval_ms=int(settings.session_timeout_s * 1000 / 3),
        )
        self._producer = AIOKafkaProducer(
            **kafka_options(settings),
            acks="all",
            enable_idempotence=True,
            max_request_size=_REQUEST_BYTES,
        )

    async def run(self, stopping: asyncio.Event) -> None:
        """Learns and publishes until `stopping` is set, then publishes what is new.

        Raises:
            TopicsNotReady: a topic isn't there, or has several partitions.
            AccessRefused: a broker is there and refuses.
            KafkaError: the broker can't be reached, or a snapshot or dead letter wasn't acked.
        """
        try:
            async with telling(self._settings):
                await self._producer.start()
                await self._consumer.start()
            for topic in (MODEL_TRAIN, MODEL_SNAPSHOTS, DEAD_LETTERS):
                await check_exists(self._consumer, self._settings.topic(topic))
            self._consumer.subscribe([self._tp.topic], listener=self)
            while not stopping.is_set():
                await self._turn()
            if self._course is not None and self._course.learner.labels > self._labels_published:
                await self._publish(self._course)
        finally:
            await leave(self._consumer)
            await leave(self._producer)

    async def _turn(self) -> None:
        self._turned_at = time.monotonic()
        records = (await self._consumer.getmany(timeout_ms=_POLL_MS, max_records=_POLL_RECORDS)).get(self._tp, [])
        await self._ask_broker(bool(records))
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
        self._course, self.learning = None, False

    async def on_partitions_assigned(self, assigned: Sequence[TopicPartition]) -> None:
        """Taking over is done in the loop: an exception in here would only be logged."""

    async def _take_over(self) -> Course | None:
        epoch = self._epoch
        check_single_partition(self._consumer, self._tp.topic)
        course = self._restored(await read_latest(self._settings, MODEL_SNAPSHOTS))
        course.learner.on_judged = self._tell
        first = (await self._consumer.beginning_offsets([self._tp]))[self._tp]
        end = (await self._consumer.end_offsets([self._tp]))[self._tp]
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
        self.learning, self._idle = True, False
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
        labels, dead = [], 0
        for record in records:
            try:
                label = decode_label(record.value or b"")
                if label.feature_set == self._feature_set and len(label.features) != len(self._names):
                    found = f"{len(label.features)} features, not {len(self._names)}"
                    raise msgspec.ValidationError(f"{found} - at `$.features`")
                labels.append(label)
            except (msgspec.DecodeError, UnicodeDecodeError) as exc:
                await self._acked(self._settings.topic(DEAD_LETTERS), **_dead_letter(record, exc))
                dead += 1
        if dead:
            log.warning("labels that can't be read are in the dead letters", count=dead)
        return labels

    async def _acked(self, topic: str, **record: Any) -> None:
        try:
            async with asyncio.timeout(_ACK_TIMEOUT_S):
                await self._producer.send_and_wait(topic, **record)
        except TimeoutError:
            raise KafkaTimeoutError(f"a record of {topic} wasn't acknowledged in {_ACK_TIMEOUT_S:.0f} s") from None

    async def _publish(self, course: Course) -> None:
        if time.monotonic() - self._turned_at > self._settings.session_timeout_s / 2:
            # This process was held up so long that the group may have given model-train to another.
            log.warning("held up; taking over anew from the last snapshot")
            self._course, self.learning = None, False
            return
        snapshot = course.snapshot()
        await self._acked(self._settings.topic(MODEL_SNAPSHOTS), value=encode_snapshot(snapshot), key=SNAPSHOT_KEY)
        self.published = snapshot
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

    async def _ask_broker(self, answered: bool) -> None:
        """Raises KafkaTimeoutError where the broker has been silent for longer than a restart takes."""
        silent_s = time.monotonic() - self._answered_at
        if not answered and silent_s >= _ASK_EVERY_S:
            try:
                async with asyncio.timeout(_ASK_EVERY_S):
                    await self._consumer.topics()
            except (KafkaError, TimeoutError):
                if silent_s > _ACK_TIMEOUT_S:
                    raise KafkaTimeoutError(f"no answer for {silent_s:.0f} s") from None
                return
            answered = True
        if answered:
            self._answered_at = time.monotonic()

    def _say_idle(self) -> None:
        if not self._idle:
            log.info("waiting for model-train; another trainer may have it", group=f"{self._settings.app_id}-trainer")
            self._idle = True


def _dead_letter(record: ConsumerRecord, exc: Exception) -> dict[str, Any]:
    """Key and value as they came; the headers say where from and why."""
    reason = "schema" if isinstance(exc, msgspec.ValidationError) else "not-json"
    _, _, path = str(exc).partition(" - at `")
    return {
        "key": record.key,
        "value": record.value,
        "headers": [
            ("regulars-topic", record.topic.encode()),
            ("regulars-partition", str(record.partition).encode()),
            ("regulars-offset", str(record.offset).encode()),
            ("regulars-reason", reason.encode()),
            ("regulars-field", (path.rstrip("`") or "$").encode()),
        ],
    }
