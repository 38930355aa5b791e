"""What an event does to a customer's state: pure, one function a topic.

Counts, sums and extremes don't depend on the order of events; decayed sums don't either (see `models.decay`). What does
depend on it: sessions (a click belongs to a new session when its id differs from the latest click's), the squared gaps
between purchases (a late purchase adds none), and of a late purchase the last amount stays the newest one's.
"""

from math import exp2
from typing import NamedTuple

import xxhash
from msgspec.structs import replace

from models.decay import SPAN_S, rescaled
from schemas.events import Click, Event, Purchase, Review
from schemas.times import DAY_S
from tests.reference.states import NEVER, Browsing, CustomerState, Spending, Voice

# An event id is known again among the latest 32 of its customer and topic: a producer's retry comes within seconds,
# and 32 ids of 8 bytes keep a state small. Documented in docs/guarantees.md.
REMEMBERED_IDS = 32
_WINDOW = REMEMBERED_IDS * 8

CLICK, PURCHASE, REVIEW = 0, 1, 2

# Sums stay there: what is stored, exported and sent has 64 bits. A million purchases of the largest amount lead there.
SUM_LIMIT = (1 << 63) - 1

_NO_SPENDING, _NO_BROWSING, _NO_VOICE = Spending(), Browsing(), Voice()


class Reading(NamedTuple):
    """What the core keeps of a text: its projected vector (`TEXT_DIM` numbers) and its sentiment in [-1, 1]."""

    vector: tuple[float, ...]
    sentiment: float


class Erasure(NamedTuple):
    """A customer is to be erased: the latest record in `purchases` that says so, and the moment as of which."""

    offset: int
    at: float  # epoch seconds


def erased(state: CustomerState | None, erasure: Erasure) -> CustomerState | None:
    """What remains of a customer whose `state` an erasure meets, or None where the state has seen it (a replay).

    The sequence, so that who comes back goes on without a hole or a number twice; the offsets applied, so that records
    that come again after a crash don't bring anybody back; and the moment up to which no event counts any more, so that
    a producer's retry or a late event doesn't either. It needs no ids of events for that.

    Its times are such that any event's take their place: `observe` makes of a remainder what it makes of nobody.
    """
    known = CustomerState() if state is None else state
    clicks, purchases, reviews = known.offsets
    if erasure.offset <= purchases:
        return None
    return CustomerState(
        offsets=(clicks, erasure.offset, reviews),
        sequence=known.sequence,
        first_event_at=NEVER,
        last_event_at=-NEVER,
        as_of=-NEVER,
        landmark=-NEVER,
        erased_at=erasure.at if known.erased_at is None else max(known.erased_at, erasure.at),
    )


def id_hash(event_id: str) -> bytes:
    """8 bytes that stand for an event id."""
    return xxhash.xxh3_64_digest(event_id.encode())


def is_repeat(seen: bytes, hashed: bytes) -> bool:
    """Whether `hashed` is among the ids remembered in `seen`."""
    at = seen.find(hashed)
    while at >= 0 and at % 8:
        at = seen.find(hashed, at + 1)
    return at >= 0


def observe(
    state: CustomerState | None, topic: int, offset: int, event: Event, at: float, reading: Reading | None = None
) -> CustomerState | None:
    """The state after `event`, or None where the event repeats one that was seen (a producer's retry).

    Args:
        state: the state before; None for a customer never heard of; a remainder (`erased`) counts as that.
        topic: `CLICK`, `PURCHASE` or `REVIEW`.
        offset: of the event's record; the new state's applied offset of the topic is at least this.
        event: the decoded event.
        at: its event time, epoch seconds.
        reading: what the encoder made of its text; None where there is none.
    """
    hashed = id_hash(event.event_id)
    if state is None:
        state = CustomerState(first_event_at=at, last_event_at=at, landmark=at)
    elif is_repeat(state.seen[topic], hashed):
        return None
    if at - state.landmark > SPAN_S:
        state = _with_landmark(state, at)
    spending, browsing, voice = state.spending, state.browsing, state.voice
    age = (at - state.landmark) / DAY_S
    if topic == CLICK:
        assert isinstance(event, Click)
        browsing = _browsed(browsing or _NO_BROWSING, event, at, age)
    elif topic == PURCHASE:
        assert isinstance(event, Purchase)
        spending = _spent(spending or _NO_SPENDING, event, at, age)
    else:
        assert isinstance(event, Review)
        voice = _spoke(voice or _NO_VOICE, event, at)
    if reading is not None:
        voice = _read(voice or _NO_VOICE, reading, age)
    offsets, seen = state.offsets, state.seen
    window = (seen[topic] + hashed)[-_WINDOW:]
    applied = max(offsets[topic], offset)
    if topic == CLICK:
        offsets, seen = (applied, offsets[1], offsets[2]), (window, seen[1], seen[2])
    elif topic == PURCHASE:
        offsets, seen = (offsets[0], applied, offsets[2]), (seen[0], window, seen[2])
    else:
        offsets, seen = (offsets[0], offsets[1], applied), (seen[0], seen[1], window)
    return CustomerState(
        offsets,
        state.sequence,
        state.segments,
        min(state.first_event_at, at),
        max(state.last_event_at, at),
        state.as_of,
        state.landmark,
        spending,
        browsing,
        voice,
        seen,
        state.scores,
        state.promise,
        state.exposures,
        state.ruled,
        state.erased_at,
    )


def _spent(s: Spending, event: Purchase, at: float, age: float) -> Spending:
    amount = event.amount_minor
    if event.type == "refund":
        return replace(
            s,
            refunds=s.refunds + 1,
            refunded_minor=min(s.refunded_minor + amount, SUM_LIMIT),
            refunded_180d=s.refunded_180d + amount * exp2(age / 180),
        )
    newest = not s.purchases or at >= s.last_purchase_at
    gap_days = (at - s.last_purchase_at) / DAY_S if s.purchases and newest else 0.0
    w60, w180 = exp2(age / 60), exp2(age / 180)
    items = event.items or ()
    return Spending(
        s.purchases + 1,
        s.refunds,
        min(s.spend_minor + amount, SUM_LIMIT),
        s.refunded_minor,
        min(s.first_purchase_at, at) if s.purchases else at,
        at if newest else s.last_purchase_at,
        amount if newest else s.last_amount_minor,
        max(s.largest_amount_minor, amount),
        s.gap_days_squared + gap_days * gap_days,
        min(s.units + sum(item.quantity for item in items), SUM_LIMIT),
        s.lines + len(items),
        s.coupons + (event.coupon_id is not None),
        s.count_14d + exp2(age / 14),
        s.count_60d + w60,
        s.count_180d + w180,
        s.spend_60d + amount * w60,
        s.spend_180d + amount * w180,
        s.spend_365d + amount * exp2(age / 365),
        s.refunded_180d,
    )


def _browsed(b: Browsing, event: Click, at: float, age: float) -> Browsing:
    session = int.from_bytes(id_hash(event.session_id)[:6])
    same = session == b.session and b.clicks > 0
    day, fortnight = exp2(age), exp2(age / 14)
    kind = event.type
    view, search = kind == "view", kind == "search"
    cart, checkout = kind == "add_to_cart", kind == "checkout"
    return Browsing(
        b.clicks + 1,
        b.sessions if same else b.sessions + 1,
        session,
        b.session_clicks + 1 if same else 1,
        max(b.last_click_at, at) if b.clicks else at,
        b.views_1d + day if view else b.views_1d,
        b.views_14d + fortnight if view else b.views_14d,
        b.searches_1d + day if search else b.searches_1d,
        b.searches_14d + fortnight if search else b.searches_14d,
        b.carts_1d + day if cart else b.carts_1d,
        b.carts_14d + fortnight if cart else b.carts_14d,
        b.removals_14d + fortnight if kind == "remove_from_cart" else b.removals_14d,
        b.wishes_14d + fortnight if kind == "wishlist" else b.wishes_14d,
        b.checkouts_1d + day if checkout else b.checkouts_1d,
        b.checkouts_14d + fortnight if checkout else b.checkouts_14d,
        b.sessions_14d if same else b.sessions_14d + fortnight,
    )


def _spoke(v: Voice, event: Review, at: float) -> Voice:
    review, rated = event.type == "review", event.rating is not None
    return Voice(
        v.reviews + review,
        v.supports + (not review),
        v.ratings + rated,
        v.rating_sum + (event.rating or 0),
        max(v.last_text_at, at) if v.reviews + v.supports else at,
        v.weight_60d,
        v.sentiment_60d,
        v.text_60d,
    )


def _read(v: Voice, reading: Reading, age: float) -> Voice:
    w = exp2(age / 60)
    return Voice(
        v.reviews,
        v.supports,
        v.ratings,
        v.rating_sum,
        v.last_text_at,
        v.weight_60d + w,
        v.sentiment_60d + w * reading.sentiment,
        tuple([total + w * z for total, z in zip(v.text_60d, reading.vector, strict=True)]),
    )


def _with_landmark(state: CustomerState, landmark: float) -> CustomerState:
    moved = landmark - state.landmark

    def halved(group: Spending | Browsing | Voice) -> dict[str, float]:
        return {
            name: rescaled(getattr(group, name), moved, float(name.rsplit("_", 1)[1][:-1]))
            for name in group.__struct_fields__
            if name.endswith("d") and name.rsplit("_", 1)[-1][:-1].isdigit() and name != "text_60d"
        }

    spending, browsing, voice = state.spending, state.browsing, state.voice
    if voice is not None:
        text = tuple(rescaled(total, moved, 60) for total in voice.text_60d)
        voice = replace(voice, **halved(voice), text_60d=text)
    return replace(
        state,
        landmark=landmark,
        spending=None if spending is None else replace(spending, **halved(spending)),
        browsing=None if browsing is None else replace(browsing, **halved(browsing)),
        voice=voice,
    )
