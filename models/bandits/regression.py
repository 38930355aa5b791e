"""Linear regressions that learn by blocks, forget by time, and know how sure they are.

A dynamic linear model with a discount (West and Harrison, "Bayesian Forecasting and Dynamic Models", 1997, chapter 6), in
the form of information: with inputs A (n, d) and outcomes y (n,) of one block, g = 0.5^(days / half-life),

    L <- L0 + g (L - L0) + A' A,    b <- g b + A' y,    mean of the weights = L^-1 b,    covariance = s^2 L^-1

s^2 is the variance of what is left over, L0 the information of the prior: weights of 0, as wide as `scale` times s.
"""

import math

import numpy as np

from models.decisions.draw import FloatArray
from models.decisions.estimators import IntArray

# A shop changes within a year or so.
HALF_LIFE_DAYS = 365.0
# Before anything was learnt the outcomes count as spread by 1, as heavily as so many of them.
_PRIOR_WEIGHT = 1.0


class DynamicLinear:
    """One regression.

    Attributes:
        scale: (d,), standard deviation of each weight before anything was learnt, in units of the noise.
    """

    def __init__(self, scale: FloatArray, half_life_days: float = HALF_LIFE_DAYS) -> None:
        self.scale, self._half_life_days = scale, half_life_days
        self._prior: FloatArray = np.diag(1.0 / scale**2)
        self._information: FloatArray = self._prior.copy()
        self._moment: FloatArray = np.zeros(len(scale))
        self._squares, self._seen = _PRIOR_WEIGHT, _PRIOR_WEIGHT
        self.weights: FloatArray = np.zeros(len(scale))

    @property
    def noise(self) -> float:
        """Standard deviation of the outcomes around their forecasts."""
        return math.sqrt(self._squares / self._seen)

    def learn_block(self, a: FloatArray, y: FloatArray, days: float = 0.0, weight: FloatArray | None = None) -> None:
        """Learns outcomes y (n,) of inputs a (n, d), `days` after the block before; weight (n,) of each, or 1."""
        if not len(y):
            return
        kept = 0.5 ** (days / self._half_life_days)
        weighted = a if weight is None else a * weight[:, None]
        share = float(len(y)) if weight is None else float(weight.sum())
        left = y - a @ self.weights
        first = self._seen == _PRIOR_WEIGHT
        squares = float(
            ((y - y.mean()) ** 2).sum() if first else (left**2 if weight is None else weight * left**2).sum()
        )
        self._squares = (0.0 if first and squares > 0 else kept * self._squares) + squares
        self._seen = (0.0 if first and squares > 0 else kept * self._seen) + share
        self._information = self._prior + kept * (self._information - self._prior) + weighted.T @ a
        self._moment = kept * self._moment + weighted.T @ y
        self.weights = np.asarray(np.linalg.solve(self._information, self._moment), dtype=np.float64)

    def forecasts(self, a: FloatArray) -> FloatArray:
        """(n,): expected outcomes of inputs a (n, d)."""
        expected: FloatArray = a @ self.weights
        return expected

    def samples(self, normal: FloatArray) -> FloatArray:
        """(samples, d): weights drawn from what is believed, from standard normal numbers (samples, d)."""
        root = np.linalg.cholesky(self._information)
        drawn: FloatArray = self.weights + self.noise * np.linalg.solve(root.T, normal.T).T
        return drawn


class ArmRegression:
    """Rewards of all arms in one regression: what a customer brings anyway, shared by all arms, and a head for each arm.

    reward(x, a) = shared . [1, x] + head_a . [1, x]; the first arm (`none`) has no head, so the heads are effects. They
    start narrower than what is shared: arms differ less than customers do, and an effect that differs between customers is
    the last thing to be believed.
    """

    SHARED, LEVEL, EFFECT, SLOPE = 0.5, 1.0, 0.3, 0.1

    def __init__(self, arms: int, width: int, half_life_days: float = HALF_LIFE_DAYS) -> None:
        """Args: width: numbers known of a customer, of the order of 1; 0: arms are the same for everybody."""
        self.arms, self.width = arms, width
        shared = np.r_[self.LEVEL, np.full(width, self.SHARED)]
        head = np.r_[self.EFFECT, np.full(width, self.SLOPE)]
        self._model = DynamicLinear(np.concatenate([shared, *([head] * (arms - 1))]), half_life_days)

    def learn_block(self, x: FloatArray, arm: IntArray, reward: FloatArray, days: float = 0.0) -> None:
        """Learns rewards (n,) of the arms (n,) int that customers x (n, width) had."""
        self._model.learn_block(self._inputs(x, arm), reward, days)

    def forecasts(self, x: FloatArray) -> FloatArray:
        """(n, arms): expected reward of each arm."""
        z, weights = with_constant(x), self._model.weights.reshape(self.arms, self.width + 1).copy()
        weights[1:] += weights[0]
        forecasts: FloatArray = z @ weights.T
        return forecasts

    def heads(self) -> FloatArray:
        """(arms, 1 + width): effects of each arm against the first, constant first."""
        heads = self._model.weights.reshape(self.arms, self.width + 1).copy()
        heads[0] = 0.0
        return heads

    def sampled_heads(self, rng: np.random.Generator, samples: int) -> FloatArray:
        """(samples, arms, 1 + width): heads drawn from what is believed."""
        drawn = self._model.samples(rng.standard_normal((samples, len(self._model.weights))))
        heads = drawn.reshape(samples, self.arms, self.width + 1)
        heads[:, 0] = 0.0
        return heads

    def _inputs(self, x: FloatArray, arm: IntArray) -> FloatArray:
        z = with_constant(x)
        inputs = np.zeros((len(z), self.arms, self.width + 1))
        inputs[:, 0] = z
        headed = np.flatnonzero(arm > 0)
        inputs[headed, arm[headed]] = z[headed]
        return inputs.reshape(len(z), -1)


def with_constant(x: FloatArray) -> FloatArray:
    """(n, 1 + width): a 1 before the numbers of each customer x (n, width)."""
    return np.hstack([np.ones((len(x), 1)), x])


def sampled_values(heads: FloatArray, x: FloatArray) -> FloatArray:
    """(n, samples, arms): what each arm adds for customers x (n, width), by drawn heads (samples, arms, 1 + width)."""
    samples, arms, size = heads.shape
    flat = with_constant(x) @ heads.reshape(samples * arms, size).T
    return flat.reshape(len(x), samples, arms)
