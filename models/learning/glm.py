"""A generalised linear model whose weights may drift: one pass, second order, blocks of labels at a time.

Dynamic generalised linear model (West, Harrison and Migon 1985), by extended Kalman filter: the weights are Gaussian,
N(w, P); between blocks they drift (P grows by `drift` a day), and a block with inputs A, means mu and variances v of its
outcomes gives

    P <- (P^-1 + A' diag(v) A / dispersion)^-1,   w <- w + P A' (y - mu) / dispersion

the step of w shortened where it would move a row by more than `CORRECTION_LIMIT`, the furthest that is served. An amount
expected to be very large tells as much as one of `SURPRISE_LIMIT` does, v A A' and A (y - mu) alike: its variance is taken
to grow with the square of its mean from there on. Else the labels of one customer who once ordered for a whole year's
sales would outweigh everybody's.
`DynamicGlm` has no step size to tune, forgets by time instead of by labels, and doesn't care how inputs are correlated.
It is a River estimator where that helps (`learn_one`, `predict_one` on dicts); blocks are arrays.
"""

from typing import Any, Literal

import numpy as np
from river import base

from models.features import FloatArray
from models.learning.forecasting import CORRECTION_LIMIT

# An outcome counts as at most so far above what was expected (in purchases, or in purchases of the mean amount): one
# wholesale order must not outweigh a hundred customers. Below, nothing is cut, as no outcome is less than none: a forecast
# of thousands where ten came must come down at once, not by 30 in a thousand.
SURPRISE_LIMIT = 30.0

Link = Literal["logit", "log"]


class BlockGlm(base.Estimator):  # type: ignore[misc]
    """What all generalised linear models here have in common: blocks of rows, and River's dicts as blocks of one.

    Attributes:
        link: `logit` for 0 and 1, `log` for amounts.
        weights: (inputs + 1,), the constant first: what is served.
    """

    link: Link
    weights: FloatArray

    def learn_block(self, z: FloatArray, offset: FloatArray, y: FloatArray, days: float, weight: float = 1.0) -> None:
        """Learns outcomes y (n,) of inputs z (n, inputs), `days` after the block before; `weight` of each outcome."""
        raise NotImplementedError

    def predict_block(self, z: FloatArray, offset: FloatArray) -> FloatArray:
        """Probabilities or means (n,)."""
        return unlinked(self.link, offset + correction(self.weights, z))

    def learn_one(self, x: dict[str, float], y: float, offset: float = 0.0, days: float = 0.0) -> None:
        """River's way in: a block of one; the inputs in the order of the dict."""
        self.learn_block(np.array([list(x.values())]), np.array([offset]), np.array([float(y)]), days)

    def predict_one(self, x: dict[str, float], offset: float = 0.0) -> float:
        """River's way out: the probability or the mean."""
        return float(self.predict_block(np.array([list(x.values())]), np.array([offset]))[0])

    @classmethod
    def _unit_test_params(cls) -> Any:
        yield {"width": 1, "link": "logit"}


class DynamicGlm(BlockGlm):
    """log odds or log mean = offset + correction, correction = weights . [1, z], within `CORRECTION_LIMIT`.

    Args:
        width: inputs, without the constant.
        link: `logit` for 0 and 1, `log` for amounts (variance proportional to the mean).
        scale: standard deviation of a weight before anything was learnt, one for all or one an input (of the constant:
            `level_scale`).
        drift: variance that a weight gains a day; of the constant `level_drift`: the level moves with the season.
        dispersion: variance of an outcome over that of its distribution.
        cautious: inputs, by index, that are held to say little: their weights start a tenth as wide and drift a
            hundredth as fast. Many such inputs would cost more than they tell.
    """

    def __init__(
        self,
        width: int,
        link: Link,
        scale: float | tuple[float, ...] = 0.1,
        level_scale: float = 1.0,
        drift: float = 1e-4,
        level_drift: float = 1e-3,
        dispersion: float = 1.0,
        cautious: frozenset[int] = frozenset(),
    ) -> None:
        self.width, self.link, self.scale, self.level_scale = width, link, scale, level_scale
        self.drift, self.level_drift, self.dispersion, self.cautious = drift, level_drift, dispersion, cautious
        held_back = np.ones(width)
        held_back[list(cautious)] = 0.01
        self._drifts = np.r_[level_drift, drift * held_back]
        self.weights: FloatArray = np.zeros(width + 1)
        self.covariance: FloatArray = np.diag(np.r_[level_scale**2, np.square(scale) * held_back])

    def learn_block(self, z: FloatArray, offset: FloatArray, y: FloatArray, days: float, weight: float = 1.0) -> None:
        """See `BlockGlm.learn_block`."""
        size = self.width + 1
        covariance = self.covariance
        covariance[np.diag_indices(size)] += self._drifts * days
        a = np.hstack([np.ones((len(z), 1)), z])
        mean = self.predict_block(z, offset)
        variance = mean * (1.0 - mean) if self.link == "logit" else mean
        told = np.full(len(mean), weight / self.dispersion)
        if self.link == "log":
            told *= SURPRISE_LIMIT / np.maximum(mean, SURPRISE_LIMIT)
        information = (a * (variance * told)[:, None]).T @ a
        surprise = np.minimum(y - mean, SURPRISE_LIMIT)
        known = np.asarray(np.linalg.solve(np.eye(size) + covariance @ information, covariance), dtype=np.float64)
        self.covariance = (known + known.T) / 2
        step = self.covariance @ (a.T @ (surprise * told))
        # Where the mean was far too low so was the information: the whole step would go further the less was expected.
        furthest = float(np.abs(a @ step).max(initial=0.0))
        self.weights = self.weights + step * (CORRECTION_LIMIT / max(furthest, CORRECTION_LIMIT))


def correction(weights: FloatArray, z: FloatArray) -> FloatArray:
    """What is learnt, on the link scale: (n,) for weights (width + 1,) and inputs (n, width)."""
    limited: FloatArray = np.clip(weights[0] + z @ weights[1:], -CORRECTION_LIMIT, CORRECTION_LIMIT)
    return limited


def unlinked(link: Link, raw: FloatArray) -> FloatArray:
    """Probabilities or amounts from the link scale."""
    forecasts: FloatArray = 1.0 / (1.0 + np.exp(-raw)) if link == "logit" else np.exp(raw)
    return forecasts


def packed(symmetric: FloatArray) -> FloatArray:
    """The upper triangle, row by row: half the bytes of a snapshot's covariances."""
    return symmetric[np.triu_indices(len(symmetric))]


def unpacked(triangle: FloatArray) -> FloatArray:
    """The inverse of `packed`.

    >>> unpacked(np.array([1.0, 2.0, 3.0])).tolist()
    [[1.0, 2.0], [2.0, 3.0]]
    """
    size = int((np.sqrt(8 * len(triangle) + 1) - 1) / 2)
    full: FloatArray = np.zeros((size, size))
    full[np.triu_indices(size)] = triangle
    return full + np.triu(full, 1).T
