"""Laws of the stored state."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from following import Follower
from histories import START_S, click, histories, state_of
from models.dispatch import advance_stored
from models.policy import Rules, load
from models.scores import PriorScorer
from models.state import Erasure, erased
from models.step import Customer, Heard, Terms
from models.stored import HEAD_DTYPE, PART_DTYPES
from schemas.campaigns import CampaignMemory, CampaignState
from schemas.groups import Spending
from schemas.layout import LAYOUT, LAYOUT_AT
from schemas.states import CustomerState
from schemas.stored import BITS, Glance, decode_state, due_of, encode_state, glance
from schemas.times import DAY_S

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "state-layout-1.hex"


@given(histories(), st.floats(allow_nan=False))
def test_a_state_of_the_first_layout_is_read(events: list[Heard], due: float) -> None:
    """Eight bytes of due time, then msgpack: what earlier releases wrote."""
    state = state_of(events)
    former = np.float64(due).tobytes() + msgspec.msgpack.encode(state)
    assert decode_state(former) == state
    assert due_of(former) == due
    assert decode_state(encode_state(state, due)) == state


@given(histories(), st.floats(allow_nan=False))
def test_a_glance_sees_what_decoding_does(events: list[Heard], due: float) -> None:
    """In rows of either layout, with and without segments, a promise, campaigns; of a remainder, too."""
    following = Follower()
    following.take(events, events[-1].at + 40 * DAY_S)
    assert following.state is not None
    gone = erased(following.state, Erasure(events[-1].at + 50 * DAY_S))
    assert gone is not None
    campaigns = CampaignState(due, (CampaignMemory("hello", 3),))
    for state in (following.state, gone, replace(following.state, campaigns=campaigns)):
        places = tuple((dimension, held.segment) for dimension, held in state.segments.items())
        expected = Glance(due, state.ruled, state.is_erased, places)
        assert glance(encode_state(state, due)) == expected
        assert glance(np.float64(due).tobytes() + msgspec.msgpack.encode(state)) == expected


def test_a_state_that_the_release_before_wrote_is_read_and_stored_anew_when_touched() -> None:
    """Its very bytes: a view, a purchase, a review that was read, a refund; two exposures and a promise."""
    former = bytes.fromhex("".join(GOLDEN.read_text().split()))
    state = decode_state(former)
    assert due_of(former) == 1_301_728_000.0
    assert state.offsets == (2**48 + 5, 4, 1)
    assert state.segments == {"lifecycle": ("active", 1_300_003_600.0), "value": ("low", 1_300_000_000.0)}
    assert state.promise == (1_302_595_600.0, "lifecycle", "at_risk")
    assert (state.spend_minor, state.refunded_minor, state.clicks, state.reviews) == (1999, 500, 1, 1)
    assert [kept.at for kept in state.exposures] == [1_300_000_000.0, 1_300_864_000.0]
    assert [len(kept.features) % 2 for kept in state.exposures] == [0, 0]
    customer = Customer("c1", None, due_of(former), [click(2**48 + 6, START_S + 1_100_000)], value=former)
    terms = Terms(Rules(load()), PriorScorer(), START_S + 1_100_000)
    ((touched,),) = advance_stored([([customer], terms)])
    assert touched.value is not None
    assert touched.value[LAYOUT_AT] == LAYOUT
    assert decode_state(touched.value).clicks == 2
    assert decode_state(touched.value).spending == state.spending


@given(histories(), st.floats(allow_nan=False))
def test_numbers_that_are_all_zero_take_no_bytes(events: list[Heard], due: float) -> None:
    """A part of a group is there where a number of it isn't 0."""
    state = state_of(events)
    groups = np.frombuffer(encode_state(state, due)[: HEAD_DTYPE.itemsize], HEAD_DTYPE)["groups"][0]
    assert bool(groups & BITS["refunds"]) == (state.refunds > 0)
    browsing = state.browsing
    assert bool(groups & BITS["browsing"]) == (browsing is not None)
    assert bool(groups & BITS["seeking"]) == (
        browsing is not None and (browsing.searches_1d > 0 or browsing.wishes_14d > 0)
    )


@given(histories(), st.integers(1, 3))
def test_a_row_from_before_a_number_was_added_is_read(events: list[Heard], fewer: int) -> None:
    """Numbers are added at the end of a group; a row that was written without them gives their defaults."""
    state = state_of(events)
    if state.browsing is None:
        return
    value = encode_state(state, START_S)
    head = np.frombuffer(value[: HEAD_DTYPE.itemsize], HEAD_DTYPE).copy()
    end = HEAD_DTYPE.itemsize
    for name, dtype in PART_DTYPES.items():
        end += dtype.itemsize if head["groups"][0] & BITS[name] else 0
        if name == "browsing":
            break
    head["browsing"] -= fewer
    former = head.tobytes() + value[HEAD_DTYPE.itemsize : end - 8 * fewer] + value[end:]
    missing = dict.fromkeys((PART_DTYPES["browsing"].names or ())[-fewer:], 0.0)
    expected = msgspec.structs.replace(state, browsing=msgspec.structs.replace(state.browsing, **missing))
    assert decode_state(former) == expected


@pytest.mark.parametrize("number", [2**32, 2**62])
def test_a_number_that_does_not_fit_the_row_is_stored_nevertheless(number: int) -> None:
    """In the first layout, which has room for it."""
    state = CustomerState(spending=Spending(purchases=number))
    assert decode_state(encode_state(state, 0.0)) == state


def test_a_value_that_ends_too_early_is_no_state() -> None:
    """It is refused by the error that decoding documents."""
    value = encode_state(CustomerState(spending=Spending(purchases=1)), 0.0)
    for size in (9, 40, len(value) - 1):
        with pytest.raises(msgspec.DecodeError):
            decode_state(value[:size])
