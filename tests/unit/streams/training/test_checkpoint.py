"""Laws of where a trainer goes on, whatever lies in `model-snapshots` and whichever topic is behind `model-train`."""

from dataclasses import replace

import numpy as np
import pytest

from models.learning.snapshots import Snapshot, encode_snapshot, version_of
from models.scores import PriorScorer
from streams.training.checkpoint import SNAPSHOT_KEY, Beginner, take_over
from tests.support.training import FEATURES, direct


class Cluster:
    """A connection to topics that hold this."""

    def __init__(self, *snapshots: bytes, first: int = 0, end: int = 100, topic_id: str = "now") -> None:
        self._snapshots, self._first, self._end, self._topic_id = list(snapshots), first, end, topic_id

    def check_partitions(self) -> None:
        """There is one."""

    async def snapshots(self) -> dict[bytes, list[bytes]]:
        """The newest first."""
        return {SNAPSHOT_KEY: self._snapshots} if self._snapshots else {}

    async def start_offset(self) -> int:
        """The first offset."""
        return self._first

    async def end(self) -> int:
        """The next offset."""
        return self._end

    async def topic_id(self) -> str:
        """Of model-train."""
        return self._topic_id


def beginner() -> Beginner:
    """A learner of the tests' features."""
    snapshot = direct(range(3), 3)
    return Beginner(snapshot.names, snapshot.feature_set, PriorScorer())


def broken(snapshot: Snapshot, number: float) -> bytes:
    """The snapshot with one number in its population."""
    population = snapshot.arrays["population"].copy()
    population[:] = number
    arrays = {**snapshot.arrays, "population": population}
    version = version_of(snapshot.kind, snapshot.labels, arrays)
    return encode_snapshot(replace(snapshot, arrays=arrays, version=version))


@pytest.mark.parametrize("newest", [b"", b"{", b"\xff" * 50, 1e99, -1e99])
async def test_a_snapshot_that_cannot_be_restored_costs_what_was_learnt_since(newest: bytes | float) -> None:
    """The one before it is the checkpoint."""
    good = replace(direct(range(40), 40), topic_id="now")
    bad = newest if isinstance(newest, bytes) else broken(direct(range(60), 60), newest)
    course, _ = await take_over(Cluster(bad, encode_snapshot(good)), beginner())

    if course.learner.labels != 60:  # a number that forecasts is none that is refused
        assert (course.learner.labels, course.next_offset) == (40, 40)
    assert np.isfinite(course.learner.predict_one((0.0,) * FEATURES)).all()


async def test_without_a_snapshot_that_can_be_restored_learning_starts_anew() -> None:
    """At the first record that there is."""
    course, backlog = await take_over(Cluster(b"{", b"[", first=7), beginner())
    assert (course.learner.labels, course.next_offset, backlog) == (0, 7, 93)


@pytest.mark.parametrize(("topic_id", "offset"), [("now", 40), ("before", 5), ("", 40)])
async def test_a_topic_made_anew_is_read_from_its_start(topic_id: str, offset: int) -> None:
    """Its offsets say nothing of what was learnt of the one before, even where it has them."""
    snapshot = replace(direct(range(40), 40), topic_id=topic_id)
    course, _ = await take_over(Cluster(encode_snapshot(snapshot), first=5), beginner())
    assert (course.learner.labels, course.next_offset, course.topic_id) == (40, offset, "now")


async def test_an_offset_beyond_the_end_is_none() -> None:
    """A made-up snapshot doesn't make the trainer wait for records that will never be."""
    snapshot = replace(direct(range(40), 10**12), labels=40)
    course, _ = await take_over(Cluster(encode_snapshot(snapshot)), beginner())
    assert course.next_offset == 0
