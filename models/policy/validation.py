"""Mistakes in a policy document: what can't be served, and what can be served but can't be meant.

Each check raises `PolicyError` with the path, the line and the column of the mistake.
"""

import math
from difflib import get_close_matches
from typing import NoReturn

from models.localdays import LocalDays, ZoneUnknown
from models.marks import Marked
from models.policy.document import COUNTABLE, DAYS_SINCE_PURCHASE, NUMBERS, Dimension, Policy, PolicyError
from schemas.currencies import unit_minor_of
from schemas.learning import SCORES

# The least and the greatest value of a number. A bound outside is a slip, most often a percentage in place of a share.
_RANGES = dict.fromkeys(
    ("p_purchase_30d", "p_purchase_90d", "refunded_share", "coupon_share", "text_weight"), (0.0, 1.0)
)
_RANGES["sentiment"] = (-1.0, 1.0)


def check(policy: Policy, marked: Marked) -> None:
    """Refuses a policy that can't be served."""
    if policy.time_zone is not None:
        try:
            LocalDays(policy.time_zone)
        except ZoneUnknown as exc:
            _refuse(marked, "$.time_zone", str(exc))
    for d, dimension in enumerate(policy.dimensions):
        where = f"$.dimensions[{d}]"
        if dimension.over not in NUMBERS:
            _refuse(marked, f"{where}.over", _unknown_number(dimension.over))
        if dimension.over == DAYS_SINCE_PURCHASE and dimension.dwell_days:
            why = "a dimension over days since the last purchase has no dwell: its bounds are crossed to the second"
            _refuse(marked, where, why, "dwell_days")
        _check_segments(dimension, where, marked)
    names: set[str] = set()
    for d, dimension in enumerate(policy.dimensions):
        if dimension.name in names:
            _refuse(marked, f"$.dimensions[{d}].name", f"'{dimension.name}' stands twice")
        names.add(dimension.name)


def _check_segments(dimension: Dimension, where: str, marked: Marked) -> None:
    before: float | None = None
    names: set[str] = set()
    for s, segment in enumerate(dimension.segments):
        place = f"{where}.segments[{s}]"
        if segment.name in names:
            _refuse(marked, f"{place}.name", f"'{segment.name}' stands twice")
        names.add(segment.name)
        bound = segment.bound
        has_start = bound is not None or segment.quantile is not None
        if s == 0 and has_start:
            _refuse(marked, place, "the first segment takes all lower numbers; it has no `from`", "from")
        if s > 0 and not has_start:
            _refuse(marked, place, "`from` is missing; only the first segment has none")
        if bound is None:
            continue
        if segment.quantile is not None:
            _refuse(marked, place, "`from` or `from_quantile`, not both", "from_quantile")
        if not math.isfinite(bound):
            _refuse(marked, f"{place}.from", f"{bound} is not a bound; it takes a finite number")
        if bound < 0 and dimension.over not in COUNTABLE:
            _refuse(marked, f"{place}.from", f"{dimension.over} is never below 0, so {bound} is not a bound")
        if before is not None and bound <= before:
            why = f"`from` must rise from segment to segment: {bound} after {before}"
            _refuse(marked, f"{place}.from", why)
        before = bound


def check_slips(policy: Policy, marked: Marked) -> None:
    """Refuses a policy that could be served but can't be meant."""
    unit_minor = unit_minor_of(policy.currency)
    if unit_minor is not None and policy.unit_minor != unit_minor:
        where = "$.unit_minor" if "unit_minor" in marked.tree else "$.currency"
        why = f"a unit of {policy.currency} has {unit_minor:,} minor units, not {policy.unit_minor:,}"
        _refuse(marked, where, f"{why}: write `unit_minor: {unit_minor}`")
    for d, dimension in enumerate(policy.dimensions):
        low, high = _RANGES.get(dimension.over, (-math.inf, math.inf))
        for s, segment in enumerate(dimension.segments):
            bound = segment.bound
            if bound is None or low <= bound <= high:
                continue
            hint = f"; did you mean {bound / 100:g}?" if low <= bound / 100 <= high else ""
            why = f"{dimension.over} lies between {low:g} and {high:g}, so {bound:g} is not a bound"
            _refuse(marked, f"$.dimensions[{d}].segments[{s}].from", f"{why}{hint}")


def check_calibrated(policy: Policy, marked: Marked) -> None:
    """Refuses a policy with a quantile in place of a bound."""
    for d, dimension in enumerate(policy.dimensions):
        for s, segment in enumerate(dimension.segments):
            if segment.quantile is not None:
                why = "a quantile must become a number first: `regulars policy calibrate FILE`"
                _refuse(marked, f"$.dimensions[{d}].segments[{s}]", why, "from_quantile")


def _refuse(marked: Marked, where: str, why: str, key: str | None = None) -> NoReturn:
    raise PolicyError(f"{where}: {why}", marked.mark(where, key))


def _unknown_number(name: str) -> str:
    close = get_close_matches(name, NUMBERS, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    known = ", ".join((DAYS_SINCE_PURCHASE, *SCORES))
    return f"'{name}' is none of {known}, and no feature in docs/features.md{hint}"
