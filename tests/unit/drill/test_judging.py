"""The drill's judgement, tried on courses that are written down."""

import pytest

from tests.drill.judging import PAGED_LIMIT_S, SEEN_LIMIT_S, Course, Expectation, head, judge, line

EXPECTED = Expectation(
    alerts=frozenset({"Late"}), beside=frozenset({"NotReady"}), words={"lag": "late", "page": "late|stalled"}
)


def _course(**fired: float) -> Course:
    course = Course(fired=fired)
    course.note("lag", 12.0, "late: purchases")
    course.note("page", 14.0, "no answer")
    course.note("page", 31.0, "not ready: stalled")
    return course


def test_a_row_within_its_goals_is_good() -> None:
    """What follows from the cause may fire beside it; a view counts from the moment that its words are right."""
    judgement = judge(EXPECTED, _course(Late=90.0, NotReady=100.0))

    assert judgement.good
    assert judgement.shown == {"lag": 12.0, "ready": None, "page": 31.0}
    assert judgement.paged == ("Late", 90.0)


@pytest.mark.parametrize(
    ("fired", "miss"),
    [
        ({}, "Late after never, limit 120 s"),
        ({"Late": PAGED_LIMIT_S + 1}, "Late after 121 s, limit 120 s"),
        ({"Late": 90.0, "Drift": 35.0}, "Drift fired after 35 s"),
        ({"NotReady": 90.0}, "Late after never, limit 120 s"),
    ],
)
def test_an_alert_that_is_late_absent_or_another_one_is_a_miss(fired: dict[str, float], miss: str) -> None:
    """An alert that may fire beside the right one is not the right one."""
    assert judge(EXPECTED, _course(**fired)).misses == (miss,)


def test_words_that_name_another_cause_are_a_miss() -> None:
    """Every view that the table names must come to say the right thing, however soon it said another."""
    course = Course(fired={"Late": 90.0})
    course.note("lag", 5.0, "late: purchases")
    course.note("page", 5.0, "no answer")

    assert judge(EXPECTED, course).misses == ("page never said 'late|stalled', but 'no answer'",)


def test_one_view_in_time_is_enough_to_have_seen_it() -> None:
    """Somebody on call has all of them open."""
    course = Course(fired={"Late": 90.0})
    course.note("lag", SEEN_LIMIT_S + 1, "late: purchases")
    course.note("page", SEEN_LIMIT_S, "late")
    assert judge(EXPECTED, course).good

    later = Course(fired={"Late": 90.0})
    later.note("lag", SEEN_LIMIT_S + 1, "late: purchases")
    later.note("page", SEEN_LIMIT_S + 2, "late")
    assert judge(EXPECTED, later).misses == ("seen after 31 s, limit 30 s",)


def test_where_nothing_is_expected_any_alert_is_a_miss() -> None:
    """A quiet shop pages nobody; words of the views are no page."""
    quiet = Expectation()
    course = Course()
    course.note("page", 5.0, "connecting")

    assert judge(quiet, course).good
    assert judge(quiet, Course(fired={"SilentFeed": 60.0})).misses == ("SilentFeed fired after 60 s",)


def test_what_a_repair_does_not_end_is_a_miss() -> None:
    """A fault that stays after it was mended is not over, however well it was seen."""
    course = _course(Late=90.0)
    course.left = "ready: worker-1: stalled"

    assert judge(EXPECTED, course).misses == ("after the repair there still was ready: worker-1: stalled",)


def test_a_view_is_noted_when_its_words_change() -> None:
    """Also when they end: what it says again afterwards is a sighting of its own."""
    course = Course()
    for seconds, words in enumerate(["", "late", "late", "", "late"]):
        course.note("lag", float(seconds), words)

    assert [(each.seconds, each.words) for each in course.sightings["lag"]] == [(1.0, "late"), (3.0, ""), (4.0, "late")]


def test_a_line_has_the_seconds_of_every_view_and_the_misses() -> None:
    """Columns stand under their names; a dash is what never came."""
    course = _course(Late=90.0, Drift=35.0)
    course.back_s = 8.0
    row = line("hung chunk", judge(EXPECTED, course), course)

    assert row == f"{'hung chunk':<34}    12     -    31    90     8  Late; MISS: Drift fired after 35 s"
    assert row.index("Late") == head().index("verdict")
