"""Laws of averaging models of different speed: who forecasts well is followed, and only forecasts count."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.features import FloatArray
from models.learning.corrections import Link, averaged_corrector, corrector
from models.learning.snapshots import experts_size
from models.river.averaging import SPEEDS, AveragedGLM, Remembered
from models.river.families import BERNOULLI, POISSON

SLOW, FAST = (1e-6, 1e-5), (1e-3, 1e-2)
ROWS = 80
INPUTS = ("a", "b")
# Days, inputs (n, 2), outcomes (n,) of a block.
Told = tuple[float, FloatArray, FloatArray]


def unlinked(link: Link, raw: FloatArray) -> FloatArray:
    """Means from the link scale."""
    return (BERNOULLI if link == "logit" else POISSON).mean(raw)


def told(slopes: FloatArray, link: Link = "logit", seed: int = 1) -> Iterator[Told]:
    """Blocks a day apart; a day's outcomes follow its row of `slopes` (days, 2)."""
    rng = np.random.default_rng(seed)
    for day, slope in enumerate(slopes):
        z = rng.normal(size=(ROWS, 2))
        mean = unlinked(link, z @ slope)
        y = (rng.uniform(size=ROWS) < mean).astype(float) if link == "logit" else rng.poisson(mean).astype(float)
        yield float(day > 0), z, y


def taught(model: AveragedGLM, slopes: FloatArray, link: Link = "logit") -> AveragedGLM:
    """The model after a stream."""
    for days, z, y in told(slopes, link):
        model.learn_array(z, y, np.zeros(ROWS), days)
    return model


@pytest.mark.parametrize("link", ["logit", "log"])
@settings(max_examples=10, deadline=None)
@given(drift=st.sampled_from([0.0, 1e-5, 1e-3]), seed=st.integers(0, 100), gap=st.floats(0, 40))
def test_experts_that_are_alike_are_one_model(link: Link, drift: float, seed: int, gap: float) -> None:
    """Three of one speed, averaged, have the weights and the forecasts of one dynamic model of that speed."""
    many = averaged_corrector(link, INPUTS, speeds=((drift, drift),) * 3, dispersion=2.0)
    one = corrector(link, INPUTS, drift=drift, intercept_drift=drift, dispersion=2.0)
    for days, z, y in told(np.full((40, 2), 0.5), link, seed):
        for model in (many, one):
            model.learn_array(z, y, np.zeros(ROWS), days * gap, 0.5)

    np.testing.assert_allclose(many.coefficients, one.coefficients, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(many.chances, 1 / 3)
    z = np.random.default_rng(seed).normal(size=(5, 2))
    np.testing.assert_allclose(many.mean_array(z, np.zeros(5)), one.mean_array(z, np.zeros(5)), rtol=1e-9)


def test_what_is_served_is_linear_the_mean_of_the_experts() -> None:
    """On the link scale: so contributions add up, and scoring costs what one model costs."""
    model = taught(averaged_corrector("logit", INPUTS), np.full((80, 2), 0.5))
    z = np.random.default_rng(3).normal(size=(20, 2))
    raw = np.array([expert.coefficients[0] + z @ expert.coefficients[1:] for expert in model.experts])

    assert model.chances.sum() == pytest.approx(1.0)
    assert len({expert.coefficients.tobytes() for expert in model.experts}) == len(SPEEDS)
    np.testing.assert_allclose(model.mean_array(z, np.zeros(20)), unlinked("logit", model.chances @ raw), rtol=1e-12)


@pytest.mark.parametrize("link", ["logit", "log"])
def test_in_a_steady_shop_the_slow_is_followed_and_in_a_moving_one_the_fast(link: Link) -> None:
    """300 days of the same slopes, or of slopes that swing by 1 in half a year."""
    swinging = 0.5 + np.sin(np.arange(300) / 300 * 2 * np.pi * 300 / 365)[:, None] * np.ones(2)

    steady = taught(averaged_corrector(link, INPUTS, (SLOW, FAST)), np.full((300, 2), 0.5), link)
    moving = taught(averaged_corrector(link, INPUTS, (SLOW, FAST)), swinging, link)

    assert steady.chances[0] > 0.9
    assert moving.chances[1] > 0.9


def test_an_abrupt_change_is_noticed() -> None:
    """200 steady days, then slopes turned round: within 90 days the fast is followed, and the mean has turned too."""
    model = taught(averaged_corrector("logit", INPUTS, (SLOW, FAST)), np.full((200, 2), 0.8))
    assert model.chances[0] > 0.9

    for days, z, y in told(np.full((90, 2), -0.8), seed=2):
        model.learn_array(z, y, np.zeros(ROWS), days or 1.0)

    assert model.chances[1] > 0.9
    assert (model.coefficients[1:] < -0.4).all()
    assert (model.experts[0].coefficients[1:] > model.coefficients[1:]).all()


def test_who_expects_many_is_followed_where_many_come() -> None:
    """Where ninety come of everybody, the expert that said ninety has all the chances, and the one that said thirty none."""
    model = averaged_corrector("log", ("a",), (SLOW, FAST), lag=0.0)
    for expert, mean in zip(model.experts, (30.0, 90.0), strict=True):
        expert.coefficients = np.array([np.log(mean / 40.0), 0.0])
    model.memory = [Remembered(0.0, np.array([expert.coefficients for expert in model.experts]))]

    model.learn_array(np.zeros((5, 1)), np.full(5, 90.0), np.full(5, np.log(40.0)), 0.0)

    assert model.chances[1] > 0.99


def test_only_what_could_be_known_when_features_were_taken_counts() -> None:
    """Slopes thrown anew every twenty days can't be forecast a month ahead: following them earns the fast nothing."""
    thrown = np.repeat(np.random.default_rng(8).choice([-1.0, 1.0], size=(20, 2)), 20, axis=0)

    ahead = taught(averaged_corrector("logit", INPUTS, (SLOW, FAST), lag=30.0), thrown)
    after = taught(averaged_corrector("logit", INPUTS, (SLOW, FAST), lag=0.0), thrown)

    assert ahead.chances[0] > 0.9
    assert after.chances[1] > 0.9


def test_labels_of_another_horizon_teach_and_do_not_judge() -> None:
    """Marked as no judges, they move weights and leave the chances alone."""
    model = averaged_corrector("log", INPUTS, (SLOW, FAST))
    for days, z, y in told(np.full((90, 2), 0.5), "log"):
        model.learn_judged(z, y, np.zeros(ROWS), days, 1.0, np.zeros(ROWS, dtype=np.bool_))

    assert model.chances.tolist() == [0.5, 0.5]
    assert (model.coefficients[1:] > 0.3).all()


def test_evidence_of_a_half_life_ago_counts_half() -> None:
    """Where no label comes, chances return to equal ones."""
    model = taught(averaged_corrector("logit", INPUTS, (SLOW, FAST)), np.full((120, 2), 0.5))
    before = model.evidence.copy()

    model.learn_judged(np.zeros((1, 2)), np.zeros(1), np.zeros(1), model.half_life, 1.0, np.zeros(1, dtype=np.bool_))

    np.testing.assert_allclose(model.evidence, before / 2)


@settings(max_examples=15, deadline=None)
@given(gaps=st.lists(st.floats(0, 60), max_size=40), lag=st.sampled_from([30.0, 90.0]))
def test_experts_go_on_from_their_array_as_if_nothing_had_happened(gaps: list[float], lag: float) -> None:
    """Whatever the days between blocks: to the bit, and the array is as long as a snapshot expects."""
    rng = np.random.default_rng(len(gaps))
    model = averaged_corrector("log", INPUTS, lag=lag)
    for days in gaps:
        model.learn_array(rng.normal(size=(5, 2)), rng.poisson(1.0, size=5).astype(float), np.zeros(5), days)
    array = model.to_array()
    assert len(array) == experts_size(3, array)

    resumed = averaged_corrector("log", INPUTS, lag=lag).take(array)
    for each in (model, resumed):
        each.learn_array(np.ones((5, 2)), np.ones(5), np.zeros(5), 7.0)

    assert (resumed.to_array() == model.to_array()).all()
    assert (resumed.coefficients == model.coefficients).all()


def test_a_restart_puts_every_expert_where_it_is_told() -> None:
    """Weights are taken back for all speeds; how surely they know stays, and so does who was right."""
    model = taught(averaged_corrector("logit", INPUTS), np.full((80, 2), 0.5))
    chances, sure = model.chances, [expert.covariance.copy() for expert in model.experts]

    model.restart_at(np.array([0.1, 0.2, 0.3]))

    np.testing.assert_allclose(model.coefficients, [0.1, 0.2, 0.3])
    assert all((expert.coefficients == [0.1, 0.2, 0.3]).all() for expert in model.experts)
    assert (model.chances == chances).all()
    assert all((expert.covariance == known).all() for expert, known in zip(model.experts, sure, strict=True))


def test_rivers_interface_is_the_same_model() -> None:
    """One row at a time by dicts, or the same rows as blocks of one: equal weights; a clone has seen nothing."""
    one, block = averaged_corrector("logit", INPUTS), averaged_corrector("logit", INPUTS)
    for i, (row, y) in enumerate(zip(np.random.default_rng(4).normal(size=(60, 2)), [True, False] * 30, strict=True)):
        one.learn_one({"b": row[1], "a": row[0]}, y, t=float(i))
        block.learn_array(row[None], np.array([float(y)]), np.zeros(1), float(i > 0))

    np.testing.assert_allclose(one.coefficients, block.coefficients, rtol=1e-9)
    expected = one.mean_array(np.array([[1.0, 0.0]]), np.zeros(1))[0]
    assert one.predict_proba_one({"a": 1.0}) == {True: expected, False: 1.0 - expected}
    assert one.clone().coefficients.tolist() == [0.0]
