"""Laws of the learner and of the scorer that serves its snapshots."""

import math
import subprocess
import sys
from typing import Literal

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from river import metrics

from habits import BASE_RATE, FEATURE_SET, NAMES, HabitPrior, NeverPrior, copied, new_learner, shop, taught
from models.features import FloatArray
from models.learning.corrections import Link, corrector
from models.learning.forecasting import CORRECTION_LIMIT, beta_views
from models.learning.inputs import links, unlinked
from models.learning.learner import Learner
from models.learning.measures import calibration_error
from models.learning.scorer import SnapshotScorer
from models.learning.snapshots import BLOCK
from models.river.dynamic import packed, unpacked
from models.river.families import BERNOULLI, POISSON
from schemas.learning import Label
from schemas.times import DAY_S

SHOP = shop(6_000)


def unlinked_of(link: Link, raw: FloatArray) -> FloatArray:
    """Means from the link scale."""
    return (BERNOULLI if link == "logit" else POISSON).mean(raw)


def test_an_untaught_learner_serves_exactly_the_prior() -> None:
    """Not to the last bit but in every bit: before the first label nothing may move."""
    x = np.random.default_rng(1).normal(size=(50, len(NAMES)))
    expected = HabitPrior().score(x)

    learner = new_learner()

    assert [learner.predict_one(row) for row in x.tolist()] == [tuple(row) for row in expected.tolist()]
    assert (SnapshotScorer(learner.snapshot(), HabitPrior()).score(x) == expected).all()


def test_until_a_block_is_full_the_prior_is_served_exactly() -> None:
    """One label less than a block, of one day: they wait, and wait in the snapshot too."""
    learner = taught(SHOP[: BLOCK - 1])
    x = np.random.default_rng(1).normal(size=(50, len(NAMES)))

    assert (SnapshotScorer(learner.snapshot(), HabitPrior()).score(x) == HabitPrior().score(x)).all()
    learner.learn_one(SHOP[BLOCK - 1])
    assert (SnapshotScorer(learner.snapshot(), HabitPrior()).score(x) != HabitPrior().score(x)).all()


def test_a_block_does_not_wait_for_more_than_a_day() -> None:
    """A shop with ten labels a day learns every day."""
    learner = taught(SHOP[:10])
    learner.learn_one(replace(SHOP[10], matured_at=SHOP[0].matured_at + DAY_S + 1))

    assert learner.snapshot().arrays["counts"][0] == 10


def test_a_synthetic_shop_is_learnt() -> None:
    """In the last half of 12,000 labels log losses are .05 below the prior's, errors a fifth, level within a tenth."""
    labels = shop(12_000)
    learner = taught(labels[:6_000])
    warm = copied(learner)  # its measures start anew, so that they are of the last half alone
    warm.learn_many(labels[6_000:])
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
@given(cut=st.integers(0, 900), chunk=st.integers(1, 290))
def test_learning_goes_on_from_a_snapshot_as_if_nothing_had_happened(cut: int, chunk: int) -> None:
    """Learn all = learn some, snapshot, restore, learn the rest, in whatever chunks."""
    labels = SHOP[:900]
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
    for label in SHOP[:900]:
        one_by_one.learn_one(label)

    assert taught(SHOP[:900]).snapshot().version == one_by_one.snapshot().version


@settings(max_examples=25, deadline=None)
@given(
    count=st.integers(0, 900),
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


@given(horizons=st.lists(st.sampled_from([30, 90]), min_size=2, max_size=30))
@settings(max_examples=20, deadline=None)
def test_days_pass_for_every_model_whatever_labels_a_block_brings(horizons: list[Literal[30, 90]]) -> None:
    """A label in five days: from its first on, each model's clock has run as long as event time."""
    learner = taught([replace(SHOP[i], horizon_days=h, matured_at=i * 5 * DAY_S) for i, h in enumerate(horizons)])
    arrays, learnt = learner.snapshot().arrays, horizons[:-1]

    for horizon, score in ((30, "p_purchase_30d"), (90, "p_purchase_90d")):
        began = learnt.index(horizon) if horizon in learnt else len(learnt)
        # Of the learner's first block it isn't known since when; of a later one it is the block before.
        assert arrays[f"experts_{score}"][0] == pytest.approx(5.0 * max(len(learnt) - max(began, 1), 0))


@pytest.mark.parametrize("link", ["logit", "log"])
def test_one_pass_ends_where_the_batch_optimum_is(link: Link) -> None:
    """Without drift, the filter's weights after 4,000 rows are the penalised maximum likelihood's, to a few hundredths."""
    rng = np.random.default_rng(5)
    z, truth = rng.normal(size=(4_000, 3)), np.array([-0.5, 0.6, -0.3, 0.0])
    mean = unlinked_of(link, truth[0] + z @ truth[1:])
    y = (rng.uniform(size=4_000) < mean).astype(float) if link == "logit" else rng.poisson(mean).astype(float)
    online = corrector(link, range(3), scale=1.0)
    for start in range(0, 4_000, 100):
        block = slice(start, start + 100)
        online.learn_array(z[block], y[block], np.zeros(100), 1.0)

    a, batch = np.hstack([np.ones((4_000, 1)), z]), np.zeros(4)
    for _ in range(25):
        m = unlinked_of(link, a @ batch)
        variance = m * (1 - m) if link == "logit" else m
        hessian = (a * variance[:, None]).T @ a + np.eye(4)
        batch = batch + np.linalg.solve(hessian, a.T @ (y - m) - batch)

    np.testing.assert_allclose(online.coefficients, batch, atol=0.03)


def test_what_drifts_is_followed() -> None:
    """When a shop doubles its rate, the level with drift is nearly there after 2,000 rows of 20 days; without it isn't."""
    rng = np.random.default_rng(6)
    levels = []
    for drift in (0.0, 1e-3):
        model = corrector("log", ("z",), drift=1e-4, intercept_drift=drift)
        for day, rate in enumerate([1.0] * 40 + [2.0] * 20):
            y = rng.poisson(rate, size=100).astype(float)
            model.learn_array(np.zeros((100, 1)), y, np.zeros(100), float(day > 0))
        levels.append(math.exp(model.intercept))

    assert levels[0] < 1.5
    assert levels[1] == pytest.approx(2.0, abs=0.15)


@given(expected=st.floats(2.0, 1e4), z=st.floats(-1.0, 1.0))
def test_a_forecast_far_too_high_comes_down_as_fast_as_a_small_one(expected: float, z: float) -> None:
    """Where nothing comes, four blocks lower a level by 1, whether 2 were expected of everybody or 10,000."""
    model = corrector("log", ("z",), intercept_scale=0.1)
    for _ in range(4):
        model.learn_array(np.full((50, 1), z), np.zeros(50), np.full(50, math.log(expected)), 0.0)

    assert model.intercept + z * model.weights["z"] < -1.0


@given(st.floats(100.0, 1e5))
def test_one_customer_expected_to_spend_thousands_lowers_nobody_elses_level(expected: float) -> None:
    """Who once ordered for a year's sales is forecast so much at each label, buys like anybody: thirty voices, no more."""
    level = corrector("log", ("z",), scale=0.3, intercept_scale=0.3)
    offset, came = np.r_[np.zeros(200), math.log(expected)], np.ones(201)
    for _ in range(30):
        level.learn_array(np.zeros((201, 1)), came, offset, 0.0)

    assert math.exp(level.intercept) == pytest.approx(1 - 30 / 200, abs=0.02)


@given(
    link=st.sampled_from(["logit", "log"]),
    rows=st.lists(
        st.tuples(st.floats(-4.0, 4.0), st.floats(-9.0, 3.0), st.integers(0, 1_000)), min_size=1, max_size=60
    ),
)
def test_a_block_moves_no_row_further_than_can_be_served(link: Link, rows: list[tuple[float, float, int]]) -> None:
    """However little was expected, and however much came."""
    model = corrector(link, ("z",), drift=1e-4, intercept_drift=1e-3)
    z, offset, came = np.array(rows).T

    model.learn_array(z[:, None], np.minimum(came, 1.0) if link == "logit" else came, offset, 1.0)

    assert np.abs(model.intercept + z * model.weights["z"]).max() <= CORRECTION_LIMIT + 1e-9


def test_percentages_that_are_off_are_put_right_in_order() -> None:
    """Forecasts whose log odds are 1.6 times too flat and .5 too low: after 10,000 labels the error is below .02."""
    rng = np.random.default_rng(9)
    calibrator = corrector("logit", ("a", "b"), intercept_scale=0.3, drift=3e-6, intercept_drift=3e-5)
    said = rng.normal(-0.5, 1.0, size=30_000)
    truth = (rng.uniform(size=30_000) < unlinked_of("logit", 0.5 + 1.6 * said)).astype(float)
    for start in range(0, 20_000, 200):
        block = slice(start, start + 200)
        calibrator.learn_array(beta_views(said[block]), truth[block], said[block], 1.0)
    test = slice(20_000, None)

    right = calibrator.mean_array(beta_views(said[test]), said[test])

    assert calibration_error(truth[test], unlinked_of("logit", said[test])) > 0.05
    assert calibration_error(truth[test], right) < 0.02
    assert (np.argsort(right) == np.argsort(said[test])).all()


def test_a_covariance_is_packed_without_loss() -> None:
    """Half the bytes, every number."""
    half = np.random.default_rng(2).normal(size=(6, 6))
    symmetric = half + half.T

    assert (unpacked(packed(symmetric)) == symmetric).all()


def test_currency_makes_no_difference_to_what_spend_teaches() -> None:
    """In yen the forecasts are those in pounds, times the rate."""

    class YenPrior(HabitPrior):
        def score(self, x: FloatArray) -> FloatArray:
            return super().score(x) * [1.0, 1.0, 1.0, 200.0]

    pounds, yen = new_learner(), Learner(NAMES, FEATURE_SET, YenPrior())
    for label in SHOP[:600]:
        pounds.learn_one(label)
        yen.learn_one(replace(label, spend=label.spend * 200.0))

    for label in SHOP[600:620]:
        assert yen.predict_one(label.features)[3] == pytest.approx(200.0 * pounds.predict_one(label.features)[3])


def test_no_label_makes_a_forecast_that_is_not_finite() -> None:
    """A prior of nothing at all, features of any size, spend of a billion: forecasts stay numbers in their range."""
    learner = Learner(NAMES, FEATURE_SET, NeverPrior())
    for label in SHOP[:900]:
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


def test_quality_is_empty_before_the_first_block() -> None:
    """No measure is better than a made-up one; afterwards River's own value is shown, of forecasts made before."""
    learner = new_learner()
    assert all(not measures for measures in learner.quality().values())

    loss = metrics.LogLoss()
    for label in SHOP[: 3 * BLOCK]:
        if label.horizon_days == 90:
            loss.update(label.bought, learner.predict_one(label.features)[1])
        learner.learn_one(label)

    assert learner.quality()["p_purchase_90d"]["log_loss"] == pytest.approx(loss.get())


def test_a_restart_shows_what_was_published_until_it_has_judged_as_many_labels() -> None:
    """Log loss, AUC and scoreboard never vanish by a restart, nor by two; then they are those of its own labels alone."""
    before = taught(SHOP[: 4 * BLOCK])
    shown = before.quality()
    assert {score: measures["labels"] for score, measures in shown.items()} == dict.fromkeys(shown, 2.0 * BLOCK)

    again = copied(copied(before))
    again.learn_many(SHOP[4 * BLOCK : 7 * BLOCK])
    assert (again.quality(), again.scoreboard()) == (shown, before.scoreboard())
    again = copied(again)  # three blocks don't count for those after it: they have no number of their own yet
    again.learn_many(SHOP[7 * BLOCK : 11 * BLOCK])

    loss = metrics.LogLoss()
    reference = taught(SHOP[: 7 * BLOCK])
    for label in SHOP[7 * BLOCK : 11 * BLOCK]:
        if label.horizon_days == 90:
            loss.update(label.bought, reference.predict_one(label.features)[1])
        reference.learn_one(label)
    assert again.quality()["p_purchase_90d"]["log_loss"] == pytest.approx(loss.get())
    assert again.scoreboard() != before.scoreboard()


def test_what_a_snapshot_says_of_quality_changes_nothing_that_is_learnt() -> None:
    """Equal labels, equal version, whatever was carried."""
    again = copied(taught(SHOP[: 4 * BLOCK]))
    again.learn_many(SHOP[4 * BLOCK : 9 * BLOCK])

    assert again.snapshot().version == taught(SHOP[: 9 * BLOCK]).snapshot().version


def test_serving_needs_no_river() -> None:
    """A worker loads snapshots and scores without River, pandas or Kafka in its process."""
    code = "import sys, models.learning.scorer, models.learning.snapshots; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert not {"river", "pandas", "torch", "aiokafka"} & set(loaded)
