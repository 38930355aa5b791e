"""Laws of the prior's population: the literature's own figures, and what it learns from."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from models.features import rows
from models.learning.further import expected_purchases
from models.learning.population import PopulationFilter, bgnbd_chance, fit_bgnbd, log_likelihood
from models.scores import PUBLISHED, Population, PriorScorer, seasonal_days
from schemas.groups import Spending
from schemas.states import CustomerState
from schemas.times import DAY_S

CDNOW = Path(os.environ.get("REGULARS_SHARED", "../shared"), "data", "cdnow_sample.txt")


@pytest.mark.needs_shared
@pytest.mark.skipif(not CDNOW.exists(), reason="needs cdnow_sample.txt (REGULARS_SHARED names its folder's parent)")
def test_the_published_parameters_are_reproduced() -> None:
    """Fader, Hardie and Lee (2005), CDNOW, 39 weeks: r .243, alpha 4.414, a .793, b 2.426, log likelihood -9582.4."""
    lines = pd.read_csv(CDNOW, sep=r"\s+", header=None, dtype=str)
    bought = pd.DataFrame({"customer": lines[1], "day": pd.to_datetime(lines[2], format="%Y%m%d")}).drop_duplicates()
    end = pd.Timestamp("1997-09-30")
    seen = bought[bought.day <= end].groupby("customer").day.agg(["min", "max", "count"])
    x = seen["count"].to_numpy(float) - 1
    weeks = [(span.dt.days / 7).to_numpy(float) for span in (seen["max"] - seen["min"], end - seen["min"])]

    population, likelihood = fit_bgnbd(x, *weeks)

    assert [round(value, 3) for value in population[:4]] == [0.243, 4.414, 0.793, 2.426]
    assert round(likelihood, 1) == -9582.4
    assert PUBLISHED.alpha_days == pytest.approx(population.alpha_days * 7, abs=0.01)


def test_the_chance_of_a_purchase_is_that_of_simulated_customers() -> None:
    """Customers who buy at gamma rates and may leave after each purchase; their next month, by what is known of them."""
    rng, count, age, days = np.random.default_rng(3), 20_000, 90.0, 30.0
    truth = Population(0.8, 20.0, 1.0, 3.0, 30.0)
    rates, leaves = rng.gamma(truth.r, 1 / truth.alpha_days, count), rng.beta(truth.a, truth.b, count)
    x, t_x, now, came = (np.zeros(count) for _ in range(4))
    alive = np.ones(count, dtype=bool)
    while (alive & (now < age + days)).any():
        now = now + rng.exponential(1 / rates)
        before, within = alive & (now <= age), alive & (now > age) & (now <= age + days)
        x, t_x, came = x + before, np.where(before, now, t_x), came + within
        alive &= (now <= age + days) & (rng.random(count) >= leaves)
    chance = bgnbd_chance(truth, x, t_x, np.full(count, age), days)
    for group in (x == 0, (x > 0) & (t_x < 45), (x > 0) & (t_x >= 45)):
        error = 4 * np.sqrt(0.25 / group.sum())
        assert chance[group].mean() == pytest.approx((came[group] > 0).mean(), abs=error)


def test_a_handful_of_histories_have_a_finite_fit() -> None:
    """Where the likelihood rises without end, the parameters stop at their bounds."""
    population, likelihood = fit_bgnbd(np.array([0.0, 1.0]), np.array([0.0, 1.0]), np.array([3.0, 2.0]))
    assert np.isfinite([*population, likelihood]).all()


def buyers(count: int, rng: np.random.Generator, truth: Population) -> tuple[np.ndarray, np.ndarray]:
    """Features of customers a year old who buy at gamma rates and never leave, and purchases in the next 90 days."""
    rates = rng.gamma(truth.r, 1 / truth.alpha_days, size=count)
    repeats = rng.poisson(rates * 365)
    last = np.where(repeats > 0, 365 * rng.beta(np.maximum(repeats, 1), 1), 0.0)
    states = [
        CustomerState(
            landmark=0.0, last_event_at=t * DAY_S,
            spending=Spending(purchases=int(x) + 1, spend_minor=int(x + 1) * 5_000, last_purchase_at=t * DAY_S),
        )
        for x, t in zip(repeats.tolist(), last.tolist(), strict=True)
    ]  # fmt: skip
    return rows(states, [365 * DAY_S] * count), rng.poisson(rates * 90).astype(float)


def test_a_shop_unlike_the_published_one_is_met_within_weeks() -> None:
    """Where nobody leaves and everybody buys three times as often, 4,000 labels bring the level within 5 %."""
    rng, truth = np.random.default_rng(4), Population(r=1.2, alpha_days=60.0, a=0.0, b=1.0, mean_amount=50.0)
    told = PopulationFilter()
    for _ in range(20):
        x, n = buyers(200, rng, truth)
        told.learn_amounts(n, n * 50.0, 1.0)
        told.learn_habits(x, np.full(200, 90.0), n, 1.0, weight=1.0)
    x, n = buyers(4_000, rng, truth)

    scores = PriorScorer(told.population).score(x)

    assert scores[:, 2].sum() / n.sum() == pytest.approx(1.0, abs=0.05)
    assert scores[:, 3].sum() / n.sum() == pytest.approx(50.0, rel=0.05)
    assert abs(PriorScorer().score(x)[:, 2].sum() / n.sum() - 1) > 0.05


@pytest.mark.parametrize("amount", [1e3, 1e6, 1e12])
def test_one_mistyped_amount_hardly_moves_the_mean(amount: float) -> None:
    """After 5,000 purchases of 20 on average, one of any size moves the mean by less than a hundredth; a new price does."""
    told, n = PopulationFilter(), np.full(250, 1.0)
    for _ in range(20):
        told.learn_amounts(n, np.full(250, 20.0), 0.0)

    told.learn_amounts(np.ones(1), np.array([amount]), 0.0)

    assert told.population.mean_amount == pytest.approx(20.0, rel=0.01)
    for _ in range(20):
        told.learn_amounts(n, np.full(250, 60.0), 0.0)
    assert told.population.mean_amount == pytest.approx(40.0, rel=0.01)


def test_a_shop_that_gave_all_away_learns_that_it_sells() -> None:
    """A hundred purchases of nothing are no mean to cut by."""
    told = PopulationFilter()
    for amount in (0.0, 20.0):
        told.learn_amounts(np.ones(100), np.full(100, amount), 0.0)

    assert told.population.mean_amount == pytest.approx(10.0)


def test_forecasts_further_ahead_are_the_papers() -> None:
    """Fader, Hardie and Lee (2005), customer 0001 of CDNOW: x 2, t_x 30.43, T 38.86 weeks; 1.226 purchases in 39 weeks."""
    week = 7 * DAY_S
    spending = Spending(purchases=3, spend_minor=3_000, first_purchase_at=0.0, last_purchase_at=30.43 * week)
    x = rows([CustomerState(landmark=0.0, last_event_at=30.43 * week, spending=spending)], [38.86 * week])

    assert expected_purchases(PriorScorer(), x, 39 * 7)[0] == pytest.approx(1.226, abs=0.002)


def test_without_dropout_purchases_grow_with_the_days() -> None:
    """Where nobody leaves, twice as far ahead is twice as many; the season's 90 days are the prior's forecast."""
    prior = PriorScorer(Population(r=1.2, alpha_days=60.0, a=1e-9, b=1.0, mean_amount=50.0))
    x, _ = buyers(50, np.random.default_rng(4), prior.population._replace(a=0.0))

    near, far = expected_purchases(prior, x, 90.0), expected_purchases(prior, x, 180.0)

    np.testing.assert_allclose(far, 2 * near, rtol=1e-5)
    quarter = expected_purchases(prior, x, seasonal_days(x, 90))
    np.testing.assert_allclose(quarter, prior.score(x)[:, 2], rtol=1e-5)


def test_it_comes_back_from_its_array() -> None:
    """What a snapshot holds of it is all of it."""
    told = PopulationFilter()
    x, n = buyers(100, np.random.default_rng(4), PUBLISHED)
    told.learn_amounts(n, n * 9.0, 0.0)
    told.learn_habits(x, np.full(100, 30.0), n, 0.0, weight=1.0)

    assert PopulationFilter.from_array(told.to_array()).population == told.population
    assert PopulationFilter().population == pytest.approx(PUBLISHED)


def test_a_likelihood_is_one_over_all_outcomes() -> None:
    """The probabilities of 0, 1, 2, ... purchases add up to 1."""
    x, _ = buyers(5, np.random.default_rng(4), Population(a=0.8, b=2.4))
    total = sum(np.exp(log_likelihood(PriorScorer(), x, np.full(5, 90.0), np.full(5, float(n)))) for n in range(400))

    np.testing.assert_allclose(total, 1.0, atol=1e-6)
