"""What would have kept a customer's segment: the smallest single change of a feature that somebody can change.

Of the features marked actionable (`models.features.FEATURES`) one is changed and the others are left as they are; the
served scorer says what that does. Small is measured in the columns that the scorer reads: on the logarithm for amounts
and counts, so that 10 to 20 is as far as 100 to 200, and as it stands for shares, ratings and sentiment. The search
looks at the distances of `_GRID` either way for the first that brings the score back across the bound, then twice more
between that and the one before. What it finds is rounded for a reader and scored once more: only what then keeps the
segment is said.

A dimension over days since the last purchase needs no search: a second less or as much as the bound; under a time
zone a local day.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.scores import Scorer
from schemas.changes import Counterfactual
from schemas.times import DAY_S
from tests.reference.features import COLUMN, FEATURES, FloatArray
from tests.reference.reasons import Shift, column_value, is_logged, natural
from tests.reference.states import NEVER

ACTIONABLE = tuple(i for i, feature in enumerate(FEATURES) if feature.actionable)

# How far a feature is moved, either way, in units of its column. The farthest, 2.8, is 16 times as much: nobody turns
# 20 purchases into 1,000.
_GRID = np.array([0.05, 0.25, 0.8, 2.8])
_STEPS = np.concatenate([-_GRID[::-1], _GRID])
# Features that stay in the race after the first look, and how finely each interval is then cut, and how often: to a
# hundredth of what a feature counts, which is what three figures tell.
_CONTENDERS, _CUTS, _ROUNDS = 3, 6, 3
_CUT = np.arange(1, _CUTS + 1) / _CUTS

_WHOLE = frozenset({"purchases", "refunds", "supports"})
_whole = np.array([FEATURES[k].name in _WHOLE for k in ACTIONABLE])

_columns = np.array(ACTIONABLE)
_place = {FEATURES[k].name: i for i, k in enumerate(ACTIONABLE)}

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


def keepers(shifts: Sequence[Shift], scorer: Scorer) -> list[Counterfactual | None]:
    """What would have kept each shift's previous segment, in order; None: no single change would, or there was none."""
    found = [_days(shift) if shift.ruling.score is None else None for shift in shifts]
    scored = [i for i, shift in enumerate(shifts) if shift.ruling.score is not None and _is_kept_somewhere(shift)]
    for start in range(0, len(scored), _BLOCK):
        block = scored[start : start + _BLOCK]
        for i, keeper in zip(block, _search([shifts[i] for i in block], scorer), strict=True):
            found[i] = keeper
    return found


# Shifts at a time: 32 x 12 features x 8 values x 66 x 8 bytes are 1.6 MB.
_BLOCK = 32


def instead(x: FloatArray, keeper: Counterfactual) -> FloatArray:
    """The row of features (features,) with the one that `keeper` names changed as it says."""
    changed = x.copy()
    changed[COLUMN[keeper.feature]] = column_value(COLUMN[keeper.feature], keeper.instead)
    return changed


def _ranges(shifts: Sequence[Shift], x: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The least and the most that each of `ACTIONABLE` could have been, in its column: (shifts, actionable) each.

    Other texts could have said something else, but there are as many; no share is refunded without a refund, nothing is
    spent without a purchase. Who bought has one purchase at least: none would be another customer altogether.
    """
    own = x[:, _columns]
    low, high = np.zeros(own.shape), np.full(own.shape, NEVER)
    bought, refunded = x[:, COLUMN["bought"]] > 0, x[:, COLUMN["refunds"]] > 0
    low[:, _place["purchases"]] = np.log(2.0)
    high[:, [_place["monetary"], _place["spend"]]] = np.where(bought, NEVER, 0.0)[:, None]
    high[:, _place["refunded_share"]] = bought & refunded
    ratings = np.array([shift.ratings for shift in shifts])
    for name, most in (("rating", 2.0 * ratings / (ratings + 1.0)), ("sentiment", x[:, COLUMN["text_weight"]])):
        low[:, _place[name]], high[:, _place[name]] = -most, most
    return np.minimum(low, own), np.maximum(high, own)


def _is_kept_somewhere(shift: Shift) -> bool:
    return shift.held is not None and shift.ruling.index(shift.held.segment) >= 0


def _days(shift: Shift) -> Counterfactual | None:
    if not _is_kept_somewhere(shift) or shift.held is None or shift.number is None:
        return None
    low, high = shift.ruling.kept_between(shift.held.segment)
    if low == -NEVER and shift.number >= high:
        purchases = natural(COLUMN["purchases"], shift.after[COLUMN["purchases"]])
        return Counterfactual("purchases", float(round(purchases)), 0.0)  # only who never bought is there
    above = shift.number >= high
    if shift.ruling.local is not None:  # whole days; bounds carry a tolerance of a millisecond
        days = float(np.ceil(high) - 1.0 if above else np.ceil(low))
    else:
        days = (math.ceil(high * 10.0) - 1) / 10.0 if above else (math.floor(low * 10.0) + 1) / 10.0
        if not low <= days < high:
            days = round((high - 1 / DAY_S if above else low + 1 / DAY_S) * DAY_S) / DAY_S
    return Counterfactual("recency_days", shift.number, days) if low <= days < high else None


class _Race(NamedTuple):
    """Features of shifts that may still be the smallest to change; one entry a shift and feature."""

    row: IntArray  # which shift
    chosen: IntArray  # which of `ACTIONABLE`
    own: FloatArray  # the feature as it is
    sign: FloatArray  # which way it is changed
    near: FloatArray  # a distance that doesn't lead back across the bound
    far: FloatArray  # one that does


class _Case:
    """A block of shifts, ready to be scored with one feature changed."""

    def __init__(self, shifts: list[Shift], scorer: Scorer) -> None:
        self.scorer = scorer
        self.x = np.array([shift.after for shift in shifts])
        self.least, self.most = _ranges(shifts, self.x)
        kept = [shift.ruling.kept_between(shift.held.segment) for shift in shifts if shift.held is not None]
        self.low, self.high = np.array(kept).T
        self.which = np.array([shift.ruling.score for shift in shifts])
        self.above = np.array([shift.number for shift in shifts], dtype=np.float64) >= self.high

    def numbers(self, row: IntArray, chosen: IntArray, value: FloatArray) -> FloatArray:
        """What the shift `row[i]` is judged on with its feature `chosen[i]` at `value[i]`."""
        points, at = self.x[row], np.arange(len(row))
        points[at, _columns[chosen]] = value
        found: FloatArray = self.scorer.score(points)[at, self.which[row]]
        return found

    def is_back(self, row: IntArray, chosen: IntArray, value: FloatArray) -> BoolArray:
        """Whether that is on the other side of the bound that was passed."""
        number = self.numbers(row, chosen, value)
        back: BoolArray = np.where(self.above[row], number < self.high[row], number >= self.low[row])
        return back

    def keeps(self, row: IntArray, chosen: IntArray, value: FloatArray) -> BoolArray:
        """Whether that keeps the segment."""
        number = self.numbers(row, chosen, value)
        kept: BoolArray = (number >= self.low[row]) & (number < self.high[row])
        return kept


def _search(shifts: list[Shift], scorer: Scorer) -> list[Counterfactual | None]:
    case = _Case(shifts, scorer)
    race = _first_look(case)
    found: list[Counterfactual | None] = [None] * len(shifts)
    if not len(race.row):
        return found
    for _ in range(_ROUNDS):
        race = _still_in(_closer(case, race), len(shifts))
    row, chosen, value, size = _said(case, race)
    for i in np.argsort(-size, kind="stable").tolist():  # the smallest last
        if size[i] < NEVER:
            k = int(_columns[chosen[i]])
            own = round(natural(k, float(case.x[row[i], k])), 9)  # 2.0000000000000004 purchases are 2
            found[row[i]] = Counterfactual(FEATURES[k].name, own, float(value[i]))
    return found


def _first_look(case: _Case) -> _Race:
    """Every feature, both ways; then of each shift those that could still be the smallest."""
    own = case.x[:, _columns]
    values = np.clip(own[:, :, None] + _STEPS, case.least[:, :, None], case.most[:, :, None])
    row, chosen, _ = np.indices(values.shape).reshape(3, -1)
    back = case.is_back(row, chosen, values.ravel()).reshape(values.shape)
    distance = np.where(back, np.abs(values - own[:, :, None]), NEVER)
    best, far = distance.argmin(axis=2), distance.min(axis=2)
    before = np.searchsorted(_GRID, np.abs(_STEPS[best]) - 1e-9)
    near = np.minimum(np.concatenate([[0.0], _GRID])[before], far)

    order = np.argsort(near + 1e-6 * far, axis=1, kind="stable")[:, :_CONTENDERS]
    row, chosen = np.repeat(np.arange(len(order)), order.shape[1]), order.ravel()
    alive = np.isfinite(far[row, chosen])
    row, chosen = row[alive], chosen[alive]
    sign = np.sign(_STEPS[best[row, chosen]])
    return _still_in(_Race(row, chosen, own[row, chosen], sign, near[row, chosen], far[row, chosen]), len(order))


def _still_in(race: _Race, shifts: int) -> _Race:
    """Without those that can't be the smallest any more."""
    # A count that must be whole may turn out not to do: it can't put others out of the race.
    limit = np.full(shifts, NEVER)
    np.minimum.at(limit, race.row, np.where(_whole[race.chosen], NEVER, race.far))
    alive = race.near <= limit[race.row]
    row, chosen, own, sign, near, far = race
    return _Race(row[alive], chosen[alive], own[alive], sign[alive], near[alive], far[alive])


def _closer(case: _Case, race: _Race) -> _Race:
    """With each interval cut to a part of `_CUTS`."""
    distances = race.near[:, None] + (race.far - race.near)[:, None] * _CUT
    tried = (race.own[:, None] + race.sign[:, None] * distances).ravel()
    back = case.is_back(np.repeat(race.row, _CUTS), np.repeat(race.chosen, _CUTS), tried).reshape(-1, _CUTS)
    back[:, -1] = True  # known
    first, at = back.argmax(axis=1), np.arange(len(race.row))
    near = np.where(first > 0, distances[at, first - 1], race.near)
    return race._replace(near=near, far=distances[at, first])


def _said(case: _Case, race: _Race) -> tuple[IntArray, IntArray, FloatArray, FloatArray]:
    """Shift, feature, what a reader is told, and how large a change it is; `NEVER`: it isn't true.

    Rounded first; where rounding leads past the other end of the segment, to the last figure.
    """
    ends = race.own + race.sign * race.far
    exact = [natural(int(_columns[k]), float(end)) for k, end in zip(race.chosen, ends, strict=True)]
    rounded = [_rounded(int(_columns[k]), float(o), v) for k, o, v in zip(race.chosen, race.own, exact, strict=True)]
    told = np.array(rounded + exact)
    row, chosen, own = np.tile(race.row, 2), np.tile(race.chosen, 2), np.tile(race.own, 2)
    least, most = case.least[row, chosen], case.most[row, chosen]
    read = np.array([column_value(int(_columns[k]), float(value)) for k, value in zip(chosen, told, strict=True)])
    sayable = ~_whole[chosen]
    sayable[: len(rounded)] = True  # nobody has 2.3 purchases
    inside = (read >= least - 1e-12) & (read <= most + 1e-12)
    true = case.keeps(row, chosen, read) & inside & sayable
    true[len(rounded) :] &= ~true[: len(rounded)]
    return row, chosen, told, np.where(true, np.abs(read - own), NEVER)


def _rounded(column: int, own: float, counted: float) -> float:
    """`counted` to three figures (whole where the feature is a count), away from `own` (as the column has it)."""
    if FEATURES[column].name in _WHOLE:
        places = 0
    elif is_logged(column):
        places = 2 - int(np.floor(np.log10(max(abs(counted), 1e-3))))
    else:
        places = 3
    scale = 10.0**places
    up = counted > natural(column, own)
    rounded = (np.ceil if up else np.floor)(round(counted * scale, 6)) / scale
    return float(rounded)
