"""From features to the four forecasts: what a snapshot holds, as arithmetic. The learner and the worker both use this.

    prior(population) -> links -> corrections of four dynamic models -> mixtures of the amounts -> calibration
    -> trust -> forecasts

* A 90-day probability starts from the prior plus most of what the 30-day model has learnt: its labels are two months
  fresher. Of that sum the part that was learnt counts `_SHRINKAGE`.
* The count is a geometric mixture of the count model, the rate that the 90-day probability implies, the prior and the
  decayed number of purchases. Spend is the geometric mean of the spend model and decayed spend; in the latter, as in the
  prior's mean amount, a large amount says less than its size (`models.learning.inputs.tempering`). Decayed sums are taken
  to go on as the season does. Each mixture is corrected on top, by forecasts that were made before their labels of 30
  days were learnt: its level, the count's slope and what share each view should have had, and the slope of spend on how
  long the customer has been known, as the view that isn't learnt doesn't fade with age as customers do.
* The 30-day probability is calibrated (beta calibration, Kull, Silva Filho and Flach 2017): log odds = level + a log p -
  b log(1 - p), taught by forecasts made before their labels were learnt. The 90-day one isn't: what its labels say of
  calibration is three months old and made it worse (docs/models.md).
* Of all that is learnt, on the link scale, `trust` counts, and of the prior the rest (`models.learning.customers`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.features import FloatArray
from models.learning.inputs import CLIP, Columns, links, log_of, tempering, unlinked
from models.learning.intervals import intervals
from models.learning.population import population_of, refitted
from models.scores import COUNT_90, P_30, P_90, SPEND_90, Scorer

# A correction is at most this on the link scale, a factor of 55 of the odds or the amount: no weights, however wrong, can
# make a forecast overflow; the population's own parameters (`models.learning.population`) carry the rest.
CORRECTION_LIMIT = 4.0

_FRESHNESS, _SHRINKAGE = 0.7, 0.75
_MIX_LIMIT = 5.0
# Calibration keeps the order: below -1 a slope would turn it round.
_LEAST_SLOPE = -0.9
# exp(6) purchases in 90 days: beyond, a rate can't be told from a probability.
_RATE_LIMIT = 6.0


@dataclass(eq=False)
class Fit:
    """What forecasts are computed from; I inputs.

    Attributes:
        population: array of the `PopulationFilter`.
        means, variances: (I,), of the inputs.
        weights: (4, I + 1), in the order of SCORES; the constant first.
        count_level: (5,): what is added to the mixture of the count: a constant, and weights of `Mixtures.count_seen`.
        spend_level: (2,): the same of spend.
        calibration: (3,): level, a - 1 and b - 1 of the 30-day probability.
        margins: (GROUPS, 2): see `models.learning.intervals`.
    """

    population: FloatArray
    means: FloatArray
    variances: FloatArray
    weights: FloatArray
    count_level: FloatArray
    spend_level: FloatArray
    calibration: FloatArray
    margins: FloatArray

    def to_vector(self) -> FloatArray:
        """All of it, one number after the other."""
        return np.concatenate([getattr(self, name).ravel() for name in self.__dataclass_fields__])

    @classmethod
    def from_vector(cls, vector: FloatArray, like: "Fit") -> "Fit":
        """The inverse of `to_vector`, for a fit with the shapes of `like`."""
        shapes = [getattr(like, name).shape for name in cls.__dataclass_fields__]
        ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
        pieces = np.split(vector, ends[:-1])
        return cls(*(piece.reshape(shape).copy() for piece, shape in zip(pieces, shapes, strict=True)))

    @classmethod
    def of(cls, arrays: Mapping[str, Any]) -> "Fit":
        """The fit in the arrays of a snapshot."""
        return cls(*(arrays[name] for name in cls.__dataclass_fields__))


@dataclass(eq=False)
class Stage:
    """Many rows on their way: the prior's links (n, 4), standardised inputs (n, I), unit of money."""

    offsets: FloatArray
    z: FloatArray
    unit: float


@dataclass(eq=False)
class Mixtures:
    """Mixed count and spend before their levels, and what those see.

    Attributes:
        count, spend: (n,) logs, spend in units of money.
        count_seen: (n, 4): the mixed count; what the implied rate, the prior and the rhythm say more than it.
        spend_seen: (n, 1): since when a customer is known, standardised.
    """

    count: FloatArray
    spend: FloatArray
    count_seen: FloatArray
    spend_seen: FloatArray


class Forecaster:
    """Forecasts of a fit over a prior.

    Attributes:
        trust: what counts of what was learnt, of the prior the rest.
        volume_edge, prior_edge: from where on an amount says less than its size, in mean purchases, of decayed spend and of
            the prior's mean amount. The latter is drawn to the mean by the prior already.
    """

    volume_edge, prior_edge = 1.5, 4.0

    def __init__(self, names: tuple[str, ...], prior: Scorer, fit: Fit, trust: float = 1.0) -> None:
        self.trust = trust
        self.columns = Columns(names)
        self.fit = fit
        population = population_of(fit.population)
        self.prior = refitted(prior, population)
        self.unit = population.mean_amount
        self._log_unit = float(np.log(self.unit))
        self._steepness: FloatArray = np.maximum(fit.calibration[1:], _LEAST_SLOPE)
        deviations = np.sqrt(fit.variances)
        # An input that never varied says nothing.
        self._scales: FloatArray = np.divide(1.0, deviations, out=np.zeros_like(deviations), where=deviations > 1e-4)

    def forecasts(self, x: FloatArray) -> FloatArray:
        """(n, 4), in the order of SCORES."""
        stage = self.stage(x)
        return self.calibrated(self.uncalibrated(x, stage), stage)

    def calibrated(self, raw: FloatArray, stage: Stage) -> FloatArray:
        """(n, 4) forecasts from what `uncalibrated` gives, which is left as it is; `stage`: of the same rows."""
        found = raw.copy()
        found[:, P_30] += self._calibration(raw[:, P_30])
        if self.trust < 1.0:
            found = stage.offsets + self.trust * (found - stage.offsets)
        return unlinked(found)

    def _calibration(self, log_odds: FloatArray) -> FloatArray:
        moved = beta_views(log_odds) @ self._steepness + self.fit.calibration[0]
        return limited(moved)

    def uncalibrated(self, x: FloatArray, stage: Stage) -> FloatArray:
        """(n, 4), on the link scale, wholly trusted; `stage`: of the same rows."""
        raw = self.corrected(stage)
        mixed = self.mixed(x, raw, stage)
        fit = self.fit
        raw[:, P_90] = stage.offsets[:, P_90] + _SHRINKAGE * (raw[:, P_90] - stage.offsets[:, P_90])
        raw[:, COUNT_90] = mixed.count + limited(fit.count_level[0] + mixed.count_seen @ fit.count_level[1:])
        level = limited(fit.spend_level[0] + mixed.spend_seen @ fit.spend_level[1:])
        raw[:, SPEND_90] = mixed.spend + level + self._log_unit
        return raw

    def intervals(self, forecasts: FloatArray) -> FloatArray:
        """(n, 2): bounds of the spend in 90 days, units of currency, for forecasts (n, 4)."""
        return intervals(self.fit.margins, forecasts[:, P_90], forecasts[:, SPEND_90], self.unit)

    def stage(self, x: FloatArray) -> Stage:
        """What the models see of features x (n, F)."""
        offsets = links(self.prior.score(self._tempered(x)))
        given = self.columns.inputs(x, offsets, self.unit)
        return Stage(offsets, np.clip((given - self.fit.means) * self._scales, -CLIP, CLIP), self.unit)

    def _tempered(self, x: FloatArray) -> FloatArray:
        """Features for the prior: those of large mean amounts say less."""
        columns = self.columns
        if not columns.have_means:
            return x
        found, count = x.copy(), np.expm1(x[:, columns.purchases])
        mean = np.expm1(x[:, columns.monetary])
        found[:, columns.monetary] = np.log1p(mean * tempering(mean * count / self.unit, count, self.prior_edge))
        return found

    def volume(self, x: FloatArray) -> FloatArray:
        """(n,): log of the decayed spend, in units of money, in which large amounts say less."""
        count, money = np.expm1(x[:, self.columns.halfyear]), np.expm1(x[:, self.columns.volume]) / self.unit
        found: FloatArray = np.log(0.03 + money * tempering(money, count, self.volume_edge))
        return found

    def corrections(self, stage: Stage) -> FloatArray:
        """(n, 4): what the four models add, on the link scale."""
        weights = self.fit.weights
        moved = stage.z @ weights[:, 1:].T + weights[:, 0]
        return limited(moved)

    def started(self, stage: Stage) -> FloatArray:
        """(n, 4): where each model's correction starts from, spend in units of money."""
        return self._started(stage, self.corrections(stage))

    def _started(self, stage: Stage, corrections: FloatArray) -> FloatArray:
        start = stage.offsets.copy()
        start[:, P_90] += _FRESHNESS * corrections[:, P_30]
        start[:, SPEND_90] -= self._log_unit
        return start

    def corrected(self, stage: Stage) -> FloatArray:
        """(n, 4): links of what the four models say, spend in units of money."""
        corrections = self.corrections(stage)
        return self._started(stage, corrections) + corrections

    def mixed(self, x: FloatArray, raw: FloatArray, stage: Stage) -> Mixtures:
        """Count and spend before their level; raw: what `corrected` gives."""
        columns = self.columns
        count, spend = raw[:, COUNT_90], raw[:, SPEND_90]
        implied = np.log(np.log1p(np.exp(np.minimum(raw[:, P_90], _RATE_LIMIT))))
        prior = stage.offsets[:, COUNT_90]
        if columns.have_amounts:
            season = columns.season(x, 90)
            rhythm = log_of(x, columns.rhythm, 0.02) + season
            mixed = (2.4 * count + 2 * implied + prior + 0.6 * rhythm) / 6
            spend = (spend + self.volume(x) + season) / 2
        else:
            rhythm = mixed = (3 * count + 2 * implied + prior) / 6
        seen = np.array((mixed, implied - mixed, prior - mixed, rhythm - mixed))
        count_seen = np.minimum(np.maximum(seen, -_MIX_LIMIT, out=seen), _MIX_LIMIT, out=seen).T
        known = self.columns.known
        spend_seen = np.zeros((len(x), 1)) if known is None else stage.z[:, known : known + 1]
        return Mixtures(mixed, spend, count_seen, spend_seen)


def limited(moved: FloatArray) -> FloatArray:
    """Corrections within `CORRECTION_LIMIT`; two calls take a third of the time of `np.clip` on a few rows."""
    within: FloatArray = np.minimum(np.maximum(moved, -CORRECTION_LIMIT), CORRECTION_LIMIT)
    return within


def beta_views(log_odds: FloatArray) -> FloatArray:
    """(n, 2): log p and -log(1 - p) of log odds (n,)."""
    views = np.empty((len(log_odds), 2))
    small = np.log1p(np.exp(-np.abs(log_odds)))
    np.subtract(np.minimum(log_odds, 0.0), small, out=views[:, 0])
    np.add(np.maximum(log_odds, 0.0), small, out=views[:, 1])
    return views
