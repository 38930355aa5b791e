"""A snapshot, served: numpy alone, a chunk of customers at once."""

import numpy as np

from models.features import FloatArray
from models.learning.customers import trust_in
from models.learning.forecasting import Fit, Forecaster
from models.learning.snapshots import PRIOR, Snapshot
from models.scores import Scorer
from schemas.learning import SCORES

# Rows at once: their inputs (0.3 MB) stay in the processor's cache; 4,096 at once take five times as long a row.
_BLOCK = 512


class SnapshotScorer:
    """Forecasts of a snapshot's models, equal to `Learner.predict_one` of the learner it was taken from (to 1e-9)."""

    def __init__(self, snapshot: Snapshot, prior: Scorer) -> None:
        # What is learnt of these targets is worse than the prior (`models.learning.contest`).
        self._by_prior = [SCORES.index(target) for target, name in snapshot.served.items() if name == PRIOR]
        self.version = "+".join((snapshot.version, *(f"{SCORES[score]}={PRIOR}" for score in self._by_prior)))
        taught = snapshot.arrays["counts"][0] > 0
        self._forecaster = Forecaster(snapshot.names, prior, Fit.of(snapshot.arrays), trust_in(snapshot.arrays))
        self._forecasts = self._learnt if taught else prior.score

    def score(self, x: FloatArray) -> FloatArray:
        """Forecasts (n, 4) in the order of SCORES for features (n, F); before the first block was learnt, the prior's."""
        if len(x) <= _BLOCK:
            return self._forecasts(x)
        return np.concatenate([self._forecasts(x[start : start + _BLOCK]) for start in range(0, len(x), _BLOCK)])

    def _learnt(self, x: FloatArray) -> FloatArray:
        scores = self._forecaster.forecasts(x)
        if self._by_prior:
            scores[:, self._by_prior] = self.prior(x)[:, self._by_prior]
        return scores

    @property
    def unit(self) -> float:
        """The shop's mean purchase, units of currency."""
        return self._forecaster.unit

    def prior(self, x: FloatArray) -> FloatArray:
        """(n, 4): forecasts of the prior, refitted to the shop, for features x (n, F)."""
        return self._forecaster.prior.score(x)

    def intervals(self, scores: FloatArray) -> FloatArray:
        """(n, 2): between which two amounts the spend of 90 days ends up, four times in five (`models.learning.intervals`).

        Args:
            scores: (n, 4), as `score` gives them.
        """
        return self._forecaster.intervals(scores)
