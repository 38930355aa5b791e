"""Laws of the stored state."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from histories import START_S, histories
from models.state import observe
from models.step import Heard
from models.stored import HEAD_DTYPE, PART_DTYPES
from schemas.groups import Spending
from schemas.states import CustomerState
from schemas.stored import BITS, decode_state, due_of, encode_state


def state_of(events: list[Heard]) -> CustomerState:
    """The state after events, in their order."""
    state: CustomerState | None = None
    for heard in events:
        state = observe(state, heard.topic, heard.offset, heard.event, heard.at, heard.reading) or state
    assert state is not None
    return state


@given(histories(), st.floats(allow_nan=False))
def test_a_state_of_the_first_layout_is_read(events: list[Heard], due: float) -> None:
    """Eight bytes of due time, then msgpack: what earlier releases wrote."""
    state = state_of(events)
    former = np.float64(due).tobytes() + msgspec.msgpack.encode(state)
    assert decode_state(former) == state
    assert due_of(former) == due
    assert decode_state(encode_state(state, due)) == state


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
