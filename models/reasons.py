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
    paths: list[FloatArray] = []
    plans: list[list[list[int]]] = []
    for shift, x in zip(shifts, before, strict=True):
        groups = _changed(x, shift.after) if shift.score is not None else []
        plans.append(groups)
        if groups:
            paths.append(_path(x, shift.after, groups))
            paths.append(_path(x, shift.after, groups[::-1]))
    scores = scorer.score(np.concatenate(paths)) if paths else np.empty((0, 0))
    explained, at = [], 0
    for shift, x, groups in zip(shifts, before, plans, strict=True):
        if shift.score is None:
            explained.append(_days(x, shift.after))
            continue
        k = len(groups) + 1
        forward = np.diff(scores[at : at + k, shift.score])
        reverse = np.diff(scores[at + k : at + 2 * k, shift.score])[::-1]
        at += 2 * k if groups else 0
        parts = (forward + reverse) / 2
        order = np.argsort(-np.abs(parts), kind="stable")[:TOP]
        explained.append(
            Explained(
                tuple(
                    Contribution(_name(groups[i]), _natural(groups[i], shift.after), float(parts[i]))
                    for i in order.tolist()
                    if parts[i]
                ),
                float(parts.sum()),
            )
        )
    return explained


def _changed(before: FloatArray, after: FloatArray) -> list[list[int]]:
    differs = np.flatnonzero(before != after).tolist()
    groups = [[i] for i in differs if i < _TEXT_AT]
    text = [i for i in differs if i >= _TEXT_AT]
    return [*groups, text] if text else groups


def _path(before: FloatArray, after: FloatArray, groups: list[list[int]]) -> FloatArray:
    path = np.repeat(before[None, :], len(groups) + 1, axis=0)
    for k, group in enumerate(groups, 1):
        path[k:, group] = after[group]
    return path


def _days(before: FloatArray, after: FloatArray) -> Explained:
    now, then = float(np.expm1(after[_RECENCY])), float(np.expm1(before[_RECENCY]))
    return Explained((Contribution("recency_days", now, now - then),), now - then)


def _name(group: list[int]) -> str:
    return "text" if group[0] >= _TEXT_AT else NAMES[group[0]]


def _natural(group: list[int], after: FloatArray) -> float:
    """The feature as a person counts it: days, amounts, numbers, not their logarithm."""
    value = float(np.linalg.norm(after[group])) if group[0] >= _TEXT_AT else float(after[group[0]])
    return float(np.expm1(value)) if _LOGGED[group[0]] else value
