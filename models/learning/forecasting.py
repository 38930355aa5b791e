"""From features to the four forecasts: what a snapshot holds, as arithmetic. The learner and the worker both use this.

    prior(population) -> links -> corrections of four dynamic models -> mixtures of the amounts -> forecasts

* A 90-day probability starts from the prior plus most of what the 30-day model has learnt: its labels are two months
  fresher. Of that sum the part that was learnt counts `_SHRINKAGE`.
* The count is a geometric mixture of the count model, the rate that the 90-day probability implies, the prior and the
  decayed number of purchases; spend one of the spend model, decayed spend, and a power law of purchases and spend so far.
  Each mixture's level (and, of the count, its slope) is learnt again on top.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.features import FloatArray
from models.learning.inputs import CLIP, Columns, links, log_of, unlinked
from models.learning.population import population_of, refitted
from models.scores import COUNT_90, P_30, P_90, SPEND_90, Scorer

# A correction is at most this on the link scale, a factor of 55 of the odds or the amount: no weights, however wrong, can
# make a forecast overflow; the population's own parameters (`models.learning.population`) carry the rest.
CORRECTION_LIMIT = 4.0

_FRESHNESS, _SHRINKAGE = 0.7, 0.75
_MIX_LIMIT = 5.0
# exp(6) purchases in 90 days: beyond, a rate can't be told from a probability.
_RATE_LIMIT = 6.0


@dataclass(eq=False)
class Fit:
    """What forecasts are computed from; I inputs.

    Attributes:
        population: array of the `PopulationFilter`.
        means, variances: (I,), of the inputs.
        weights: (4, I + 1), in the order of SCORES; the constant first.
        levels: (2, 2): constant and slope of the mixtures of count and spend.
    """

    population: FloatArray
    means: FloatArray
    variances: FloatArray
    weights: FloatArray
    levels: FloatArray

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


class Forecaster:
    """Forecasts of a fit over a prior."""

    def __init__(self, names: tuple[str, ...], prior: Scorer, fit: Fit) -> None:
        self.columns = Columns(names)
        self.fit = fit
        population = population_of(fit.population)
        self.prior = refitted(prior, population)
        self.unit = population.mean_amount
        deviations = np.sqrt(fit.variances)
        # An input that never varied says nothing.
        self._scales: FloatArray = np.divide(1.0, deviations, out=np.zeros_like(deviations), where=deviations > 1e-4)

    def forecasts(self, x: FloatArray) -> FloatArray:
        """(n, 4), in the order of SCORES."""
        stage = self.stage(x)
        raw = self.corrected(stage)
        mixed = self.mixed(x, raw, stage)
        level = self.fit.levels[:, 0] + self.fit.levels[:, 1] * within(mixed)
        level = np.clip(level, -CORRECTION_LIMIT, CORRECTION_LIMIT)
        raw[:, P_90] = stage.offsets[:, P_90] + _SHRINKAGE * (raw[:, P_90] - stage.offsets[:, P_90])
        raw[:, COUNT_90] = mixed[:, 0] + level[:, 0]
        raw[:, SPEND_90] = mixed[:, 1] + level[:, 1] + np.log(self.unit)
        return unlinked(raw)

    def stage(self, x: FloatArray) -> Stage:
        """What the models see of features x (n, F)."""
        offsets = links(self.prior.score(x))
        given = self.columns.inputs(x, offsets, self.unit)
        return Stage(offsets, np.clip((given - self.fit.means) * self._scales, -CLIP, CLIP), self.unit)

    def corrections(self, stage: Stage) -> FloatArray:
        """(n, 4): what the four models add, on the link scale."""
        weights = self.fit.weights
        limited: FloatArray = np.clip(stage.z @ weights[:, 1:].T + weights[:, 0], -CORRECTION_LIMIT, CORRECTION_LIMIT)
        return limited

    def started(self, stage: Stage) -> FloatArray:
        """(n, 4): where each model's correction starts from, spend in units of money."""
        start = stage.offsets.copy()
        start[:, P_90] += _FRESHNESS * self.corrections(stage)[:, P_30]
        start[:, SPEND_90] -= np.log(stage.unit)
        return start

    def corrected(self, stage: Stage) -> FloatArray:
        """(n, 4): links of what the four models say, spend in units of money."""
        return self.started(stage) + self.corrections(stage)

    def mixed(self, x: FloatArray, raw: FloatArray, stage: Stage) -> FloatArray:
        """(n, 2): logs of count and spend (in units of money), mixed, before their level."""
        columns = self.columns
        count, spend = raw[:, COUNT_90], raw[:, SPEND_90]
        implied = np.log(np.log1p(np.exp(np.minimum(raw[:, P_90], _RATE_LIMIT))))
        mixed = np.empty((len(x), 2))
        prior = stage.offsets[:, COUNT_90]
        mixed[:, 0] = (3 * count + 2 * implied + prior) / 6
        mixed[:, 1] = spend
        if columns.rhythm is not None and columns.volume is not None and columns.spend is not None:
            rhythm = log_of(x, columns.rhythm, 0.02)
            volume = log_of(x, columns.volume, 0.03, self.unit)
            power = 0.6 * count + 0.7 * log_of(x, columns.spend, 0.1, self.unit)
            mixed[:, 0] = (2.4 * count + 2 * implied + prior + 0.6 * rhythm) / 6
            mixed[:, 1] = (4 * spend + volume + power) / 6
        return mixed


def within(mixed: FloatArray) -> FloatArray:
    """What the slope of a mixture sees of it."""
    limited: FloatArray = np.clip(mixed, -_MIX_LIMIT, _MIX_LIMIT)
    return limited
