"""What a policy would have been worth, from decisions that another one made and logged with their probabilities.

With r the reward, a the arm that was drawn, p(a) its logged probability, pi(a | x) the policy's, w = pi(a | x) / p(a) and
q(x, a) any forecast of the reward that was made without looking at r:

    IPS    mean of w r                                           (Horvitz and Thompson 1952)
    SNIPS  sum of w r / sum of w                                 (Swaminathan and Joachims 2015)
    DR     mean of sum_a pi(a | x) q(x, a) + w (r - q(x, a))     (Dudik, Langford and Li 2011)

DR is right where either the probabilities or q are; here the probabilities are known, so q only makes it narrower. Weights
may be clipped at `clip`: less variance for some bias towards what was logged often; `Estimate.clipped` says how many were.
The effective sample size is (sum of w)^2 / sum of w^2 (Kish 1965): of how many decisions of the policy itself the log is
worth.
"""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.decisions.confidence import ALPHA, Moments, Span, asymptotic, fixed
from models.decisions.draw import FloatArray

IntArray = NDArray[np.int64]
Estimator = Literal["ips", "snips", "dr"]
ESTIMATORS: tuple[Estimator, ...] = ("ips", "snips", "dr")


class Logged(NamedTuple):
    """n logged decisions.

    Attributes:
        arm: (n,) int, the arm that was drawn.
        propensity: (n,), its probability when it was drawn, above 0.
        reward: (n,).
    """

    arm: IntArray
    propensity: FloatArray
    reward: FloatArray

    def part(self, of: "NDArray[np.bool_] | NDArray[np.int64] | slice") -> "Logged":
        """Some of the rows."""
        return Logged(self.arm[of], self.propensity[of], self.reward[of])


class Estimate(NamedTuple):
    """What a policy is worth.

    Attributes:
        span: the value a decision, with its interval.
        se: standard error.
        effective: effective sample size.
        clipped: how many weights were cut.
        estimator: which.
    """

    span: Span
    se: float
    effective: float
    clipped: int
    estimator: Estimator


def weights(logged: Logged, policy: FloatArray) -> FloatArray:
    """(n,): pi(a | x) / p(a) of the arms that were drawn; policy (n, arms).

    Raises:
        ValueError: a propensity is not above 0: such a decision could not have been logged.
    """
    if len(logged.propensity) and logged.propensity.min() <= 0:
        raise ValueError(
            f"a logged propensity of {logged.propensity.min():g}; what was drawn had a probability above 0"
        )
    ratio: FloatArray = policy[np.arange(len(logged.arm)), logged.arm] / logged.propensity
    return ratio


def effective_size(ratio: FloatArray) -> float:
    """Kish's effective sample size of weights (n,).

    >>> effective_size(np.array([1.0, 1.0])), effective_size(np.array([2.0, 0.0]))
    (2.0, 1.0)
    """
    squares = float(ratio @ ratio)
    return float(ratio.sum()) ** 2 / squares if squares else 0.0


def doubly_robust_scores(logged: Logged, q: FloatArray, clip: float | None = None) -> FloatArray:
    """(n, arms): an unbiased score of every arm for every decision; a policy's is its average under pi.

    Args:
        logged: n decisions.
        q: (n, arms), forecasts of the reward.
        clip: most that 1 / propensity counts; None: no limit.
    """
    rows = np.arange(len(logged.arm))
    inverse = 1.0 / logged.propensity
    if clip is not None:
        inverse = np.minimum(inverse, clip)
    scores = q.copy()
    scores[rows, logged.arm] += inverse * (logged.reward - q[rows, logged.arm])
    return scores


def round_scores(
    logged: Logged, policy: FloatArray, estimator: Estimator, q: FloatArray | None = None, clip: float | None = None
) -> tuple[FloatArray, FloatArray, int]:
    """Each decision's part in the estimate (n,), whose mean it is; the weights (n,); how many were clipped.

    Raises:
        ValueError: `dr` without `q`.
    """
    ratio = weights(logged, policy)
    clipped = 0 if clip is None else int((ratio > clip).sum())
    if clip is not None:
        ratio = np.minimum(ratio, clip)
    if estimator == "ips":
        return ratio * logged.reward, ratio, clipped
    if estimator == "snips":
        mean = float(ratio.mean()) if len(ratio) else 0.0
        return (ratio * logged.reward / mean if mean else np.zeros(len(ratio))), ratio, clipped
    if q is None:
        raise ValueError("dr needs q (n, arms), forecasts of the reward")
    direct = (policy * q).sum(axis=1)
    return direct + ratio * (logged.reward - q[np.arange(len(logged.arm)), logged.arm]), ratio, clipped


def evaluate(
    logged: Logged,
    policy: FloatArray,
    estimator: Estimator,
    *,
    q: FloatArray | None = None,
    clip: float | None = None,
    alpha: float = ALPHA,
    peeking: bool = True,
) -> Estimate:
    """What `policy` (n, arms) is worth a decision.

    Args:
        logged: n decisions.
        policy: (n, arms), probabilities of the policy; made without looking at the row's reward or later ones.
        estimator: `ips`, `snips` or `dr`.
        q: (n, arms), for `dr`: forecasts of the reward, made as `policy` was.
        clip: most that a weight counts.
        alpha: probability that the interval misses.
        peeking: whether the interval is to hold however often it is looked at (narrowest at n); else at one look.
    """
    scores, ratio, clipped = round_scores(logged, policy, estimator, q, clip)
    value = float(scores.mean()) if len(scores) else 0.0
    if estimator == "snips":
        # The influence of a decision on a ratio of means (delta method).
        mean = float(ratio.mean()) if len(ratio) else 0.0
        scores = value + (ratio * (logged.reward - value) / mean if mean else np.zeros(len(ratio)))
    moments = Moments.of(scores - value)
    around = asymptotic(moments, alpha, max(moments.n, 1.0)) if peeking else fixed(moments, alpha)
    span = Span(value, value + around.low, value + around.high)
    return Estimate(span, moments.se, effective_size(ratio), clipped, estimator)


def constant(arm: int, rows: int, arms: int) -> FloatArray:
    """(rows, arms): the policy that always draws one arm."""
    policy: FloatArray = np.zeros((rows, arms))
    policy[:, arm] = 1.0
    return policy
