"""Where a trainer goes on: from the last published snapshot, or from the start of model-train.

A snapshot holds both what was learnt and how far model-train was read. So it is the only checkpoint.
"""

from typing import NamedTuple, Protocol

import structlog

from models.learning.contest import Contest
from models.learning.course import Course
from models.learning.learner import Learner
from models.learning.plug import Plugged
from models.learning.scorer import SnapshotScorer
from models.learning.snapshots import DYNAMIC, SnapshotError, decode_snapshot
from models.learning.soundness import check_scores
from models.scores import Scorer
from streams.training import challengers

SNAPSHOT_KEY = DYNAMIC.encode()

log = structlog.get_logger("regulars.trainer")


class Beginner(NamedTuple):
    """What a learner that has learnt nothing is made of.

    Attributes:
        names: of the features, in order.
        feature_set: the digest of the features.
        prior: forecasts as long as nothing has been learnt.
        contenders: the shop's own models, which learn as challengers.
    """

    names: tuple[str, ...]
    feature_set: str
    prior: Scorer
    contenders: tuple[Plugged, ...] = ()

    def course(self) -> Course:
        """A new course, at the start of model-train."""
        return Course(Learner(self.names, self.feature_set, self.prior), contest=self.contest())

    def contest(self) -> Contest:
        """A new contest of the challengers."""
        return Contest(self.contenders, self.names)


class TrainerTopics(Protocol):
    """What Kafka holds (`streams.training.connection.Connection`)."""

    def check_partitions(self) -> None:
        """Raises TopicsNotReady when model-train has several partitions."""

    async def snapshots(self) -> dict[bytes, list[bytes]]:
        """The latest values of each key of model-snapshots, the newest first."""

    async def start_offset(self) -> int:
        """The offset of the first record that model-train still has."""

    async def end(self) -> int:
        """The offset of the next record that model-train will get."""

    async def topic_id(self) -> str:
        """Kafka's id of model-train; empty: not known."""


class Checkpoint(NamedTuple):
    """A course that is ready to go on at its `next_offset`, and how many records wait from there on."""

    course: Course
    backlog: int


async def take_over(connection: TrainerTopics, beginner: Beginner) -> Checkpoint:
    """The course of the last snapshot that can be restored; a new one when there is none.

    When model-train is another topic than the course's, no longer has its offset, or doesn't reach it, the course goes on
    at the topic's start: labels that it has learnt are known by their origins.

    Raises:
        TopicsNotReady: model-train has several partitions.
        BrokerLost: Kafka was away for too long.
        StopRequested: the trainer was asked to stop meanwhile.
    """
    connection.check_partitions()
    course = _restored(await connection.snapshots(), beginner)
    first = await connection.start_offset()
    end = await connection.end()
    topic_id = await connection.topic_id()
    made_anew = bool(topic_id and course.topic_id) and topic_id != course.topic_id
    course.topic_id = topic_id
    if made_anew or (course.learner.labels and not first <= course.next_offset <= end):
        log.warning(
            "model-train doesn't hold the checkpoint's offset; learning goes on from its start",
            made_anew=made_anew,
            next_offset=course.next_offset,
            first=first,
            end=end,
        )
        course.next_offset = first
    else:
        course.next_offset = min(max(course.next_offset, first), end)
    return Checkpoint(course, end - course.next_offset)


def _restored(recent: dict[bytes, list[bytes]], beginner: Beginner) -> Course:
    latest = {key: values[0] for key, values in recent.items()}
    for data in recent.get(SNAPSHOT_KEY, ()):
        try:
            return _restored_from(data, latest, beginner)
        except SnapshotError as exc:
            log.error("a snapshot can't be restored; the one before it is tried", reason=str(exc))
    if SNAPSHOT_KEY in recent:
        log.error("no snapshot can be restored; learning starts anew")
    return beginner.course()


def _restored_from(data: bytes, latest: dict[bytes, bytes], beginner: Beginner) -> Course:
    snapshot = decode_snapshot(data, beginner.feature_set)
    contest = beginner.contest()
    try:
        check_scores(SnapshotScorer(snapshot, beginner.prior), len(snapshot.names))
        challengers.go_on(contest, int(snapshot.contest.get("judged", 0)), latest)
        return Course.restored(snapshot, beginner.prior, contest)
    except SnapshotError:
        raise
    except Exception as exc:  # whatever made-up arrays and states lead to
        raise SnapshotError(f"it can't be restored: {type(exc).__name__}: {exc}") from exc
