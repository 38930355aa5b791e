"""Laws of the features: finite, the same alone and among others, and documented one by one."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from histories import START_S, histories, purchase, review, state_of
from models.featuredocs import document
from models.features import COLUMN, FEATURES, NAMES, Row, Shop, columns, exposed, exposure, in_silence, matrix, rows
from models.scores import P_30, P_90, PriorScorer
from models.season import Season
from models.step import Heard
from schemas.groups import Browsing, Spending
from schemas.learning import FEATURE_LIMIT
from schemas.states import CustomerState
from schemas.stored import decode_state, due_of, encode_state
from schemas.times import DAY_S


@given(histories(), st.floats(0, 4000))
def test_features_are_finite_at_any_moment(events: list[Heard], days: float) -> None:
    """Whatever the history and however long the silence, every feature is a number that a label can hold.

    Also at moments before the latest event: silence that is judged late, when clicks after it are known.
    """
    x = rows([state_of(events)], [START_S + days * DAY_S])
    assert np.isfinite(x).all()
    assert np.abs(x).max() <= FEATURE_LIMIT
    assert x.shape == (1, len(NAMES))


@given(st.lists(histories(most=4), min_size=1, max_size=4), st.integers(250, 260))
def test_a_row_is_the_same_alone_and_among_many(shop: list[list[Heard]], copies: int) -> None:
    """Blocks and batches change nothing, to the bit."""
    states = [state_of(events) for events in shop]
    many = rows(states * copies, [START_S + 400 * DAY_S] * len(states) * copies)
    for i, state in enumerate(states):
        assert (rows([state], [START_S + 400 * DAY_S])[0] == many[i]).all()


@given(
    st.lists(histories(most=4), min_size=1, max_size=300),
    st.lists(st.floats(0, 4000), min_size=1, max_size=9),
    st.floats(0, 4000),
)
def test_in_silence_only_time_goes_on(shop: list[list[Heard]], days: list[float], known_days: float) -> None:
    """What is computed from a known row and for later moments is what these moments' own rows are, to the bit."""
    states = [state_of(events) for events in shop]
    at = START_S + DAY_S * np.array([days] * len(states))
    now: list[Row] = [(START_S + known_days * DAY_S, state) for state in states]
    later: list[Row] = [(float(moment), state) for state, own in zip(states, at, strict=True) for moment in own]
    assert (in_silence(columns(now), matrix(now), at) == matrix(later)).all()


def test_every_feature_is_documented() -> None:
    """docs/features.md is what the code says, feature by feature; `make docs` writes it."""
    assert Path("docs/features.md").read_text(encoding="utf-8") == document()
    assert len(set(NAMES)) == len(NAMES)
    assert all(feature.meaning for feature in FEATURES)


def test_recency_frequency_and_monetary_are_what_they_say() -> None:
    """Two purchases, 10 days apart, looked at 5 days later: the numbers by hand."""
    state = state_of([purchase(0, START_S, 1000), purchase(1, START_S + 10 * DAY_S, 3000)])
    x = rows([state], [START_S + 15 * DAY_S])[0]
    expected = {
        "purchases": 2,
        "recency_days": 5,
        "customer_days": 15,
        "repeat_span_days": 10,
        "monetary": 20,
        "spend": 40,
        "last_amount": 30,
        "largest_amount": 30,
        "gap_days": 10,
        "count_14d": 2 ** (-15 / 14) + 2 ** (-5 / 14),
        "spend_60d": 10 * 2 ** (-15 / 60) + 30 * 2 ** (-5 / 60),
    }
    for name, value in expected.items():
        assert np.expm1(x[COLUMN[name]]) == pytest.approx(value), name


@given(histories())
def test_stored_states_come_back_as_they_were(events: list[Heard]) -> None:
    """Encoding and decoding is the identity, and the due time is read without decoding."""
    state = state_of(events)
    value = encode_state(state, 12.5)
    assert decode_state(value) == state
    assert due_of(value) == 12.5


@given(histories())
def test_an_exposure_keeps_the_features_to_half_precision(events: list[Heard]) -> None:
    """What a label says of its moment is within 0.1 % of the features of that moment."""
    state = state_of(events)
    x = rows([state], [START_S + 100 * DAY_S])[0]
    kept = np.array(exposed(exposure(state, START_S, x)))
    assert kept == pytest.approx(x, rel=1e-3, abs=1e-3)


@given(st.floats(0, 1e9), st.floats(0, 1e9))
def test_half_precision_holds_any_cart(carts: float, views: float) -> None:
    """However much is put in a cart, and looked at or not, the features of a label are finite."""
    browsing = Browsing(clicks=1, last_click_at=START_S, carts_14d=carts, views_14d=views)
    state = CustomerState(first_event_at=START_S, last_event_at=START_S, landmark=START_S, browsing=browsing)
    x = rows([state], [START_S])[0]
    assert np.array(exposed(exposure(state, START_S, x))) == pytest.approx(x, rel=1e-3, abs=1e-3)


@given(st.integers(1, 10_000), st.floats(0, 900), st.floats(0, 20))
def test_half_precision_is_enough_for_the_prior(purchases: int, span_days: float, gaps: float) -> None:
    """A label's features give the probabilities that were served within .02, however many purchases there were."""
    first, last = START_S, START_S + span_days * DAY_S * (purchases > 1)
    spending = Spending(
        purchases=purchases, spend_minor=100 * purchases, first_purchase_at=first, last_purchase_at=last
    )
    state = CustomerState(first_event_at=first, last_event_at=last, landmark=first, spending=spending)
    at = last + gaps * (30 + span_days) / purchases * DAY_S
    x = rows([state], [at])
    kept = np.array([exposed(exposure(state, at, x[0]))])
    served, learnt = PriorScorer().score(x)[0], PriorScorer().score(kept)[0]
    assert learnt[[P_30, P_90]] == pytest.approx(served[[P_30, P_90]], abs=0.02)


def test_the_texts_of_a_customer_move_the_prior() -> None:
    """Contentment raises what is expected of a buyer, anger lowers it."""
    bought = [purchase(0, START_S)]
    at = [START_S + DAY_S]
    scores = [
        PriorScorer().score(rows([state_of([*bought, review(0, START_S + 10, sentiment=s)])], at))[0]
        for s in (-1.0, 0.0, 1.0)
    ]
    assert (scores[0] < scores[1]).all()
    assert (scores[1] < scores[2]).all()


@given(histories(), st.floats(0, 1000), st.floats(0, 1000))
def test_the_prior_expects_less_the_longer_a_buyer_is_silent(events: list[Heard], one: float, other: float) -> None:
    """For who bought and wrote nothing, every score falls or stays as silence goes on, in a year without seasons."""
    state = state_of([heard for heard in events if heard.reading is None] or [purchase(0, START_S)])
    sooner, later = sorted((one, other))
    last = state.last_event_at
    x = rows([state, state], [last + sooner * DAY_S, last + later * DAY_S], Shop(100, Season([1.0] * 12)))
    scores = PriorScorer().score(x)
    assert (scores[1] <= scores[0] * (1 + 1e-9) + 1e-12).all()
