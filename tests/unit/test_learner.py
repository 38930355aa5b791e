"""Laws of the learner and of the scorer that serves its snapshots."""

import math
import subprocess
import sys
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from river import compose, linear_model, metrics, optim, preprocessing

from models.features import FloatArray
from models.learning.inputs import CLIP, input_names, inputs, links
from models.learning.learner import Learner
from models.learning.offset import OffsetLogisticRegression, OffsetPoissonRegression
from models.learning.scorer import SnapshotScorer, unlinked
from models.learning.snapshots import decode_snapshot, encode_snapshot
from schemas.learning import Label

NAMES = ("habit", "mood", "noise")
FEATURE_SET = "f00d"
BASE_RATE, MEAN_AMOUNT = 0.8, 40.0


class HabitPrior:
    """Knows how habit works, nothing of mood, and holds everybody to buy half as much again as they do."""

    version = "habit"

    def score(self, x: FloatArray) -> FloatArray:
        """Poisson probabilities, counts and spend of the rate that habit alone gives."""
        rate = 1.5 * BASE_RATE * np.exp(0.5 * x[:, 0])
        return np.column_stack([-np.expm1(-rate / 3), -np.expm1(-rate), rate, rate * MEAN_AMOUNT])


class NeverPrior:
    """Forecasts nothing at all: the edge where log odds and logs have no value."""

    version = "never"

    def score(self, x: FloatArray) -> FloatArray:
        """Zeros."""
        return np.zeros((len(x), 4))


def shop(count: int, seed: int = 7) -> list[Label]:
    """Labels of customers who buy as Poisson(base exp(0.5 habit + 0.8 mood)) in 90 days; 30 and 90 days take turns."""
    rng = np.random.default_rng(seed)
    labels = []
    for i in range(count):
        horizon: Literal[30, 90] = 30 if i % 2 else 90
        x = rng.normal(size=len(NAMES))
        bought = int(rng.poisson(BASE_RATE * math.exp(0.5 * x[0] + 0.8 * x[1]) * horizon / 90))
        spend = float(rng.gamma(2.0, MEAN_AMOUNT / 2.0, size=bought).sum())
        labels.append(
            Label(
                f"c{i}:0:{horizon}", 0.0, float(i), horizon, FEATURE_SET, tuple(x.tolist()), bought > 0, bought, spend
            )
        )
    return labels


def new_learner() -> Learner:
    """One that has seen nothing."""
    return Learner(NAMES, FEATURE_SET, HabitPrior())


def taught(labels: Sequence[Label]) -> Learner:
    """One that has learnt `labels`."""
    learner = new_learner()
    learner.learn_many(labels)
    return learner


def copied(learner: Learner) -> Learner:
    """The learner after a trip through the bytes of a snapshot."""
    return Learner.restored(decode_snapshot(encode_snapshot(learner.snapshot()), FEATURE_SET), HabitPrior())


SHOP = shop(6_000)


def test_an_untaught_learner_serves_exactly_the_prior() -> None:
    """Not to the last bit but in every bit: before the first label nothing may move."""
    x = np.random.default_rng(1).normal(size=(50, len(NAMES)))
    expected = HabitPrior().score(x)

    learner = new_learner()

    assert [learner.predict_one(row) for row in x.tolist()] == [tuple(row) for row in expected.tolist()]
    assert (SnapshotScorer(learner.snapshot(), HabitPrior()).score(x) == expected).all()


def test_a_target_without_labels_serves_exactly_the_prior() -> None:
    """30-day labels mature two months before the first 90-day ones."""
    learner = taught([label for label in SHOP[:400] if label.horizon_days == 30])
    x = np.random.default_rng(1).normal(size=(50, len(NAMES)))

    scores, prior = SnapshotScorer(learner.snapshot(), HabitPrior()).score(x), HabitPrior().score(x)

    assert (scores[:, 1:] == prior[:, 1:]).all()
    assert (scores[:, 0] != prior[:, 0]).all()


def test_a_synthetic_shop_is_learnt() -> None:
    """In the last half of 6,000 labels log losses are .05 below the prior's, errors a fifth, level within a tenth."""
    learner = taught(SHOP[:3_000])
    warm = copied(learner)  # its measures start anew, so that they are of the last half alone
    warm.learn_many(SHOP[3_000:])
    quality = warm.quality()

    for score in ("p_purchase_30d", "p_purchase_90d"):
        assert quality[score]["log_loss"] < quality[score]["prior_log_loss"] - 0.05
    for score in ("expected_purchases_90d", "expected_spend_90d"):
        assert quality[score]["mae"] < 0.8 * quality[score]["prior_mae"]
        assert quality[score]["level"] == pytest.approx(1.0, abs=0.1)


def test_what_is_learnt_comes_near_the_truth() -> None:
    """Log loss within .01 of that of the true probabilities."""
    learner = taught(shop(20_000))
    loss, best = metrics.LogLoss(), metrics.LogLoss()
    for label in shop(4_000, seed=8):
        if label.horizon_days == 30:
            loss.update(label.bought, learner.predict_one(label.features)[0])
            rate = BASE_RATE * math.exp(0.5 * label.features[0] + 0.8 * label.features[1])
            best.update(label.bought, -math.expm1(-rate / 3))

    assert loss.get() < best.get() + 0.01


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cut=st.integers(0, 400), chunk=st.integers(1, 90))
def test_learning_goes_on_from_a_snapshot_as_if_nothing_had_happened(cut: int, chunk: int) -> None:
    """Learn all = learn some, snapshot, restore, learn the rest, in whatever chunks."""
    labels = SHOP[:400]
    whole = taught(labels)

    resumed = copied(taught(labels[:cut]))
    for start in range(cut, len(labels), chunk):
        resumed.learn_many(labels[start : start + chunk])

    expected, found = whole.snapshot(), resumed.snapshot()
    assert (found.labels, found.learnt_to) == (expected.labels, expected.learnt_to)
    for name, array in expected.arrays.items():
        np.testing.assert_allclose(found.arrays[name], array, rtol=1e-12, atol=1e-12, err_msg=name)


def test_learning_in_chunks_equals_learning_one_by_one() -> None:
    """Chunks only save calls; the version, a digest of every number, is the same."""
    one_by_one = new_learner()
    for label in SHOP[:300]:
        one_by_one.learn_one(label)

    assert taught(SHOP[:300]).snapshot().version == one_by_one.snapshot().version


@settings(max_examples=25, deadline=None)
@given(
    count=st.integers(0, 300),
    x=st.lists(st.tuples(*[st.floats(-1e3, 1e3)] * len(NAMES)), min_size=1, max_size=20),
)
def test_the_scorer_equals_river_to_nine_digits(count: int, x: list[tuple[float, ...]]) -> None:
    """Vectorised numpy against River's own predict, every target, after any number of labels."""
    learner = taught(SHOP[:count])

    scores = SnapshotScorer(learner.snapshot(), HabitPrior()).score(np.array(x))

    np.testing.assert_allclose(scores, [learner.predict_one(row) for row in x], rtol=1e-9, atol=1e-9)


def test_a_row_has_the_same_scores_alone_and_among_many() -> None:
    """Blocks of rows are an implementation's business."""
    scorer = SnapshotScorer(taught(SHOP[:500]).snapshot(), HabitPrior())
    x = np.random.default_rng(3).normal(size=(1_300, len(NAMES)))

    np.testing.assert_allclose(scorer.score(x), np.vstack([scorer.score(row[None]) for row in x]), rtol=1e-12)
    assert scorer.score(x[:0]).shape == (0, 4)


def test_thirty_day_probabilities_are_those_of_a_plain_river_pipeline() -> None:
    """Scaler, clip and AdaGrad logistic regression as River composes them; the offset enters by a weight held at 1."""
    learner, names = new_learner(), input_names(NAMES)
    scaler = preprocessing.StandardScaler()
    clip = compose.FuncTransformer(lambda z: {name: max(-CLIP, min(CLIP, value)) for name, value in z.items()})
    river = linear_model.LogisticRegression(optim.AdaGrad(0.05, eps=10.0), intercept_lr=0.01)

    for label in (label for label in SHOP[:600] if label.horizon_days == 30):
        offset = links(HabitPrior().score(np.array([label.features])))
        row = dict(zip(names, inputs(np.array([label.features]), offset)[0].tolist(), strict=True))
        # River has no offset, so the whole of the raw score goes through the intercept for one call.
        river.intercept += offset[0, 0]
        z = clip.transform_one(scaler.transform_one(row))
        if learner.labels:
            assert learner.predict_one(label.features)[0] == pytest.approx(river.predict_proba_one(z)[True], abs=1e-9)
        scaler.learn_one(row)
        river.learn_one(clip.transform_one(scaler.transform_one(row)), label.bought)
        river.intercept -= offset[0, 0]
        learner.learn_one(label)


@pytest.mark.parametrize("model", [OffsetLogisticRegression(), OffsetPoissonRegression(loss=optim.losses.Poisson())])
def test_a_model_without_offset_is_rivers_own(model: OffsetLogisticRegression | OffsetPoissonRegression) -> None:
    """The subclass adds the offset and nothing else."""
    plain = type(model).__mro__[1](loss=model.loss)
    for label in SHOP[:100]:
        z = dict(zip(NAMES, label.features, strict=True))
        model.learn_one(z, float(label.bought))
        plain.learn_one(z, float(label.bought))

    assert model.weights == pytest.approx(plain.weights)


def test_currency_makes_no_difference_to_what_spend_teaches() -> None:
    """In yen the forecasts are those in pounds, times the rate."""

    class YenPrior(HabitPrior):
        def score(self, x: FloatArray) -> FloatArray:
            return super().score(x) * [1.0, 1.0, 1.0, 200.0]

    pounds, yen = new_learner(), Learner(NAMES, FEATURE_SET, YenPrior())
    for label in SHOP[:500]:
        pounds.learn_one(label)
        yen.learn_one(replace(label, spend=label.spend * 200.0))

    for label in SHOP[500:520]:
        assert yen.predict_one(label.features)[3] == pytest.approx(200.0 * pounds.predict_one(label.features)[3])


def test_no_label_makes_a_forecast_that_is_not_finite() -> None:
    """A prior of nothing at all, features of any size, spend of a billion: forecasts stay numbers in their range."""
    learner = Learner(NAMES, FEATURE_SET, NeverPrior())
    for label in SHOP[:200]:
        huge = tuple(value * 1e6 for value in label.features)
        learner.learn_one(Label(label.label_id, 0.0, 0.0, label.horizon_days, FEATURE_SET, huge, True, 10_000, 1e9))

    scores = SnapshotScorer(learner.snapshot(), NeverPrior()).score(np.array([[1e9, -1e9, 0.0], [0.0, 0.0, 0.0]]))

    assert np.isfinite(scores).all()
    assert (scores >= 0).all()
    assert (scores[:, :2] <= 1).all()


def test_links_are_undone() -> None:
    """From a forecast to the link scale and back."""
    forecasts = HabitPrior().score(np.random.default_rng(1).normal(size=(20, len(NAMES))))

    np.testing.assert_allclose(unlinked(links(forecasts)), forecasts, rtol=1e-12)


@pytest.mark.parametrize(
    ("feature_set", "features"), [("beef", (0.0, 0.0, 0.0)), (FEATURE_SET, (0.0,)), (FEATURE_SET, (0.0, 0.0, math.nan))]
)
def test_a_chunk_with_a_label_that_does_not_fit_teaches_nothing(feature_set: str, features: tuple[float, ...]) -> None:
    """Another feature set, another width or a NaN is refused before anything of the chunk is learnt."""
    learner = taught(SHOP[:10])
    before = learner.snapshot().version
    odd = Label("odd:0:30", 0.0, 0.0, 30, feature_set, features, False, 0, 0.0)

    with pytest.raises(ValueError, match="a label"):
        learner.learn_many([SHOP[10], odd])

    assert learner.snapshot().version == before


def test_quality_is_empty_before_the_first_label() -> None:
    """No measure is better than a made-up one; afterwards River's own value is shown."""
    learner = new_learner()
    assert all(not measures for measures in learner.quality().values())

    loss = metrics.LogLoss()
    for label in SHOP[:200]:
        if label.horizon_days == 90:
            loss.update(label.bought, learner.predict_one(label.features)[1])
        learner.learn_one(label)

    assert learner.quality()["p_purchase_90d"]["log_loss"] == pytest.approx(loss.get())


def test_serving_needs_no_river() -> None:
    """A worker loads snapshots and scores without River, pandas or Kafka in its process."""
    code = "import sys, models.learning.scorer, models.learning.snapshots; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert not {"river", "pandas", "torch", "aiokafka"} & set(loaded)
