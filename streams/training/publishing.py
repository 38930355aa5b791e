"""Publishes snapshots of a course when they are due, and logs what each of them says about learning."""

import time
from collections.abc import Sequence

import structlog

from models.learning.course import Course
from models.learning.learner import Judged
from models.learning.snapshots import Snapshot, encode_snapshot
from schemas.topics import MODEL_SNAPSHOTS
from streams.training.checkpoint import SNAPSHOT_KEY
from streams.training.connection import Connection
from streams.training.pages import TrainerView
from streams.training.schedule import PublishSchedule

log = structlog.get_logger("regulars.trainer")


class Publisher:
    """Publishes one course after another; `restart` begins with each.

    Attributes:
        published: the last snapshot that this process published; None: none yet.
    """

    def __init__(self, connection: Connection, schedule: PublishSchedule, view: TrainerView) -> None:
        self.published: Snapshot | None = None
        self._connection, self._schedule, self._view = connection, schedule, view
        self._labels = 0  # in the latest snapshot
        self._at = time.monotonic()

    def restart(self, course: Course) -> None:
        """Counts new labels, and the time, from now on."""
        self._labels, self._at = course.learner.labels, time.monotonic()

    def new_labels(self, course: Course) -> int:
        """How many labels were learnt since the latest snapshot."""
        return course.learner.labels - self._labels

    def is_due(self, course: Course) -> bool:
        """Whether the schedule asks for a snapshot now."""
        return self._schedule.due(self.new_labels(course), time.monotonic() - self._at)

    async def publish(self, course: Course, challengers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        """Writes a snapshot, waits until it is acknowledged, and commits how far model-train was read.

        Args:
            course: what is published.
            challengers: key and value of its challengers' records, which go before the snapshot.

        Raises:
            BrokerLost: Kafka did not acknowledge it in time.
        """
        for key, value in challengers:
            await self._connection.write(MODEL_SNAPSHOTS, key, value)
        snapshot = course.snapshot()
        await self._connection.write(MODEL_SNAPSHOTS, SNAPSHOT_KEY, encode_snapshot(snapshot))
        self.published = snapshot
        self._view.count_published(time.time())
        self._labels, self._at = snapshot.labels, time.monotonic()
        await self._connection.commit(snapshot.next_offset)
        log.info(
            "published",
            version=snapshot.version,
            labels=snapshot.labels,
            rollbacks=snapshot.rollbacks,
            **_figures(snapshot),
        )

    def log_judged(self, judged: Judged) -> None:
        """Logs drift, and why a version was taken back."""
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


def _figures(snapshot: Snapshot) -> dict[str, float]:
    """Quality and losses of a snapshot, by `measure.score` and `contestant.score`."""
    quality = {
        f"{measure}.{score}": round(values[measure], 4)
        for score, values in snapshot.quality.items()
        for measure in ("log_loss", "prior_log_loss", "auc")
        if measure in values
    }
    losses = {
        f"{contestant}.{score}": round(loss, 4)
        for score, board in snapshot.scoreboard.items()
        for contestant, loss in board.items()
    }
    return quality | losses
