"""Whether deciding by customer is better than the best arm for all, on the decisions that were made.

Every decision gives each arm an unbiased score (`models.decisions.estimators.doubly_robust_scores`), whatever arm was
drawn. A policy's score is the average of them under its probabilities, so on every decision

    D_k = score of the policy - score of arm k

is what the policy is worth more than always drawing arm k. Its forecasts and probabilities were made before the decision's
reward was learnt (progressive validation), so what the policy learns from a reward can't flatter it. The policy is better
beyond noise where a lower confidence bound of the mean of D_k lies above 0 for *every* arm k: then it does for the best one,
whichever that is, and no correction for having chosen it is needed. The bound may be looked at after every block.

The first `RAMP` decisions count by how many were known when they were made, all later ones alike: the policy that has
learnt is to be judged, not the one that knew nothing.
"""

from typing import NamedTuple

import numpy as np

from models.decisions.confidence import Moments, Span, asymptotic, lower_bound
from models.decisions.draw import FloatArray
from models.decisions.estimators import Logged, doubly_robust_scores

# One-sided: of forty campaigns with nothing to gain, one may be personalised for nothing.
ALPHA = 0.025
RAMP = 4000.0
# Once it is served, the policy stays until not even a bound that holds with 80 % lies above 0: at the edge of what can be
# told it would else come and go with every block.
ALPHA_TO_STAY = 0.2


class Judgement(NamedTuple):
    """The trial as it stands.

    Attributes:
        better: the policy is better than every constant arm, beyond noise.
        arm: index of the best constant arm.
        constant: its value a decision.
        policy: the policy's.
        difference: of the two.
    """

    better: bool
    arm: int
    constant: Span
    policy: Span
    difference: Span


class Trial:
    """One policy against each constant arm.

    Attributes:
        is_served: the policy was found better, and has not been found wanting since.
    """

    def __init__(self, arms: int, size: float, *, learns: bool = True) -> None:
        """Args: size: decisions that are expected; bounds are narrowest there. learns: the first ones count for less."""
        self._size, self._learns = size, learns
        self._known = 0.0
        self._weight = 0.0
        self.is_served = False
        self._policy = Moments()
        self._values = [Moments() for _ in range(arms)]
        self._differences = [Moments() for _ in range(arms)]

    def judge_block(self, logged: Logged, policy: FloatArray, q: FloatArray, least: float) -> None:
        """Counts decisions whose rewards are known now and were not learnt yet.

        Args:
            logged: n decisions with their rewards, costs taken off.
            policy: (n, arms), what the policy would have done.
            q: (n, arms), forecasts of the rewards.
            least: the least probability that an arm could have had.
        """
        n = len(logged.arm)
        if not n:
            return
        scores = doubly_robust_scores(logged, q)
        own = (policy * scores).sum(axis=1)
        weight = np.minimum((self._known + np.arange(1.0, n + 1.0)) / RAMP, 1.0) if self._learns else np.ones(n)
        residual = np.abs(logged.reward - q[np.arange(n), logged.arm]).max()
        reach = float(weight[-1] * residual / least)
        self._policy = self._policy.plus(Moments.of(weight * own, reach * float(policy.max())))
        for k in range(scores.shape[1]):
            # Where the policy draws arm k itself nothing can come between them.
            apart = float((1.0 - policy[:, k]).max())
            self._values[k] = self._values[k].plus(Moments.of(weight * scores[:, k], reach))
            difference = Moments.of(weight * (own - scores[:, k]), reach * apart)
            self._differences[k] = self._differences[k].plus(difference)
        self._known += n
        self._weight += float(weight.sum())
        self.is_served = self._is_better(ALPHA_TO_STAY if self.is_served else ALPHA)

    def _is_better(self, alpha: float) -> bool:
        return all(lower_bound(moments, alpha, self._size) > 0 for moments in self._differences)

    def judgement(self) -> Judgement:
        """What can be said now; without a decision, nothing of any arm."""
        arm = int(np.argmax([moments.mean for moments in self._values]))
        return Judgement(
            self._is_better(ALPHA),
            arm,
            self._span(self._values[arm]),
            self._span(self._policy),
            self._span(self._differences[arm]),
        )

    def _span(self, moments: Moments) -> Span:
        """The weighted mean with its always-valid interval, two-sided at 95 %."""
        unit = self._weight / moments.n if moments.n else 1.0
        return Span(*(part / unit for part in asymptotic(moments, 2.0 * ALPHA, self._size)))
