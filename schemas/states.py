"""The stored state of a customer: one value a key in the changelog and the local store.

Layout: 8 bytes, little-endian float64, the event time at which the state must be looked at again if nothing is heard
(`inf`: never), then msgpack of `CustomerState` as an array. The due time stands first so that a scan over a million
customers reads it without decoding them. New fields go to the end of a struct, with a default; a field's meaning never
changes. Times are epoch seconds; where `0.0` means "never", the count beside it is 0.
"""

import struct
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Struct

from schemas.numbers import (
    BOUGHT,
    CLICKED,
    READ,
    RETURNED,
    WIDE,
    WROTE,
    Adds,
    Decays,
    Earliest,
    Flow,
    Largest,
    Latest,
    Number,
    OfLatest,
    Session,
    SquaredGaps,
    Streak,
    numbers_of,
)

TEXT_DIM = 16
NEVER = float("inf")


# What decayed sums sum. Another half-life is one more line in a group below.
_PURCHASES = Flow(BOUGHT, "one", "number of purchases", "purchases")
_SPEND = Flow(BOUGHT, "amount", "spend", "spend", money=True)
_REFUNDED = Flow(RETURNED, "amount", "refunds, in units of currency", "refunds", money=True)
_VIEWS = Flow(("view",), "one", "product views", "product views")
_SEARCHES = Flow(("search",), "one", "searches", "searches")
_CARTS = Flow(("add_to_cart",), "one", "additions to the cart", "cart additions", actionable=True)
_REMOVALS = Flow(("remove_from_cart",), "one", "removals from the cart", "cart removals")
_WISHES = Flow(("wishlist",), "one", "additions to the wish list", "wishes", actionable=True)
_CHECKOUTS = Flow(("checkout",), "one", "checkouts begun", "checkouts begun", actionable=True)
_SESSIONS = Flow(CLICKED, "new_session", "sessions", "sessions")
_TEXTS, _SENTIMENT, _VECTORS = Flow(READ), Flow(READ, "sentiment"), Flow(READ, "vector")


class Spending(Struct, frozen=True, array_like=True, gc=False):
    """What a customer bought."""

    purchases: Annotated[int, Adds(BOUGHT)] = 0
    refunds: Annotated[int, Adds(RETURNED)] = 0
    spend_minor: Annotated[int, Adds(BOUGHT, "amount"), WIDE] = 0
    refunded_minor: Annotated[int, Adds(RETURNED, "amount"), WIDE] = 0
    first_purchase_at: Annotated[float, Earliest(BOUGHT)] = 0.0
    last_purchase_at: Annotated[float, Latest(BOUGHT)] = 0.0
    last_amount_minor: Annotated[int, OfLatest(BOUGHT, "amount", "last_purchase_at"), WIDE] = 0
    largest_amount_minor: Annotated[int, Largest(BOUGHT, "amount"), WIDE] = 0
    gap_days_squared: Annotated[float, SquaredGaps(BOUGHT, "last_purchase_at")] = 0.0
    units: Annotated[int, Adds(BOUGHT, "units"), WIDE] = 0
    lines: Annotated[int, Adds(BOUGHT, "lines")] = 0
    coupons: Annotated[int, Adds(BOUGHT, "coupon")] = 0
    count_14d: Annotated[float, Decays(14, _PURCHASES)] = 0.0
    count_60d: Annotated[float, Decays(60, _PURCHASES)] = 0.0
    count_180d: Annotated[float, Decays(180, _PURCHASES)] = 0.0
    spend_60d: Annotated[float, Decays(60, _SPEND)] = 0.0
    spend_180d: Annotated[float, Decays(180, _SPEND)] = 0.0
    spend_365d: Annotated[float, Decays(365, _SPEND)] = 0.0
    refunded_180d: Annotated[float, Decays(180, _REFUNDED)] = 0.0


class Browsing(Struct, frozen=True, array_like=True, gc=False):
    """What a customer did in the shop."""

    clicks: Annotated[int, Adds(CLICKED)] = 0
    sessions: Annotated[int, Adds(CLICKED, "new_session")] = 0
    session: Annotated[int, Session(CLICKED), WIDE] = 0  # 48 bits of a hash of its id
    session_clicks: Annotated[int, Streak(CLICKED)] = 0
    last_click_at: Annotated[float, Latest(CLICKED)] = 0.0
    views_1d: Annotated[float, Decays(1, _VIEWS)] = 0.0
    views_14d: Annotated[float, Decays(14, _VIEWS)] = 0.0
    searches_1d: Annotated[float, Decays(1, _SEARCHES)] = 0.0
    searches_14d: Annotated[float, Decays(14, _SEARCHES)] = 0.0
    carts_1d: Annotated[float, Decays(1, _CARTS)] = 0.0
    carts_14d: Annotated[float, Decays(14, _CARTS)] = 0.0
    removals_14d: Annotated[float, Decays(14, _REMOVALS)] = 0.0
    wishes_14d: Annotated[float, Decays(14, _WISHES)] = 0.0
    checkouts_1d: Annotated[float, Decays(1, _CHECKOUTS)] = 0.0
    checkouts_14d: Annotated[float, Decays(14, _CHECKOUTS)] = 0.0
    sessions_14d: Annotated[float, Decays(14, _SESSIONS)] = 0.0


class Voice(Struct, frozen=True, array_like=True, gc=False):
    """What a customer wrote, as numbers; the text itself is never stored.

    The decayed sums are over reviews, support texts and searches whose text was read.
    """

    reviews: Annotated[int, Adds(("review",))] = 0
    supports: Annotated[int, Adds(("support",))] = 0
    ratings: Annotated[int, Adds(WROTE, "rated")] = 0
    rating_sum: Annotated[int, Adds(WROTE, "rating")] = 0
    last_text_at: Annotated[float, Latest(WROTE)] = 0.0
    weight_60d: Annotated[float, Decays(60, _TEXTS)] = 0.0
    sentiment_60d: Annotated[float, Decays(60, _SENTIMENT)] = 0.0
    text_60d: Annotated[tuple[float, ...], Decays(60, _VECTORS)] = (0.0,) * TEXT_DIM


#: The groups of a state's numbers, by its field that holds each.
GROUPS: dict[str, tuple[Number, ...]] = {
    "spending": numbers_of(Spending),
    "browsing": numbers_of(Browsing),
    "voice": numbers_of(Voice),
}


class Held(NamedTuple):
    """A customer's place in one dimension."""

    segment: str
    since: float


class Promise(NamedTuple):
    """What happens at `at` if nothing more is heard: `dimension` becomes `segment`."""

    at: float
    dimension: str
    segment: str


class Exposure(Struct, frozen=True, array_like=True, gc=False):
    """Features kept at a moment until what the customer did next is known."""

    at: float
    features: bytes  # float16, in the order of models.features.NAMES; zeros at the end are left out
    purchases: int  # heard so far, and those heard later whose time isn't after `at`: what came next counts from here
    spend_minor: int
    half: bool = False  # the 30-day label has matured, the 90-day one has not
    feature_set: str = ""


class CustomerState(Struct, frozen=True, array_like=True, gc=False):
    """All that is known of a customer.

    Of who was erased and not heard of since a remainder is kept (`models.state.erased`): a state in which nobody is.
    """

    offsets: tuple[int, int, int] = (-1, -1, -1)  # last applied record of clickstream, purchases, reviews
    sequence: int = 0
    segments: dict[str, Held] = {}
    first_event_at: float = 0.0
    last_event_at: float = 0.0
    as_of: float = 0.0  # the latest moment at which segments were judged; never goes back
    landmark: float = 0.0  # origin of the decayed sums
    spending: Spending | None = None
    browsing: Browsing | None = None
    voice: Voice | None = None
    seen: tuple[bytes, bytes, bytes] = (b"", b"", b"")  # 8-byte hashes of the latest event ids, a topic each
    scores: tuple[float, ...] = ()
    promise: Promise | None = None
    exposures: tuple[Exposure, ...] = ()
    ruled: int = 0  # which policy it was judged by last (models.policy.Policy.tag); 0: written before this was kept
    erased_at: float | None = None  # no event up to this moment counts; None: never erased

    @property
    def is_erased(self) -> bool:
        """Whether it is the remainder of an erased customer of whom nothing has been heard since."""
        return self.first_event_at == NEVER

    @property
    def purchases(self) -> int:
        """Number of purchases."""
        return 0 if self.spending is None else self.spending.purchases

    @property
    def refunds(self) -> int:
        """Number of refunds."""
        return 0 if self.spending is None else self.spending.refunds

    @property
    def spend_minor(self) -> int:
        """Gross sum of purchases, in minor units."""
        return 0 if self.spending is None else self.spending.spend_minor

    @property
    def refunded_minor(self) -> int:
        """Sum of refunds, in minor units."""
        return 0 if self.spending is None else self.spending.refunded_minor

    @property
    def clicks(self) -> int:
        """Number of clickstream events."""
        return 0 if self.browsing is None else self.browsing.clicks

    @property
    def reviews(self) -> int:
        """Number of reviews and support texts."""
        return 0 if self.voice is None else self.voice.reviews + self.voice.supports

    @property
    def first_purchase_at(self) -> float | None:
        """Epoch seconds, or None: never bought."""
        return self.spending.first_purchase_at if self.spending is not None and self.spending.purchases else None

    @property
    def last_purchase_at(self) -> float | None:
        """Epoch seconds, or None: never bought."""
        return self.spending.last_purchase_at if self.spending is not None and self.spending.purchases else None


class PartitionState(Struct, frozen=True, array_like=True, gc=False):
    """What a partition knows beside its customers: how far each input topic's event time has come, and its policy."""

    times: tuple[float | None, float | None, float | None] = (None, None, None)
    ruled: int = 0  # the policy that it serves (models.policy.Policy.tag)
    ruled_at: float | None = None  # partition time when it took that policy: the moment as of which it counts


# 0xff never occurs in UTF-8, so no customer has this key.
PARTITION_KEY = b"\xff\x01partition"

_due = struct.Struct("<d")
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(CustomerState)
_partition_decoder = msgspec.msgpack.Decoder(PartitionState)


def encode_state(state: CustomerState, due: float) -> bytes:
    """The stored value of `state`, to be looked at again at `due` (epoch seconds; `NEVER`)."""
    return _due.pack(due) + _encoder.encode(state)


def decode_state(value: bytes) -> CustomerState:
    """Raises msgspec.DecodeError where `value` is no stored state."""
    return _decoder.decode(memoryview(value)[_due.size :])


def due_of(value: bytes) -> float:
    """When the stored state must be looked at again, without decoding it."""
    due: float = _due.unpack_from(value)[0]
    return due


def encode_partition(state: PartitionState) -> bytes:
    """The stored value of a partition's own state."""
    return _encoder.encode(state)


def decode_partition(value: bytes) -> PartitionState:
    """Raises msgspec.DecodeError where `value` is no partition state."""
    return _partition_decoder.decode(value)
