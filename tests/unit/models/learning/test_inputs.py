"""Laws of what large amounts say."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.learning.inputs import tempering

amounts = st.floats(1e-3, 1e6)
counts = st.floats(1e-2, 500.0)
edges = st.floats(0.5, 10.0)


def mean_of(amount: float, count: float, edge: float) -> float:
    """The mean amount that `count` purchases of `amount` each are taken to say."""
    sums, of = np.array([amount * count]), np.array([count])
    return float(amount * tempering(sums, of, edge)[0])


@given(amounts, counts, edges)
def test_an_amount_is_drawn_to_the_edge_and_not_past_it(amount: float, count: float, edge: float) -> None:
    """What lies within stays as it is; what lies beyond comes nearer."""
    said = mean_of(amount, count, edge)

    if amount <= edge:
        assert np.isclose(said, amount, rtol=1e-12)
    else:
        assert edge * (1 - 1e-12) <= said <= amount


@given(amounts, amounts, counts, edges)
def test_who_spent_more_is_never_expected_to_spend_less(one: float, other: float, count: float, edge: float) -> None:
    """Order among customers of as many purchases is kept."""
    less, more = sorted((one, other))

    assert mean_of(less, count, edge) <= mean_of(more, count, edge) * (1 + 1e-12)


@given(amounts, counts, counts, edges)
def test_repeated_large_amounts_are_believed_more(amount: float, one: float, other: float, edge: float) -> None:
    """Ten orders of 1,000 say more of the next than one does."""
    fewer, more = sorted((one, other))

    assert mean_of(amount, fewer, edge) <= mean_of(amount, more, edge) * (1 + 1e-12)


def test_who_bought_nothing_has_nothing_to_temper() -> None:
    """No count, no money: a factor of 1, not a division by zero."""
    assert tempering(np.zeros(1), np.zeros(1), 1.5).tolist() == [1.0]
