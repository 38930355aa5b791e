"""A logged randomised trial through the code that decides and learns live.

Two passes over the same rows, in their order:

- *All rows* teach one bandit and are judged before they are learnt: what the personal policy is worth against each constant
  arm, with always-valid intervals. The log's own probabilities make that unbiased, whatever drew the arms.
- *As if live*: a second bandit knows nothing, decides row by row, and sees a reward only where the log happens to hold the
  arm that it drew (rejection sampling, Li, Chu, Langford and Wang 2011). That is a trial of its own decisions; they count in
  `decisions_to_95_percent`: how many it took until what it does, exploration included, is worth 95 % of the best constant
  arm.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from models.bandits.bandit import Bandit
from models.bandits.trial import Judgement, Trial
from models.decisions.confidence import Interval
from models.decisions.draw import FloatArray
from models.decisions.estimators import Estimate, IntArray, Logged, constant, effective_size, evaluate
from models.decisions.scaling import Scaling

BLOCK = 250
FLOOR = 0.05
# Of the best constant arm's value.
_NEAR = 0.95
# The value of what is done is looked at after every block until so many decisions, later after every fifth.
_OFTEN_UNTIL = 2000


class LoggedTrial(NamedTuple):
    """A trial's n rows.

    Attributes:
        arms: names of its arms; the first is the one the others are compared with, `none` where there is one.
        logged: arms, probabilities and rewards.
        least: least probability that any arm had, of all rows.
        x: (n, numbers), what was known of each customer, nan where it was not; (n, 0): nothing.
        policy: (n, arms), a policy to judge in place of a learnt one; None: one is learnt.
        notes: what was left out, in words.
    """

    arms: tuple[str, ...]
    logged: Logged
    least: float
    x: FloatArray
    policy: FloatArray | None = None
    notes: tuple[str, ...] = ()

    def part(self, rows: IntArray) -> "LoggedTrial":
        """The rows with these numbers, in this order."""
        policy = None if self.policy is None else self.policy[rows]
        return self._replace(logged=self.logged.part(rows), x=self.x[rows], policy=policy)


class ArmMean(NamedTuple):
    """What an arm's own rows say; and, from all rows, two estimates that a policy would be judged by."""

    n: int
    mean: float
    se: float
    snips: Estimate
    dr: Estimate


class Replay(NamedTuple):
    """What a trial says.

    Attributes:
        rows: of the trial.
        arms: by name.
        judgement: the policy against each constant arm.
        effective: effective sample size of the policy's weights.
        near: decisions until 95 % of the best constant arm's value; None: not within the trial.
        decisions: that the second pass could make.
    """

    rows: int
    arms: dict[str, ArmMean]
    judgement: Judgement
    effective: float
    near: int | None
    decisions: int


def replay(trial: LoggedTrial, seed: int = 0) -> Replay:
    """Both passes over `trial`; `seed` of the bandits' samples and draws."""
    n, arms = len(trial.logged.arm), len(trial.arms)
    x = Scaling.of(trial.x[:BLOCK]).scaled(trial.x)
    judgement, q, policy = judged(trial, x, seed)
    means = {}
    for k, name in enumerate(trial.arms):
        own, alone = trial.logged.reward[trial.logged.arm == k], constant(k, n, arms)
        se = float(own.std(ddof=1) / np.sqrt(len(own))) if len(own) > 1 else float("nan")
        mean = float(own.mean()) if len(own) else float("nan")
        estimates = (evaluate(trial.logged, alone, "snips"), evaluate(trial.logged, alone, "dr", q=q))
        means[name] = ArmMean(len(own), mean, se, *estimates)
    ratio = policy[np.arange(n), trial.logged.arm] / trial.logged.propensity
    near, decisions = decisions_to_near(trial, x, seed)
    return Replay(n, means, judgement, effective_size(ratio), near, decisions)


def judged(trial: LoggedTrial, x: FloatArray, seed: int) -> tuple[Judgement, FloatArray, FloatArray]:
    """The first pass: the judgement; forecasts q and the judged policy's probabilities, both (n, arms)."""
    n, arms = len(trial.logged.arm), len(trial.arms)
    learner = Bandit(arms, x.shape[1], min(FLOOR, 1.0 / arms), size=n, seed=seed)
    given = None if trial.policy is None else Trial(arms, n, learns=False)
    q, policy = np.zeros((n, arms)), np.zeros((n, arms))
    for start in range(0, n, BLOCK):
        block = slice(start, start + BLOCK)
        q[block] = learner.forecasts(x[block])
        policy[block] = learner.personal(x[block]) if trial.policy is None else trial.policy[block]
        if given is not None:
            given.judge_block(trial.logged.part(block), policy[block], q[block], trial.least)
        learner.learn_block(x[block], trial.logged.part(block), least=trial.least)
    return (learner.judgement() if given is None else given.judgement()), q, policy


def decisions_to_near(trial: LoggedTrial, x: FloatArray, seed: int) -> tuple[int | None, int]:
    """The second pass: see the module; and how many decisions it could make."""
    arms, logged = len(trial.arms), trial.logged
    counts = np.bincount(logged.arm, weights=1.0 / logged.propensity, minlength=arms)
    totals = np.bincount(logged.arm, weights=logged.reward / logged.propensity, minlength=arms)
    enough = _NEAR * float((totals / np.maximum(counts, 1e-300)).max())
    learner = Bandit(arms, x.shape[1], min(FLOOR, 1.0 / arms), size=len(x), seed=seed)
    rng = np.random.default_rng([seed, 95])
    made, near = 0, None
    for block, start in enumerate(range(0, len(x), BLOCK), 1):
        rows = np.arange(start, min(start + BLOCK, len(x)))
        chances = learner.chances(x[rows])
        arm = np.minimum((rng.random(len(rows))[:, None] > chances.cumsum(axis=1)).sum(axis=1), arms - 1)
        same = (arm == logged.arm[rows]) & (rng.random(len(rows)) < trial.least / logged.propensity[rows])
        kept = rows[same]
        own = Logged(arm[same], chances[same, arm[same]], logged.reward[kept])
        learner.learn_block(x[kept], own)
        made += len(kept)
        if near is None and (made < _OFTEN_UNTIL or block % 5 == 0) and _value(learner, x, logged) >= enough:
            near = made
    return near, made


def _value(learner: Bandit, x: FloatArray, logged: Logged) -> float:
    ratio = learner.chances(x)[np.arange(len(x)), logged.arm] / logged.propensity
    return float(ratio @ logged.reward / max(ratio.sum(), 1e-300))


def what_if(trial: LoggedTrial, shares: Mapping[str, float], seed: int = 0) -> Judgement:
    """What drawing arms by fixed shares, whoever the customer is, would have been worth against each constant arm.

    Args:
        trial: the logged trial.
        shares: arm -> probability; arms that are not named are never drawn.
        seed: of the learner that makes the forecasts.

    Raises:
        KeyError: an arm that the trial does not have, which no log could judge.
    """
    row = np.zeros(len(trial.arms))
    for name, share in shares.items():
        if name not in trial.arms:
            raise KeyError(name)
        row[trial.arms.index(name)] = share
    policy = np.tile(row, (len(trial.logged.arm), 1))
    x = Scaling.of(trial.x[:BLOCK]).scaled(trial.x)
    return judged(trial._replace(policy=policy), x, seed)[0]


def joined(parts: dict[str, Replay]) -> Replay:
    """Trials with arms of their own as one: each policy in its own, weighted by rows; a constant is one arm in each."""
    rows = sum(part.rows for part in parts.values())
    share = {name: part.rows / rows for name, part in parts.items()}

    def mixed(spans: dict[str, Interval]) -> Interval:
        value = sum(share[name] * span.value for name, span in spans.items())
        # Errors of separate rows are independent: their squares add up.
        below = np.sqrt(sum((share[name] * (span.value - span.low)) ** 2 for name, span in spans.items()))
        above = np.sqrt(sum((share[name] * (span.high - span.value)) ** 2 for name, span in spans.items()))
        return Interval(value, value - float(below), value + float(above))

    judgements = {name: part.judgement for name, part in parts.items()}
    difference = mixed({name: each.difference for name, each in judgements.items()})
    judgement = Judgement(
        difference.low > 0 and all(each.better for each in judgements.values()),
        -1,
        mixed({name: each.constant for name, each in judgements.items()}),
        mixed({name: each.policy for name, each in judgements.items()}),
        difference,
    )
    arms = {f"{name}/{arm}": mean for name, part in parts.items() for arm, mean in part.arms.items()}
    effective = sum(part.effective for part in parts.values())
    return Replay(rows, arms, judgement, effective, None, sum(part.decisions for part in parts.values()))
