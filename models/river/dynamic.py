"""The filter behind the dynamic models: Gaussian weights that drift, and learn a block of outcomes at a time.

Dynamic generalised linear model (West, Harrison and Migon 1985) by iterated extended Kalman filter (Bell and Cathey 1993).
The weights are N(w, P); P grows by `drift` a day. A block with inputs A (the constant first) moves w to the mode of the
posterior, by Newton steps: with the means mu, information V and slopes s of its outcomes at weights u, from u = w on,

    P_u <- (P^-1 + A' diag(V) A / dispersion)^-1,   u <- w + P_u A' (s (y - mu) + V A (u - w)) / dispersion

each shortened where it would move a row by more than `step_limit`; the last u and P_u are the new w and P. With one step it
is the plain filter. No step size is tuned, inputs may be correlated, and what is forgotten is forgotten by time, not by the
number of labels.
"""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np

from models.river.families import FloatArray
from models.river.rows import RowModel

# Before anything was learnt, cautious weights have a hundredth of the variance of others, and they drift as much slower.
_CAUTION = 0.01
# A Newton step that moves no row by more than this is the last one.
_NEAR = 1e-7


class DynamicGLM(RowModel):
    """The filter, whatever the distribution; `DynamicLogisticRegression` documents the parameters.

    Attributes:
        covariance: (features + 1, features + 1), of the coefficients.
    """

    def __init__(
        self,
        scale: float | Mapping[Hashable, float],
        intercept_scale: float,
        drift: float,
        intercept_drift: float,
        dispersion: float,
        limit: float,
        step_limit: float,
        surprise_limit: float,
        newton_steps: int,
        offset: Hashable | None,
        cautious: frozenset[Hashable] | None,
    ) -> None:
        self.scale, self.intercept_scale = scale, intercept_scale
        self.drift, self.intercept_drift = drift, intercept_drift
        self.dispersion, self.limit, self.step_limit = dispersion, limit, step_limit
        self.surprise_limit, self.newton_steps = surprise_limit, newton_steps
        self.offset, self.cautious = offset, cautious
        self._start()
        self._coefficients: FloatArray = np.zeros(1)
        self.covariance: FloatArray = np.full((1, 1), float(intercept_scale) ** 2)
        self._drifts: FloatArray = np.full(1, float(intercept_drift))

    @property
    def coefficients(self) -> FloatArray:
        """(features + 1,): the intercept, then the weights in the order of `feature_names`."""
        return self._coefficients

    @coefficients.setter
    def coefficients(self, coefficients: FloatArray) -> None:
        self._coefficients = coefficients

    def _grow(self, names: list[Hashable]) -> None:
        scales = [self.scale if isinstance(self.scale, (int, float)) else self.scale.get(name, 0.1) for name in names]
        held_back = np.array([_CAUTION if name in (self.cautious or ()) else 1.0 for name in names])
        size, new = len(self._coefficients), len(names)
        covariance = np.zeros((size + new, size + new))
        covariance[:size, :size] = self.covariance
        covariance[range(size, size + new), range(size, size + new)] = np.square(scales) * held_back
        self.covariance = covariance
        self._coefficients = np.r_[self._coefficients, np.zeros(new)]
        self._drifts = np.r_[self._drifts, self.drift * held_back]

    def learn_array(
        self,
        z: FloatArray,
        y: FloatArray,
        offset: FloatArray,
        elapsed: float,
        w: float = 1.0,
        *,
        rank_one: bool = False,
    ) -> None:
        """See `RowModel.learn_array`."""
        covariance = self.covariance
        covariance[np.diag_indices(len(covariance))] += self._drifts * elapsed
        a = np.hstack([np.ones((len(z), 1)), z])
        if rank_one:
            self._learn_row(a[0], y, offset, w)
            return
        before = self._coefficients
        for turn in range(self.newton_steps):
            told, information = self._told(self.mean_array(z, offset), y, w)
            self.covariance = _with_block(covariance, a, information)
            if turn:
                told = told + information * (a @ (self._coefficients - before))
            step = self.covariance @ (a.T @ told)
            if turn:
                step = before + step - self._coefficients
            # Where the mean was far too low so was the information: the whole step would go further the less was expected.
            furthest = float(np.abs(a @ step).max(initial=0.0))
            self._coefficients = self._coefficients + step * (self.step_limit / max(furthest, self.step_limit))
            if furthest < _NEAR:
                break

    def _learn_row(self, a: FloatArray, y: FloatArray, offset: FloatArray, w: float) -> None:
        """A single row moves along P a alone: the mode is that of one number, the correction, and P changes by rank one."""
        spread = self.covariance @ a
        variance, before = float(a @ spread), float(a @ self._coefficients)
        moved, information = before, 0.0
        for _ in range(self.newton_steps):
            mean = self.family.mean(offset + min(max(moved, -self.limit), self.limit))
            told, known = self._told(mean, y, w)
            information = float(known[0])
            step = (variance * float(told[0]) - (moved - before)) / (1.0 + variance * information)
            moved += min(max(step, -self.step_limit), self.step_limit)
            if abs(step) < _NEAR:
                break
        if variance > 0.0:
            self._coefficients = self._coefficients + spread * ((moved - before) / variance)
        self.covariance = self.covariance - np.outer(spread * (information / (1.0 + variance * information)), spread)

    def _told(self, mean: FloatArray, y: FloatArray, w: float) -> tuple[FloatArray, FloatArray]:
        """(n,) each: gradient and information of outcomes y whose means are `mean`, on the link scale."""
        family = self.family
        counted = np.full(len(mean), w / self.dispersion)
        surprise = y - mean
        if not family.is_bounded() and np.isfinite(self.surprise_limit):
            # A mean beyond the limit tells as one at the limit does, or the few who are expected to do most would outweigh
            # everybody else.
            counted *= self.surprise_limit / np.maximum(mean, self.surprise_limit)
            surprise = np.minimum(surprise, self.surprise_limit)
        return surprise * counted * family.slope(mean), family.information(mean) * counted

    def state_array(self) -> FloatArray:
        """(any,): coefficients, then the upper triangle of the covariance."""
        return np.concatenate([self._coefficients, packed(self.covariance)])

    def take_state(self, array: FloatArray) -> None:
        """The inverse of `state_array`, for a model with as many features."""
        size = len(self._coefficients)
        self._coefficients, self.covariance = array[:size].copy(), unpacked(array[size:])

    @classmethod
    def _unit_test_params(cls) -> Any:
        yield {}


def _with_block(covariance: FloatArray, a: FloatArray, information: FloatArray) -> FloatArray:
    """(P^-1 + A' diag(information) A)^-1, symmetric; P: `covariance`, A: `a` (n, features + 1)."""
    told = (a * information[:, None]).T @ a
    known = np.asarray(np.linalg.solve(np.eye(len(covariance)) + covariance @ told, covariance), dtype=np.float64)
    return (known + known.T) / 2


def packed(symmetric: FloatArray) -> FloatArray:
    """The upper triangle, row by row: half the numbers.

    >>> packed(np.array([[1.0, 2.0], [2.0, 3.0]])).tolist()
    [1.0, 2.0, 3.0]
    """
    triangle: FloatArray = symmetric[np.triu_indices(len(symmetric))]
    return triangle


def unpacked(triangle: FloatArray) -> FloatArray:
    """The inverse of `packed`.

    >>> unpacked(np.array([1.0, 2.0, 3.0])).tolist()
    [[1.0, 2.0], [2.0, 3.0]]
    """
    size = int((np.sqrt(8 * len(triangle) + 1) - 1) / 2)
    full: FloatArray = np.zeros((size, size))
    full[np.triu_indices(size)] = triangle
    return full + np.triu(full, 1).T
