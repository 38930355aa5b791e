"""Laws of the state export: a row a customer, every value as it was stored."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from models.state import Erasure, erased
from schemas.groups import Browsing, Spending, Voice
from schemas.states import NEVER, CustomerState, Held
from schemas.stored import encode_state
from streams.ops.export import SCHEMA, tables

TIMES = st.floats(0.0, 2e9)
COUNTS = st.integers(0, 2**40)
SPENDINGS = st.builds(
    Spending,
    purchases=st.integers(0, 5),
    refunds=COUNTS,
    spend_minor=COUNTS,
    refunded_minor=COUNTS,
    first_purchase_at=TIMES,
    last_purchase_at=TIMES,
)
STATES = st.builds(
    CustomerState,
    sequence=COUNTS,
    segments=st.dictionaries(
        st.sampled_from(["value", "lifecycle", "mood"]), st.builds(Held, st.text(max_size=5), TIMES)
    ),
    last_event_at=TIMES,
    spending=st.none() | SPENDINGS,
    browsing=st.none() | st.builds(Browsing, clicks=COUNTS),
    voice=st.none() | st.builds(Voice, reviews=COUNTS, supports=COUNTS),
)


def utc(at_s: float | None) -> datetime | None:
    """A moment as the file has it: microseconds, UTC."""
    return None if at_s is None else datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=round(at_s * 1e6))


@given(st.dictionaries(st.text(min_size=1, max_size=8), STATES, max_size=6))
def test_every_customer_is_one_row_with_the_stored_values(states: dict[str, CustomerState]) -> None:
    """What goes in as states comes out as rows, in the same order, whatever the pages."""
    values = [(customer.encode(), encode_state(state, NEVER)) for customer, state in sorted(states.items())]

    rows = [row for table in tables([values[:2], values[2:]]) for row in table.to_pylist()]

    assert rows == [
        {
            "customer_id": customer,
            "purchases": state.purchases,
            "refunds": state.refunds,
            "spend_minor": state.spend_minor,
            "refunded_minor": state.refunded_minor,
            "clicks": state.clicks,
            "reviews": state.reviews,
            "first_purchase_at": utc(state.first_purchase_at),
            "last_purchase_at": utc(state.last_purchase_at),
            "last_event_at": utc(state.last_event_at),
            "sequence": state.sequence,
            "segments": [(name, held.segment) for name, held in state.segments.items()],
        }
        for customer, state in sorted(states.items())
    ]


def test_columns_are_the_contracts() -> None:
    """Names, in the contract's order, after the customer."""
    assert SCHEMA.names == [
        "customer_id",
        "purchases",
        "refunds",
        "spend_minor",
        "refunded_minor",
        "clicks",
        "reviews",
        "first_purchase_at",
        "last_purchase_at",
        "last_event_at",
        "sequence",
        "segments",
    ]


def test_who_was_erased_has_no_row_until_heard_of_again() -> None:
    """A remainder is no customer."""
    gone = erased(CustomerState(sequence=3), Erasure(1.7e9))
    assert gone is not None
    back = replace(gone, first_event_at=1.8e9, last_event_at=1.8e9)
    values = [(b"a", encode_state(gone, NEVER)), (b"b", encode_state(back, NEVER))]
    assert [row["customer_id"] for table in tables([values]) for row in table.to_pylist()] == ["b"]


def test_no_customers_is_an_empty_list_of_tables() -> None:
    """A changelog without customers is no error."""
    assert list(tables([])) == []
