"""A fuzz of `model-train`: a record is a label, or a dead letter with a reason; the learner forecasts all the same."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.features import FEATURE_SET, NAMES
from models.learning.course import Course
from models.learning.learner import Learner
from models.learning.snapshots import decode_snapshot, encode_snapshot
from models.scores import PriorScorer
from schemas.headers import REASON_HEADER
from streams.training.labels import decoded
from tests.support.scoring_desk import Record

GOOD = {
    "label_id": "a:1",
    "as_of": 1.7e9,
    "matured_at": 1.7e9 + 30 * 86_400,
    "horizon_days": 30,
    "feature_set": FEATURE_SET,
    "features": [0.5] * len(NAMES),
    "bought": True,
    "purchases": 1,
    "spend": 20.0,
}
numbers = st.sampled_from(
    [0, -1, 1e308, -1e308, 1e30, 1e18, 1e15, 1e9, 2**63, 2**64, 65_504, float("inf"), float("nan"), None]
)
numbers |= st.floats() | st.integers()


@st.composite
def labels(draw: st.DrawFn) -> bytes:
    """A label that is nearly one."""
    made: dict[str, Any] = dict(GOOD)
    made["label_id"] = f"{draw(st.integers(0, 50))}:1"
    made["horizon_days"] = draw(st.sampled_from([30, 90, 30, 90, 7]))
    made["matured_at"] = GOOD["matured_at"] + draw(st.integers(0, 400)) * 86_400.0
    for name in draw(st.lists(st.sampled_from(["as_of", "matured_at", "purchases", "spend"]), max_size=1)):
        made[name] = draw(numbers)
    for name in draw(st.lists(st.sampled_from(sorted(made)), max_size=1)):
        made[name] = draw(numbers | st.text(max_size=5) | st.lists(numbers, max_size=2))
    if draw(st.booleans()):
        features = list(GOOD["features"])
        features[draw(st.integers(0, len(features) - 1))] = draw(numbers)
        made["features"] = features
    return json.dumps(made).encode()


values = labels() | st.binary(max_size=30) | st.none() | st.just(b"[" * 100_000)


@pytest.fixture(scope="module")
def learner() -> Learner:
    """One that takes the labels of every example."""
    return Learner(NAMES, FEATURE_SET, PriorScorer())


@settings(max_examples=100)
@given(values=st.lists(values, max_size=8), origin=st.binary(max_size=20) | st.none())
def test_whatever_lies_in_model_train_the_trainer_goes_on(
    learner: Learner, values: list[bytes | None], origin: bytes | None
) -> None:
    """It forecasts finite numbers, and what it publishes can be read."""
    records = [
        Record("model-train", 0, i, b"k", value, [("regulars-origin", origin)]) for i, value in enumerate(values)
    ]
    whole = decoded(records, FEATURE_SET, len(NAMES))
    assert len(whole.labels) + len(whole.dead) == sum(value is not None for value in values)
    assert all(dict(headers)[REASON_HEADER] in (b"schema", b"not-json") for _, _, headers in whole.dead)
    course = Course(learner)
    course.learn(whole.labels, len(values), whole.origins)
    if learner._pending:
        learner._learn_block()
    assert np.isfinite(learner.predict_one([0.5] * len(NAMES))).all()
    decode_snapshot(encode_snapshot(course.snapshot()), FEATURE_SET)
