"""What an arm adds for one customer, learnt online: T-, X- and DR-learners over dynamic linear regressions.

With t whether the customer had the arm (else `none`), y the reward, e the probability of the arm among the two, and mu_0,
mu_1 regressions of the reward without and with it:

    T    mu_1(x) - mu_0(x)
    X    regressions of y - mu_0(x) on those with the arm and of mu_1(x) - y on those without, averaged by 1 - e and e
         (Kunzel, Sekhon, Bickel and Yu 2019)
    DR   a regression of mu_1 - mu_0 + t (y - mu_1) / e - (1 - t) (y - mu_0) / (1 - e) on x (Kennedy 2020)

A block's second-stage outcomes are made by regressions that have not learnt the block: what is cross-fitting in batch comes
by itself here.
"""

from typing import Literal

import numpy as np

from models.bandits.regression import HALF_LIFE_DAYS, DynamicLinear, with_constant
from models.decisions.draw import FloatArray

Kind = Literal["t", "x", "dr"]
KINDS: tuple[Kind, ...] = ("t", "x", "dr")
_LEVEL, _SLOPE, _EFFECT_SLOPE = 1.0, 0.5, 0.1


class UpliftLearner:
    """The effect of one arm against `none` by customer.

    Args:
        kind: which of the three.
        width: numbers known of a customer, of the order of 1.
    """

    def __init__(self, kind: Kind, width: int, half_life_days: float = HALF_LIFE_DAYS) -> None:
        outcome = np.r_[_LEVEL, np.full(width, _SLOPE)]
        effect = np.r_[_LEVEL, np.full(width, _EFFECT_SLOPE)]
        self.kind = kind
        self._without, self._with = (DynamicLinear(outcome, half_life_days) for _ in range(2))
        self._effects = [DynamicLinear(effect, half_life_days) for _ in range({"t": 0, "x": 2, "dr": 1}[kind])]
        self._share = 0.5

    def effects(self, x: FloatArray) -> FloatArray:
        """(n,): what the arm adds to the reward of customers x (n, width)."""
        a = with_constant(x)
        if self.kind == "t":
            return self._with.forecasts(a) - self._without.forecasts(a)
        if self.kind == "x":
            on_with, on_without = (model.forecasts(a) for model in self._effects)
            return (1.0 - self._share) * on_with + self._share * on_without
        return self._effects[0].forecasts(a)

    def learn_block(
        self, x: FloatArray, treated: FloatArray, share: FloatArray, reward: FloatArray, days: float = 0.0
    ) -> None:
        """Learns rewards (n,) of customers x (n, width), `days` after the block before.

        Args:
            x: of customers who had the arm or `none`.
            treated: (n,), 1 with the arm, 0 with `none`.
            share: (n,), probability of the arm among the two, within 0 and 1.
            reward: (n,).
            days: since the block before.
        """
        if not len(x):
            return
        a, has = with_constant(x), treated > 0
        without, with_ = self._without.forecasts(a), self._with.forecasts(a)
        if self.kind == "x":
            self._effects[0].learn_block(a[has], (reward - without)[has], days)
            self._effects[1].learn_block(a[~has], (with_ - reward)[~has], days)
            self._share = float(share.mean())
        elif self.kind == "dr":
            corrected = np.where(has, (reward - with_) / share, (without - reward) / (1.0 - share))
            self._effects[0].learn_block(a, with_ - without + corrected, days)
        self._with.learn_block(a[has], reward[has], days)
        self._without.learn_block(a[~has], reward[~has], days)


def qini(score: FloatArray, treated: FloatArray, reward: FloatArray) -> float:
    """The Qini coefficient: extra reward a customer when those of the highest score are treated first, over any order.

    The area between Q(k) = reward of the treated among the first k - reward of the others, scaled to as many, and the line
    to its end (Radcliffe 2007), over all fractions, in rewards a customer. 0: the score sorts no better than chance.

    Args:
        score: (n,), highest first.
        treated: (n,), 1 or 0, at random.
        reward: (n,).
    """
    order = np.argsort(-score, kind="stable")
    has, y = treated[order] > 0, reward[order]
    count_with, count_without = np.cumsum(has), np.cumsum(~has)
    with_, without = np.cumsum(y * has), np.cumsum(y * ~has)
    curve = with_ - without * count_with / np.maximum(count_without, 1)
    n = len(score)
    line = curve[-1] * np.arange(1, n + 1) / n
    return float((curve - line).mean() / max(int(count_with[-1]), 1))
