"""Laws of uplift scores: they find who is moved by an offer, and no one where nobody is."""

import numpy as np
import pytest

from models.bandits.customers import LOST_CAUSE, PERSUADABLE, SLEEPING_DOG, WIDTH, simulated_customers
from models.bandits.regression import with_constant
from models.bandits.uplift import KINDS, Kind, UpliftLearner, qini

ROWS, BLOCK, SHARE = 16_000, 250, 0.3


def learnt(kind: Kind, *, differ: bool) -> tuple[UpliftLearner, np.random.Generator]:
    """A learner after a trial in which the offer goes to 30 %."""
    rng = np.random.default_rng(11)
    learner = UpliftLearner(kind, WIDTH)
    for _ in range(ROWS // BLOCK):
        customers = simulated_customers(rng, BLOCK, differ=differ)
        treated = (rng.random(BLOCK) < SHARE).astype(float)
        chance = customers.means[np.arange(BLOCK), treated.astype(int)]
        reward = (rng.random(BLOCK) < chance).astype(float)
        learner.learn_block(customers.x, treated, np.full(BLOCK, SHARE), reward)
    return learner, rng


@pytest.mark.parametrize("kind", KINDS)
def test_persuadables_score_above_sleeping_dogs(kind: Kind) -> None:
    """The true effects are +.25, -.20 and 0; scores say nearly as much as a line that was told the true effects."""
    learner, rng = learnt(kind, differ=True)
    customers = simulated_customers(rng, 20_000, differ=True)
    effects, truth = learner.effects(customers.x), customers.means[:, 1] - customers.means[:, 0]
    mean = [float(effects[customers.kind == k].mean()) for k in range(4)]
    assert mean[PERSUADABLE] > 0.08
    assert mean[SLEEPING_DOG] < -0.03
    assert mean[SLEEPING_DOG] < mean[LOST_CAUSE] < mean[PERSUADABLE]
    a = with_constant(customers.x)
    line = a @ np.linalg.lstsq(a, truth, rcond=None)[0]
    assert float(np.corrcoef(effects, line)[0, 1]) > 0.85
    assert float(effects.mean()) == pytest.approx(float(truth.mean()), abs=0.03)


@pytest.mark.parametrize("kind", KINDS)
def test_where_all_are_moved_alike_all_score_alike(kind: Kind) -> None:
    """An effect of .08 for everybody: the scores are spread by less than it."""
    learner, rng = learnt(kind, differ=False)
    effects = learner.effects(simulated_customers(rng, 20_000, differ=False).x)
    assert float(effects.mean()) == pytest.approx(0.08, abs=0.03)
    assert float(effects.std()) < 0.04


def test_qini_is_zero_for_chance_and_highest_for_the_truth() -> None:
    """Sorting by the true effect beats a noisy one; the reverse order loses as much as it wins."""
    rng = np.random.default_rng(12)
    customers = simulated_customers(rng, 40_000, differ=True)
    treated = (rng.random(40_000) < 0.5).astype(float)
    reward = (rng.random(40_000) < customers.means[np.arange(40_000), treated.astype(int)]).astype(float)
    truth = customers.means[:, 1] - customers.means[:, 0]
    best = qini(truth, treated, reward)
    assert best > qini(truth + rng.normal(0, 0.3, 40_000), treated, reward) > 0.005
    assert abs(qini(rng.random(40_000), treated, reward)) < 0.006
    assert qini(-truth, treated, reward) == pytest.approx(-best, abs=0.006)
