"""Why a number moved: contributions that add up to its change.

Between the features before and after, the change of any scorer f is split along a path that moves one feature at a time
(telescoping: the terms add up to f(after) - f(before) exactly); the mean of the paths in forward and in reverse column
order treats the two ends alike. That is a Shapley value (Shapley 1953) estimated from two orders instead of all.
The components of the text vector move as one feature, "text", and whether and how often a customer bought as one,
"purchases": apart, a first purchase would be told as a gain by the one and a loss by the other.

"Before" is the same moment without the event; for silence, and where silence had crossed the bound before the event
came, when the customer was last heard of. By what is served now the number may have been across even then: the dwell
held the customer back, or another policy or model judged. Then the reasons begin at the bound, and how far beyond it
the number was already is itself a reason, `HELD_BACK` or `JUDGED_ANEW`. So the sum always points the way of the move.
"""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.columns import AT, ROW
from models.features import COLUMN, LOGGED, NAMES, USUAL_SHOP, FloatArray, Shop, from_columns
from models.policy import Ruling
from models.scores import Scorer, score_some, wanted
from schemas.changes import Contribution
from schemas.states import Held

# The few that a person reads; what all others did together follows as one.
TOP = 4

#: Reasons that are no features: the value of the first is the dwell in days, of the second and third the bound, of the
#: last how many features it stands for. Of a policy that crossed no bound (a new dimension, a segment that has gone) it is
#: the number itself, or 0 where there is none.
HELD_BACK, JUDGED_ANEW, POLICY, OTHERS = "dwell_days", "version", "policy", "others"

_TEXT_AT = COLUMN["text_0"]
_RECENCY, _BOUGHT = COLUMN["recency_days"], COLUMN["bought"]
_LOGGED: list[bool] = LOGGED.tolist()


class Shift(NamedTuple):
    """A move to explain. What was before is not yet features: (WIDTH,) numbers with their moment."""

    ruling: Ruling
    held: Held | None  # None: placed for the first time
    current: str
    number: float | None  # what the ruling placed; None: never bought
    before: FloatArray
    heard: FloatArray  # as of when the customer was last heard of before
    after: FloatArray  # (features,)
    ratings: int  # how many were given up to the move
    by_policy: bool = False


class Explained(NamedTuple):
    """What moved it. `baseline` and all contributions sum to the number that was placed (None: there is none)."""

    reasons: tuple[Contribution, ...]
    baseline: float | None


def explain(shifts: Sequence[Shift], scorer: Scorer, shop: Shop = USUAL_SHOP) -> list[Explained]:
    """Each shift's reasons, in order; contributions are in the unit of the number that the dimension is cut on.

    The `TOP` largest, then the sum of the rest as `OTHERS`.
    """
    which = tuple(sorted({_BOUGHT, _RECENCY, *wanted(scorer)}))
    numbers = np.array([shift.before for shift in shifts] + [shift.heard for shift in shifts])
    both = from_columns(np.ascontiguousarray(numbers.T), shop, which)
    before, heard = both[: len(shifts)], both[len(shifts) :]
    explained: list[Explained | None] = [
        _days(shift, x, y) if shift.ruling.score is None else None
        for shift, x, y in zip(shifts, before, heard, strict=True)
    ]
    scored = [i for i, known in enumerate(explained) if known is None]
    for start in range(0, len(scored), _BLOCK):
        block = scored[start : start + _BLOCK]
        own = [shifts[i] for i in block]
        for i, said in zip(block, _scores(own, before[block], heard[block], scorer), strict=True):
            explained[i] = said
    return [said for said in explained if said is not None]


def natural(column: int, value: float) -> float:
    """A feature as a person counts it: days, amounts, numbers, not their logarithm.

    >>> round(natural(COLUMN["purchases"], 1.0986122886681098), 9)
    2.0
    """
    return float(np.expm1(value)) if _LOGGED[column] else float(value)


def column_value(column: int, value: float) -> float:
    """The inverse of `natural`."""
    return float(np.log1p(value)) if _LOGGED[column] else float(value)


def is_logged(column: int) -> bool:
    """Whether a feature is the logarithm of 1 + what a person counts."""
    return _LOGGED[column]


# --- scores

# What moves together along a path, named by the column that stands for it: each feature by itself, but for the text
# components and the two that tell of purchases.
_GROUPS = _TEXT_AT + 1
_rank = np.minimum(np.arange(len(NAMES)), _TEXT_AT)
_rank[_BOUGHT] = COLUMN["purchases"]


@cache
def _paths(reads: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...], NDArray[np.bool_]]:
    """The columns and groups that a scorer reads, and of each point of a path which features have moved already.

    (2 x groups, features): first the forward order, then what the reverse order has between the ends that both share.
    A group that isn't read changes no score: it needs no point.
    """
    groups = sorted({int(_rank[column]) for column in reads})
    rank = np.searchsorted(groups, _rank)  # where a feature isn't read it doesn't matter when it moves
    step = np.arange(len(groups) + 1)[:, None]
    return reads, tuple(groups), np.concatenate([rank < step, rank >= len(groups) - step[1:-1]])


_FEW = 8
# Shifts at a time: 64 x 24 path points x 12 features that are read x 8 bytes are 150 KB, of a scorer that reads all 5 MB.
_BLOCK = 64


def _scores(shifts: list[Shift], before: FloatArray, heard: FloatArray, scorer: Scorer) -> list[Explained]:
    n = len(shifts)
    which = np.array([shift.ruling.score for shift in shifts])
    after = np.array([shift.after for shift in shifts])
    passed = [_passed(shift) for shift in shifts]
    first = score_some(scorer, np.concatenate([before, heard]), set(which.tolist()))
    number = first[np.arange(n), which]
    early = np.array([_is_across(shift, bound, at) for shift, bound, at in zip(shifts, passed, number, strict=True)])
    start = np.where(early[:, None], heard, before)
    number = np.where(early, first[n + np.arange(n), which], number)
    parts = _contributions(start, after, which, scorer)
    said = []
    counted = np.where(LOGGED[:_GROUPS], np.expm1(after[:, :_GROUPS]), after[:, :_GROUPS])
    for shift, bound, at, x, values, own in zip(shifts, passed, number.tolist(), after, counted, parts, strict=True):
        moving = np.flatnonzero(own)
        found = [
            (_name(k), _natural(k, x) if k == _TEXT_AT else round(value, 9), part)
            for k, value, part in zip(moving.tolist(), values[moving].tolist(), own[moving].tolist(), strict=True)
        ]
        if not found and (feature := shift.ruling.feature) is not None:
            found = [(_name(feature), _natural(feature, x), 0.0)]
        said.append(_with_residue(shift, bound, at, found))
    return said


def _contributions(before: FloatArray, after: FloatArray, score: FloatArray, scorer: Scorer) -> FloatArray:
    """(n, groups): each group's part of the change of score `score[i]` from `before[i]` to `after[i]`."""
    n, (reads, groups, masks) = len(after), _paths(wanted(scorer))
    if n < _FEW:
        points = np.where(masks, after[:, None, :], before[:, None, :]).reshape(-1, after.shape[1])
    else:  # column by column, and only those that are read: rows of all features would be mostly copied for nothing
        by_column = np.zeros((after.shape[1], n, len(masks)))
        for column in reads:
            by_column[column] = np.where(masks[:, column], after[:, column, None], before[:, column, None])
        points = by_column.reshape(after.shape[1], -1).T
    scored = score_some(scorer, points, set(score.tolist()))
    values = scored.reshape(n, len(masks), -1)[np.arange(n), :, score]
    last = len(groups)
    forward, ends = values[:, : last + 1], values[:, [0, last]]
    reverse = np.concatenate([ends[:, :1], values[:, last + 1 :], ends[:, 1:]], axis=1)
    steps = np.zeros((n, _GROUPS))
    steps[:, groups] = (np.diff(forward, axis=1) + np.diff(reverse, axis=1)[:, ::-1]) / 2
    return steps


def _name(group: int) -> str:
    return "text" if group == _TEXT_AT else NAMES[group]


def _natural(group: int, after: FloatArray) -> float:
    value = float(np.linalg.norm(after[_TEXT_AT:])) if group == _TEXT_AT else natural(group, float(after[group]))
    return round(value, 9)  # counts come back from their logarithm with an error in the last place


# --- days since the last purchase


def _days(shift: Shift, before: FloatArray, heard: FloatArray) -> Explained:
    number = shift.number
    if number is None or not before[_BOUGHT]:
        bought = float(number is not None)
        return _with_residue(shift, None, number, [("bought", bought, 0.0)])
    bound = _passed(shift)
    start = _days_at(shift, shift.before, before)
    if _is_across(shift, bound, start):
        start = _days_at(shift, shift.heard, heard)
    return _with_residue(shift, bound, start, [("recency_days", number, number - start)])


def _days_at(shift: Shift, numbers: FloatArray, x: FloatArray) -> float:
    local = shift.ruling.local
    if local is None or not numbers[ROW["purchases"]]:
        return natural(_RECENCY, x[_RECENCY])
    return float(local.between(float(numbers[ROW["last_purchase_at"]]), float(numbers[AT])))


# --- both


def _passed(shift: Shift) -> float | None:
    return None if shift.held is None else shift.ruling.passed(shift.held.segment, shift.current)


def _is_across(shift: Shift, bound: float | None, number: float) -> bool:
    """Whether `number` is where the move led already."""
    if bound is None or shift.held is None:
        return False
    upward = shift.ruling.index(shift.current) > shift.ruling.index(shift.held.segment)
    return number >= bound if upward else number < bound


def _with_residue(
    shift: Shift, bound: float | None, start: float | None, found: list[tuple[str, float, float]]
) -> Explained:
    """The reasons `found` from `start` on; from the bound, where `start` lies across it already."""
    baseline, residue = start, []
    if start is not None and bound is not None and _is_across(shift, bound, start):
        baseline, residue = bound, [_residue(shift, bound, start - bound)]
    elif shift.by_policy:
        residue = [Contribution(POLICY, 0.0 if start is None else start, 0.0)]
    ordered = sorted(found, key=lambda reason: -abs(reason[2]))
    top = [Contribution(*reason) for reason in ordered[: TOP - len(residue)]]
    rest = ordered[len(top) :]
    if rest:
        top.append(Contribution(OTHERS, float(len(rest)), sum(reason[2] for reason in rest)))
    return Explained((*residue, *top), baseline)


def _residue(shift: Shift, bound: float, beyond: float) -> Contribution:
    ruling, held = shift.ruling, shift.held
    if shift.by_policy:
        return Contribution(POLICY, bound, beyond)
    if held is not None and shift.heard[AT] - held.since < ruling.dwell_s:
        return Contribution(HELD_BACK, (ruling.dwell_s + 0.001) / 86_400, beyond)
    return Contribution(JUDGED_ANEW, bound, beyond)
