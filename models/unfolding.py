"""A customer's history as moments: each event, and in the silences between and after them whatever may change by itself.

In silence a segment may change (`models.policy.Rules.moments`) or a label matures. A customer last judged by another
policy is judged anew first, as of the moment that the served one counts from. One who is erased begins again, at the next
sequence, as somebody never heard of (`models.state.erased`).
"""

from typing import NamedTuple

from models.columns import Row
from models.labels import EXPOSE_S, learning_moments
from models.policy import Rules
from models.state import PURCHASE, erased, observe, rewound
from models.terms import Customer, Heard, Move, Terms
from schemas.learning import Label
from schemas.states import NEVER, CustomerState, Held


class CustomerMoment(NamedTuple):
    """A moment at which a customer is looked at."""

    state: CustomerState
    at: float
    heard: Heard | None  # None: silence
    before: CustomerState | None  # an event's: the state that it met
    timed_at: float  # the time up to which purchases count as known
    judged: bool  # a segment may change
    row: int
    anew: bool = False  # no silence: judged by another policy than before


class Standpoint(NamedTuple):
    """A customer as of one moment, for which the next move in silence is wanted."""

    row: int
    state: CustomerState
    segments: dict[str, Held]
    as_of: float
    moves: int  # moves made up to here


class Unfolded:
    """One customer between the passes of the step; lives for one call of `models.step.advance`."""

    __slots__ = (
        "as_of",
        "customer",
        "due",
        "erased",
        "labels",
        "moments",
        "moves",
        "points",
        "repeated",
        "replayed",
        "start",
        "state",
        "void",
    )

    def __init__(self, customer: Customer) -> None:
        self.customer = customer
        remainder = None if customer.erasure is None else erased(customer.state, customer.erasure)
        self.erased = remainder is not None
        self.start = self.state = remainder if self.erased else customer.state
        self.due = NEVER if self.erased else customer.due
        self.as_of = -NEVER if self.start is None else self.start.as_of
        self.moments: list[CustomerMoment] = []
        self.moves: list[Move] = []
        self.points: list[Standpoint] = []
        self.labels: list[Label] = []
        self.repeated: tuple[Heard, ...] = ()
        self.replayed: tuple[Heard, ...] = ()
        self.void: tuple[Heard, ...] = ()


def unfold(customer: Customer, terms: Terms, raw: list[Row]) -> Unfolded:
    """The customer's moments in order; each adds its numbers to `raw`, at its `row`."""
    history = Unfolded(customer)
    start = state = history.start
    applied, erased_at = (-1, -1, -1), -NEVER
    if start is not None:
        applied = start.offsets
        if start.erased_at is not None:
            erased_at = start.erased_at
            state = None if start.is_erased else start  # nobody is in a remainder
    heard = customer.heard
    if state is not None and heard and state.as_of > terms.latest:
        start = state = history.start = history.state = rewound(state)
        history.as_of = state.as_of
    if len(heard) > 1:
        heard = sorted(heard, key=_by_time)
    due = history.due
    if state is not None and state.ruled != terms.rules.tag:
        _reconsider(history, terms, state, raw)
        due = _earliest(state, terms.rules, history.as_of)
    for h in heard:
        if h.offset <= applied[h.topic] or h.at <= erased_at:
            _pass_over(history, h)
            continue
        known = h.at if h.topic == PURCHASE else min(h.at, terms.purchases_known)
        if state is not None and due < known:
            state = _silence(history, terms, state, known, raw)
        before = state
        after = observe(start if state is None else state, h.topic, h.offset, h.event, h.at, h.reading)
        if after is None:
            history.repeated += (h,)
            continue
        first = before is None
        at = max(h.at, history.as_of)
        timed_at = at if first or h.topic == PURCHASE else max(history.as_of, min(at, known))
        history.as_of = timed_at
        state = after
        history.moments.append(CustomerMoment(state, at, h, before, timed_at, True, len(raw)))
        raw.append((at, state))
        due = _earliest(state, terms.rules, history.as_of)
    if state is not None and due < terms.horizon:
        state = _silence(history, terms, state, terms.horizon, raw)
    history.state = start if state is None else state
    return history


def _pass_over(history: Unfolded, h: Heard) -> None:
    """Notes an event that changes nothing: applied before, or void since an erasure."""
    before = history.customer.state
    if before is not None and h.offset <= before.offsets[h.topic]:
        history.replayed += (h,)
    else:
        history.void += (h,)


def anew_at(state: CustomerState, ruled_at: float) -> tuple[float, float]:
    """When rules that count from `ruled_at` judge a customer: dimensions over days, and those over scores.

    Never before what was judged already; a score not before the latest event that is part of it.
    """
    timed_at = max(ruled_at, state.as_of)
    return timed_at, max(timed_at, state.last_event_at)


def _reconsider(history: Unfolded, terms: Terms, state: CustomerState, raw: list[Row]) -> None:
    """Adds the moment at which a customer last judged by another policy is judged by this one.

    Labels of the time before mature first. What the other policy promised and time hasn't brought yet is void.
    """
    timed_at, at = anew_at(state, terms.ruled_at)
    for moment in learning_moments(state, history.as_of, timed_at):
        history.moments.append(CustomerMoment(state, moment, None, None, moment, False, len(raw)))
        raw.append((moment, state))
    history.moments.append(CustomerMoment(state, at, None, None, timed_at, True, len(raw), anew=True))
    raw.append((at, state))
    history.as_of = timed_at


def _by_time(heard: Heard) -> tuple[float, int, int]:
    return heard.at, heard.topic, heard.offset


def _silence(history: Unfolded, terms: Terms, state: CustomerState, until: float, raw: list[Row]) -> CustomerState:
    """Adds the moments of silence strictly before `until`.

    What was promised to a customer not heard since is among them whatever the rules say now: looking at it is what
    gives a new promise.
    """
    after = history.as_of
    segment = terms.rules.moments(state.last_event_at, state.last_purchase_at, after, until)
    promise = state.promise if state is history.start and state.ruled == terms.rules.tag else None
    if promise is not None and after < promise.at < until:
        segment.add(promise.at)
    learning = learning_moments(state, after, until)
    for at in sorted(segment.union(learning)):
        history.moments.append(CustomerMoment(state, at, None, None, at, at in segment, len(raw)))
        raw.append((at, state))
        history.as_of = at
    return state


def _earliest(state: CustomerState, rules: Rules, after: float) -> float:
    """No moment of silence after `after` comes before this one."""
    first = state.first_event_at
    at = first + (int((after - first) // EXPOSE_S) + 1) * EXPOSE_S
    if rules.review_s:
        at = min(at, state.last_event_at + rules.review_s[0])
    spending = state.spending
    if spending is not None and spending.purchases:
        at = min(at, rules.crossing_after(spending.last_purchase_at, after))
    return at
