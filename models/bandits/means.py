"""What each arm is worth for everybody, from decisions of which some were made by customer.

A plain mean by arm would be wrong: who decides by customer gives an arm to those for whom it seems good, and their mean says
more of them than of the arm. The doubly robust scores of all arms (`models.decisions.estimators`) are right whoever decided,
as their probabilities are known. Kept are sums of the scores of each arm less that of the first.
"""

import numpy as np

from models.bandits.regression import HALF_LIFE_DAYS
from models.decisions.confidence import UNSEEN
from models.decisions.draw import FloatArray


class ArmMeans:
    """The effect of each arm against the first, the same for everybody, and how well it is known."""

    def __init__(self, arms: int, half_life_days: float = HALF_LIFE_DAYS) -> None:
        self._half_life_days = half_life_days
        self._count = 0.0
        self._reach = 0.0
        self._sum: FloatArray = np.zeros(arms - 1)
        self._squares: FloatArray = np.zeros((arms - 1, arms - 1))

    def learn_block(self, scores: FloatArray, reach: float, days: float = 0.0) -> None:
        """Learns scores (n, arms) of n decisions, `days` after the block before; `reach`: the furthest one could lie."""
        kept = 0.5 ** (days / self._half_life_days)
        effects = scores[:, 1:] - scores[:, :1]
        self._count = kept * self._count + len(scores)
        self._sum = kept * self._sum + effects.sum(axis=0)
        self._squares = kept * self._squares + effects.T @ effects
        self._reach = max(reach, self._reach)

    def samples(self, normal: FloatArray) -> FloatArray:
        """(samples, arms): effects drawn from what is believed, by standard normal numbers (samples, arms - 1)."""
        samples, others = normal.shape
        drawn = np.zeros((samples, others + 1))
        count = max(self._count, 1.0)
        mean = self._sum / count
        # While all rewards were 0 nobody knows how large one is: as large as 1.
        unseen = UNSEEN * (self._reach or 1.0) ** 2
        spread = self._squares - count * np.outer(mean, mean) + unseen * np.eye(others)
        drawn[:, 1:] = mean + normal @ np.linalg.cholesky(spread / count**2).T
        return drawn
