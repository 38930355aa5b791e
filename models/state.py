"""What an event does to a customer's state: pure; what it does to each number is declared in `schemas.states`.

Counts, sums and extremes don't depend on the order of events; decayed sums don't either (see `models.decay`). What does
depend on it: sessions (a click belongs to a new session when its id differs from the latest click's), the squared gaps
between purchases (a late purchase adds none), and of a late purchase the last amount stays the newest one's.
"""

from typing import NamedTuple

from msgspec.structs import replace

from models.decay import SPAN_S
from models.observing import PLANS, READING, after_event, id_hash, quantities, rescaled_group
from schemas.campaigns import CampaignMemory, CampaignState
from schemas.events import Event
from schemas.groups import Browsing, Spending, Voice
from schemas.states import NEVER, CustomerState, Held
from schemas.times import DAY_S

# An event id is known again among the latest 32 of its customer and topic: a producer's retry comes within seconds,
# and 32 ids of 8 bytes keep a state small. Documented in docs/guarantees.md.
REMEMBERED_IDS = 32
WINDOW = REMEMBERED_IDS * 8

CLICK, PURCHASE, REVIEW = 0, 1, 2

_NO_SPENDING, _NO_BROWSING, _NO_VOICE = Spending(), Browsing(), Voice()


class Reading(NamedTuple):
    """What the core keeps of a text: its projected vector (`TEXT_DIM` numbers) and its sentiment in [-1, 1]."""

    vector: tuple[float, ...]
    sentiment: float


class Erasure(NamedTuple):
    """A customer is to be erased.

    Attributes:
        at: no event up to this moment counts any more, epoch seconds.
        before: per event topic, the position of the last record that lies before it whatever its event time; -1: none.
        ahead: an event that was counted with a time up to this moment, after `at`, was stamped by a clock that is ahead:
            it lies before the erasure, and so do its retries.
        in_purchases: the request is a record of `purchases`, at its position in `before`. A replay is known by that;
            of other requests by their moment.
    """

    at: float
    before: tuple[int, int, int] = (-1, -1, -1)
    ahead: float = -NEVER
    in_purchases: bool = False

    def joined(self, other: "Erasure | None") -> "Erasure":
        """This request and another one of the same customer, as one."""
        if other is None:
            return self
        clicks, purchases, reviews = map(max, self.before, other.before)
        both = self.in_purchases and other.in_purchases
        return Erasure(max(self.at, other.at), (clicks, purchases, reviews), max(self.ahead, other.ahead), both)

    def is_known(self, state: CustomerState) -> bool:
        """Whether `state` is of after this erasure: the request comes again after a crash."""
        if self.in_purchases:
            return self.before[PURCHASE] <= state.offsets[PURCHASE]
        # Who is in a remainder may be erased again: a reader that waits for the null sees another one.
        return state.erased_at is not None and self.at <= state.erased_at and not state.is_erased


def erased(state: CustomerState | None, erasure: Erasure) -> CustomerState | None:
    """What remains of a customer whose `state` an erasure meets, or None where the state has seen it (a replay).

    The sequence, so that who comes back goes on without a hole or a number twice; the offsets applied, so that records
    that come again after a crash don't bring anybody back; and the moment up to which no event counts any more, so that
    a producer's retry or a late event doesn't either. It needs no ids of events for that.
    And how many decisions each campaign has made, so that no action's id comes twice.

    Its times are such that any event's take their place: `observe` makes of a remainder what it makes of nobody.
    """
    known = CustomerState() if state is None else state
    if erasure.is_known(known):
        return None
    clicks, purchases, reviews = map(max, known.offsets, erasure.before)
    at = max(erasure.at, known.erased_at or -NEVER)
    if at < known.last_event_at <= erasure.ahead:
        at = known.last_event_at
    return CustomerState(
        offsets=(clicks, purchases, reviews),
        sequence=known.sequence,
        first_event_at=NEVER,
        last_event_at=-NEVER,
        as_of=-NEVER,
        landmark=-NEVER,
        erased_at=at,
        campaigns=_counts_only(known.campaigns),
    )


def _counts_only(state: CampaignState | None) -> CampaignState | None:
    if state is None:
        return None
    return CampaignState(NEVER, tuple(CampaignMemory(each.campaign, each.decisions) for each in state.memories))


def rewound(state: CustomerState) -> CustomerState:
    """A state that was judged by a clock that ran ahead, as of its latest event: what comes now is judged when it comes."""
    at = state.last_event_at
    held = {name: Held(place.segment, min(place.since, at)) for name, place in state.segments.items()}
    return replace(state, as_of=at, segments=held, promise=None)


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
    brought = quantities(topic, event)
    if topic == CLICK:
        browsing = after_event(browsing or _NO_BROWSING, PLANS["browsing"][event.type], brought, at, age)
    elif topic == PURCHASE:
        spending = after_event(spending or _NO_SPENDING, PLANS["spending"][event.type], brought, at, age)
    else:
        voice = after_event(voice or _NO_VOICE, PLANS["voice"][event.type], brought, at, age)
    if reading is not None:
        brought = {"one": 1, "sentiment": reading.sentiment, "vector": reading.vector}
        voice = after_event(voice or _NO_VOICE, PLANS["voice"][READING], brought, at, age)
    offsets, seen = state.offsets, state.seen
    window = (seen[topic] + hashed)[-WINDOW:]
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
        state.campaigns,
    )


def _with_landmark(state: CustomerState, landmark: float) -> CustomerState:
    moved_s = landmark - state.landmark
    spending, browsing, voice = state.spending, state.browsing, state.voice
    return replace(
        state,
        landmark=landmark,
        spending=None if spending is None else rescaled_group(spending, moved_s),
        browsing=None if browsing is None else rescaled_group(browsing, moved_s),
        voice=None if voice is None else rescaled_group(voice, moved_s),
    )
