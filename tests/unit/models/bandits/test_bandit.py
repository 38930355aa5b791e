"""Laws of the learner: what it believes, what it serves, and that it is not fooled by nothing."""

import numpy as np
import pytest

from models.bandits.bandit import Bandit
from models.bandits.customers import WIDTH, simulated_customers
from models.bandits.means import ArmMeans
from models.bandits.regression import ArmRegression, DynamicLinear
from models.decisions.estimators import Logged, doubly_robust_scores

BLOCK = 250


def lived(seed: int, decisions: int, *, differ: bool) -> tuple[Bandit, float]:
    """A bandit after so many decisions on simulated customers; the true value of what it serves less the best constant's."""
    rng = np.random.default_rng(seed)
    bandit = Bandit(3, WIDTH, 0.05, size=20_000, seed=seed)
    for _ in range(decisions // BLOCK):
        customers = simulated_customers(rng, BLOCK, differ=differ)
        chances = bandit.chances(customers.x)
        arm = np.minimum((rng.random(BLOCK)[:, None] > chances.cumsum(axis=1)).sum(axis=1), 2)
        rows = np.arange(BLOCK)
        reward = (rng.random(BLOCK) < customers.means[rows, arm]).astype(float)
        bandit.learn_block(customers.x, Logged(arm, chances[rows, arm], reward))
    held = simulated_customers(np.random.default_rng(10_000 + seed), 20_000, differ=differ)
    value = (bandit.served(held.x) * held.means).sum(axis=1).mean()
    return bandit, float(value - held.means.mean(axis=0).max())


def test_where_customers_differ_the_personal_policy_is_served_and_better() -> None:
    """After 30,000 decisions its true value is two points above the best constant arm's."""
    bandit, gain = lived(0, 30_000, differ=True)
    assert bandit.is_personal
    assert gain > 0.02
    assert bandit.judgement().difference.covers(gain)


@pytest.mark.parametrize("seed", range(3))
def test_where_customers_do_not_differ_a_constant_is_kept(seed: int) -> None:
    """One offer is the best for everybody: no policy by customer is served, and the best arm is the one drawn most."""
    bandit, _ = lived(seed, 10_000, differ=False)
    assert not bandit.is_personal
    assert not bandit.judgement().better


def test_probabilities_sum_to_one_above_the_floor_and_repeat() -> None:
    """The same blocks give the same probabilities, to the last bit."""
    first, second = (lived(5, 2000, differ=True)[0] for _ in range(2))
    x = simulated_customers(np.random.default_rng(1), 100, differ=True).x
    chances = first.chances(x)
    assert chances.sum(axis=1) == pytest.approx(np.ones(100))
    assert chances.min() >= 0.05
    assert np.array_equal(chances, second.chances(x))


def test_before_anything_is_known_every_arm_has_its_chance() -> None:
    """A new campaign tries all its arms, none of them nearly always."""
    chances = Bandit(3, WIDTH, 0.05).chances(np.zeros((1, WIDTH)))[0]
    assert chances.min() > 0.15
    assert chances.max() < 0.6


def test_learning_in_blocks_is_learning_at_once() -> None:
    """The weights depend on what was learnt, not on how it was cut (the noise does, a little)."""
    rng = np.random.default_rng(2)
    a, y = rng.normal(size=(300, 4)), rng.normal(size=300)
    whole, blocks = DynamicLinear(np.full(4, 0.5)), DynamicLinear(np.full(4, 0.5))
    whole.learn_block(a, y)
    for start in range(0, 300, 50):
        blocks.learn_block(a[start : start + 50], y[start : start + 50])
    assert blocks.weights == pytest.approx(whole.weights)
    ridge = np.linalg.solve(a.T @ a + np.eye(4) / 0.25, a.T @ y)
    assert whole.weights == pytest.approx(ridge)


def test_deciding_by_customer_does_not_fool_what_is_believed_of_the_arms() -> None:
    """An arm that is given to good customers looks good by its mean and is not: scores know the probabilities."""
    rng = np.random.default_rng(9)
    x = rng.normal(size=(20_000, 1))
    chance = np.where(x[:, 0] > 0, 0.9, 0.1)
    arm = (rng.random(20_000) < chance).astype(np.int64)
    reward = x[:, 0] + rng.normal(size=20_000)  # whatever the arm
    logged = Logged(arm, np.where(arm == 1, chance, 1.0 - chance), reward)
    means = ArmMeans(2)
    means.learn_block(doubly_robust_scores(logged, np.zeros((20_000, 2))), 40.0)
    effects = means.samples(rng.standard_normal((1000, 1)))[:, 1]
    assert reward[arm == 1].mean() - reward[arm == 0].mean() > 1.0
    assert abs(effects.mean()) < 3 * effects.std() < 0.3


def test_rewards_that_are_all_zero_leave_every_arm_its_chance() -> None:
    """A slow start is no certainty: nothing was seen, so nothing is ruled out."""
    bandit = Bandit(3, 1, 0.05)
    bandit.learn_block(np.ones((50, 1)), Logged(np.arange(50) % 3, np.full(50, 1 / 3), np.zeros(50)))
    assert bandit.chances(np.ones((1, 1))).min() > 0.1


def test_what_is_old_is_forgotten_by_half_in_a_half_life() -> None:
    """A shop that turned round is believed: the newer half counts more and more."""
    model = DynamicLinear(np.full(1, 100.0), half_life_days=10.0)
    ones = np.ones((1000, 1))
    model.learn_block(ones, np.ones(1000))
    model.learn_block(ones, -np.ones(1000), days=10.0)
    assert float(model.weights[0]) == pytest.approx((0.5 - 1.0) / 1.5, abs=1e-3)


def test_heads_are_effects_against_none() -> None:
    """What a customer brings anyway is shared; an arm's head says what it adds, and for whom."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(20_000, 1))
    arm = rng.integers(0, 2, 20_000)
    reward = 1.0 + x[:, 0] + arm * (0.5 - 0.3 * x[:, 0]) + rng.normal(size=20_000)
    model = ArmRegression(2, 1)
    model.learn_block(x, arm, reward)
    assert model.heads()[1] == pytest.approx([0.5, -0.3], abs=0.05)
    assert not model.heads()[0].any()
