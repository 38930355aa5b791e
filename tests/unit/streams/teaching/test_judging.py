"""Laws of the measures."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from river import metrics

from streams.teaching.judging import binary_measures, gain

forecasts = st.lists(st.tuples(st.integers(-40, 40), st.sampled_from([0, 1])), min_size=4, max_size=60).filter(
    lambda rows: 0 < sum(label for _, label in rows) < len(rows)
)


@given(forecasts)
def test_the_measures_are_the_field_s(rows: list[tuple[int, int]]) -> None:
    """AUC by counting pairs, log loss, F1 and accuracy as River has them."""
    raw, labels = np.array([each / 10 for each, _ in rows]), np.array([label for _, label in rows])
    pairs = [
        1.0 if one > other else 0.5 if one == other else 0.0
        for one in raw[labels == 1]
        for other in raw[labels == 0]
    ]  # fmt: skip
    loss, f1, accuracy = metrics.LogLoss(), metrics.F1(), metrics.Accuracy()
    for each, label in zip(raw.tolist(), labels.tolist(), strict=True):
        loss.update(bool(label), 1 / (1 + np.exp(-each)))
        f1.update(bool(label), each > 0)
        accuracy.update(bool(label), each > 0)

    found = binary_measures(raw, labels)

    assert found.auc == pytest.approx(np.mean(pairs))
    assert found.log_loss == pytest.approx(loss.get(), rel=1e-6)
    assert (found.f1, found.accuracy) == (pytest.approx(f1.get()), pytest.approx(accuracy.get()))
    assert sum(map(sum, found.confusion)) == len(rows)


def test_a_gain_within_its_error_is_none() -> None:
    """Two forecasters that differ by noise alone: neither is better."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 2_000)
    better = gain(2.0 * labels - 1, np.zeros(2_000), labels)
    noise = gain(random.standard_normal(2_000) * 0.1, random.standard_normal(2_000) * 0.1, labels)

    assert better.beyond_noise
    assert not gain(np.zeros(2_000), 2.0 * labels - 1, labels).beyond_noise
    assert abs(noise.mean) < 3 * noise.error
