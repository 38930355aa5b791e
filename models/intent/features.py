"""Features of a session: after its first pages, and of a session that an analytics service has summed up to a row.

Codes are what a linear model reads: a count or a time is a ladder of steps, 1 for each step that it has reached, so that a
line over the steps is any rising or falling curve. Numbers are what trees read. Absent features are 0.
"""

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

PAGES = "pages"
"""Page types so far, oldest first: any labels."""

SECONDS = "seconds"
"""Seconds from the session's first page to each."""

_COUNT_STEPS = (1, 2, 3, 4, 6, 9)
_LENGTH_STEPS = tuple(range(2, 25, 2))
_TIME_STEPS_S = (1, 3, 8, 20, 60, 150, 400, 1000, 2500)
_GAP_STEPS_S = (1, 3, 8, 20, 60, 200, 600)
_FORGOTTEN_AFTER, _FIRST_FADES = 3.0, 5.0


def codes_of_pages(session: Mapping[str, Sequence[Any]]) -> dict[str, float]:
    """What a linear model reads of the pages so far: how many, of which types, in which order, and how fast."""
    pages, seconds = session[PAGES], session[SECONDS]
    gaps = [later - before for before, later in itertools.pairwise(seconds)]
    last, counts, n = pages[-1], Counter(pages), len(pages)
    codes = dict.fromkeys(_steps("pages", n, _LENGTH_STEPS), 1.0)
    codes |= dict.fromkeys(_steps("time", seconds[-1], _TIME_STEPS_S), 1.0)
    codes |= dict.fromkeys(_steps("gap", gaps[-1] if gaps else 0.0, _GAP_STEPS_S), 1.0)
    codes |= dict.fromkeys(_steps("usual gap", _median(gaps), _GAP_STEPS_S), 1.0)
    for page, count in counts.items():
        codes |= dict.fromkeys(_steps(f"{page} seen", count, _COUNT_STEPS), 1.0)
        codes[f"{page} share"] = count / n
        codes[f"{page} fresh"] = math.exp(-(n - 1 - _last_place(pages, page)) / _FORGOTTEN_AFTER)
        codes[f"{page} early"] = math.exp(-pages.index(page) / _FIRST_FADES)
    for page, dwelt_s in _dwelt(pages, gaps).items():
        codes[f"{page} dwell"] = math.log1p(dwelt_s) / 3
    for back in (1, 2, 3):
        if n >= back:
            codes[f"{back} ago {pages[-back]}"] = 1.0
    codes[f"first {pages[0]}"] = 1.0
    codes[f"last {last} gap"] = math.log1p(gaps[-1] if gaps else 0.0) / 3
    codes[f"last {last} time"] = math.log1p(seconds[-1]) / 5
    pairs = Counter(itertools.pairwise(pages))
    codes |= {f"{a} to {b}": math.log1p(count) for (a, b), count in pairs.items()}
    if n > 1:
        codes[f"now {pages[-2]} to {last}"] = 1.0
    return codes


def amounts_of_summary(row: Mapping[str, Any]) -> dict[str, float]:
    """The amounts of a session's row, as a linear model reads them: see `numbers_of_summary` for its columns."""
    amounts = dict(_amounts(row))
    pages = sum(float(row[kind]) for kind in _KINDS)
    amounts |= {"pages": math.log1p(pages), "pages squared": math.log1p(pages) ** 2 / 5}
    amounts["share of products"] = float(row["product_related"]) / max(pages, 1.0)
    if (value := row.get("page_value")) is not None:
        worth, known = math.log1p(float(value)), float(value > 0)
        amounts |= {f"worth, {name}": known * number for name, number in amounts.items()}
        amounts |= {"worth": worth, "worth squared": worth**2 / 5, "worth at exit": worth * amounts["exit"] / 3}
        amounts["worth nothing"] = 1.0 - known
    return amounts


def numbers_of_summary(row: Mapping[str, Any]) -> dict[str, float]:
    """What trees read of a session's row.

    Columns: pages and seconds by kind (`administrative`, `administrative_s`, ...), `bounce_rate`, `exit_rate`,
    `special_day`, `weekend`, and the categories. `page_value` is read where it is there: an analytics service computes it
    from the very purchases, so a live score must do without it.
    """
    return {name: float(row[name]) for name in (*_NUMBERS, *_CODED) if row.get(name) is not None}


def names_of_summary(row: Mapping[str, Any]) -> dict[str, str]:
    """The categories of a session's row that have no order."""
    return {name: str(row[name]) for name in NAMED if row.get(name) is not None}


def coded_of_summary(row: Mapping[str, Any]) -> dict[str, str]:
    """All categories of a session's row, also those that are numbered."""
    return {name: str(row[name]) for name in (*NAMED, *_CODED) if row.get(name) is not None}


_KINDS = ("administrative", "informational", "product_related")
NAMED = ("month", "visitor_type")
_CODED = ("operating_system", "browser", "region", "traffic_type")
_NUMBERS = (
    *_KINDS,
    *(f"{kind}_s" for kind in _KINDS),
    "bounce_rate",
    "exit_rate",
    "page_value",
    "special_day",
    "weekend",
)


def _amounts(row: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for kind in _KINDS:
        count, seconds = float(row[kind]), float(row[f"{kind}_s"])
        yield kind, math.log1p(count)
        yield f"{kind} none", float(count == 0)
        yield f"{kind} time", math.log1p(seconds)
        yield f"{kind} time a page", math.log1p(seconds / max(count, 1.0))
    leaving = math.log(float(row["exit_rate"]) + 0.002)
    yield "bounce", math.sqrt(float(row["bounce_rate"])) * 5
    yield "exit", leaving
    yield "exit squared", leaving**2 / 5
    yield "exit rate", float(row["exit_rate"]) * 20
    yield "special day", float(row["special_day"])
    yield "weekend", float(row["weekend"])


def _steps(name: str, value: float, steps: Sequence[float]) -> Iterator[str]:
    return (f"{name} from {step}" for step in steps if value >= step)


def _median(gaps: Sequence[float]) -> float:
    if not gaps:
        return 0.0
    ordered, middle = sorted(gaps), len(gaps) // 2
    return ordered[middle] if len(gaps) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def _last_place(pages: Sequence[Any], page: Any) -> int:
    return len(pages) - 1 - list(reversed(pages)).index(page)


def _dwelt(pages: Sequence[Any], gaps: Sequence[float]) -> dict[Any, float]:
    """Seconds on pages of each type."""
    dwelt: dict[Any, float] = dict.fromkeys(pages, 0.0)
    for page, gap in zip(pages, gaps, strict=False):
        dwelt[page] += gap
    return dwelt
