"""Laws of the demo's screen: it fits the terminal, tells what was seen, and takes any text as text."""

import io
import random
from typing import Any

import pytest
from rich.console import Console

from schemas.changes import Change, Contribution, EventCause, SilenceCause, Trace, Versions
from streams.demo.follower import Watch
from streams.demo.screen import Screen, change_line, line, summary
from streams.settings import Settings

AT, LATER = "2024-05-01T10:00:00Z", "2024-05-01T10:00:00.020000Z"


def a_change(customer: str, current: str = "mid", cause: Any = None) -> Change:
    """A change of `customer`."""
    cause = EventCause("purchases", 0, 1, "e", "purchase") if cause is None else cause
    reasons = (Contribution("purchases", 3.0, 21.5), Contribution("recency_days", 4.0, -2.0))
    versions, trace = Versions("p", "m-1", "e"), Trace(AT, LATER, LATER)
    return Change(
        f"{customer}:1", customer, 1, "value", "low", current, AT, cause, {}, reasons, None, None, versions, trace
    )


@pytest.fixture
def watch() -> Watch:
    """A watch that has seen a few changes of a few customers."""
    watch, draw = Watch(Settings(), "http://127.0.0.1:6066"), random.Random(1)
    watch.first_change_s = 2.5
    for number in range(60):
        change = a_change(f"synthetic-{number:06d}", cause=None if number % 3 else SilenceCause(AT))
        watch.total += 1
        watch.moves["value", "low", "mid"] += 1
        watch.models["m-1"] += 1
        watch.recent.appendleft(change)
        watch.inside_s.append(draw.uniform(0.005, 0.03))
        watch.whole_s.append(draw.uniform(0.01, 0.05))
    watch.worker = {"events": 12_345, "events_per_s": 300.2, "customers": 987}
    topics = ("clickstream", "purchases", "reviews")
    watch.lag = {
        "records": 24,
        "seconds": 0.4,
        "partitions": [{"topic": t, "partition": p, "records": 1, "seconds": 0.4} for t in topics for p in range(8)],
    }
    watch.segments = {"segments": {"lifecycle": {"active": 600, "at_risk": 387}, "value": {"low": 800, "mid": 187}}}
    return watch


def drawn(what: Any, width: int = 140, height: int = 40) -> str:
    """`what` on a terminal of that size."""
    out = io.StringIO()
    Console(file=out, width=width, height=height, force_terminal=True, color_system=None, highlight=False).print(what)
    return out.getvalue()


@pytest.mark.parametrize("size", [(140, 40), (100, 30), (80, 40), (200, 60)])
def test_screen_fits_the_terminal(watch: Watch, size: tuple[int, int]) -> None:
    """No line is wider and no picture higher than the terminal."""
    lines = drawn(Screen(watch, "http://127.0.0.1:6066"), *size).splitlines()

    assert len(lines) <= size[1]
    assert max(map(len, lines)) <= size[0]


def test_screen_tells_changes_lag_segments_and_address(watch: Watch) -> None:
    """What a newcomer looks for is there."""
    picture = drawn(Screen(watch, "http://127.0.0.1:6066"))

    for said in (
        "synthetic-000059",
        "low -> mid",
        "a purchase; 3 purchases",
        "at_risk",
        "http://127.0.0.1:6066",
        "0.4 s",
    ):
        assert said in picture


def test_screen_before_the_first_change_says_so() -> None:
    """An empty start is no empty screen."""
    assert "waiting for the first change" in drawn(Screen(Watch(Settings(), "x"), "x"))


def test_summary_counts_moves_and_names_models_and_logs(watch: Watch) -> None:
    """The end of a demo says what happened and where to look."""
    picture = drawn(summary(watch, "/tmp/logs"))

    for said in ("12,345", "after 2.5 s", "m-1", "/tmp/logs", "60"):
        assert said in picture


def test_markup_in_names_is_shown_as_it_is(watch: Watch) -> None:
    """A customer or segment called like a colour stays text."""
    watch.recent.appendleft(a_change("[red]ada[/red]", "[bold]"))
    watch.moves["value", "low", "[bold]"] += 1

    assert "[red]ada[/red]" in drawn(Screen(watch, "x"))
    assert "[bold]" in drawn(summary(watch, "x"))


def test_plain_lines_hold_one_line_each(watch: Watch) -> None:
    """Logs of a CI stay readable."""
    assert "\n" not in line(watch)
    assert change_line(watch.recent[0]) == (
        "synthetic-000059  value: low -> mid  a purchase; 3 purchases (+21.50); last purchase 4 days ago (-2)"
    ).replace("a purchase", "a purchase" if 59 % 3 else "nothing heard until 2024-05-01 10:00")
