"""Forecasts further ahead than 90 days: the learner's, stretched as the prior's population says.

BG/NBD's expected purchases of a customer in the next t days, dropout included; Fader, Hardie and Lee (2005), equation 10,
in its symbols:

    E[Y(t)] = P(alive) (a + b + x - 1) / (a - 1) [1 - ((alpha + T) / (alpha + T + t))^(r + x)
              2F1(r + x, b + x; a + b + x - 1; t / (alpha + T + t))]
"""

import numpy as np

from models.features import COLUMN, FloatArray
from models.learning.forecasting import Fit, Forecaster
from models.learning.population import population_of
from models.scores import COUNT_90, SPEND_90, PriorScorer, seasonal_days

# At a = 1 the formula is 0 / 0; its neighbours are smooth.
_NUDGE = 1e-6


def expected_purchases(prior: PriorScorer, x: FloatArray, days: FloatArray | float) -> FloatArray:
    """(n,): E[Y(days)] of features x (n, F), under the prior's population; days of an average season."""
    from scipy.special import hyp2f1  # type: ignore[import-untyped]

    a, b = prior.population.a, prior.population.b
    a = a + _NUDGE if abs(a - 1.0) < _NUDGE else a
    alive, shape, span = prior.habits(x)
    repeats = np.maximum(np.expm1(x[:, COLUMN["purchases"]]) - 1.0, 0.0)
    gone = (span / (span + days)) ** shape
    series = hyp2f1(shape, b + repeats, a + b + repeats - 1.0, days / (span + days))
    found: FloatArray = alive * (a + b + repeats - 1.0) / (a - 1.0) * (1.0 - gone * series)
    return found


def further(names: tuple[str, ...], fit: Fit, x: FloatArray, days: float, index: float = 1.0) -> FloatArray:
    """(n, 2): expected purchases and spend (units of currency) in the next `days`, of features x (n, F).

    Args:
        index: mean of the season over those days (`models.season.Season.mean`).
    """
    forecaster = Forecaster(names, PriorScorer(), fit)
    prior = PriorScorer(population_of(fit.population))
    quarter = expected_purchases(prior, x, seasonal_days(x, 90))
    stretch = expected_purchases(prior, x, days * index) / np.maximum(quarter, 1e-12)
    found: FloatArray = forecaster.forecasts(x)[:, [COUNT_90, SPEND_90]] * stretch[:, None]
    return found
