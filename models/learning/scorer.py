"""A snapshot, served: numpy alone, a chunk of customers at once."""

import numpy as np
from numpy.typing import NDArray

from models.features import FloatArray
from models.learning.inputs import (
    CLIP,
    CORRECTION_LIMIT,
    HORIZONS,
    PROBABILITIES,
    SCORES_OF_HORIZON,
    inputs,
    links,
)
from models.learning.snapshots import Snapshot
from models.scores import Scorer

# Rows at once: their inputs (0.3 MB) stay in the processor's cache; 4,096 at once take five times as long a row.
_BLOCK = 512


class SnapshotScorer:
    """Forecasts of a snapshot's models, equal to `Learner.predict_one` of the learner it was taken from (to 1e-9)."""

    def __init__(self, snapshot: Snapshot, prior: Scorer) -> None:
        self.version = snapshot.version
        self._prior = prior
        arrays = snapshot.arrays
        self._means: FloatArray = arrays["means"]
        deviations = np.sqrt(arrays["variances"])
        # An input that never varied says nothing: 0, as River's scaler has it.
        self._scales: FloatArray = np.divide(1.0, deviations, out=np.zeros_like(deviations), where=deviations > 0)
        self._weights: FloatArray = arrays["weights"]
        self._intercepts: FloatArray = arrays["intercepts"]
        self._taught: NDArray[np.bool_] = arrays["steps"] > 0

    def score(self, x: FloatArray) -> FloatArray:
        """Forecasts (n, 4) in the order of SCORES for features (n, F); of a target without a label yet, the prior's."""
        if len(x) <= _BLOCK:
            return self._score(x)
        return np.concatenate([self._score(x[start : start + _BLOCK]) for start in range(0, len(x), _BLOCK)])

    def _score(self, x: FloatArray) -> FloatArray:
        prior = self._prior.score(x)
        if not self._taught.any():
            return prior
        raw = links(prior)
        given = inputs(x, raw)
        for i, horizon in enumerate(HORIZONS):
            z = np.clip((given - self._means[i]) * self._scales[i], -CLIP, CLIP)
            rows = list(SCORES_OF_HORIZON[horizon])
            correction = z @ self._weights[rows].T + self._intercepts[rows]
            raw[:, rows] += np.clip(correction, -CORRECTION_LIMIT, CORRECTION_LIMIT)
        return np.where(self._taught, unlinked(raw), prior)


def unlinked(raw: FloatArray) -> FloatArray:
    """Forecasts (n, 4) from the link scale: the inverse of `links`."""
    forecasts = np.exp(raw)
    forecasts[:, PROBABILITIES] = 1.0 / (1.0 + np.exp(-raw[:, PROBABILITIES]))
    return forecasts
