"""Histories for the laws of the core: a few customers' events, as hypothesis strategies."""

from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from models.state import CLICK, PURCHASE, REVIEW, Reading, observe
from models.step import Heard
from schemas.events import Click, Item, Purchase, Review
from schemas.groups import TEXT_DIM
from schemas.states import CustomerState
from schemas.times import DAY_S

START_S = 1_300_000_000.0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def at_time(at: float) -> datetime:
    """`at` (epoch seconds) as the decoder gives it."""
    return _EPOCH + timedelta(seconds=at)


def click(offset: int, at: float, kind: str = "view", event_id: str | None = None, session: str = "s1") -> Heard:
    """A click at `at`."""
    event = Click(event_id or f"c{offset}", "someone", at_time(at), kind, session)  # type: ignore[arg-type]
    return Heard(CLICK, "clickstream", 3, offset, at, event)


def purchase(offset: int, at: float, amount: int = 1000, kind: str = "purchase", event_id: str | None = None) -> Heard:
    """A purchase or refund at `at`."""
    event = Purchase(
        event_id or f"p{offset}", "someone", at_time(at), kind, "o", amount, "GBP", (Item("x", 2, amount // 2),)
    )  # type: ignore[arg-type]
    return Heard(PURCHASE, "purchases", 3, offset, at, event)


def review(
    offset: int, at: float, rating: int | None = 4, sentiment: float = 0.5, event_id: str | None = None
) -> Heard:
    """A review at `at`, already read."""
    event = Review(event_id or f"r{offset}", "someone", at_time(at), "review", "text", rating)
    return Heard(REVIEW, "reviews", 3, offset, at, event, Reading((0.1,) * TEXT_DIM, sentiment))


@st.composite
def histories(draw: st.DrawFn, most: int = 12, days: int = 300) -> list[Heard]:
    """Events of one customer by time, to the second, and topic; offsets rise in each topic."""
    moments = draw(
        st.lists(
            st.tuples(st.integers(0, days * int(DAY_S)), st.sampled_from([CLICK, CLICK, PURCHASE, PURCHASE, REVIEW])),
            min_size=1,
            max_size=most,
        )
    )
    offsets = [0, 0, 0]
    events = []
    for second, topic in sorted(moments):
        at = START_S + second
        offset = offsets[topic]
        offsets[topic] += draw(st.integers(1, 3))
        if topic == CLICK:
            kind = draw(st.sampled_from(["view", "search", "add_to_cart", "remove_from_cart", "wishlist", "checkout"]))
            events.append(click(offset, at, kind, session=draw(st.sampled_from(["s1", "s2"]))))
        elif topic == PURCHASE:
            kind = draw(st.sampled_from(["purchase", "purchase", "purchase", "refund"]))
            events.append(purchase(offset, at, draw(st.integers(1, 200_000)), kind))
        else:
            events.append(
                review(offset, at, draw(st.sampled_from([None, 1, 3, 5])), draw(st.floats(-1, 1, allow_nan=False)))
            )
    return events


def state_of(events: list[Heard]) -> CustomerState:
    """The state after events, in their order."""
    state: CustomerState | None = None
    for heard in events:
        state = observe(state, heard.topic, heard.offset, heard.event, heard.at, heard.reading) or state
    assert state is not None
    return state
