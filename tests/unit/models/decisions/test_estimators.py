"""Laws of off-policy estimates: they are what their formulas say, and their intervals hold what they should."""

import importlib.util

import numpy as np
import pytest

from models.decisions.estimators import (
    ESTIMATORS,
    Logged,
    constant,
    doubly_robust_scores,
    effective_size,
    evaluate,
    round_scores,
)

ARMS = 3


def trial(seed: int, rows: int = 2000) -> tuple[Logged, np.ndarray, np.ndarray, np.ndarray]:
    """Logged decisions of an uneven policy, another policy, forecasts q that are off, and the true means (n, arms)."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=rows)
    truth = 1.0 / (1.0 + np.exp(-(x[:, None] * np.array([0.0, 0.5, -0.5]) + np.array([-1.0, -0.5, -0.7]))))
    logging = rng.dirichlet(np.array([4.0, 2.0, 2.0]), size=rows) * 0.85 + 0.05
    arm = (rng.random(rows)[:, None] > logging.cumsum(axis=1)).sum(axis=1).clip(0, ARMS - 1)
    policy = np.where(x[:, None] > 0, np.array([0.1, 0.8, 0.1]), np.array([0.2, 0.1, 0.7]))
    chosen = np.arange(rows)
    reward = (rng.random(rows) < truth[chosen, arm]).astype(float)
    return Logged(arm, logging[chosen, arm], reward), policy, truth * 0.8 + 0.1, truth


def plain(logged: Logged, policy: np.ndarray, q: np.ndarray, clip: float) -> dict[str, float]:
    """The three formulas, row by row, in plain Python."""
    ips = weight_sum = dr = 0.0
    for i, (arm, propensity, reward) in enumerate(zip(*(part.tolist() for part in logged), strict=True)):
        weight = min(policy[i, arm] / propensity, clip)
        ips += weight * reward
        weight_sum += weight
        dr += sum(policy[i, a] * q[i, a] for a in range(ARMS)) + weight * (reward - q[i, arm])
    n = len(logged.arm)
    return {"ips": ips / n, "snips": ips / weight_sum, "dr": dr / n}


@pytest.mark.parametrize("clip", [None, 2.0])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_an_estimate_is_its_formula(estimator: str, clip: float | None) -> None:
    """Equal to the sums written out row by row."""
    logged, policy, q, _ = trial(1)
    estimate = evaluate(logged, policy, estimator, q=q, clip=clip)  # type: ignore[arg-type]
    assert estimate.span.value == pytest.approx(plain(logged, policy, q, clip or np.inf)[estimator], abs=1e-12)
    assert (estimate.clipped > 0) == (clip is not None)


@pytest.mark.skipif(importlib.util.find_spec("obp") is None, reason="needs the package obp (Open Bandit Pipeline)")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("clip", [None, 2.0])
def test_estimates_equal_those_of_obp(clip: float | None) -> None:
    """Open Bandit Pipeline 0.5.7 as an oracle, on the same rows, to 1e-9; its SNIPS takes a clip and ignores it."""
    from obp.ope import estimators as obp  # type: ignore[import-not-found]

    logged, policy, q, _ = trial(2)
    lambda_ = np.inf if clip is None else clip
    rows = {
        "reward": logged.reward,
        "action": logged.arm,
        "pscore": logged.propensity,
        "action_dist": policy[:, :, None],
        "estimated_rewards_by_reg_model": q[:, :, None],
        "position": np.zeros(len(q), dtype=int),
    }
    oracles = {
        "ips": obp.InverseProbabilityWeighting(lambda_=lambda_),
        "snips": obp.SelfNormalizedInverseProbabilityWeighting(lambda_=lambda_),
        "dr": obp.DoublyRobust(lambda_=lambda_),
    }
    if clip is not None:
        del oracles["snips"]
    for estimator, oracle in oracles.items():
        ours = evaluate(logged, policy, estimator, q=q, clip=clip)  # type: ignore[arg-type]
        assert ours.span.value == pytest.approx(oracle.estimate_policy_value(**rows), abs=1e-9)


def test_intervals_hold_the_true_value_as_often_as_they_say() -> None:
    """400 logs: one look covers 95 % (give or take), the always-valid interval more, of a policy and a constant arm."""
    covered: dict[tuple[str, bool, str], int] = {}
    for seed in range(400):
        logged, policy, q, truth = trial(seed + 100, rows=1500)
        for name, target in (("policy", policy), ("constant", constant(2, len(policy), ARMS))):
            value = float((target * truth).sum(axis=1).mean())
            for estimator in ESTIMATORS:
                for peeking in (False, True):
                    span = evaluate(logged, target, estimator, q=q, peeking=peeking).span
                    key = (estimator, peeking, name)
                    covered[key] = covered.get(key, 0) + span.covers(value)
    for (_, peeking, _), count in covered.items():
        assert count / 400 >= (0.985 if peeking else 0.93)


def test_a_good_forecast_makes_dr_narrower_and_a_wrong_one_leaves_it_right() -> None:
    """Doubly robust: known probabilities keep it unbiased whatever q is; a good q pays."""
    logged, policy, _, truth = trial(3, rows=20_000)
    value = float((policy * truth).sum(axis=1).mean())
    good, wrong = (evaluate(logged, policy, "dr", q=q) for q in (truth, np.full_like(truth, 5.0)))
    ips = evaluate(logged, policy, "ips")
    assert good.se < ips.se < wrong.se
    assert good.span.covers(value)
    assert wrong.span.covers(value)


def test_a_policys_score_is_the_average_of_its_arms_scores() -> None:
    """So the same scores judge every policy, and a difference of policies has an interval of its own."""
    logged, policy, q, _ = trial(4)
    scores, _, _ = round_scores(logged, policy, "dr", q)
    assert (policy * doubly_robust_scores(logged, q)).sum(axis=1) == pytest.approx(scores)


def test_the_policy_that_logged_is_worth_what_it_earned() -> None:
    """Weights of one: all estimators give the mean reward, and every decision counts in full."""
    logged, _, q, _ = trial(5)
    own = np.tile(logged.propensity[:, None], (1, ARMS))
    assert evaluate(logged, own, "ips").span.value == pytest.approx(logged.reward.mean())
    assert evaluate(logged, own, "snips").span.value == pytest.approx(logged.reward.mean())
    assert evaluate(logged, own, "ips").effective == pytest.approx(len(q))
    assert effective_size(np.zeros(3)) == 0.0


def test_what_could_not_have_been_logged_is_refused() -> None:
    """A propensity of 0 is a mistake of the log, not an infinite weight."""
    logged, policy, _, _ = trial(6)
    with pytest.raises(ValueError, match="a probability above 0"):
        evaluate(logged._replace(propensity=np.zeros(len(policy))), policy, "ips")
