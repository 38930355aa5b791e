"""Laws of what is kept of one customer over many visits."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.affinities import CAPACITY, KINDS
from models.intent import of_shoppers
from models.intent.shopper import GROUPS, Shopper

CLICK, PURCHASE = KINDS.index("click"), KINDS.index("purchase")
EVENTS = st.lists(st.tuples(st.integers(0, 300), st.integers(0, len(KINDS) - 1), st.integers(0, 60)), max_size=80)


def _of(events: list[tuple[int, int, int]]) -> Shopper:
    shopper = Shopper(0)
    for day, kind, brand in sorted(events, key=lambda event: event[0]):
        shopper.observe(day, kind, brand)
    return shopper


@given(EVENTS)
@settings(max_examples=50)
def test_features_are_finite_and_the_same_by_name_for_everybody(events: list[tuple[int, int, int]]) -> None:
    """Each belongs to a group, and what is kept does not grow with events."""
    shopper = _of(events)
    features = shopper.features(301)
    assert features.keys() == Shopper(0).features(301).keys()
    assert {name.split(":")[0] for name in features} == set(GROUPS)
    assert all(math.isfinite(number) and abs(number) < 20 for number in features.values())
    assert len(shopper.affinities.items) <= CAPACITY


@given(EVENTS)
@settings(max_examples=50)
def test_features_of_purchases_know_nothing_of_clicks(events: list[tuple[int, int, int]]) -> None:
    """So that `without` is without."""
    bought = [event for event in events if event[1] == PURCHASE]
    both = [_of(each).features(301) for each in (events, bought)]
    for name, number in both[0].items():
        if name.startswith("purchases:"):
            assert number == pytest.approx(both[1][name])


def test_a_fresh_click_counts_more_than_an_old_one() -> None:
    """And after its half-life it counts half."""
    events = [(0, PURCHASE, 1), (400, CLICK, 1)]
    for days, left in ((0, 1.0), (4, 0.5), (8, 0.25)):
        count = math.expm1(_of(events).features(400 + days)["clicks: clicks, 4 d"])
        assert count == pytest.approx(left)


def test_a_habit_looks_the_same_whether_known_for_weeks_or_for_months() -> None:
    """One click a day is about one click a day."""
    habits = [_of([(day, CLICK, 1) for day in range(days)]).features(days) for days in (21, 300)]
    counts = [math.expm1(habit["clicks: clicks, 45 d"]) for habit in habits]
    assert counts[0] == pytest.approx(counts[1], rel=0.25)


def test_purchase_days_count_days_and_not_items() -> None:
    """Three items of a day are one purchase."""
    shopper = _of([(3, PURCHASE, 1), (3, PURCHASE, 2), (3, PURCHASE, 3), (8, PURCHASE, 1)])
    assert (shopper.purchase_days, shopper.first_purchase_day, shopper.last_purchase_day) == (2, 3, 8)


def test_a_number_that_hardly_varies_breaks_no_pipeline() -> None:
    """River's scaler alone finds a variance below 0 here."""
    model, rng = of_shoppers(), np.random.default_rng(0)
    for size in (20, 20, 20, 7, 20) * 8:
        table = pd.DataFrame({"same": np.full(size, math.log1p(1 / 3)), "varies": rng.normal(size=size)})
        model.learn_many(table, table["varies"] > 0)
    chances = model.predict_proba_many(table)[True]
    assert np.isfinite(chances).all()
    assert chances[table["varies"] > 0].min() > chances[table["varies"] <= 0].max()
