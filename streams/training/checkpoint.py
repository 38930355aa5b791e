"""Where a trainer goes on: from the last published snapshot, or from the start of model-train.

A snapshot holds both what was learnt and how far model-train was read. So it is the only checkpoint.
"""

from typing import NamedTuple

import structlog

from models.learning.contest import Contest
from models.learning.course import Course
from models.learning.learner import Learner
from models.learning.plug import Plugged
from models.learning.snapshots import DYNAMIC, SnapshotError, decode_snapshot
from models.scores import Scorer
from streams.training import challengers
from streams.training.connection import Connection

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


class Checkpoint(NamedTuple):
    """A course that is ready to go on at its `next_offset`, and how many records wait from there on."""

    course: Course
    backlog: int


async def take_over(connection: Connection, beginner: Beginner) -> Checkpoint:
    """The last snapshot's course; a new one when there is no snapshot, or none that can be restored.

    When model-train no longer has the course's offset, or doesn't reach it, the course goes on at the topic's start.

    Raises:
        TopicsNotReady: model-train has several partitions.
        BrokerLost: Kafka was away for too long.
        StopRequested: the trainer was asked to stop meanwhile.
    """
    connection.check_partitions()
    course = _restored(await connection.snapshots(), beginner)
    first = await connection.start_offset()
    end = await connection.end()
    if course.learner.labels and not first <= course.next_offset <= end:
        log.warning(
            "model-train doesn't hold the checkpoint's offset; learning goes on from its start",
            next_offset=course.next_offset,
            first=first,
            end=end,
        )
        course.next_offset = first
    else:
        course.next_offset = max(course.next_offset, first)
    return Checkpoint(course, end - course.next_offset)


def _restored(latest: dict[bytes, bytes], beginner: Beginner) -> Course:
    data = latest.get(SNAPSHOT_KEY)
    if data is not None:
        try:
            snapshot = decode_snapshot(data, beginner.feature_set)
        except SnapshotError as exc:
            log.warning("the last snapshot can't be restored; learning starts anew", reason=str(exc))
        else:
            contest = beginner.contest()
            challengers.go_on(contest, int(snapshot.contest.get("judged", 0)), latest)
            return Course.restored(snapshot, beginner.prior, contest)
    return beginner.course()
