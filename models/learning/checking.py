"""Whether a shop's own models can take part: River's checks on the shop's features, made-up labels, speed, bytes.

River's checks come with data of their own, which lack the shop's features; here each runs on made-up rows of those.
"""

import time
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from river import checks

from models.features import NAMES, FloatArray
from models.learning.challenger import Challenger
from models.learning.entries import LARGEST_BYTES
from models.learning.inputs import PRIOR_KEY, is_probability
from models.learning.persistence import StateError, decode_estimator, encode_estimator

LABELS = 2_000
# Rows for one of River's checks, and for the one that watches memory; River takes 200 and 2,000.
_ROWS, _MANY_ROWS = 120, 600
# Of these River itself excuses estimators, or they are of how a model is used outside: a worker always gives all features.
_NOT_OURS = frozenset(
    {
        "check_learn_many_matches_learn_one",
        "check_emerging_features",
        "check_disappearing_features",
        "check_radically_disappearing_features",
        "check_doc",
        "check_init_has_default_params_for_tests",
    }
)


class Checked(NamedTuple):
    """What was found of one estimator.

    Attributes:
        target: what it forecasts.
        passed: how many of River's checks passed.
        problems: why it can't take part, or what River says against it; empty: nothing.
        labels_per_s: learnt.
        rows_per_s: forecast.
        size: bytes that its state takes when it is published.
        gain: by how much its mean loss on the made-up labels lies below that of forecasting their mean for everybody.
    """

    target: str
    passed: int
    problems: tuple[str, ...]
    labels_per_s: float
    rows_per_s: float
    size: int
    gain: float


def checked(name: str, target: str, model: Any, own: tuple[str, ...] = ()) -> Checked:
    """Runs all of it on a clone of `model`; takes seconds, of a forest a minute.

    Args:
        name: the contender's.
        target: what the model forecasts.
        model: a River estimator or pipeline.
        own: packages of the shop's own classes.
    """
    passed, problems = _by_river(model, target)
    challenger = Challenger(name, target, model.clone(), NAMES)
    x, prior, y = made_up(LABELS, is_probability(target))
    half = LABELS // 2
    started = time.perf_counter()
    for start in range(0, LABELS, 250):
        of = slice(start, start + 250)
        challenger.learn(x[of], prior[of], y[of], 86_400.0 * start, 1.0)
    learnt_s = time.perf_counter() - started
    started = time.perf_counter()
    forecasts = challenger.forecast(x[half:], prior[half:], 1.0)
    forecast_s = time.perf_counter() - started
    if challenger.failure:
        return Checked(target, passed, (*problems, challenger.failure), 0.0, 0.0, 0, float("nan"))
    size, more = _stored(challenger, own, x[half:], prior[half:], forecasts)
    truth = y[half:]
    gain = _loss(truth, np.full(half, y.mean()), target) - _loss(truth, forecasts, target)
    return Checked(target, passed, (*problems, *more), LABELS / learnt_s, half / forecast_s, size, gain)


def _stored(
    challenger: Challenger, own: tuple[str, ...], x: FloatArray, prior: FloatArray, forecasts: FloatArray
) -> tuple[int, list[str]]:
    try:
        data = encode_estimator(challenger.model, own)
        again = Challenger(challenger.name, challenger.target, decode_estimator(data, own), NAMES)
    except StateError as exc:
        return 0, [f"its state can't be published: {exc}"]
    problems = []
    if not np.array_equal(again.forecast(x, prior, 1.0), forecasts):
        problems.append("stored and read again it forecasts something else")
    if len(data) > LARGEST_BYTES:
        problems.append(
            f"its state has {len(data):,} bytes after {LABELS:,} labels, at most {LARGEST_BYTES:,} can be published;"
            " take fewer or smaller trees (n_models, max_depth, max_size)"
        )
    return len(data), problems


def _by_river(model: Any, target: str) -> tuple[int, list[str]]:
    """How many of River's checks passed, and what the others say."""
    passed, problems = 0, []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for check, rows in _checks(model).values():
            dataset = dict_rows(rows, is_probability(target))
            name = check.__name__
            try:
                check.func(model.clone(), dataset=dataset) if hasattr(check, "func") else check(model.clone())
                passed += 1
            except Exception as exc:  # whatever a check and a shop's code raise
                problems.append(f"River's {name}: {type(exc).__name__}: {str(exc).splitlines()[0] if str(exc) else ''}")
    return passed, problems


def _checks(model: Any) -> Mapping[str, tuple[Any, int]]:
    """Name -> River's check, and how many rows it takes; each once."""
    skipped = _NOT_OURS | model._unit_test_skips()
    return {
        check.__name__: (check, _MANY_ROWS if check.__name__ == "check_bounded_memory_growth" else _ROWS)
        for check in checks.yield_checks(model)
        if check.__name__ not in skipped
    }


def dict_rows(count: int, probability: bool) -> list[tuple[dict[str, float], Any]]:
    """Made-up rows as River has them."""
    x, prior, y = made_up(count, probability)
    rows = np.column_stack([x, prior]).tolist()
    truths: Iterator[Any] = iter((y > 0).tolist() if probability else y.tolist())
    return [(dict(zip((*NAMES, PRIOR_KEY), row, strict=True)), next(truths)) for row in rows]


def made_up(count: int, probability: bool, seed: int = 0) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Features (count, F), a prior that knows half of it (count,), and outcomes (count,)."""
    rng = np.random.default_rng(seed)
    x = rng.gamma(1.0, 1.0, size=(count, len(NAMES)))
    raw = 1.2 * (x[:, 0] - x[:, 1]) - 0.5
    prior = 0.6 * (x[:, 0] - x[:, 1]) - 0.5
    if probability:
        return x, prior, (rng.uniform(size=count) < 1.0 / (1.0 + np.exp(-raw))).astype(np.float64)
    return x, prior, rng.poisson(np.exp(np.minimum(raw, 2.0))).astype(np.float64)


def _loss(truth: FloatArray, forecast: FloatArray, target: str) -> float:
    if is_probability(target):
        return float(-np.mean(truth * np.log(forecast) + (1.0 - truth) * np.log1p(-forecast)))
    forecast = np.maximum(forecast, 1e-5)
    return float(np.mean(forecast - truth * np.log(forecast)))
