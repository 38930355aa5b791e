"""Intervals that stay valid however often they are looked at.

A confidence sequence holds its mean at *all* sample sizes at once with probability 1 - alpha: a test may be watched daily
and stopped when it says something. An interval for one sample size, looked at a hundred times, does not.

- `asymptotic`: Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central limit theory and asymptotic
  confidence sequences" (Annals of Statistics 2024), theorem 2.2. Narrow, for any outcome with a variance; valid as the
  central limit theorem is, so nothing is said below `FEWEST` observations.
- `bounded`: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting" (JRSS B 2023), theorem 2,
  the predictable plug-in empirical Bernstein sequence. Valid from the first observation, for outcomes within known bounds;
  wider.
- `fixed`: the normal interval for one sample size, looked at once.
"""

import math
from statistics import NormalDist
from typing import NamedTuple, Self

import numpy as np

from models.decisions.draw import FloatArray

ALPHA = 0.05
# Below so many observations their variance is not known and a mean of rare events is not normal.
FEWEST = 100
# Where a confidence sequence is narrowest, unless a caller knows how many observations will come.
USUAL_SIZE = 10_000.0
# So many observations at `Moments.reach` are added to a variance. With none, 13 % of A/A tests with an arm of 10 % and a
# rate of 5 % were called where 5 % are allowed; with 1, 2 and 3 of them 5 to 7, 4 to 5 and 3 to 4 % (two-sided, one-sided).
UNSEEN = 3.0


class Interval(NamedTuple):
    """A mean with its interval. `value` lies within; both bounds are infinite where nothing can be said."""

    value: float
    low: float
    high: float

    def covers(self, truth: float) -> bool:
        """Whether `truth` lies within, bounds included."""
        return self.low <= truth <= self.high

    @property
    def words(self) -> str:
        """For people.

        >>> Interval(0.5, 0.25, 0.75).words, Interval(0.5, -math.inf, math.inf).words
        ('0.5 (0.25 to 0.75)', '0.5 (too few decisions for an interval)')
        """
        if not math.isfinite(self.low):
            return f"{self.value:.4g} (too few decisions for an interval)"
        return f"{self.value:.4g} ({self.low:.4g} to {self.high:.4g})"

    @property
    def plain(self) -> dict[str, float | None]:
        """For programs: value, low, high; None where JSON has no number for it."""
        return {name: each if math.isfinite(each) else None for name, each in zip(self._fields, self, strict=True)}


class Moments(NamedTuple):
    """What is kept of a stream of observations: it can be added up over blocks, partitions and days.

    Attributes:
        n: observations.
        total: their sum.
        squares: the sum of their squares.
        reach: the largest absolute value that there was, or could have been.
    """

    n: float = 0.0
    total: float = 0.0
    squares: float = 0.0
    reach: float = 0.0

    @classmethod
    def of(cls, observations: FloatArray, reach: float = 0.0) -> Self:
        """Of an array (n,).

        Args:
            observations: n of them.
            reach: the largest absolute value that one could have had, where that is known: a reward of 1 in an arm that is
                drawn once in ten weighs 10, whether or not one has been seen yet.
        """
        if not len(observations):
            return cls(reach=reach)
        largest = max(float(np.abs(observations).max()), reach)
        return cls(float(len(observations)), float(observations.sum()), float(observations @ observations), largest)

    def plus(self, other: "Moments") -> "Moments":
        """Of both."""
        return Moments(
            self.n + other.n, self.total + other.total, self.squares + other.squares, max(self.reach, other.reach)
        )

    @property
    def mean(self) -> float:
        """Their mean; 0 of none."""
        return self.total / self.n if self.n else 0.0

    @property
    def variance(self) -> float:
        """Their variance, with `UNSEEN` more observations as far out as `reach`.

        While a rare event has not been seen, the variance without it is far too small, and calls what is not there. Among
        many observations the few more are nothing.
        """
        if self.n < 2:
            return math.inf
        centred = max(self.squares - self.n * self.mean**2, 0.0)
        return (centred + UNSEEN * self.reach**2) / (self.n - 1.0)

    @property
    def se(self) -> float:
        """Standard error of the mean."""
        return math.sqrt(self.variance / self.n) if self.n else math.inf


def asymptotic(moments: Moments, alpha: float = ALPHA, size: float = USUAL_SIZE) -> Interval:
    """The asymptotic confidence sequence of a mean, two-sided.

    Args:
        moments: of the observations so far.
        alpha: probability that it ever misses.
        size: number of observations at which it is to be narrowest; chosen before the first.
    """
    if moments.n < FEWEST:
        return Interval(moments.mean, -math.inf, math.inf)
    n, rho2 = moments.n, _rho2(alpha, size)
    grown = n * rho2 + 1.0
    radius = math.sqrt(moments.variance * 2.0 * grown / (n**2 * rho2) * math.log(math.sqrt(grown) / alpha))
    return Interval(moments.mean, moments.mean - radius, moments.mean + radius)


def lower_bound(moments: Moments, alpha: float = ALPHA, size: float = USUAL_SIZE) -> float:
    """The one-sided asymptotic confidence sequence: the mean lies above it at all times, with probability 1 - alpha."""
    if moments.n < FEWEST:
        return -math.inf
    n, rho2 = moments.n, _rho2(2.0 * alpha, size)
    grown = n * rho2 + 1.0
    spread = 2.0 * grown / (n**2 * rho2) * math.log(1.0 + math.sqrt(grown) / (2.0 * alpha))
    return moments.mean - math.sqrt(moments.variance * spread)


def _rho2(alpha: float, size: float) -> float:
    """The mixture's variance with which a sequence is narrowest at `size` (appendix B.2 of the paper)."""
    return (-2.0 * math.log(alpha) + math.log(-2.0 * math.log(alpha)) + 1.0) / size


def fixed(moments: Moments, alpha: float = ALPHA) -> Interval:
    """The normal interval of a mean for one look."""
    radius = NormalDist().inv_cdf(1.0 - alpha / 2.0) * moments.se
    return Interval(moments.mean, moments.mean - radius, moments.mean + radius)


def bounded(observations: FloatArray, low: float, high: float, alpha: float = ALPHA) -> Interval:
    """The empirical Bernstein confidence sequence after the last of `observations` (n,), in their order.

    Args:
        observations: n of them.
        low: least that one can be.
        high: most that one can be.
        alpha: probability that the sequence ever misses.

    Raises:
        ValueError: an observation lies outside.
    """
    if not len(observations):
        return Interval((low + high) / 2.0, low, high)
    if observations.min() < low or observations.max() > high:
        raise ValueError(
            f"observations from {observations.min():g} to {observations.max():g}, not within {low:g} to {high:g}"
        )
    x = (observations - low) / (high - low)
    counts = np.arange(1.0, len(x) + 1.0)
    # Means and variances of what came before each observation, starting with a half and a quarter.
    means = (0.5 + np.cumsum(x)) / (counts + 1.0)
    before = np.r_[0.5, means[:-1]]
    variances = (0.25 + np.cumsum((x - means) ** 2)) / (counts + 1.0)
    spread = np.r_[0.25, variances[:-1]]
    bets = np.minimum(np.sqrt(2.0 * math.log(2.0 / alpha) / (spread * counts * np.log(1.0 + counts))), 0.75)
    cost = 4.0 * (x - before) ** 2 * (-np.log1p(-bets) - bets) / 4.0
    centre = float((bets * x).sum() / bets.sum())
    radius = float((math.log(2.0 / alpha) + cost.sum()) / bets.sum())
    ends = max(centre - radius, 0.0), min(centre + radius, 1.0)
    return Interval(*(low + (high - low) * part for part in (centre, *ends)))
