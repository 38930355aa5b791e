"""Models of different speed, averaged by how well each forecast: how fast a shop changes is learnt, not set.

Dynamic model averaging (Raftery, Karny and Ettler 2010). Each expert is a `DynamicGlm` whose weights drift at a speed of
its own, and has a chance p, from the likelihood of what it said of labels:

    log p <- log p . 0.5^(days / HALF_LIFE_DAYS) + sum of log f(y | what the expert said of y) / dispersion,   sum of p = 1

A label is judged by the weights that the expert had when its features were taken, `lag_days` ago. Today's weights have
learnt of the same customers' overlapping windows in between: judged by those, the fast would look better than it will be.
Experts are averaged on the link scale, where they are linear: what is served is one vector of weights, the mean, so that
scoring costs and reasons add up as with one model.
"""

from typing import NamedTuple, Self

import numpy as np

from models.features import FloatArray
from models.learning.forecasting import CORRECTION_LIMIT
from models.learning.glm import SURPRISE_LIMIT, BlockGlm, DynamicGlm, Link, packed, unpacked
from models.learning.snapshots import EXPERTS

# Drift of the weights and of the level, variance a day: over a year a weight moves by .02, .1 or .6. The level is told by
# every label and moves with the season, so it drifts ten times as fast.
SPEEDS = ((1e-6, 1e-5), (3e-5, 3e-4), (1e-3, 1e-2))
# What an expert said a quarter ago counts half, so that an abrupt change is noticed within a season.
HALF_LIFE_DAYS = 90.0
# Weights are remembered so often; a label is judged by those of lag to lag + 10 days ago.
REMEMBER_DAYS = 10.0

assert len(SPEEDS) == EXPERTS


class Remembered(NamedTuple):
    """The experts' weights at one moment, days since the first block."""

    day: float
    weights: FloatArray  # (experts, inputs + 1)


class AveragedGlm(BlockGlm):
    """As `DynamicGlm`, for some speeds at once; `weights` is the mean over them.

    Args:
        width: inputs, without the constant.
        link: see `DynamicGlm`.
        speeds: drift of the weights and of the level of each expert.
        lag_days: between features and label.
        dispersion: see `DynamicGlm`.
        cautious: see `DynamicGlm`.
    """

    def __init__(
        self,
        width: int,
        link: Link,
        speeds: tuple[tuple[float, float], ...] = SPEEDS,
        lag_days: float = 30.0,
        dispersion: float = 1.0,
        cautious: frozenset[int] = frozenset(),
    ) -> None:
        self.width, self.link, self.speeds, self.lag_days = width, link, speeds, lag_days
        self.dispersion, self.cautious = dispersion, cautious
        self.experts = tuple(
            DynamicGlm(width, link, drift=drift, level_drift=level, dispersion=dispersion, cautious=cautious)
            for drift, level in speeds
        )
        self.evidence: FloatArray = np.zeros(len(speeds))
        self.day = 0.0
        self.memory = [Remembered(0.0, self._of_experts())]
        self._average()

    @property
    def chances(self) -> FloatArray:
        """(experts,): of each, that it is the one to follow; their sum is 1."""
        likelihoods = np.exp(self.evidence - self.evidence.max())
        found: FloatArray = likelihoods / likelihoods.sum()
        return found

    def learn_block(self, z: FloatArray, offset: FloatArray, y: FloatArray, days: float, weight: float = 1.0) -> None:
        """See `BlockGlm.learn_block`; all labels judge."""
        self.learn_judged(z, offset, y, days, weight, np.ones(len(z), dtype=np.bool_))

    def learn_judged(
        self, z: FloatArray, offset: FloatArray, y: FloatArray, days: float, weight: float, judges: FloatArray
    ) -> None:
        """`learn_block` where only labels of `lag_days`, those that `judges` (n,) marks, tell how good an expert is."""
        self.day += days
        self.evidence = self.evidence * 0.5 ** (days / HALF_LIFE_DAYS)
        past = self._past()
        if past is not None and judges.any():
            told = weight / self.dispersion
            self.evidence = self.evidence + told * self._likelihoods(past, z[judges], offset[judges], y[judges])
            self.evidence = self.evidence - self.evidence.max()
        for expert in self.experts:
            expert.learn_block(z, offset, y, days, weight)
        self._average()
        if self.day >= self.memory[-1].day + REMEMBER_DAYS:
            self.memory.append(Remembered(self.day, self._of_experts()))

    def _past(self) -> FloatArray | None:
        """The latest weights that are `lag_days` old; older ones are forgotten."""
        latest = self.day - self.lag_days
        while len(self.memory) > 1 and self.memory[1].day <= latest:
            del self.memory[0]
        return self.memory[0].weights if self.memory[0].day <= latest else None

    def _likelihoods(self, weights: FloatArray, z: FloatArray, offset: FloatArray, y: FloatArray) -> FloatArray:
        """(experts,): log likelihoods of outcomes, Bernoulli or Poisson, up to what all experts have in common."""
        moved = np.clip(weights[:, :1] + weights[:, 1:] @ z.T, -CORRECTION_LIMIT, CORRECTION_LIMIT)
        raw = offset + moved
        if self.link == "logit":
            found: FloatArray = (y * raw - np.logaddexp(0.0, raw)).sum(axis=1)
        else:
            mean = np.exp(raw)
            found = (np.minimum(y, mean.max(axis=0) + SURPRISE_LIMIT) * raw - mean).sum(axis=1)
        return found

    def _of_experts(self) -> FloatArray:
        return np.array([expert.weights for expert in self.experts])

    def _average(self) -> None:
        self.weights = self.chances @ self._of_experts()

    def restart_at(self, weights: FloatArray) -> None:
        """All experts go on from `weights` (width + 1,); their chances and how surely they know stay."""
        for expert in self.experts:
            expert.weights = weights.copy()
        self.memory = [Remembered(self.day, self._of_experts())]
        self._average()

    def to_array(self) -> FloatArray:
        """(any,): day, number of memories, evidence, weights and covariance of each expert, memories."""
        return np.concatenate(
            [
                [self.day, len(self.memory)],
                self.evidence,
                *(np.r_[expert.weights, packed(expert.covariance)] for expert in self.experts),
                *(np.r_[each.day, each.weights.ravel()] for each in self.memory),
            ]
        )

    def take(self, array: FloatArray) -> Self:
        """Goes on from the array of an `AveragedGlm` of the same shape (`snapshots.experts_size`); returns itself."""
        size, count = self.width + 1, len(self.experts)
        self.day, memories = float(array[0]), int(array[1])
        self.evidence = array[2 : 2 + count].copy()
        rest = array[2 + count :]
        expert_size = size + size * (size + 1) // 2
        for expert, told in zip(self.experts, np.split(rest[: count * expert_size], count), strict=True):
            expert.weights, expert.covariance = told[:size].copy(), unpacked(told[size:])
        told = rest[count * expert_size :].reshape(memories, 1 + count * size)
        self.memory = [Remembered(float(each[0]), each[1:].reshape(count, size).copy()) for each in told]
        self._average()
        return self
