"""What every learner sees of a customer: features, their logarithms and the prior's forecasts.

A learner forecasts a *correction of the prior*: on the link scale (log odds of a probability, log of an amount)

    forecast = prior + correction,   correction = weights . [1, z]

so one that has seen nothing serves the prior. z are the inputs, standardised and clipped; they hold the prior's own
four forecasts too, whose weights are what the learner adds to the prior's slope of 1. Decayed sums come a second time as
plain logarithms: a power of a decayed sum (and a product of powers) is then a weight, and for who bought once the log of
a decayed sum is the recency. Money is in units of the population's mean purchase, so that a currency makes no difference.
"""

import numpy as np

from models.features import FloatArray
from schemas.learning import SCORES

# A label answers for one horizon; the probability that it teaches, as a position in SCORES. Amounts learn from both.
HORIZONS = (30, 90)
PROBABILITY_OF_HORIZON = {30: 0, 90: 1}
PROBABILITIES, AMOUNTS = slice(0, 2), slice(2, 4)

# The name under which a challenger is told the prior's forecast of its target, on the link scale.
PRIOR_KEY = "prior"

# Standardised inputs beyond 4 standard deviations count as 4: one wholesale customer must not outweigh a thousand.
CLIP = 4.0

# A prior of exactly 0 or 1 has no log odds; a thousandth of a percent, and a hundred-thousandth of a purchase or of a
# currency unit, are far below what a shop can tell from none.
_LEAST = 1e-5

# Decayed sums that are taken as log(least + sum). A purchase decays to the least in 9 (14 days), 6.6 (60) and 5.6 (180)
# half-lives, and a mean purchase to that of the spends in 9: beyond, silence is silence.
_COUNTS = {"count_14d": 0.002, "count_60d": 0.01, "count_180d": 0.02}
_SPENDS = {"spend_60d": 0.002, "spend_180d": 0.002, "spend_365d": 0.002}

# Purchases that what is usual in a shop counts as, against a customer's own large ones.
_DOUBT = 1.5


def input_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """Names of a learner's inputs, in order: the features, logarithms of decayed sums, the prior's forecasts.

    The last one marks a label of 90 days among those that teach an amount, and is 0 when one is forecast: what the two
    horizons differ by, old labels against fresh ones above all, is its weight, and forecasts stand on the fresh ones.
    """
    logs = (f"log of {name}" for name in (*_COUNTS, *_SPENDS) if name in names)
    return (*names, *logs, *(f"prior of {score}" for score in SCORES), "90 days")


def is_probability(target: str) -> bool:
    """Whether a target (a name of SCORES) is a probability; else it is an amount."""
    return target.startswith("p_")


def links(forecasts: FloatArray) -> FloatArray:
    """Forecasts (n, 4) on the link scale: log odds of the probabilities, logs of the amounts."""
    p = np.clip(forecasts[:, PROBABILITIES], _LEAST, 1.0 - _LEAST)
    return np.hstack([np.log(p / (1.0 - p)), np.log(np.maximum(forecasts[:, AMOUNTS], _LEAST))])


def unlinked(raw: FloatArray) -> FloatArray:
    """Forecasts (n, 4) from the link scale: the inverse of `links`."""
    forecasts: FloatArray = np.exp(raw)
    forecasts[:, PROBABILITIES] = 1.0 / (1.0 + np.exp(-raw[:, PROBABILITIES]))
    return forecasts


class Columns:
    """Where the features with a second part to play stand among `names`; those that aren't there play none."""

    def __init__(self, names: tuple[str, ...]) -> None:
        place = {name: i for i, name in enumerate(names)}
        self._counts = [(place[name], least) for name, least in _COUNTS.items() if name in place]
        self._spends = [(place[name], least) for name, least in _SPENDS.items() if name in place]
        self.known = place.get("known_days")
        views = ("count_60d", "count_180d", "spend_180d")
        self.have_amounts = all(name in place for name in views)
        self.rhythm, self.halfyear, self.volume = (place.get(name, -1) for name in views)
        means = ("purchases", "monetary")
        self.have_means = all(name in place for name in means)
        self.purchases, self.monetary = (place.get(name, -1) for name in means)
        self._seasons = {days: place.get(f"season_{days}d") for days in HORIZONS}

    def season(self, x: FloatArray, days: int) -> FloatArray:
        """(n,): log of the mean seasonal index over the next 30 or 90 days; 0 where no feature says it."""
        at = self._seasons[days]
        return np.zeros(len(x)) if at is None else x[:, at]

    def share(self, x: FloatArray, horizon: FloatArray) -> FloatArray:
        """(n,): log of the part of what is forecast for 90 days that falls within `horizon` (n,), 30 or 90 days."""
        month = np.log(30.0 / 90.0) + self.season(x, 30) - self.season(x, 90)
        share: FloatArray = np.where(horizon == 30, month, 0.0)
        return share

    def inputs(self, x: FloatArray, offsets: FloatArray, unit: float) -> FloatArray:
        """Inputs before standardising, of features (n, F) and `links` (n, 4) of the prior; `unit`: a mean purchase."""
        logs = [log_of(x, i, least) for i, least in self._counts]
        logs += [log_of(x, i, least, unit) for i, least in self._spends]
        given = np.hstack([x, *(each[:, None] for each in logs), offsets, np.zeros((len(x), 1))])
        for season in self._seasons.values():
            if season is not None:
                given[:, season] = 0.0
        return given


def tempering(money: FloatArray, count: FloatArray, edge: float) -> FloatArray:
    """(n,), in (0, 1]: what the sum `money` of `count` purchases is to be multiplied with, as a large amount says less.

    An order of ten times the usual is seldom followed by others of ten times. So the logarithm of a mean amount beyond
    `edge` counts n / (n + 1.5) there, of n purchases: what an amount has beyond the edge is shrunk as a normal mean with a
    normal prior is (Efron and Morris, 1975), and what lies within is left alone.

    Args:
        money: (n,), in units of the shop's mean purchase.
        edge: in the same unit.
    """
    beyond = np.maximum(money / (edge * np.maximum(count, 1e-9)), 1.0)
    factor: FloatArray = beyond ** (-_DOUBT / (count + _DOUBT))
    return factor


def log_of(x: FloatArray, column: int, least: float, unit: float = 1.0) -> FloatArray:
    """log(least + v / unit), (n,), of a feature that holds log(1 + v)."""
    values: FloatArray = np.log(least + np.expm1(x[:, column]) / unit)
    return values
