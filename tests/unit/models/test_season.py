"""Laws of the season: what it says of a moment, and that forecasts follow it before it has been seen."""

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from histories import START_S, purchase
from models.features import COLUMN, FloatArray, Shop, rows
from models.learning.learner import Learner
from models.policy import PolicyError, Rules, parse, read
from models.scores import PriorScorer
from models.season import ONLINE_RETAIL, Season, TooShort, measured
from models.state import observe
from schemas.learning import Label
from schemas.times import DAY_S
from streams.commands.policy import command

indices = st.lists(st.floats(0.01, 100), min_size=12, max_size=12)
moments = st.floats(0, 4e9)
horizons = st.sampled_from([0, 1])


def by_hand(index: list[float], at: float, days: int) -> float:
    """Mean index of the days from the midnight before `at` on, counted on a calendar."""
    midnight = datetime.fromtimestamp(at // DAY_S * DAY_S, UTC)
    return float(np.mean([index[(midnight + timedelta(day)).month - 1] for day in range(days)]))


@given(indices, moments, moments, horizons)
def test_it_is_the_mean_index_of_the_days_ahead(index: list[float], at: float, other: float, horizon: int) -> None:
    """Two moments differ as their days on a calendar do; over a whole year it is 1."""
    days = (30, 90)[horizon]
    season = Season(index)
    ahead = np.exp(season.ahead(np.array([at, other])))[horizon]

    assert ahead[0] / ahead[1] == pytest.approx(by_hand(index, at, days) / by_hand(index, other, days), rel=1e-6)
    assert season.mean(at, days) == pytest.approx(ahead[0], rel=1e-9)
    assert season.mean(at, 365) == pytest.approx(1.0, rel=0.02)


@given(indices, st.floats(0.1, 10), moments)
def test_its_unit_makes_no_difference(index: list[float], unit: float, at: float) -> None:
    """Percent, sales or shares: only their proportions count; an index that is even says nothing."""
    when = np.array([at])

    assert Season([unit * value for value in index]).ahead(when)[:, 0] == pytest.approx(
        Season(index).ahead(when)[:, 0], abs=1e-6
    )
    assert Season([unit] * 12).ahead(when)[:, 0] == pytest.approx(0.0, abs=1e-9)


def test_moments_beyond_its_days_have_those_of_its_ends() -> None:
    """No clock, however wrong, is outside."""
    season = Season()
    far = season.ahead(np.array([-1e18, 0.0, 4_102_358_400.0, 1e18]))[0]

    assert far[0] == far[1]
    assert far[2] == far[3]
    assert np.isfinite(far).all()


def test_the_usual_year_is_that_of_an_online_shop() -> None:
    """An index around 1 that is highest in December."""
    assert np.mean(ONLINE_RETAIL) == pytest.approx(1.0, abs=0.005)
    assert max(ONLINE_RETAIL) == ONLINE_RETAIL[11]


@given(indices, st.floats(0, 400))
def test_the_prior_counts_days_by_their_season(index: list[float], days: float) -> None:
    """Purchases expected are those of an even season times the index ahead; chances rise and fall with it."""
    heard = purchase(0, START_S)
    state = observe(None, heard.topic, heard.offset, heard.event, heard.at, heard.reading)
    assert state is not None
    at = [START_S + days * DAY_S]
    even, own = (rows([state], at, Shop(100, Season(of))) for of in ([1.0] * 12, index))
    usual, seasonal = PriorScorer().score(even)[0], PriorScorer().score(own)[0]
    month, quarter = own[0, COLUMN["season_30d"]], own[0, COLUMN["season_90d"]]

    assert seasonal[2:] == pytest.approx(usual[2:] * math.exp(quarter), rel=1e-9)
    for score, ahead in ((0, month), (1, quarter)):
        assert (seasonal[score] - usual[score]) * ahead >= 0
        assert 0 <= seasonal[score] <= 1


def test_a_policy_states_it() -> None:
    """Twelve numbers, January first; left out, it is the usual one. Anything else is refused where it stands."""
    document = read()
    usual, own = Rules(parse(document)), Rules(parse(document + "season: [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 3]\n"))

    assert usual.shop.season.index == ONLINE_RETAIL
    assert own.shop.season.index == (*[1.0] * 10, 2.0, 3.0)
    assert own.tag != usual.tag
    for wrong in (
        "[1, 2, 3]",
        "even",
        "[0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]",
        "[.nan, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]",
    ):
        with pytest.raises(PolicyError, match="season"):
            parse(document + f"season: {wrong}\n")


def three_years(index: list[float], growth: float) -> FloatArray:
    """Moments of purchases from the middle of a month on, about 60 on an average day, evenly over each day."""
    first = np.datetime64("2009-01-15")
    moments = []
    for day in range(3 * 365):
        date = first + np.timedelta64(day, "D")
        n = round(60 * index[int(date.astype("datetime64[M]").astype(int)) % 12] * growth ** (day / 365))
        moments.append(date.astype("datetime64[s]").astype(np.float64) + np.arange(n) * (DAY_S / max(n, 1)))
    return np.concatenate(moments)


@given(st.lists(st.floats(0.5, 3), min_size=12, max_size=12), st.floats(0.5, 2))
@settings(max_examples=25)
def test_a_shops_own_year_is_measured(index: list[float], growth: float) -> None:
    """From three years of purchases the season that made them, growth apart, within what rounding to a day leaves."""
    found, grown = measured(three_years(index, growth))

    assert found == pytest.approx(np.array(index) / np.mean(index), rel=0.06)
    assert grown == pytest.approx(growth, rel=0.05)


@given(st.integers(0, 24))
def test_less_than_two_whole_years_are_no_year(months: int) -> None:
    """Nothing is guessed from a history in which growth and season look alike, or in which a month is missing."""
    at = three_years([1.0] * 12, 1.0)
    short = at[at < np.datetime64("2009-01-15", "s").astype(np.float64) + months * 30.4 * DAY_S]
    missing = at[(at < 1.25e9) | (at > 1.26e9)]

    for history in (short, missing):
        with pytest.raises(TooShort):
            measured(history)


def test_the_command_measures_a_line_for_a_policy(tmp_path: Path) -> None:
    """What it prints is what a policy takes; a year alone is refused with how much there is."""
    table = tmp_path / "bought.parquet"
    at = three_years([1.0] * 10 + [2.0, 3.0], 1.2)[::20]
    frame = pd.DataFrame({"customer_id": "c1", "purchased_at": pd.to_datetime(at, unit="s", utc=True), "amount": 5.0})
    frame.to_parquet(table)

    told = CliRunner().invoke(command, ["season", "generic", str(table)])
    policy = parse(read() + told.stdout)

    assert told.exit_code == 0
    assert "growth of +20% a year" in told.stdout
    assert policy.season == pytest.approx([12 / 15] * 10 + [24 / 15, 36 / 15], abs=0.05)

    frame[:2_000].to_parquet(table)
    refused = CliRunner().invoke(command, ["season", "generic", str(table)])
    assert refused.exit_code == 1
    assert "whole months" in refused.stderr


def test_a_shop_of_one_season_gets_a_line_that_a_policy_takes(tmp_path: Path) -> None:
    """Months with next to no purchases: the least that a policy takes, and three digits of what is little."""
    counts = [1] * 5 + [4_000, 4_000, 4_000] + [40] + [1] * 3
    months = np.arange("2009-01", "2011-03", dtype="datetime64[M]")
    firsts = np.repeat(months, [counts[month % 12] for month in months.astype(int)]).astype("datetime64[ns]")
    table = tmp_path / "bought.parquet"
    bought = pd.DatetimeIndex(firsts, tz="UTC")
    pd.DataFrame({"customer_id": "c1", "purchased_at": bought, "amount": 5.0}).to_parquet(table)

    told = CliRunner().invoke(command, ["season", "generic", str(table)])

    season = parse(read() + told.stdout).season
    assert season is not None
    assert season[0] == season[11] == 0.01
    assert season[8] == pytest.approx(40 / (12_048 / 12), rel=0.05)


NAMES = ("habit", "season_30d", "season_90d")
BASE_RATE = 0.8
STEEP = Season([1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 3])


class HabitPrior:
    """Knows how habit and season work; holds everybody to buy half as much again as they do."""

    version = "habit"

    def score(self, x: FloatArray) -> FloatArray:
        """Poisson probabilities, counts and spend, a unit a purchase."""
        rate = 1.5 * BASE_RATE * np.exp(0.5 * x[:, 0])
        month, quarter = rate / 3 * np.exp(x[:, 1]), rate * np.exp(x[:, 2])
        return np.column_stack([-np.expm1(-month), -np.expm1(-quarter), quarter, quarter])


def test_a_season_is_foreseen_before_it_was_seen() -> None:
    """Taught from February to September, it forecasts the last quarter within a tenth; with no season, .7 at most."""
    rng = np.random.default_rng(3)
    start, autumn = (datetime(2011, month, 1, tzinfo=UTC).timestamp() for month in (2, 10))
    known, unknown = Learner(NAMES, "f00d", HabitPrior()), Learner(NAMES, "f00d", HabitPrior())
    labels = []
    for i in range(8_000):
        horizon: Literal[30, 90] = 30 if i % 2 else 90
        matured = start + (autumn - start) * (i + 1) / 8_000
        at = np.array([matured - horizon * DAY_S])
        habit = float(rng.normal())
        x = (habit, *STEEP.ahead(at)[:, 0].tolist())
        n = int(rng.poisson(BASE_RATE * math.exp(0.5 * habit + (x[1] if horizon == 30 else x[2])) * horizon / 90))
        labels.append(Label(f"c{i}:0:{horizon}", 0.0, matured, horizon, "f00d", x, n > 0, n, float(n)))
    known.learn_many(labels)
    unknown.learn_many(
        [
            Label(each.label_id, 0.0, each.matured_at, each.horizon_days, "f00d", (each.features[0], 0.0, 0.0),
                  each.bought, each.purchases, each.spend)
            for each in labels
        ]
    )  # fmt: skip

    month, quarter = STEEP.ahead(np.array([autumn]))[:, 0].tolist()
    truth = BASE_RATE * math.exp(quarter)
    foreseen = known.predict_one((0.0, month, quarter))
    unforeseen = unknown.predict_one((0.0, 0.0, 0.0))

    assert foreseen[2] == pytest.approx(truth, rel=0.1)
    assert foreseen[3] == pytest.approx(truth, rel=0.1)
    assert foreseen[1] == pytest.approx(-math.expm1(-truth), abs=0.05)
    assert unforeseen[2] < 0.7 * truth
