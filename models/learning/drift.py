"""Drift: whether what comes has moved away from what is forecast, by ADWIN on each score (Bifet and Gavalda 2007).

ADWIN keeps a window of residuals that it cuts wherever two parts of it differ in mean by more than chance. The residual
is what came less what was forecast: a shop whose level or season moves faster than the learner follows shows here, and
what moves with the forecasts doesn't. It starts with the process and changes nothing that is learnt.
"""

import numpy as np
from river import drift

from models.features import FloatArray
from schemas.learning import SCORES

# ADWIN's bound is for numbers within 1 of each other; of an amount, ten mean purchases are that.
_AMOUNT_SCALE = 10.0
# Chance of an alarm without a change, for each look; ADWIN looks every 32 labels.
_DELTA = 1e-4


class DriftWatch:
    """One ADWIN a score."""

    def __init__(self) -> None:
        self._watches = tuple(drift.ADWIN(delta=_DELTA) for _ in SCORES)
        self.found = dict.fromkeys(SCORES, 0)

    def update_many(self, score: int, truth: FloatArray, forecast: FloatArray, unit: float) -> bool:
        """Takes labels in order, each (n,), in units of `unit`; whether the mean residual has moved."""
        residuals = (truth - forecast) / unit
        if not SCORES[score].startswith("p_"):
            residuals = np.clip(residuals / _AMOUNT_SCALE, -0.5, 0.5)
        moved = False
        watch = self._watches[score]
        for residual in residuals.tolist():
            watch.update(residual)
            moved |= watch.drift_detected
        self.found[SCORES[score]] += moved
        return moved
