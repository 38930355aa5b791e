"""Logistic regression over sparse rows, one row at a time: River's, in arrays.

    raw = w . x + offset,   g = (sigma(raw) - y) x
    G <- G + g^2,   w <- w - rate g / sqrt(G + eps)

AdaGrad (Duchi, Hazan and Singer, 2011) as `river.optim.AdaGrad` within `river.linear_model.LogisticRegression` has it, its
intercept held at the offset: equal to 1e-9 while no log odds pass 18, where River's own gradient is an approximation
(`tests/unit/models/text/test_logistic.py`). numpy only.
"""

import numpy as np
from numpy.typing import NDArray

from models.text.ngrams import Hashed

FloatArray = NDArray[np.float64]

_EPS = 1e-8
_GRADIENT_LIMIT = 1e12  # River's


class SparseLogistic:
    """Weights over a table of `size` places. `rate` is their step size; AdaGrad shrinks it per weight."""

    def __init__(self, size: int, rate: float) -> None:
        self.rate = rate
        self.weights: FloatArray = np.zeros(size)
        self.gradients: FloatArray = np.zeros(size)

    def log_odds(self, x: Hashed) -> float:
        """The log odds of 1 for `x`, without the offset: w . x."""
        return float(self.weights[x.places] @ x.values)

    def learn_one(self, x: Hashed, y: float, offset: float = 0.0) -> float:
        """Learns the outcome `y` (0 or 1) of `x` on top of `offset`. Gives the `log_odds` of `x` from before."""
        log_odds = self.log_odds(x)
        surprise = float(np.clip(sigmoid(np.array(offset + log_odds)) - y, -_GRADIENT_LIMIT, _GRADIENT_LIMIT))
        gradient = surprise * x.values
        known = self.gradients[x.places] + gradient**2
        self.gradients[x.places] = known
        self.weights[x.places] -= self.rate / np.sqrt(known + _EPS) * gradient
        return log_odds


def sigmoid(raw: FloatArray) -> FloatArray:
    """1 / (1 + e^-raw), without overflow."""
    probability: FloatArray = 0.5 * (1.0 + np.tanh(0.5 * raw))
    return probability
