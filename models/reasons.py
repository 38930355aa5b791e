"""Why a score moved: contributions that add up to its change.

Between the features before and after, the change of any scorer f is split along a path that moves one feature at a time
(telescoping: the terms add up to f(after) - f(before) exactly); the mean of the paths in forward and in reverse column
order treats the two ends alike. That is a Shapley value (Shapley 1953) estimated from two orders instead of all.
The components of the text vector move as one feature, "text".
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from models.features import COLUMN, FEATURES, NAMES, FloatArray, matrix
from models.scores import Scorer
from schemas.changes import Contribution

# The few that a person reads.
TOP = 4

_TEXT_AT = COLUMN["text_0"]
_RECENCY = COLUMN["recency_days"]
_LOGGED = [feature.meaning.startswith("log(1") for feature in FEATURES]


class Shift(NamedTuple):
    """A move to explain."""

    score: int | None  # index in SCORES; None: the days since the last purchase
    before: tuple[float, ...]  # raw row, see models.features.raw_row
    after: FloatArray  # (features,)


class Explained(NamedTuple):
    """What moved it."""

    reasons: tuple[Contribution, ...]  # the `TOP` largest by absolute contribution
    total: float  # sum over all features: score after less score before


def explain(shifts: Sequence[Shift], scorer: Scorer, unit_minor: int = 100) -> list[Explained]:
    """Each shift's reasons, in order; contributions are in the score's units (days where `score` is None)."""
    before = matrix([shift.before for shift in shifts], unit_minor)
    explained = [_days(x, shift.after) for x, shift in zip(before, shifts, strict=True)]
    scored = [i for i, shift in enumerate(shifts) if shift.score is not None]
    for start in range(0, len(scored), _BLOCK):
        block = scored[start : start + _BLOCK]
        after = np.array([shifts[i].after for i in block])
        parts = _contributions(before[block], after, [shifts[i].score or 0 for i in block], scorer)
        for i, x, own in zip(block, after, parts, strict=True):
            top = np.argsort(-np.abs(own), kind="stable")[:TOP].tolist()
            reasons = tuple(Contribution(_name(k), _natural(k, x), float(own[k])) for k in top if own[k])
            explained[i] = Explained(reasons, float(own.sum()))
    return explained


# What moves together along a path: each feature by itself, the text components as one.
_GROUPS = _TEXT_AT + 1
_rank = np.minimum(np.arange(len(NAMES)), _TEXT_AT)
_step = np.arange(_GROUPS + 1)[:, None]
# Of each point of a path, which features have moved already: (groups + 1, features).
_FORWARD, _REVERSE = _rank < _step, _rank >= _GROUPS - _step
# Shifts at a time: 32 x 100 path points x 64 features x 8 bytes are 1.6 MB.
_BLOCK = 32


def _contributions(before: FloatArray, after: FloatArray, score: list[int], scorer: Scorer) -> FloatArray:
    """(n, groups): each group's part of the change of score `score[i]` from `before[i]` to `after[i]`."""
    n, width = after.shape
    masks = np.concatenate([_FORWARD, _REVERSE])
    points = np.where(masks, after[:, None, :], before[:, None, :]).reshape(-1, width)
    values = scorer.score(points).reshape(n, 2, _GROUPS + 1, -1)[np.arange(n), :, :, score]
    steps: FloatArray = np.diff(values, axis=2)
    return (steps[:, 0] + steps[:, 1, ::-1]) / 2


def _days(before: FloatArray, after: FloatArray) -> Explained:
    now, then = float(np.expm1(after[_RECENCY])), float(np.expm1(before[_RECENCY]))
    return Explained((Contribution("recency_days", now, now - then),), now - then)


def _name(group: int) -> str:
    return "text" if group == _TEXT_AT else NAMES[group]


def _natural(group: int, after: FloatArray) -> float:
    """The feature as a person counts it: days, amounts, numbers, not their logarithm."""
    value = float(np.linalg.norm(after[_TEXT_AT:])) if group == _TEXT_AT else float(after[group])
    return float(np.expm1(value)) if _LOGGED[group] else value
