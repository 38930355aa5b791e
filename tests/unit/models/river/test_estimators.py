"""Laws of the River estimators: River's own checks, and what they promise beyond those."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from river import checks, datasets, evaluate, metrics, preprocessing

from models.river import (
    AveragedLogisticRegression,
    AveragedPoissonRegression,
    DynamicLogisticRegression,
    DynamicPoissonRegression,
    DynamicTweedieRegression,
    LeafMembership,
)

ESTIMATORS = (
    AveragedLogisticRegression,
    AveragedPoissonRegression,
    DynamicLogisticRegression,
    DynamicPoissonRegression,
    DynamicTweedieRegression,
)
CLASSIFIERS = (AveragedLogisticRegression, DynamicLogisticRegression)


def _checks() -> Any:
    for kind in (*ESTIMATORS, LeafMembership):
        model = kind(*(tuple(next(kind._unit_test_params()).values())))
        counts: dict[str, int] = {}
        for check in checks.yield_checks(model):
            if check.__name__ in model._unit_test_skips():
                continue
            counts[check.__name__] = number = counts.get(check.__name__, 0) + 1
            yield pytest.param(model, check, id=f"{kind.__name__}:{check.__name__}:{number}")


@pytest.mark.parametrize(("model", "check"), list(_checks()))
def test_rivers_own_checks_pass(model: Any, check: Callable[[Any], None]) -> None:
    """Every check that River runs on an estimator of this kind."""
    check(model.clone())


def _probability(model: Any, x: dict[str, float]) -> float:
    """The mean, or the probability of True."""
    return float(model.predict_proba_one(x)[True] if hasattr(model, "predict_proba_one") else model.predict_one(x))


def _stream(rows: int = 60, seed: int = 3) -> list[tuple[dict[str, float], bool]]:
    rng = np.random.default_rng(seed)
    return [
        ({"a": float(a), "b": float(b), "c": float(c)}, bool(rng.random() < 1 / (1 + math.exp(-a - b))))
        for a, b, c in rng.normal(size=(rows, 3))
    ]


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_behind_a_scaler_it_ranks_as_well_as_rivers_own(kind: Any) -> None:
    """`evaluate.progressive_val_score` takes it, and on River's own data it isn't behind its logistic regression."""
    model = preprocessing.StandardScaler() | kind(scale=1.0)

    score = evaluate.progressive_val_score(datasets.Phishing(), model, metrics.ROCAUC())

    assert score.get() > 0.95


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_order_of_keys_makes_no_difference(kind: Any) -> None:
    """Keys the other way round, from the second row on: the same forecasts, to the bit."""
    one, other = kind(), kind()
    for i, (x, y) in enumerate(_stream()):
        one.learn_one(x, y)
        other.learn_one(dict(reversed(x.items())) if i else x, y)

    assert _probability(one, {"a": 1.0, "b": 0.5}) == _probability(other, {"b": 0.5, "a": 1.0})
    assert one.weights == other.weights


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_a_feature_that_joins_late_is_learnt_and_one_that_is_missing_counts_as_its_mean(kind: Any) -> None:
    """A new key has a weight from then on; no key, None and NaN are 0."""
    model = kind()
    for x, y in _stream(30):
        model.learn_one({"a": x["a"]}, y)
    for x, y in _stream(30, seed=4):
        model.learn_one(x, y)

    assert set(model.weights) == {"a", "b", "c"}
    assert model.weights["b"] != 0.0
    silent = _probability(model, {"a": 0.3})
    assert silent == _probability(model, {"a": 0.3, "b": None, "c": math.nan, "never seen": 9.0})
    frame = pd.DataFrame({"c": [math.nan], "a": [0.3], "never seen": [9.0]})
    many = model.predict_proba_many(frame)[True] if kind in CLASSIFIERS else model.predict_many(frame)
    assert many.tolist() == pytest.approx([silent], rel=1e-12)


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_rows_of_one_are_batches_of_one(kind: Any) -> None:
    """`learn_one` takes cheaper arithmetic (rank one) than `learn_many`: equal to nine digits."""
    one, many = kind(dispersion=2.0), kind(dispersion=2.0)
    for x, y in _stream():
        one.learn_one(x, y)
        many.learn_many(pd.DataFrame([x]), pd.Series([y]))

    assert one.intercept == pytest.approx(many.intercept, rel=1e-6)
    assert one.weights == pytest.approx(many.weights, rel=1e-6, abs=1e-9)


def test_time_forgets_and_observations_do_not() -> None:
    """With `t`, weights drift by the days between; a thousand observations of one moment are not a thousand days."""
    slow, fast = DynamicLogisticRegression(drift=0.01), DynamicLogisticRegression(drift=0.01)
    for i, (x, y) in enumerate(_stream(200)):
        slow.learn_one(x, y, t=1.0)
        fast.learn_one(x, y, t=float(i))

    assert np.trace(slow.covariance) < 0.5 * np.trace(fast.covariance)


@pytest.mark.parametrize("kind", [DynamicPoissonRegression, DynamicTweedieRegression, AveragedPoissonRegression])
def test_a_first_outcome_far_above_the_mean_does_no_harm(kind: Any) -> None:
    """A mean of 1 is expected and 500 comes, then ones for good: the forecast comes down to within a half of one."""
    model = kind(surprise_limit=30.0)
    model.learn_one({"a": 1.0}, 500.0)
    assert math.isfinite(model.predict_one({"a": 1.0}))
    for _ in range(3_000):
        model.learn_one({"a": 0.0}, 1.0)

    assert model.predict_one({"a": 0.0}) == pytest.approx(1.0, rel=0.5)


@pytest.mark.parametrize("power", [1.0, 1.5, 2.0])
def test_a_tweedie_mean_is_found_whatever_its_power(power: float) -> None:
    """Gamma-distributed amounts of mean 20: the batch learns it to a twentieth."""
    rng = np.random.default_rng(5)
    model = DynamicTweedieRegression(power=power, dispersion=2.0, intercept_scale=5.0)
    for _ in range(40):
        model.learn_many(pd.DataFrame({"a": rng.normal(size=50)}), pd.Series(rng.gamma(2.0, 10.0, size=50)))

    assert model.predict_one({"a": 0.0}) == pytest.approx(20.0, rel=0.05)


def test_an_offset_is_added_as_it_is_and_has_no_weight() -> None:
    """Another model's log odds as a feature: before anything is learnt they are what is forecast."""
    model = DynamicLogisticRegression(offset="prior")
    log_odds = math.log(0.2 / 0.8)

    assert model.predict_proba_one({"prior": log_odds, "a": 3.0})[True] == pytest.approx(0.2)
    model.learn_one({"prior": log_odds, "a": 1.0}, True)
    assert set(model.weights) == {"a"}


def test_averaging_follows_the_speed_that_forecasts_best() -> None:
    """Where the slope turns round every ten days the fast expert is followed, where it stands still the slow one."""
    chances = []
    for turn in (10.0, math.inf):
        rng = np.random.default_rng(6)
        model = AveragedLogisticRegression(speeds=((0.0, 0.0), (0.05, 0.05)), memory_interval=1.0, scale=2.0)
        for day, _ in itertools.product(range(120), range(20)):
            slope = -2.0 if (day // turn) % 2 else 2.0
            a = float(rng.normal())
            model.learn_one({"a": a}, bool(rng.random() < 1 / (1 + math.exp(-slope * a))), t=float(day))
        chances.append(model.chances[1])

    assert chances[0] > 0.9
    assert chances[1] < 0.1
