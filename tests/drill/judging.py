"""What a fault should look like to somebody on call, what it did look like, and whether that is good enough."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

# The goals: after so many seconds some view shows the fault, and somebody is paged.
SEEN_LIMIT_S = 30.0
PAGED_LIMIT_S = 120.0

LAG, READY, PAGE = VIEWS = ("lag", "ready", "page")


class Sighting(NamedTuple):
    """From this moment on a view said these words; no words: it showed nothing wrong."""

    seconds: float  # since the fault
    words: str


@dataclass(frozen=True)
class Expectation:
    """How a fault should show.

    Attributes:
        alerts: any of these names the cause; none: nobody may be paged.
        beside: alerts that may fire too, because they follow from the same cause.
        words: view -> the pattern that its words must match; a view that is not named need not show anything.
        paged_s: the limit of the page; another one needs a reason in the table.
    """

    alerts: frozenset[str] = frozenset()
    beside: frozenset[str] = frozenset()
    words: Mapping[str, str] = field(default_factory=dict)
    paged_s: float = PAGED_LIMIT_S


@dataclass
class Course:
    """What happened after a fault.

    Attributes:
        sightings: view -> its words, each time they changed.
        fired: alert -> seconds from the fault to its first firing.
        back_s: seconds from the repair until nothing showed any more; None: not within the drill's patience.
        left: what still showed then.
    """

    sightings: dict[str, list[Sighting]] = field(default_factory=dict)
    fired: dict[str, float] = field(default_factory=dict)
    back_s: float | None = None
    left: str = ""

    def note(self, view: str, seconds: float, words: str) -> None:
        """Adds what a view says, unless it has said just that already."""
        before = self.sightings.setdefault(view, [])
        if words != (before[-1].words if before else ""):
            before.append(Sighting(seconds, words))


@dataclass(frozen=True)
class Judgement:
    """The word on one row of the table.

    Attributes:
        shown: view -> seconds until it showed the expected words; None: it never did.
        paged: the first alert that names the cause, and after how many seconds.
        others: alerts that fired and should not have.
        misses: why the row misses its goal, in words; empty: it does not.
    """

    shown: Mapping[str, float | None]
    paged: tuple[str, float] | None
    others: Mapping[str, float]
    misses: tuple[str, ...]

    @property
    def good(self) -> bool:
        """Whether every goal of the row is met."""
        return not self.misses


def judge(expected: Expectation, course: Course) -> Judgement:
    """Holds a course against what was expected of it."""
    shown = {view: _first(course.sightings.get(view, ()), expected.words.get(view)) for view in VIEWS}
    named = {alert: at for alert, at in course.fired.items() if alert in expected.alerts}
    paged = min(named.items(), key=lambda item: item[1], default=None)
    others = {
        alert: at for alert, at in course.fired.items() if alert not in expected.alerts and alert not in expected.beside
    }
    return Judgement(shown, paged, others, tuple(_misses(expected, course, shown, paged, others)))


def _first(sightings: "list[Sighting] | tuple[()]", pattern: str | None) -> float | None:
    """Seconds until the words matched; without a pattern, until there were any."""
    return next((each.seconds for each in sightings if each.words and re.search(pattern or "", each.words)), None)


def _misses(
    expected: Expectation,
    course: Course,
    shown: Mapping[str, float | None],
    paged: tuple[str, float] | None,
    others: Mapping[str, float],
) -> list[str]:
    misses = []
    seen = min((at for view, at in shown.items() if view in expected.words and at is not None), default=None)
    if expected.words and (seen is None or seen > SEEN_LIMIT_S):
        misses.append(f"seen after {_seconds(seen)}, limit {SEEN_LIMIT_S:.0f} s")
    for view, pattern in expected.words.items():
        if shown[view] is None:
            words = [each.words for each in course.sightings.get(view, ()) if each.words]
            misses.append(f"{view} never said {pattern!r}" + (f", but {words[-1][:80]!r}" if words else ""))
    if expected.alerts and (paged is None or paged[1] > expected.paged_s):
        after = _seconds(None if paged is None else paged[1])
        misses.append(f"{' or '.join(sorted(expected.alerts))} after {after}, limit {expected.paged_s:.0f} s")
    if course.left:
        misses.append(f"after the repair there still was {course.left}")
    misses += [f"{alert} fired after {at:.0f} s" for alert, at in sorted(others.items())]
    return misses


def _seconds(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.0f} s"


def head() -> str:
    """The first line of the table."""
    return f"{'fault':<34} {'lag':>5} {'ready':>5} {'page':>5} {'alert':>5} {'back':>5}  verdict"


def line(name: str, judgement: Judgement, course: Course) -> str:
    """A row of the table: seconds until each view and the alert showed the fault, and until it was over once mended."""
    cells = [*(judgement.shown[view] for view in VIEWS), judgement.paged[1] if judgement.paged else None, course.back_s]
    figures = " ".join(f"{'-' if cell is None else f'{cell:.0f}':>5}" for cell in cells)
    alert = judgement.paged[0] if judgement.paged else "no alert"
    return f"{name:<34} {figures}  {alert}" + ("" if judgement.good else f"; MISS: {'; '.join(judgement.misses)}")
