"""Laws of replaying a logged trial: nothing is flattered, and what is known is found again."""

import numpy as np
import pytest

from models.bandits.replay import LoggedTrial, joined, replay
from models.decisions.estimators import Logged
from models.decisions.scaling import Scaling


def trial(seed: int, rows: int, means: tuple[float, ...], slope: float = 0.0) -> LoggedTrial:
    """Arms drawn at random; the second arm's effect depends on x by `slope`."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 2))
    arm = rng.integers(0, len(means), rows)
    chance = np.clip(np.array(means)[arm] + np.where(arm == 1, slope * np.sign(x[:, 0]), 0.0), 0, 1)
    reward = (rng.random(rows) < chance).astype(float)
    names = ("none", "one", "two")[: len(means)]
    share = 1.0 / len(means)
    return LoggedTrial(names, Logged(arm, np.full(rows, share), reward), share, x)


def test_a_constant_is_kept_where_nothing_is_to_be_gained() -> None:
    """And its value is the mean of its rows, within the interval."""
    found = replay(trial(1, 8000, (0.2, 0.4)))
    assert not found.judgement.better
    assert found.judgement.arm == 1
    assert found.judgement.constant.covers(0.4)
    assert found.arms["one"].mean == pytest.approx(0.4, abs=0.02)
    assert found.near is not None
    assert found.near < 2000


def test_a_gain_by_customer_is_found() -> None:
    """An arm that helps half of the customers and hurts the others as much: a tenth is the most that can be gained."""
    found = replay(trial(2, 12_000, (0.3, 0.3), slope=0.2))
    assert found.judgement.better
    assert 0.05 < found.judgement.difference.value < 0.1


def test_a_replay_repeats() -> None:
    """The same rows and seed give the same figures."""
    assert replay(trial(3, 2000, (0.2, 0.3)), 5) == replay(trial(3, 2000, (0.2, 0.3)), 5)


def test_a_given_policy_is_judged_in_place_of_a_learnt_one() -> None:
    """The policy that logged is worth what was earned; an arm alone is no better than itself."""
    given = trial(4, 3000, (0.2, 0.2))
    found = replay(given._replace(policy=np.full((3000, 2), 0.5)))
    assert found.judgement.policy.covers(float(given.logged.reward.mean()))
    assert found.effective == pytest.approx(3000)
    assert not found.judgement.better


def test_joined_trials_are_weighted_by_rows() -> None:
    """Two campaigns with arms of their own: values add up by rows, errors by their squares."""
    parts = {"a": replay(trial(5, 3000, (0.1, 0.2))), "b": replay(trial(6, 1000, (0.4, 0.5)))}
    whole = joined(parts)
    assert whole.rows == 4000
    expected = 0.75 * parts["a"].judgement.policy.value + 0.25 * parts["b"].judgement.policy.value
    assert whole.judgement.policy.value == pytest.approx(expected)
    assert set(whole.arms) == {"a/none", "a/one", "b/none", "b/one"}


def test_scaling_is_set_by_the_first_customers_and_kept() -> None:
    """Amounts as logarithms, gaps as a column of their own, what says nothing as 0, nothing further out than 4."""
    first = np.array([[1.0, 5.0, 100.0], [3.0, 5.0, np.nan], [2.0, 5.0, 10_000.0]])
    scaling = Scaling.of(first)
    scaled = scaling.scaled(np.array([[2.0, 7.0, np.nan], [1e9, 5.0, 1000.0]]))
    assert scaled[0].tolist() == [0.0, 0.0, 0.0, 1.0]
    assert scaled[1, 0] == 4.0
    assert scaled[1, 3] == 0.0
