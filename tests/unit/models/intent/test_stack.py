"""Laws of the stacked classifier and of the pipelines over sessions."""

import random
from collections.abc import Hashable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from river import base

from models.intent import StackedClassifier, of_pages, of_summaries
from models.intent.features import PAGES, SECONDS, codes_of_pages

SESSIONS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 900)), min_size=1, max_size=30)


class Says(base.Classifier):  # type: ignore[misc]
    """Says the number of one feature, and learns nothing."""

    def __init__(self, name: str) -> None:
        self.name = name

    def predict_proba_one(self, x: Mapping[Hashable, Any], **_: Any) -> dict[bool, float]:
        """As the feature says."""
        return {False: 1.0 - x[self.name], True: x[self.name]}

    def learn_one(self, x: Mapping[Hashable, Any], y: bool, **_: Any) -> None:
        """Nothing."""


class Remembers(base.Classifier):  # type: ignore[misc]
    """Knows by heart what it has learnt, and nothing else."""

    def __init__(self) -> None:
        self.known: dict[Any, bool] = {}

    def predict_proba_one(self, x: Mapping[Hashable, Any], **_: Any) -> dict[bool, float]:
        """Sure of what it knows; of all else it is as sure of a wrong answer."""
        p = float(self.known.get(x["id"], x["id"] % 2 == 0))
        return {False: 1.0 - p, True: p}

    def learn_one(self, x: Mapping[Hashable, Any], y: bool, **_: Any) -> None:
        """By heart."""
        self.known[x["id"]] = y


def test_a_member_that_only_remembers_is_given_no_weight() -> None:
    """It is weighed by what it said before it learnt."""
    rnd = random.Random(1)
    model = StackedClassifier({"knows": Says("hint"), "remembers": Remembers()})
    for number in range(1000):
        p = rnd.random()
        model.learn_one({"hint": p, "id": number}, rnd.random() < p)
    assert model.weights["knows"] == pytest.approx(1.0, abs=0.15)
    assert model.weights["remembers"] == pytest.approx(0.0, abs=0.05)


def test_it_begins_with_the_mean_of_the_log_odds() -> None:
    """Before anything was learnt no member is preferred."""
    model = StackedClassifier({"a": Says("a"), "b": Says("b")})
    assert model.predict_proba_one({"a": 0.8, "b": 0.2})[True] == pytest.approx(0.5)
    assert model.predict_proba_one({"a": 0.8, "b": 0.8})[True] == pytest.approx(0.8)


def test_a_forecast_comes_before_its_outcome() -> None:
    """Two streams that differ in their last outcome alone have the same forecasts."""
    rnd = random.Random(2)
    stream = [({PAGES: (rnd.randrange(4), rnd.randrange(4)), SECONDS: (0, 5)}, rnd.random() < 0.5) for _ in range(25)]

    def forecasts(outcomes: list[bool]) -> list[float]:
        model, found = of_pages(), []
        for (session, _), came in zip(stream, outcomes, strict=True):
            found.append(model.predict_proba_one(session)[True])
            model.learn_one(session, came)
        return found

    outcomes = [came for _, came in stream]
    assert forecasts(outcomes) == forecasts([*outcomes[:-1], not outcomes[-1]])


@given(SESSIONS)
def test_a_prefix_is_read_as_a_session_of_its_own(steps: list[tuple[int, int]]) -> None:
    """What comes later in a session changes nothing of what was read before."""
    pages = tuple(page for page, _ in steps)
    seconds = tuple(float(sum(gap for _, gap in steps[1 : index + 1])) for index in range(len(steps)))
    for depth in (1, len(pages)):
        session = {PAGES: pages[:depth], SECONDS: seconds[:depth]}
        codes = codes_of_pages(session)
        assert all(0.0 <= code < 20.0 for code in codes.values())
        assert sum(code for name, code in codes.items() if name.endswith("share")) == pytest.approx(1.0)
        assert codes == codes_of_pages({PAGES: list(pages[:depth]), SECONDS: list(seconds[:depth])})


def test_pages_of_any_name_are_learnt() -> None:
    """A type of page that was never seen joins; who buys after a cart is found out."""
    rnd, model = random.Random(3), of_pages()
    for _ in range(200):
        with_cart = rnd.random() < 0.5
        pages = ("home", rnd.choice(("shoes", "hats")), "cart" if with_cart else "help")
        model.learn_one({PAGES: pages, SECONDS: (0.0, 4.0, 30.0)}, with_cart and rnd.random() < 0.9)
    assert model.predict_proba_one({PAGES: ("home", "bags", "cart"), SECONDS: (0.0, 4.0, 30.0)})[True] > 0.7
    assert model.predict_proba_one({PAGES: ("home", "bags", "help"), SECONDS: (0.0, 4.0, 30.0)})[True] < 0.3


def _row(**changes: object) -> dict[str, Any]:
    kinds = ("administrative", "informational", "product_related")
    row: dict[str, Any] = dict.fromkeys((*kinds, *(f"{kind}_s" for kind in kinds), "special_day", "weekend"), 0.0)
    row |= {"bounce_rate": 0.02, "exit_rate": 0.05, "page_value": None, "month": "May", "visitor_type": "New"}
    return row | changes


def test_a_row_is_read_with_and_without_what_an_analytics_service_adds() -> None:
    """page_value may be absent, 0 or a number, and categories may be new."""
    rnd, model = random.Random(4), of_summaries(trees=3)
    for _ in range(200):
        worth = rnd.choice((0.0, 30.0))
        row = _row(page_value=worth, month=rnd.choice(("May", "Nov")), product_related=float(rnd.randrange(30)))
        model.learn_one(row, worth > 0)
    assert model.predict_proba_one(_row(page_value=30.0, month="Dec"))[True] > 0.8
    assert model.predict_proba_one(_row(page_value=0.0))[True] < 0.2
    assert 0.0 < of_summaries(trees=2).predict_proba_one(_row())[True] < 1.0
