"""The stored state of a customer: one value a key in the changelog and the local store.

Layout: 8 bytes, little-endian float64, the event time at which the state must be looked at again if nothing is heard
(`inf`: never), then msgpack of `CustomerState` as an array. The due time stands first so that a scan over a million
customers reads it without decoding them. New fields go to the end of a struct, with a default; a field's meaning never
changes. Times are epoch seconds; where `0.0` means "never", the count beside it is 0.
"""

import struct
from typing import NamedTuple

import msgspec
from msgspec import Struct

from schemas.positions import Incarnation

TEXT_DIM = 16
NEVER = float("inf")


class Spending(Struct, frozen=True, array_like=True, gc=False):
    """What a customer bought. Only numbers: `models.features` reads the struct as a row."""

    purchases: int = 0
    refunds: int = 0
    spend_minor: int = 0
    refunded_minor: int = 0
    first_purchase_at: float = 0.0
    last_purchase_at: float = 0.0
    last_amount_minor: int = 0
    largest_amount_minor: int = 0
    gap_days_squared: float = 0.0  # sum over consecutive purchases of (days between them)^2
    units: int = 0
    lines: int = 0
    coupons: int = 0
    # Decayed sums, see models.decay: purchases at 14, 60, 180 days; spend at 60, 180, 365; refunded at 180.
    count_14d: float = 0.0
    count_60d: float = 0.0
    count_180d: float = 0.0
    spend_60d: float = 0.0
    spend_180d: float = 0.0
    spend_365d: float = 0.0
    refunded_180d: float = 0.0


class Browsing(Struct, frozen=True, array_like=True, gc=False):
    """What a customer did in the shop. Only numbers."""

    clicks: int = 0
    sessions: int = 0
    session: int = 0  # hash of the session id that the latest click belonged to
    session_clicks: int = 0
    last_click_at: float = 0.0
    # Decayed counts, see models.decay.
    views_1d: float = 0.0
    views_14d: float = 0.0
    searches_1d: float = 0.0
    searches_14d: float = 0.0
    carts_1d: float = 0.0
    carts_14d: float = 0.0
    removals_14d: float = 0.0
    wishes_14d: float = 0.0
    checkouts_1d: float = 0.0
    checkouts_14d: float = 0.0
    sessions_14d: float = 0.0


class Voice(Struct, frozen=True, array_like=True, gc=False):
    """What a customer wrote, as numbers; the text itself is never stored."""

    reviews: int = 0
    supports: int = 0
    ratings: int = 0
    rating_sum: int = 0
    last_text_at: float = 0.0
    # Decayed sums at 60 days over reviews, support texts and searches whose text was read.
    weight_60d: float = 0.0
    sentiment_60d: float = 0.0
    text_60d: tuple[float, ...] = (0.0,) * TEXT_DIM


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

    # positions (schemas.positions) of the last applied record of clickstream, purchases, reviews
    offsets: tuple[int, int, int] = (-1, -1, -1)
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
    """What a partition knows beside its customers: how far event time has come per input topic, its policy, its topics."""

    times: tuple[float | None, float | None, float | None] = (None, None, None)
    ruled: int = 0  # the policy that it serves (models.policy.Policy.tag)
    ruled_at: float | None = None  # partition time when it took that policy: the moment as of which it counts
    incarnations: tuple[Incarnation, ...] = ()  # of each input topic, which one its customers' positions are of


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
