"""The learner of one campaign: linear Thompson sampling, and a check that keeps it honest.

Two policies learn from the same matured rewards. The *steady* one holds each arm to be as good for everybody
(`models.bandits.means`); the *personal* one has a head of weights for each arm (`models.bandits.regression`). Both draw by
how often an arm is the best one over samples from what they believe. The steady one is served; the personal one is tried on
`TRIAL_SHARE` of the decisions and takes over only while it is better than *every* arm alone beyond noise
(`models.bandits.trial`). Where customers do not differ in what works, it never is, and the report says so.

Rewards come when their days are over, in any order; a decision is judged and learnt once, when its reward is known.
"""

import numpy as np

from models.bandits.means import ArmMeans
from models.bandits.regression import HALF_LIFE_DAYS, ArmRegression, sampled_values
from models.bandits.trial import Judgement, Trial
from models.decisions.draw import FloatArray, floored
from models.decisions.estimators import Logged, doubly_robust_scores

SAMPLES = 128
# Enough to tell within some thousand decisions whether customers differ; what a policy costs that is no better is this
# share of nearly nothing, as it learns the best arm as well.
TRIAL_SHARE = 0.5
# The steady policy stays in the game, so that the comparison goes on and can be lost again.
SERVED_SHARE = 0.9
# Customers whose values are held at once: with 128 samples and 50 arms, 100 MB.
_ROWS = 2000


class Bandit:
    """What is learnt of one campaign's arms. Deterministic: the same blocks give the same probabilities.

    Attributes:
        steady_samples: (SAMPLES, arms), drawn from what is believed of the arms for everybody.
        sampled_heads: (SAMPLES, arms, 1 + width), and for each customer.

    Args:
        arms: how many, the first of them `none`.
        width: numbers known of a customer, of the order of 1.
        floor: least probability of an arm; at most 1 / arms.
        size: decisions that are expected; the trial's bounds are narrowest there.
        seed: of the samples.
    """

    def __init__(
        self,
        arms: int,
        width: int,
        floor: float,
        size: float = 10_000.0,
        seed: int = 0,
        half_life_days: float = HALF_LIFE_DAYS,
    ) -> None:
        self.arms, self.width, self.floor, self._seed = arms, width, floor, seed
        self._steady = ArmMeans(arms, half_life_days)
        self._personal = ArmRegression(arms, width, half_life_days)
        self.trial = Trial(arms, size)
        self.version = 0
        self._draw()

    @property
    def is_personal(self) -> bool:
        """Whether the personal policy is served."""
        return self.trial.is_served

    def judgement(self) -> Judgement:
        """The personal policy against the constant arms."""
        return self.trial.judgement()

    def personal(self, x: FloatArray) -> FloatArray:
        """(n, arms): the personal policy's probabilities for customers x (n, width), without a floor."""
        if not self.width:
            return np.tile(_wins(sampled_values(self.sampled_heads, x[:1])), (len(x), 1))
        parts = [_wins(sampled_values(self.sampled_heads, x[i : i + _ROWS])) for i in range(0, len(x), _ROWS)]
        return np.concatenate(parts) if parts else np.zeros((0, self.arms))

    def steady(self) -> FloatArray:
        """(arms,): the steady policy's probabilities, without a floor."""
        shares: FloatArray = _wins(self.steady_samples[None])[0]
        return shares

    def chances(self, x: FloatArray) -> FloatArray:
        """(n, arms): the probabilities with which arms are drawn for customers x (n, width)."""
        share = SERVED_SHARE if self.is_personal else TRIAL_SHARE
        return floored(share * self.personal(x) + (1.0 - share) * self.steady(), self.floor)

    def served(self, x: FloatArray) -> FloatArray:
        """(n, arms): what the policy in charge would do alone, without floor and trial."""
        return self.personal(x) if self.is_personal else np.tile(self.steady(), (len(x), 1))

    def forecasts(self, x: FloatArray) -> FloatArray:
        """(n, arms): expected reward of each arm."""
        return self._personal.forecasts(x)

    def uplifts(self, x: FloatArray) -> FloatArray:
        """(n, arms): expected reward of each arm less that of `none`."""
        return sampled_values(self._personal.heads()[None], x)[:, 0]

    def learn_block(self, x: FloatArray, logged: Logged, days: float = 0.0, least: float | None = None) -> None:
        """Judges, then learns, decisions whose rewards have matured.

        Args:
            x: (n, width).
            logged: n decisions; rewards with costs taken off where the campaign asks for it.
            days: since the block before.
            least: the least probability that an arm could have had; None: the floor.
        """
        if not len(x):
            return
        least = least or self.floor
        q = self.forecasts(x)
        self.trial.judge_block(logged, self.personal(x), q, least)
        residual = float(np.abs(logged.reward - q[np.arange(len(x)), logged.arm]).max())
        self._steady.learn_block(doubly_robust_scores(logged, q), residual / least, days)
        self._personal.learn_block(x, logged.arm, logged.reward, days)
        self.version += 1
        self._draw()

    def _draw(self) -> None:
        rng = np.random.default_rng([self._seed, self.version])
        self.steady_samples = self._steady.samples(rng.standard_normal((SAMPLES, self.arms - 1)))
        self.sampled_heads = self._personal.sampled_heads(rng, SAMPLES)


def _wins(values: FloatArray) -> FloatArray:
    """(n, arms): how often each arm is the best, of values (n, samples, arms)."""
    n, samples, arms = values.shape
    best = values.argmax(axis=2) + np.arange(n)[:, None] * arms
    counts: FloatArray = np.bincount(best.ravel(), minlength=n * arms).reshape(n, arms) / samples
    return counts
