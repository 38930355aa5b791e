"""Made-up labels of customers with a habit and a mood, and learners of them."""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from models.features import FloatArray
from models.learning.learner import Learner
from models.learning.snapshots import decode_snapshot, encode_snapshot
from schemas.learning import Label

NAMES = ("habit", "mood", "noise")
FEATURE_SET = "f00d"
BASE_RATE, MEAN_AMOUNT = 0.8, 40.0


class HabitPrior:
    """Knows how habit works, nothing of mood, and holds everybody to buy half as much again as they do."""

    version = "habit"

    def score(self, x: FloatArray) -> FloatArray:
        """Poisson probabilities, counts and spend of the rate that habit alone gives."""
        rate = 1.5 * BASE_RATE * np.exp(0.5 * x[:, 0])
        return np.column_stack([-np.expm1(-rate / 3), -np.expm1(-rate), rate, rate * MEAN_AMOUNT])


class NeverPrior:
    """Forecasts nothing at all: the edge where log odds and logs have no value."""

    version = "never"

    def score(self, x: FloatArray) -> FloatArray:
        """Zeros."""
        return np.zeros((len(x), 4))


def shop(count: int, seed: int = 7) -> list[Label]:
    """Labels of customers who buy as Poisson(base exp(0.5 habit + 0.8 mood)) in 90 days; 30 and 90 days take turns."""
    rng = np.random.default_rng(seed)
    labels = []
    for i in range(count):
        horizon: Literal[30, 90] = 30 if i % 2 else 90
        x = rng.normal(size=len(NAMES))
        bought = int(rng.poisson(BASE_RATE * math.exp(0.5 * x[0] + 0.8 * x[1]) * horizon / 90))
        spend = float(rng.gamma(2.0, MEAN_AMOUNT / 2.0, size=bought).sum())
        labels.append(
            Label(
                f"c{i}:0:{horizon}", 0.0, float(i), horizon, FEATURE_SET, tuple(x.tolist()), bought > 0, bought, spend
            )
        )
    return labels


def new_learner() -> Learner:
    """One that has seen nothing."""
    return Learner(NAMES, FEATURE_SET, HabitPrior())


def taught(labels: Sequence[Label]) -> Learner:
    """One that has learnt `labels`."""
    learner = new_learner()
    learner.learn_many(labels)
    return learner


def copied(learner: Learner) -> Learner:
    """The learner after a trip through the bytes of a snapshot."""
    return Learner.restored(decode_snapshot(encode_snapshot(learner.snapshot()), FEATURE_SET), HabitPrior())
