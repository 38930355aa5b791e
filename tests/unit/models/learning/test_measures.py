"""Laws of the measures: their definitions, spelled out slowly, give the same."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.features import FloatArray
from models.learning.measures import (
    auc,
    bins,
    calibration_error,
    gains,
    level,
    log_loss,
    normalized_gini,
    paired_difference,
    ranks,
    spearman,
)

rows = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 10).map(lambda p: p / 10)), min_size=2, max_size=40)


@given(rows)
def test_auc_is_the_share_of_pairs_in_order(pairs: list[tuple[int, float]]) -> None:
    """Of all pairs of one who bought and one who didn't; a tie is half a pair."""
    truth, forecast = np.array(pairs, dtype=float).T
    found = [
        (p > q) + (p == q) / 2
        for t, p in zip(truth, forecast, strict=True)
        for u, q in zip(truth, forecast, strict=True)
        if t > u
    ]

    assert auc(truth, forecast) == pytest.approx(np.mean(found)) if found else np.isnan(auc(truth, forecast))


@given(rows, st.randoms(use_true_random=False))
def test_the_order_of_rows_makes_no_difference(pairs: list[tuple[int, float]], random: object) -> None:
    """Ties included: shuffled rows have the same measures."""
    shuffled = list(pairs)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    (truth, forecast), (other, same) = np.array(pairs, dtype=float).T, np.array(shuffled, dtype=float).T

    for measure in (auc, log_loss, calibration_error, normalized_gini, spearman, level):
        np.testing.assert_allclose(measure(other, same), measure(truth, forecast), atol=1e-9)
    np.testing.assert_allclose(gains(other, same), gains(truth, forecast), atol=1e-9)


def test_known_values() -> None:
    """By hand."""
    truth, forecast = np.array([0.0, 0.0, 1.0, 3.0]), np.array([0.1, 0.2, 0.3, 0.4])

    assert normalized_gini(truth, forecast) == pytest.approx(1.0)
    assert normalized_gini(truth, -forecast) == pytest.approx(-1.0)
    assert gains(truth, forecast).tolist() == [0.0, 0.75, 1.0, 1.0, 1.0]
    assert log_loss(np.array([1.0, 0.0]), np.array([0.5, 0.5])) == pytest.approx(np.log(2))
    assert ranks(np.array([2.0, 2.0, 1.0])).tolist() == [2.5, 2.5, 1.0]
    assert level(truth, forecast) == pytest.approx(0.25)


def test_what_is_calibrated_has_no_calibration_error() -> None:
    """Ten groups whose rates are their forecasts: bins lie on the diagonal and the error is 0."""
    forecast = np.repeat(np.arange(10) / 10 + 0.05, 20)
    truth = np.concatenate([np.arange(20) < round(20 * p) for p in np.arange(10) / 10 + 0.05]).astype(float)

    stated, came, size = bins(truth, forecast).T
    np.testing.assert_allclose(stated, came)
    assert size.tolist() == [20.0] * 10
    assert calibration_error(truth, forecast) == pytest.approx(0.0, abs=1e-12)


def test_a_real_gain_is_many_standard_errors_and_none_is_few() -> None:
    """Customers' rows are drawn together: repeating every row ten times makes nobody surer."""
    rng = np.random.default_rng(4)
    p = rng.uniform(0.1, 0.9, size=2_000)
    truth = (rng.uniform(size=2_000) < p).astype(float)
    customers = np.arange(2_000).astype(str)

    def difference(times: int, other: FloatArray) -> tuple[float, float]:
        repeated = [np.tile(each, times) for each in (truth, p, other)]
        return paired_difference(log_loss, repeated[0], (repeated[1], repeated[2]), np.tile(customers, times), draws=60)

    better, error = difference(1, np.full(2_000, 0.5))
    assert better < -5 * error
    assert difference(10, np.full(2_000, 0.5))[1] == pytest.approx(error, rel=0.01)
    same, none = difference(1, p)
    assert (same, none) == (0.0, 0.0)
