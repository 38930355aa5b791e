"""The state of a customer: one value a key in the changelog and the local store, laid out as `schemas.layout` says.

New fields go to the end of a struct, with a default; a field's meaning never changes. Times are epoch seconds; where `0.0`
means "never", the count beside it is 0.
"""

import struct
from collections.abc import Sequence
from functools import cache
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Struct
from msgspec.structs import astuple

from schemas.layout import ERASED, HEAD, LAYOUT, LAYOUT_AT, SCORED, Field, fields_of, packer
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
from schemas.positions import Incarnation
from schemas.times import DAY_S

TEXT_DIM = 16
NEVER = float("inf")

# A label matures at a moment computed by another sum; a millisecond covers the rounding.
THIRTY_S = 30 * DAY_S - 0.001
NINETY_S = 90 * DAY_S - 0.001


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


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(CustomerState)
_partition_decoder = msgspec.msgpack.Decoder(PartitionState)
_names = msgspec.msgpack.Decoder(list[str])
_exposures = msgspec.msgpack.Decoder(tuple[Exposure, ...])

_due = struct.Struct("<d")
_head = packer(HEAD)

#: The fixed-width parts behind the head, in their order: name, fields. The bit of the i-th is 1 << i.
PARTS: tuple[tuple[str, tuple[Field, ...]], ...] = (
    ("scores", SCORED),
    *((group, fields_of(numbers)) for group, numbers in GROUPS.items()),
    ("text", tuple((f"text_{i}", "<f8") for i in range(TEXT_DIM))),
    ("erased", ERASED),
)
BITS: dict[str, int] = {name: 1 << i for i, (name, _) in enumerate(PARTS)}
_packers = {name: packer(fields) for name, fields in PARTS}
_NO_TEXT = (0.0,) * TEXT_DIM
_GROUPS_AT = LAYOUT_AT + 1
#: How many numbers each group has; where the head of a row says how many it had.
FIELDS = tuple(len(fields_of(numbers)) for numbers in GROUPS.values())
_FIELDS_AT = packer(HEAD[: [name for name, _ in HEAD].index("spending")]).size
_SCALARS = [i for i, number in enumerate(GROUPS["voice"]) if number.dtype]
_VOICE_NAMES = [number.name for number in GROUPS["voice"] if number.dtype]


def encode_state(state: CustomerState, due: float) -> bytes:
    """The stored value of `state`, to be looked at again at `due` (epoch seconds; `NEVER`)."""
    try:
        return _row(state, due)
    except struct.error:  # a number that doesn't fit its place
        return _due.pack(due) + _encoder.encode(state)


def _row(state: CustomerState, due: float) -> bytes:
    seen, spending, browsing, voice = state.seen, state.spending, state.browsing, state.voice
    groups, parts = 0, []
    for name, row in (
        ("scores", state.scores),
        ("spending", spending and astuple(spending)),
        ("browsing", browsing and astuple(browsing)),
        ("voice", voice and _scalars(astuple(voice))),
        ("text", voice and voice.text_60d if voice is None or voice.text_60d != _NO_TEXT else None),
        ("erased", None if state.erased_at is None else (state.erased_at,)),
    ):
        if row:
            groups |= BITS[name]
            parts.append(_packers[name].pack(*row))
    promised = b""
    if state.promise is not None:
        promised = encode_names(state.promise[1:])
        parts += [_due.pack(state.promise.at), promised]
    names = encode_names([name for dimension, held in state.segments.items() for name in (dimension, held.segment)])
    parts += [names, *(_due.pack(held.since) for held in state.segments.values()), *seen]
    parts += map(_encoder.encode, state.exposures)
    exposures = state.exposures
    head = _head.pack(
        due,
        LAYOUT,
        groups,
        *(len(ids) // 8 for ids in seen),
        len(promised),
        len(state.segments),
        len(exposures),
        *FIELDS,
        len(names),
        *state.offsets,
        state.sequence,
        state.ruled,
        state.first_event_at,
        state.last_event_at,
        state.as_of,
        state.landmark,
        ripe_at(exposures),
        exposures[-1].at if exposures else -NEVER,
    )
    return b"".join((head, *parts))


def encode_names(names: Sequence[str]) -> bytes:
    """Names as they are stored: of segments dimension, segment, ...; of a promise its two."""
    return _encoder.encode(names)


def names_in(stored: bytes) -> list[str]:
    """The inverse of `encode_names`."""
    return _names.decode(stored)


def exposures_in(stored: bytes, count: int) -> tuple[Exposure, ...]:
    """The exposures in the last part of a stored state."""
    return _exposures.decode(b"\xdc" + count.to_bytes(2) + stored)


def encode_exposure(exposure: Exposure) -> bytes:
    """One exposure as it is stored."""
    return _encoder.encode(exposure)


def decode_state(value: bytes) -> CustomerState:
    """Raises msgspec.DecodeError where `value` is no stored state."""
    if len(value) <= LAYOUT_AT or value[LAYOUT_AT] != LAYOUT:
        return _decoder.decode(memoryview(value)[LAYOUT_AT:])
    try:
        return _state(value)
    except (struct.error, IndexError, ValueError) as exc:
        raise msgspec.DecodeError(f"a stored state of {len(value)} bytes ends too early") from exc


def _scalars(numbers: tuple[Any, ...]) -> tuple[float, ...]:
    return tuple([numbers[i] for i in _SCALARS])


def _voice(parts: dict[str, tuple[Any, ...]]) -> Voice:
    named = dict(zip(_VOICE_NAMES, parts["voice"], strict=False))
    return Voice(**named, text_60d=parts.get("text", _NO_TEXT))


@cache
def _fixed(groups: int, fields: bytes) -> tuple[struct.Struct, dict[str, slice]]:
    """Reads head and parts of a row at once; where each part's numbers are.

    Args:
        groups: the bits of the head.
        fields: how many numbers each group has in this row.
    """
    row, places, counts = list(HEAD), {}, dict(zip(GROUPS, fields, strict=True))
    for name, part in PARTS:
        if groups & BITS[name]:
            there = part[: counts.get(name)]
            places[name] = slice(len(row), len(row) + len(there))
            row += there
    return packer(tuple(row)), places


def _state(value: bytes) -> CustomerState:
    fixed, places = _fixed(value[_GROUPS_AT], value[_FIELDS_AT : _FIELDS_AT + len(FIELDS)])
    row = fixed.unpack_from(value)
    counts, exposures, names_size = row[3:8], row[8], row[12]
    sequence, ruled, first, last, as_of, landmark = row[16:22]
    parts = {name: row[place] for name, place in places.items()}
    at = fixed.size
    promise = None
    if counts[3]:
        (promised_at,) = _due.unpack_from(value, at)
        at += _due.size
        promise = Promise(promised_at, *names_in(value[at : at + counts[3]]))
        at += counts[3]
    names = names_in(value[at : at + names_size])
    at += names_size
    since = struct.unpack_from(f"<{counts[4]}d", value, at)
    at += 8 * counts[4]
    seen = []
    for count in counts[:3]:
        seen.append(value[at : at + 8 * count])
        at += 8 * count
    return CustomerState(
        row[13:16],
        sequence,
        {names[2 * i]: Held(names[2 * i + 1], each) for i, each in enumerate(since)},
        first,
        last,
        as_of,
        landmark,
        Spending(*parts["spending"]) if "spending" in parts else None,
        Browsing(*parts["browsing"]) if "browsing" in parts else None,
        _voice(parts) if "voice" in parts else None,
        (seen[0], seen[1], seen[2]),
        parts.get("scores", ()),
        promise,
        exposures_in(value[at:], exposures) if exposures else (),
        ruled,
        *parts.get("erased", (None,)),
    )


def ripe_at(exposures: Sequence[Exposure]) -> float:
    """No label matures before this moment; exposures stand in the order in which they were kept."""
    halves = NEVER
    for kept in exposures:
        if not kept.half:
            return min(halves, kept.at + THIRTY_S)
        halves = min(halves, kept.at + NINETY_S)
    return halves


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
