"""Laws of champion and challengers: only what is better beyond noise is served, and what fails never is."""

from typing import Any

import numpy as np
import pytest
from river import base

from models.features import FloatArray
from models.learning.contest import DEFAULT, Contest, WithChallengers
from models.learning.inputs import PRIOR_KEY
from models.learning.learner import Judged
from models.learning.plug import PlugError, Plugged, plugged
from models.learning.scoreboard import BG_NBD, SERVED, Block
from models.scores import P_30
from schemas.times import DAY_S

TARGET = "p_purchase_30d"
ROWS = 250
NAMES = ("z",)


class Sigmoid(base.Classifier):  # type: ignore[misc]
    """Forecasts the logistic of `slope` times z plus noise; learns nothing."""

    def __init__(self, slope: float = 1.0, noise: float = 0.0, seed: int = 0) -> None:
        self.slope, self.noise, self.seed = slope, noise, seed
        self._rng = np.random.default_rng(seed)

    def learn_one(self, x: dict[str, float], y: bool) -> None:
        """Nothing."""

    def predict_proba_one(self, x: dict[str, float]) -> dict[bool, float]:
        """The logistic."""
        p = float(1 / (1 + np.exp(-self.slope * x["z"] - self.noise * self._rng.normal())))
        return {True: p, False: 1 - p}


class Breaks(Sigmoid):
    """Raises, or forecasts what is no number, after so many forecasts."""

    def __init__(self, after: int, value: float | None = None) -> None:
        super().__init__()
        self.after, self.value = after, value

    def predict_proba_one(self, x: dict[str, float]) -> dict[bool, float]:
        """The logistic, then no more."""
        self.after -= 1
        if self.after >= 0:
            return super().predict_proba_one(x)
        if self.value is None:
            raise RuntimeError("customer text must not be shown")
        return {True: self.value, False: 0.0}


def contest(**models: Any) -> Contest:
    """Contenders by name, of one target."""
    return Contest([Plugged(name, {TARGET: model}) for name, model in models.items()], NAMES)


def blocks(count: int, slope: float, seed: int, start: int = 0) -> Any:
    """Blocks of a day; the default model forecasts the logistic of slope times z, the truth has a slope of 1."""
    rng = np.random.default_rng(seed)
    for day in range(start, start + count):
        z = rng.normal(size=ROWS)
        bought = (rng.uniform(size=ROWS) < 1 / (1 + np.exp(-z))).astype(float)
        scores = np.column_stack([1 / (1 + np.exp(-slope * z)), np.full(ROWS, 0.5), np.ones(ROWS), np.ones(ROWS)])
        block = Block(day * DAY_S, z[:, None], np.full(ROWS, 30.0), bought, bought)
        yield Judged(block, {SERVED: scores, BG_NBD: scores}, (), None)


def labels_until_served(of: Contest, name: str, stream: Any) -> int | None:
    """Labels after which `name` is served; None: never."""
    for number, judged in enumerate(stream, 1):
        of.take(judged)
        if of.served[TARGET] == name:
            return number * ROWS
    return None


@pytest.mark.parametrize("bad", [Sigmoid(0.7), Sigmoid(1.0, noise=0.5), Sigmoid(-1.0), Sigmoid(1.3), Sigmoid(1.0)])
def test_what_is_not_better_is_never_promoted_in_twenty_seeds(bad: Sigmoid) -> None:
    """Too flat, noisy, turned round, too steep, or just as good: over 20,000 labels it is never served."""
    for seed in range(20):
        assert labels_until_served(contest(bad=bad.clone()), "bad", blocks(80, 1.0, seed)) is None


def test_a_better_one_is_promoted_within_twenty_thousand_labels() -> None:
    """One of slope 1 beside a default of .5, some .02 of log loss better: in each of ten seeds."""
    needed = [labels_until_served(contest(good=Sigmoid()), "good", blocks(120, 0.5, seed)) for seed in range(10)]

    assert all(labels is not None and labels <= 20_000 for labels in needed), needed


def test_one_that_has_become_worse_is_taken_back() -> None:
    """Promoted by evidence; then the default is right and it isn't: the default is served again, and says why."""
    of = contest(good=Sigmoid(0.9))
    assert labels_until_served(of, "good", blocks(120, 0.0, 1)) is not None

    changes = [change for judged in blocks(120, 1.0, 2, start=130) for change in of.take(judged)]
    assert not changes  # a tenth too flat isn't worse beyond noise
    of.get(TARGET, "good").model.slope = -1.0  # type: ignore[union-attr]
    changes = [change for judged in blocks(60, 1.0, 3, start=260) for change in of.take(judged)]

    assert [(change.previous, change.served, change.why) for change in changes] == [("good", DEFAULT, "evidence")]
    assert changes[0].previous_loss > changes[0].served_loss


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_one_that_fails_is_out_and_the_default_is_served(value: float | None) -> None:
    """Pinned or not: it is never asked again, and the reason names the error."""
    of = contest(breaks=Breaks(3 * ROWS, value))
    of.pin("breaks", TARGET)
    changes = [change for judged in blocks(6, 1.0, 0) for change in of.take(judged)]

    assert of.served[TARGET] == DEFAULT
    assert [change.why for change in changes] == ["failure"]
    assert "RuntimeError" in of.challengers[0].failure if value is None else "finite" in of.challengers[0].failure
    with pytest.raises(KeyError):
        of.pin("breaks", TARGET)


def test_what_is_pinned_stays_whatever_the_evidence() -> None:
    """Until evidence decides again: then one that is worse goes."""
    of = contest(bad=Sigmoid(-1.0))
    assert [change.why for change in of.pin("bad", TARGET)] == ["pinned"]
    assert not [change for judged in blocks(40, 1.0, 0) for change in of.take(judged)]
    assert of.served[TARGET] == "bad"

    of.pin(None, TARGET)
    for judged in blocks(40, 1.0, 1, start=40):
        of.take(judged)

    assert of.served[TARGET] == DEFAULT


def test_what_is_learnt_is_not_served_where_the_prior_is_better() -> None:
    """A default turned round beside a prior that is right: within a month of blocks the prior is served, not before."""
    of = contest()
    changes = []
    for judged in blocks(40, -0.5, 0):
        z = judged.block.x[:, 0]
        right = judged.forecasts[SERVED].copy()
        right[:, P_30] = 1 / (1 + np.exp(-z))
        changes += of.take(judged._replace(forecasts={SERVED: judged.forecasts[SERVED], BG_NBD: right}))

    assert [(change.previous, change.served) for change in changes] == [(DEFAULT, "prior")]
    assert changes[0].labels <= 30 * ROWS
    assert of.overriding() == []


def test_a_contest_goes_on_from_its_state_and_can_be_looked_at() -> None:
    """Evidence, pins and what is served: as if nothing had happened; a contestant that is gone leaves nothing."""
    one = contest(mine=Sigmoid())
    for judged in blocks(20, 0.5, 0):
        one.take(judged)
    one.pin("mine", TARGET)
    again = contest(mine=Sigmoid())
    again.take_state(one.state())
    for judged in blocks(5, 0.5, 1, start=20):
        one.take(judged)
        again.take(judged)

    assert again.state() == one.state()
    assert [row[:8] for row in Contest.of_state(one.state(), NAMES).rows()] == [row[:8] for row in one.rows()]
    without = contest()
    without.take_state(one.state())
    assert without.served[TARGET] == DEFAULT
    assert not without.pinned


def test_it_is_judged_before_it_learns() -> None:
    """A model that remembers every label by heart gains nothing from it."""

    class Rote(Sigmoid):
        def __init__(self) -> None:
            super().__init__()
            self.seen: dict[float, bool] = {}

        def learn_one(self, x: dict[str, float], y: bool) -> None:
            self.seen[x["z"]] = y

        def predict_proba_one(self, x: dict[str, float]) -> dict[bool, float]:
            p = 0.999 if self.seen.get(x["z"]) else 0.5
            return {True: p, False: 1 - p}

    of = contest(rote=Rote())
    for judged in blocks(20, 1.0, 0):
        of.take(judged)

    default, prior, rote = of.rows()
    assert (default.name, prior.name, rote.name) == ("default", "prior", "rote")
    assert rote.loss == pytest.approx(np.log(2), abs=1e-3)
    assert rote.labels == default.labels == of.challengers[0].learnt == 20 * ROWS
    assert rote.difference == pytest.approx(rote.loss - default.loss)
    assert rote.error > 0


class FakeDefault:
    """Scores all targets alike."""

    version, unit = "dynamic-7", 10.0

    def score(self, x: FloatArray) -> FloatArray:
        """A quarter for everybody."""
        return np.full((len(x), 4), 0.25)

    prior = score

    def intervals(self, scores: FloatArray) -> FloatArray:
        """None."""
        return np.zeros((len(scores), 2))


def test_a_served_challenger_forecasts_its_target_alone_and_stands_in_the_version() -> None:
    """Other targets are the default's; where it fails, so is its own."""
    of = contest(mine=Sigmoid())
    of.pin("mine", TARGET)
    scorer = WithChallengers(FakeDefault(), of.overriding())  # type: ignore[arg-type]
    x = np.array([[0.0], [2.0]])

    scores = scorer.score(x)

    np.testing.assert_allclose(scores[:, P_30], 1 / (1 + np.exp(-x[:, 0])))
    assert (scores[:, 1:] == 0.25).all()
    assert scorer.version == "dynamic-7+p_purchase_30d=mine-0"
    broken = WithChallengers(FakeDefault(), contest(mine=Breaks(0)).challengers)  # type: ignore[arg-type]
    assert (broken.score(x) == 0.25).all()


def test_a_prior_and_amounts_in_mean_purchases_reach_a_challenger() -> None:
    """It sees the prior's link beside the features; spend is told and taken in mean purchases, whatever the currency."""
    seen: list[tuple[dict[str, float], float]] = []

    class Listens(base.Regressor):  # type: ignore[misc]
        def learn_one(self, x: dict[str, float], y: float) -> None:
            seen.append((x, y))

        def predict_one(self, x: dict[str, float]) -> float:
            return 2.0

    of = Contest([Plugged("listens", {"expected_spend_90d": Listens()})], NAMES)
    scores = np.full((1, 4), 0.5) * [1.0, 1.0, 1.0, 80.0]
    block = Block(0.0, np.ones((1, 1)), np.array([90.0]), np.ones(1), np.array([60.0]))
    of.take(Judged(block, {SERVED: scores, BG_NBD: scores}, (), None, unit=20.0))

    assert seen == [({"z": 1.0, PRIOR_KEY: pytest.approx(np.log(40.0 / 20.0))}, 3.0)]
    assert of.challengers[0].forecast(np.ones((1, 1)), np.zeros(1), 20.0).tolist() == [40.0]


def test_plugging_says_what_is_wrong() -> None:
    """Each mistake has a message of its own."""
    for entries, word in (
        ("nothing.there:build", "imported"),
        ("models.learning.shipped:nothing", "nothing"),
        ("unheard", "package.module:function"),
        ("models.learning.shipped:_for_all", "building failed"),
        ("models.features:counted", "building failed"),
        ("adagrad,adagrad", "two contenders"),
        ("a b=models.learning.shipped:build", "name has"),
    ):
        with pytest.raises(PlugError, match=word):
            plugged(entries)
    assert {target for each in plugged("adagrad,dynamic") for target in each.models} == {
        "p_purchase_30d", "p_purchase_90d", "expected_purchases_90d", "expected_spend_90d",
    }  # fmt: skip
    assert plugged("") == []
