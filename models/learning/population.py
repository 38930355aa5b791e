"""The prior's population, refitted on what customers went on to do.

A label says of one customer: x, t_x and T at a moment, and n purchases in the h days after. Its likelihood under BG/NBD
given that history is

    P(n) = P(alive) NegBin(n; shape, span / (span + h)) + (1 - P(alive)) [n = 0]

with `models.scores.PriorScorer.habits`; the h days count as so many of an average season. The logs of r, alpha, a and b
follow its gradient as an extended Kalman filter does (information from the gradients' squares, Gaussian prior around the
published parameters, slow drift), a block of labels at a time. Fitting what comes next, not what was, keeps the prior
calibrated where customers don't behave as the model says; both horizons teach, so the first month's labels already move
the 90-day prior.

Amounts: the population's mean purchase is that of the outcomes, forgotten by half in a year, each
cut at thirty times what is known so far.
"""

from math import exp, log

import numpy as np
from numpy.typing import NDArray

from models.features import FloatArray
from models.scores import PUBLISHED, Population, PriorScorer, Scorer, seasonal_days

# Parameters as logs: a unit is a factor of e; the four are known to about that before a shop's first label.
_SCALE, _DRIFT = 1.0, 1e-4
_LOWER = np.array([-5.0, 0.0, -6.0, -3.0])
_UPPER = np.array([4.0, 8.0, 5.0, 7.0])
_DELTA = 1e-3  # for the gradient, by central differences
_GRADIENT_LIMIT = 5.0  # of one label, so that a customer with hundreds of purchases is one customer
_STEP_LIMIT = 0.5  # of a block, a factor of 1.6
_HALF_LIFE_DAYS = 365.0
_PURCHASES_KNOWN = 1.0  # below so many (decayed) purchases the published mean amount stands
# From a hundred purchases on the mean is known well enough to tell a wholesale order or a slip of the keyboard: a label's
# purchases then count as at most thirty times the mean each, as in `models.learning.corrections`.
_PURCHASES_SURE, _LARGEST_AMOUNT = 100.0, 30.0

WIDTH = 4 + 16 + 2


class PopulationFilter:
    """The population as labels have told of it so far."""

    def __init__(self) -> None:
        self._logs: FloatArray = np.log(np.array(PUBLISHED[:4]))
        self._covariance: FloatArray = np.eye(4) * _SCALE**2
        self._purchases = self._spend = 0.0

    def learn_amounts(self, n: FloatArray, spend: FloatArray, days: float) -> None:
        """The mean amount, from n purchases and what they came to; `days` after the last block."""
        if self._purchases >= _PURCHASES_SURE and self._spend > 0:
            spend = np.minimum(spend, n * (_LARGEST_AMOUNT * self._spend / self._purchases))
        forgotten = 0.5 ** (days / _HALF_LIFE_DAYS)
        self._purchases = self._purchases * forgotten + float(n.sum())
        self._spend = self._spend * forgotten + float(spend.sum())

    def learn_habits(self, x: FloatArray, horizon: FloatArray, n: FloatArray, days: float, weight: float) -> None:
        """r, alpha, a and b, from features x (n, F) and the n purchases that came in `horizon` days; `weight` of each."""
        gradients = np.empty((len(x), 4))
        for i in range(4):
            step = np.zeros(4)
            step[i] = _DELTA
            up, down = (
                self._likelihood(self._logs + step, x, horizon, n),
                self._likelihood(self._logs - step, x, horizon, n),
            )
            gradients[:, i] = (up - down) / (2 * _DELTA)
        gradients = np.clip(gradients, -_GRADIENT_LIMIT, _GRADIENT_LIMIT)
        covariance = self._covariance + np.eye(4) * (_DRIFT * days)
        information = weight * gradients.T @ gradients
        told = np.asarray(np.linalg.solve(np.eye(4) + covariance @ information, covariance), dtype=np.float64)
        self._covariance = (told + told.T) / 2
        moved = np.clip(self._covariance @ (weight * gradients.sum(axis=0)), -_STEP_LIMIT, _STEP_LIMIT)
        self._logs = np.clip(self._logs + moved, _LOWER, _UPPER)

    def _likelihood(self, logs: FloatArray, x: FloatArray, horizon: FloatArray, n: FloatArray) -> FloatArray:
        return log_likelihood(PriorScorer(_population(logs, PUBLISHED.mean_amount)), x, horizon, n)

    @property
    def population(self) -> Population:
        """What the prior is to be served with."""
        return population_of(self.to_array())

    def to_array(self) -> FloatArray:
        """(WIDTH,): the four logs, their covariance row by row, decayed purchases and spend."""
        return np.concatenate([self._logs, self._covariance.ravel(), [self._purchases, self._spend]])

    @classmethod
    def from_array(cls, array: FloatArray) -> "PopulationFilter":
        """The inverse of `to_array`."""
        found = cls()
        found._logs, found._covariance = array[:4].copy(), array[4:20].reshape(4, 4).copy()
        found._purchases, found._spend = float(array[20]), float(array[21])
        return found


def population_of(array: FloatArray) -> Population:
    """The population in the array of a `PopulationFilter`."""
    purchases, spend = float(array[20]), float(array[21])
    known = purchases >= _PURCHASES_KNOWN and spend > 0
    return _population(array[:4], spend / purchases if known else PUBLISHED.mean_amount)


def _population(logs: FloatArray, mean_amount: float) -> Population:
    r, alpha_days, a, b = (exp(value) for value in logs.tolist())
    return Population(r, alpha_days, a, b, mean_amount)


def log_likelihood(prior: PriorScorer, x: FloatArray, horizon: FloatArray, n: FloatArray) -> FloatArray:
    """(rows,): of n purchases within `horizon` days after the features x, under `prior`."""
    from scipy.special import gammaln  # type: ignore[import-untyped]

    alive, shape, span = prior.habits(x)
    horizon = np.where(horizon == 30, seasonal_days(x, 30), seasonal_days(x, 90))
    quiet = np.log(span / (span + horizon))
    coming = (
        np.log(np.maximum(alive, 1e-300))
        + gammaln(shape + n) - gammaln(shape) - gammaln(n + 1.0)
        + shape * quiet
        + n * np.log(horizon / (span + horizon))
    )  # fmt: skip
    gone: FloatArray = np.log(np.maximum(1.0 - alive, 1e-300))
    result: FloatArray = np.where(n > 0, coming, np.logaddexp(coming, gone))
    return result


def bgnbd_log_likelihood(parameters: NDArray[np.float64], x: FloatArray, t_x: FloatArray, age: FloatArray) -> float:
    """Of whole histories, Fader, Hardie and Lee (2005), equation 6: x repeats, the last at t_x, seen for `age` (their T).

    Args:
        parameters: r, alpha, a, b; alpha in the unit of t_x and age.
    """
    from scipy.special import betaln, gammaln

    r, alpha, a, b = parameters.tolist()
    first = gammaln(r + x) - gammaln(r) + r * log(alpha) + betaln(a, b + x) - betaln(a, b)
    alive = -(r + x) * np.log(alpha + age)
    dead = log(a) - np.log(b + np.maximum(x, 1.0) - 1.0) - (r + x) * np.log(alpha + t_x)
    return float((first + np.where(x > 0, np.logaddexp(alive, dead), alive)).sum())


def fit_bgnbd(x: FloatArray, t_x: FloatArray, age: FloatArray) -> tuple[Population, float]:
    """BG/NBD by maximum likelihood from whole histories, in days, and its log likelihood.

    The parameters stay within the bounds that the filter has too: few histories may have their maximum at infinity.
    """
    from scipy.optimize import minimize  # type: ignore[import-untyped]

    def loss(logs: FloatArray) -> float:
        return -bgnbd_log_likelihood(np.exp(np.clip(logs, _LOWER, _UPPER)), x, t_x, age)

    start = np.log(np.array([1.0, float(np.mean(age)) / 4.0, 1.0, 2.0]))
    options = {"maxiter": 10_000, "maxfev": 10_000, "xatol": 1e-7, "fatol": 1e-9}
    found = minimize(loss, start, method="Nelder-Mead", options=options)
    return _population(np.clip(found.x, _LOWER, _UPPER), PUBLISHED.mean_amount), -float(found.fun)


def bgnbd_chance(population: Population, x: FloatArray, t_x: FloatArray, age: FloatArray, days: float) -> FloatArray:
    """(rows,): of a purchase within `days` after histories as `bgnbd_log_likelihood` takes them, in days.

    P(alive) as in Fader, Hardie and Lee, "Computing P(alive) using the BG/NBD model" (2008), times the
    chance that a living customer, whose rate is Gamma(r + x, alpha + T), buys in that time.
    """
    shape, span = population.r + x, population.alpha_days + age
    fading = shape * np.log(span / (population.alpha_days + t_x)) + np.log(
        population.a / (population.b + np.maximum(x, 1.0) - 1.0)
    )
    alive = np.where(x > 0, 1.0 / (1.0 + np.exp(np.minimum(fading, 700.0))), 1.0)
    chance: FloatArray = alive * -np.expm1(shape * np.log(span / (span + days)))
    return chance


def refitted(prior: Scorer, population: Population) -> Scorer:
    """The prior of this population; a prior of another kind has none and stays."""
    return PriorScorer(population) if type(prior) is PriorScorer else prior
