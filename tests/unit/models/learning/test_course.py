"""Laws of a course: labels come at least once and count once, also over a restart."""

from collections.abc import Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from models.features import FloatArray
from models.learning.course import Course, Learnt
from models.learning.learner import Learner
from models.learning.seen import REMEMBERED_LABELS, LearntPlaces, SeenLabels
from models.learning.snapshots import decode_snapshot, encode_snapshot
from schemas.learning import Label, Origin

FEATURE_SET = "f00d"


class FlatPrior:
    """The same for everybody."""

    version = "flat"

    def score(self, x: FloatArray) -> FloatArray:
        """A third buy."""
        return np.tile([0.3, 0.5, 1.0, 20.0], (len(x), 1))


def label(number: int, feature_set: str = FEATURE_SET) -> Label:
    """One of a series in which odd numbers buy."""
    return Label(f"c{number}:0:30", 0.0, 30.0, 30, feature_set, (number / 10,), number % 2 == 1, number % 2, 5.0)


def new_course() -> Course:
    """One that has read nothing."""
    return Course(Learner(("x",), FEATURE_SET, FlatPrior()))


def restarted(course: Course) -> Course:
    """The course that another process restores."""
    return Course.restored(decode_snapshot(encode_snapshot(course.snapshot()), FEATURE_SET), FlatPrior())


@settings(deadline=None)
@given(numbers=st.lists(st.integers(0, 9), max_size=60), cut=st.integers(0, 60))
def test_repeated_labels_change_nothing(numbers: Sequence[int], cut: int) -> None:
    """Any sequence with repeats, with a restart anywhere, teaches what its first occurrences alone teach."""
    first_occurrences = list(dict.fromkeys(numbers))
    once, often = new_course(), new_course()
    once.learn([label(number) for number in first_occurrences], len(numbers))

    often.learn([label(number) for number in numbers[:cut]], cut)
    often = restarted(often)
    counts = often.learn([label(number) for number in numbers[cut:]], len(numbers))

    assert often.snapshot().version == once.snapshot().version
    assert counts.learnt + counts.repeated == len(numbers[cut:])


def test_the_offset_goes_with_the_snapshot() -> None:
    """Whoever restores it reads on from the record after the last one learnt."""
    course = new_course()
    course.learn([label(1), label(2)], 17)

    assert restarted(course).next_offset == 17


def test_labels_of_another_feature_set_are_passed_over() -> None:
    """They are older than the release that runs; the offset moves past them all the same."""
    course = new_course()

    counts = course.learn([label(1), label(2, "beef"), label(1)], 3)

    assert counts == Learnt(learnt=1, repeated=1, foreign=1)
    assert (course.learner.labels, course.next_offset) == (1, 3)


def test_the_window_forgets_the_oldest_label_alone() -> None:
    """Within the documented window a label is known; one further back it counts again."""
    seen = SeenLabels()
    for number in range(REMEMBERED_LABELS + 1):
        assert seen.add(f"c{number}")

    assert not seen.add("c1")
    assert seen.add("c0")
    assert len(seen.to_array()) == REMEMBERED_LABELS


def test_the_window_keeps_its_order_in_a_snapshot() -> None:
    """After a restart the oldest is still the first to be forgotten."""
    seen = SeenLabels()
    for number in range(REMEMBERED_LABELS):
        seen.add(f"c{number}")
    restored = SeenLabels(seen.to_array().tolist())

    restored.add("new")

    assert restored.add("c0")
    assert not restored.add("c2")


def origin(number: int, partition: int = 0) -> Origin:
    """Of one of a series with three labels a chunk."""
    return Origin("log", partition, number // 3, number % 3)


def test_more_labels_than_are_remembered_count_once_when_they_come_again() -> None:
    """Sixty thousand labels of two partitions, in any interleaving, and after a restart all of them again."""
    count = 2 * REMEMBERED_LABELS
    places = LearntPlaces()
    first = [places.add(origin(number // 2, number % 2)) for number in range(count)]
    restored = LearntPlaces(places.to_mapping())
    again = [restored.add(origin(number, partition)) for partition in (0, 1) for number in range(count // 2)]

    assert all(first)
    assert not any(again)
    assert restored.add(origin(count // 2))


@settings(deadline=None)
@given(cut=st.integers(0, 20), again=st.integers(0, 20), restart=st.booleans())
def test_labels_that_are_sent_again_from_any_place_teach_nothing_new(cut: int, again: int, restart: bool) -> None:
    """Whoever sends labels again begins anywhere before the place that was reached, and goes on after it."""
    series = [(label(number), origin(number)) for number in range(20)]
    once, often = new_course(), new_course()

    def teach(course: Course, part: Sequence[tuple[Label, Origin]]) -> None:
        course.learn([each for each, _ in part], 0, [place for _, place in part])

    teach(once, series)
    teach(often, series[:cut])
    if restart:
        often = restarted(often)
    teach(often, series[min(again, cut) :])

    assert often.snapshot().version == once.snapshot().version
    assert often.learner.labels == 20


def test_an_origin_that_is_none_is_passed_over() -> None:
    """A damaged header costs nothing but the label's place."""
    for value in (b"", b"a/1/2", b"a/1/2/x", b"\xff/1/2/3", b"/1/2/3", None):
        assert Origin.of([("regulars-origin", value)]) is None
