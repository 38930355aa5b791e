"""Laws of the scoreboard: what is spoiled is taken back, what is merely noisy stays, and rivals are judged on equal rows."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import features
from models.features import FloatArray
from models.learning.learner import Judged, Learner
from models.learning.measures import auc
from models.learning.rivals import RfmCells
from models.learning.scoreboard import BG_NBD, PREVIOUS, RFM, SERVED, is_worse, losses
from models.learning.snapshots import Snapshot, decode_snapshot, encode_snapshot, version_of
from models.scores import P_30, SPEND_90, PriorScorer
from schemas.learning import SCORES, Label
from schemas.times import DAY_S

NAMES, FEATURE_SET = ("habit", "mood"), "f00d"
A_DAY = 60  # labels
# Two trials of 32 blocks, a block a day, and a few days more: from then on there is a version to go back to.
DAYS_TO_PREVIOUS = 70


class FlatPrior:
    """The same for everybody."""

    version = "flat"

    def score(self, x: FloatArray) -> FloatArray:
        """A third buy within 30 days."""
        return np.tile([0.3, 0.6, 1.0, 40.0], (len(x), 1))


def days_of(first: int, count: int, seed: int = 5) -> list[Label]:
    """Labels of `count` days from day `first` on, of customers who buy as Poisson(.8 exp(.5 habit + .8 mood)) in 90 days."""
    rng = np.random.default_rng([seed, first])
    found = []
    for i in range(count * A_DAY):
        horizon: Literal[30, 90] = 30 if i % 2 else 90
        x = rng.normal(size=2)
        bought = int(rng.poisson(0.8 * math.exp(0.5 * x[0] + 0.8 * x[1]) * horizon / 90))
        spend = float(rng.gamma(2.0, 20.0, size=bought).sum())
        at = (first + i / A_DAY) * DAY_S
        of = f"c{first}-{i}:0:{horizon}"
        found.append(Label(of, 0.0, at, horizon, FEATURE_SET, tuple(x.tolist()), bought > 0, bought, spend))
    return found


def taught(days: int, seed: int = 5) -> Learner:
    """A learner after so many days."""
    learner = Learner(NAMES, FEATURE_SET, FlatPrior())
    learner.learn_many(days_of(0, days, seed))
    return learner


def changed(learner: Learner, change: Callable[[FloatArray], FloatArray]) -> Learner:
    """The learner that another process restores from a snapshot whose weights went through `change`."""
    before = learner.snapshot()
    arrays = {**before.arrays, "weights": change(before.arrays["weights"])}
    spoiled: Snapshot = replace(before, arrays=arrays, version=version_of(before.kind, before.labels, arrays))
    return Learner.restored(decode_snapshot(encode_snapshot(spoiled), FEATURE_SET), FlatPrior())


def loss_of(learner: Learner, labels: list[Label]) -> float:
    """Mean log loss of the 30-day probability."""
    mine = [label for label in labels if label.horizon_days == 30]
    p = np.array([learner.predict_one(label.features)[P_30] for label in mine])
    truth = np.array([float(label.bought) for label in mine])
    return float(losses(P_30, truth, p, 1.0).mean())


def test_a_spoiled_version_is_taken_back_by_itself() -> None:
    """Weights turned round and tripled: within a trial the previous version is back, and most of the damage is gone."""
    whole = taught(DAYS_TO_PREVIOUS)
    spoiled = changed(whole, lambda weights: -3 * weights)
    later, test = days_of(DAYS_TO_PREVIOUS, 32), days_of(DAYS_TO_PREVIOUS + 32, 10)
    damage = loss_of(spoiled, test) - loss_of(whole, test)
    assert damage > 0.05

    judged = spoiled.learn_many(later)
    whole.learn_many(later)

    verdicts = [each.verdict for each in judged if each.verdict is not None]
    assert spoiled.rollbacks == 1
    assert [verdict.score in SCORES for verdict in verdicts] == [True]
    assert verdicts[0].served > verdicts[0].previous
    assert 0 < verdicts[0].previous_labels < DAYS_TO_PREVIOUS * A_DAY
    assert whole.rollbacks == 0
    assert loss_of(spoiled, test) < loss_of(whole, test) + damage / 3


@pytest.mark.parametrize("seed", range(4))
def test_a_version_that_is_merely_noisy_stays(seed: int) -> None:
    """Weights off by a hundredth are no reason to go back, whatever the labels are like."""
    rng = np.random.default_rng(seed)
    noisy = changed(taught(DAYS_TO_PREVIOUS, seed), lambda weights: weights + rng.normal(0, 0.01, size=weights.shape))

    noisy.learn_many(days_of(DAYS_TO_PREVIOUS, 40, seed))

    assert noisy.rollbacks == 0


def test_going_back_survives_a_restart() -> None:
    """The version to go back to is in the snapshot: a trainer that restarts between accident and verdict goes back too."""
    spoiled = changed(taught(DAYS_TO_PREVIOUS), lambda weights: -3 * weights)
    later = days_of(DAYS_TO_PREVIOUS, 32)
    half = len(later) // 7

    spoiled.learn_many(later[:half])
    resumed = changed(spoiled, lambda weights: weights)
    for learner in (spoiled, resumed):
        learner.learn_many(later[half:])

    assert resumed.rollbacks == spoiled.rollbacks == 1
    assert resumed.snapshot().version == spoiled.snapshot().version


def test_chance_alone_hardly_ever_takes_a_version_back() -> None:
    """Of 1,000 trials of four scores without any difference, looked at after every block, at most 3 find one."""
    rng = np.random.default_rng(11)
    alarms = 0
    for _ in range(1_000):
        found = rng.standard_t(4, size=(32, 4))
        sums, squares = np.cumsum(found, axis=0), np.cumsum(found**2, axis=0)
        alarms += any(
            is_worse(n, sums[n - 1, score], squares[n - 1, score], 1.0, 0.0) for n in range(1, 33) for score in range(4)
        )

    assert alarms <= 3


@given(before=st.integers(0, 31), after=st.integers(0, 31), lost=st.floats(1e-3, 1e12))
def test_one_order_however_large_takes_nothing_back(before: int, after: int, lost: float) -> None:
    """It raises the mean of D and its spread alike, wherever in a trial it falls."""
    assert not is_worse(before + 1 + after, lost, lost**2, 1.0, 0.0)


def test_a_version_is_gone_back_to_once() -> None:
    """Then nothing is judged until a version learnt since is a week old; another accident goes back to one of those."""
    learner = taught(DAYS_TO_PREVIOUS)
    judged: list[Judged] = []
    for start, count in ((DAYS_TO_PREVIOUS, 100), (DAYS_TO_PREVIOUS + 100, 32)):
        learner = changed(learner, lambda weights: -3 * weights)
        judged += learner.learn_many(days_of(start, count))

    first, second = (i for i, each in enumerate(judged) if each.verdict is not None)
    assert not any(PREVIOUS in each.forecasts for each in judged[first + 1 : first + 32])
    again = judged[second].verdict
    assert again is not None
    assert again.previous_labels > DAYS_TO_PREVIOUS * A_DAY + sum(len(each.block.x) for each in judged[:first])


def test_contestants_are_judged_on_the_same_labels() -> None:
    """Every block gives each contestant a forecast of each row, in its range, made before the block was learnt."""
    rng = np.random.default_rng(2)
    learner = Learner(features.NAMES, features.FEATURE_SET, PriorScorer())
    judged: list[Judged] = []
    for day in range(2):
        labels = []
        for i in range(300):
            x = tuple(rng.gamma(1.0, 1.0, size=len(features.NAMES)).tolist())
            horizon: Literal[30, 90] = 30 if i % 2 else 90
            bought = int(rng.poisson(1.0))
            of = f"{day}-{i}:0:{horizon}"
            labels.append(
                Label(of, 0.0, day * DAY_S, horizon, features.FEATURE_SET, x, bought > 0, bought, 20.0 * bought)
            )
        judged += learner.learn_many(labels)

    assert len(judged) >= 2
    for each in judged:
        assert {SERVED, BG_NBD, RFM} <= each.forecasts.keys()
        for forecasts in each.forecasts.values():
            assert forecasts.shape == (len(each.block.x), 4)
            assert np.isfinite(forecasts).all()
            assert (forecasts >= 0).all()
            assert (forecasts[:, :2] <= 1).all()
    assert set(learner.scoreboard()["p_purchase_30d"]) == {SERVED, BG_NBD, RFM}
    assert PREVIOUS not in learner.scoreboard()["p_purchase_30d"]


def test_rfm_forecasts_the_rate_of_its_cell() -> None:
    """Customers of one kind buy always, of another never: their cells say so, shrunk towards all."""
    names = ("recency_days", "purchases", "monetary")
    rfm = RfmCells(names)
    x = np.array([[1.0, 1.0, 1.0], [5.0, 5.0, 5.0]] * 200)
    horizon, bought = np.full(400, 30.0), np.array([1.0, 0.0] * 200)

    for _ in range(3):
        rfm.learn_block(x, horizon, bought, bought * 10.0)

    forecasts = rfm.forecasts(x[:2])
    counted = 200 * (1 + 0.98 + 0.98**2)  # 400 labels of 20,000 forgotten each time
    assert forecasts[0, P_30] == pytest.approx((counted + 10) / (counted + 20), abs=1e-9)
    assert forecasts[1, P_30] == pytest.approx(10 / (counted + 20), abs=1e-9)
    assert forecasts[0, 1] == pytest.approx(1 - (1 - forecasts[0, P_30]) ** 3)  # no label of 90 days yet
    copied = RfmCells.from_array(names, rfm.to_array())
    np.testing.assert_array_equal(copied.forecasts(x), rfm.forecasts(x))


def test_rfm_tells_buyers_apart_however_many_only_look() -> None:
    """Who never bought has a cell apart: nine in ten who only look change nothing of what buyers are judged."""
    names = ("recency_days", "purchases", "monetary")
    rng = np.random.default_rng(1)
    buyers = np.column_stack([rng.uniform(0, 200, 500), np.log1p(rng.integers(1, 12, 500)), rng.uniform(2, 6, 500)])
    came = (rng.random(500) < np.exp(-buyers[:, 0] / 50)).astype(float)
    lookers = np.zeros((4_500, 3))
    alone, among = RfmCells(names), RfmCells(names)

    alone.learn_block(buyers, np.full(500, 30.0), came, came * 10.0)
    everybody = np.concatenate([buyers, lookers])
    of_all = np.concatenate([came, np.zeros(4_500)])
    among.learn_block(everybody, np.full(5_000, 30.0), of_all, of_all * 10.0)

    assert len(np.unique(among.forecasts(buyers)[:, P_30])) == len(np.unique(alone.forecasts(buyers)[:, P_30]))
    assert auc(came, among.forecasts(buyers)[:, P_30]) == pytest.approx(
        auc(came, alone.forecasts(buyers)[:, P_30]), abs=0.02
    )
    assert among.forecasts(lookers[:1])[0, P_30] < 0.01


def test_losses_are_least_for_the_truth_and_do_not_depend_on_the_currency() -> None:
    """A mean that is right loses less than one that is off, hundreds of purchases too; pounds and pence lose the same."""
    truth = np.array([0.0, 30.0, 120.0, 9_000.0])
    right = losses(SPEND_90, truth, np.full(4, truth.mean()), 20.0).sum()

    for off in (0.5, 0.9, 1.1, 2.0):
        assert losses(SPEND_90, truth, np.full(4, truth.mean() * off), 20.0).sum() > right
    pence = losses(SPEND_90, truth * 100, np.full(4, truth.mean() * 100), 2_000.0).sum()
    assert pence == pytest.approx(right)
