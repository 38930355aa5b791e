"""Distributions of an outcome given its mean, and the link that the model is linear on.

For a mean mu with link g(mu) = eta and variance dispersion * V(mu), a label tells about eta

    gradient     (y - mu) mu' / V(mu) / dispersion
    information  mu'^2 / V(mu) / dispersion            (McCullagh and Nelder 1989, section 2.5)

where mu' = d mu / d eta.
"""

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


class Family(Protocol):
    """A distribution with its link; all arrays (n,) unless said otherwise."""

    def mean(self, raw: FloatArray) -> FloatArray:
        """The mean, from the link scale."""
        ...

    def information(self, mean: FloatArray) -> FloatArray:
        """mu'^2 / V(mu)."""
        ...

    def slope(self, mean: FloatArray) -> FloatArray | float:
        """Mu' / V(mu): what the gradient multiplies the surprise with; 1 where the link is the canonical one."""
        ...

    def is_bounded(self) -> bool:
        """Whether an outcome lies within known bounds, so that none can surprise without limit."""
        ...

    def log_likelihood(self, raw: FloatArray, y: FloatArray, surprise_limit: float) -> FloatArray:
        """(models,): of outcomes y under raw (models, n), up to what all models have in common; quasi-likelihood."""
        ...


class Bernoulli(NamedTuple):
    """0 or 1, logit link."""

    def mean(self, raw: FloatArray) -> FloatArray:
        """Probabilities."""
        probability: FloatArray = 1.0 / (1.0 + np.exp(-raw))
        return probability

    def information(self, mean: FloatArray) -> FloatArray:
        """P (1 - p)."""
        return mean * (1.0 - mean)

    def slope(self, mean: FloatArray) -> float:
        """1: the link is canonical."""
        return 1.0

    def is_bounded(self) -> bool:
        """Yes."""
        return True

    def log_likelihood(self, raw: FloatArray, y: FloatArray, surprise_limit: float) -> FloatArray:
        """Y log p + (1 - y) log(1 - p), summed over the outcomes."""
        likelihoods: FloatArray = (y * raw - np.logaddexp(0.0, raw)).sum(axis=1)
        return likelihoods


class Tweedie(NamedTuple):
    """An amount of at least 0 whose variance is dispersion * mean^power, log link; power 1 is (quasi-)Poisson, 2 gamma."""

    power: float = 1.0

    def mean(self, raw: FloatArray) -> FloatArray:
        """Amounts."""
        amounts: FloatArray = np.exp(raw)
        return amounts

    def information(self, mean: FloatArray) -> FloatArray:
        """mu^(2 - power)."""
        return mean if self.power == 1.0 else np.power(mean, 2.0 - self.power)

    def slope(self, mean: FloatArray) -> FloatArray | float:
        """mu^(1 - power)."""
        return 1.0 if self.power == 1.0 else np.power(mean, 1.0 - self.power)

    def is_bounded(self) -> bool:
        """No."""
        return False

    def log_likelihood(self, raw: FloatArray, y: FloatArray, surprise_limit: float) -> FloatArray:
        """The quasi-likelihood (Wedderburn 1974), summed; an outcome counts as at most the highest mean plus the limit."""
        mean = np.exp(raw)
        came = np.minimum(y, mean.max(axis=0) + surprise_limit)
        if self.power == 1.0:
            each = came * raw - mean
        elif self.power == 2.0:
            each = -came / mean - raw
        else:
            below, above = 1.0 - self.power, 2.0 - self.power
            each = came * np.power(mean, below) / below - np.power(mean, above) / above
        likelihoods: FloatArray = each.sum(axis=1)
        return likelihoods


POISSON = Tweedie(1.0)
BERNOULLI = Bernoulli()
