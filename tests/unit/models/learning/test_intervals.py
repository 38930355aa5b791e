"""Laws of the intervals of spend, and of what watches for drift."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.learning.drift import DriftWatch
from models.learning.intervals import COVERAGE, intervals, learn_margins, new_margins
from models.scores import COUNT_90, P_30


def shop(rng: np.random.Generator, n: int, spread: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities, expected spends and what came, of customers who buy or don't and spend log-normally if they do."""
    p = rng.uniform(0.02, 0.98, size=n)
    amount = np.exp(rng.normal(0.0, spread, size=n) - spread**2 / 2)
    return p, p * 2.0, (rng.uniform(size=n) < p) * amount * 2.0


def test_four_in_five_end_up_inside_whatever_the_spread_is() -> None:
    """After 20,000 labels the share inside is what was promised to 3 hundredths, also after the spread doubled."""
    rng = np.random.default_rng(3)
    margins = new_margins()
    for spread in (0.5, 1.0):
        for _ in range(100):
            margins = learn_margins(margins, *shop(rng, 200, spread))
        p, expected, came = shop(rng, 20_000, spread)
        low, high = intervals(margins, p, expected, 1.0).T

        assert abs(np.mean((came >= low) & (came <= high)) - COVERAGE) < 0.06


@given(cut=st.integers(0, 200), seed=st.integers(0, 50))
def test_a_block_teaches_what_its_labels_do_one_by_one(cut: int, seed: int) -> None:
    """Every label is a step from where the one before it left the bound: however they are cut into blocks."""
    told = shop(np.random.default_rng(seed), 200, 0.5)
    first, rest = [part[:cut] for part in told], [part[cut:] for part in told]

    np.testing.assert_allclose(
        learn_margins(learn_margins(new_margins(), *first), *rest), learn_margins(new_margins(), *told), rtol=1e-12
    )


@given(
    p=st.floats(0, 1),
    spend=st.floats(0, 1e7),
    unit=st.floats(0.01, 1e4),
    labels=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1e4), st.floats(0, 1e6)), max_size=30),
)
def test_bounds_are_in_order_and_finite(
    p: float, spend: float, unit: float, labels: list[tuple[float, float, float]]
) -> None:
    """0 <= lower <= upper, whatever was learnt."""
    margins = new_margins()
    if labels:
        margins = learn_margins(margins, *np.array(labels).T)

    ((low, high),) = intervals(margins, np.array([p]), np.array([spend]), unit)

    assert 0 <= low <= high
    assert np.isfinite(high)


def test_the_currency_makes_no_difference() -> None:
    """In pence the bounds are those in pounds, times a hundred."""
    p, expected, _ = shop(np.random.default_rng(3), 50, 0.5)

    pounds, pence = (intervals(new_margins(), p, expected * k, 3.0 * k) for k in (1.0, 100.0))

    np.testing.assert_allclose(pence, pounds * 100.0)


def test_a_shop_that_changes_sets_off_the_alarm_and_one_that_does_not_is_quiet() -> None:
    """Twice as many buyers as forecast are noticed within 1,000 labels; 20,000 labels as forecast set off nothing."""
    rng = np.random.default_rng(1)
    quiet = DriftWatch()
    for _ in range(100):
        p = rng.uniform(0.1, 0.4, size=200)
        quiet.update_many(P_30, (rng.uniform(size=200) < p).astype(float), p, 1.0)
        quiet.update_many(COUNT_90, rng.poisson(p).astype(float), p, 1.0)
    assert not any(quiet.found.values())

    p = rng.uniform(0.1, 0.4, size=1_000)
    assert quiet.update_many(P_30, (rng.uniform(size=1_000) < 2 * p).astype(float), p, 1.0)
    assert quiet.found["p_purchase_30d"] == 1
