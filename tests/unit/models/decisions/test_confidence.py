"""Laws of the intervals, by simulation with fixed seeds: how often they miss, however often they are looked at."""

import numpy as np
import pytest

from models.decisions.confidence import Moments, asymptotic, bounded, fixed, lower_bound
from models.decisions.ratio import check_ratio

PEEK_EVERY = 100


def false_alarms(tests: int, decisions: int, rate: float, shares: tuple[float, float], seed: int) -> dict[str, float]:
    """Shares of A/A tests that were called at any peek, by kind of interval."""
    rng = np.random.default_rng(seed)
    called = dict.fromkeys(("asymptotic", "lower", "fixed"), 0)
    for _ in range(tests):
        first = rng.random(decisions) < shares[0]
        reward = (rng.random(decisions) < rate).astype(float)
        effect = np.where(first, reward / shares[0], -reward / shares[1])
        moments, alarms = Moments(), set()
        for start in range(0, decisions, PEEK_EVERY):
            moments = moments.plus(Moments.of(effect[start : start + PEEK_EVERY], 1.0 / min(shares)))
            if not asymptotic(moments, size=decisions).covers(0.0):
                alarms.add("asymptotic")
            if lower_bound(moments, size=decisions) > 0:
                alarms.add("lower")
            if not fixed(moments).covers(0.0):
                alarms.add("fixed")
        for kind in alarms:
            called[kind] += 1
    return {kind: count / tests for kind, count in called.items()}


@pytest.mark.parametrize(
    ("rate", "shares"), [(0.1, (0.5, 0.5)), (0.01, (0.5, 0.5)), (0.05, (0.9, 0.1))], ids=["usual", "rare", "unequal"]
)
def test_a_test_of_nothing_is_called_in_at_most_one_of_twenty(rate: float, shares: tuple[float, float]) -> None:
    """1,000 A/A tests of 5,000 decisions, each looked at after every 100: what an interval for one look cannot do."""
    called = false_alarms(1000, 5000, rate, shares, seed=6)
    assert called["asymptotic"] <= 0.05
    assert called["lower"] <= 0.05
    assert called["fixed"] > 0.1


@pytest.mark.parametrize("rate", [0.02, 0.5, 0.98])
def test_bounded_sequences_hold_from_the_first_observation(rate: float) -> None:
    """The empirical Bernstein sequence: 300 streams, looked at after 1, 2, 4, ... observations."""
    rng = np.random.default_rng(3)
    missed = 0
    for _ in range(300):
        x = (rng.random(2048) < rate).astype(float)
        missed += any(not bounded(x[: 2**k], 0.0, 1.0).covers(rate) for k in range(12))
    assert missed / 300 <= 0.05


def test_bounded_scales_with_its_bounds() -> None:
    """In pounds or in pence: the same interval. Outside the bounds is a mistake."""
    x = np.random.default_rng(4).random(500)
    one, hundred = bounded(x, 0.0, 1.0), bounded(100 * x - 50, -50.0, 50.0)
    assert hundred == pytest.approx(tuple(100 * part - 50 for part in one))
    assert one.low < one.value < one.high
    with pytest.raises(ValueError, match=r"not within 0 to 0\.5"):
        bounded(x, 0.0, 0.5)


def test_an_effect_is_seen_and_intervals_narrow() -> None:
    """An effect of a tenth of a standard deviation is certain after 10,000 observations; more of them narrow it."""
    x = np.random.default_rng(5).normal(0.1, 1.0, 40_000)
    early, late = asymptotic(Moments.of(x[:10_000])), asymptotic(Moments.of(x))
    assert early.low > 0
    assert late.high - late.low < early.high - early.low
    assert lower_bound(Moments.of(x)) > late.low
    assert asymptotic(Moments.of(x[:99])).low == -np.inf


def test_moments_add_up() -> None:
    """Blocks, partitions and days, in any grouping."""
    x = np.random.default_rng(8).normal(size=1000)
    parts = Moments.of(x[:13]).plus(Moments.of(x[13:13])).plus(Moments.of(x[13:]))
    assert parts == pytest.approx(tuple(Moments.of(x)))


def test_a_broken_draw_is_noticed_and_a_sound_one_is_not() -> None:
    """Looked at every 100 decisions, of 500 sound tests at most 2 are called; an arm that lost a tenth is seen."""
    shares = np.array([0.5, 0.3, 0.2])
    rng = np.random.default_rng(7)
    counts = rng.multinomial(100, shares, size=(500, 40)).cumsum(axis=1)
    alarms = [any(check_ratio(at.astype(float), shares).mismatch for at in test) for test in counts]
    assert sum(alarms) <= 2
    lost = np.array([10_000.0, 6000.0, 3600.0])
    assert check_ratio(lost, shares).mismatch
    assert check_ratio(np.array([5.0, 3.0, 0.0, 1.0]), np.array([0.6, 0.4, 0.0, 0.0])).mismatch
