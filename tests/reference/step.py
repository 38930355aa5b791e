"""The product as one pure function: what customers were heard to do, and time, in; states, moves and labels out.

`advance` takes many customers at once, because scoring is a matrix product; each one's outcome depends on that customer
alone, and taking a history in one go or in pieces gives the same. Read it in the order of its five passes:

1. `_unfold`: a history becomes moments: each event (`models.state.observe`), and in the silences between and after
   them every moment at which a segment may change (`models.policy.Rules.moments`) or a label matures. A customer last
   judged by another policy is judged anew first, as of the moment that the served one counts from. One who is erased
   begins again, at the next sequence, as somebody never heard of (`models.state.erased`).
2. Features of all moments, and their scores, in one call each.
3. `_judge`: moment by moment, the policy says which segments are left, features are kept and labels emitted.
4. `_promise`: what happens next if nothing more is heard, and when the state must be looked at again.
5. `models.reasons`, `models.counterfactual`: what moved the score, and what would have kept the segment.

Time is an argument: nothing here reads a clock. A silence moment happens strictly before an event's own time, so an
event at that very second comes first.
"""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from msgspec.structs import replace

from models.policy import Rules, Ruling
from models.scores import Scorer
from schemas.changes import Cause, Contribution, Counterfactual, EventCause, PolicyCause, SilenceCause
from schemas.events import Event, Purchase
from schemas.learning import SCORES, Label
from schemas.positions import offset_of
from schemas.times import DAY_S, to_rfc3339
from tests.reference.counterfactual import keepers
from tests.reference.features import FloatArray, Row, columns, exposed, exposure, from_columns, in_silence
from tests.reference.reasons import Shift, explain
from tests.reference.state import PURCHASE, Erasure, Reading, erased, observe
from tests.reference.states import NEVER, CustomerState, Exposure, Held, Promise

# Features are kept this often while a customer is known, first at the first event, and no longer than the horizon
# of promises after the latest: whoever has been silent for over a year teaches nothing new.
# Every ten days: on Online Retail the same learner taught every thirty days has a 30-day log loss .002 higher
# (docs/models.md); every five gains nothing more.
EXPOSE_DAYS = 10.0
HORIZON_DAYS = 400.0

_EXPOSE_S = EXPOSE_DAYS * DAY_S
_HORIZON_S = HORIZON_DAYS * DAY_S
# Labels mature in silence too: those only of who comes back would say that everybody does. The last are 90 days longer;
# a late first event moves the grid, which then meets them within one step more.
_MATURED_S = _HORIZON_S + 90 * DAY_S + _EXPOSE_S
# A label matures at a moment computed by another sum; a millisecond covers the rounding.
_THIRTY_S = 30 * DAY_S - 0.001
_NINETY_S = 90 * DAY_S - 0.001
_SAME_SECOND_S = 0.002
# What dimensions are cut on are the scores and, behind them, features (models.policy.Rules.numbers).
_SCORES = len(SCORES)


class Heard(NamedTuple):
    """One event of a customer."""

    topic: int  # models.state.CLICK, PURCHASE, REVIEW
    topic_name: str
    partition: int
    offset: int  # a position (schemas.positions): the offset, counted on where the topic was made anew
    at: float  # event time, epoch seconds
    event: Event
    reading: Reading | None = None


class Customer(NamedTuple):
    """A customer's state and what was heard since.

    An erasure beside events takes those along that come before it in its topic or aren't later than its moment; the
    others come after it.
    """

    customer_id: str
    state: CustomerState | None
    due: float  # as stored with the state
    heard: Sequence[Heard]
    erasure: Erasure | None = None


class Terms(NamedTuple):
    """What customers are judged by, and until when."""

    rules: Rules
    scorer: Scorer
    horizon: float  # silence counts up to here: partition time, epoch seconds
    purchases_known: float = NEVER  # event time up to which purchases have been read; `NEVER`: all there are
    ruled_at: float = -NEVER  # since when the rules count; whoever was judged later, by others, is judged anew then
    pseudonym: Callable[[str], str] = str  # names the customer in labels


class Move(NamedTuple):
    """One change of segment."""

    sequence: int
    dimension: str
    previous: str | None
    current: str
    at: float
    cause: Cause
    scores: tuple[float, ...]
    reasons: tuple[Contribution, ...] = ()
    counterfactual: Counterfactual | None = None
    promise: Promise | None = None  # what happens next, as of this move
    baseline: float | None = None  # where the reasons start from


class Outcome(NamedTuple):
    """What became of one customer."""

    customer: Customer
    state: CustomerState | None  # None: nothing changed
    due: float
    moves: tuple[Move, ...]
    labels: tuple[Label, ...]
    repeated: tuple[Heard, ...]  # whose id was seen before
    replayed: tuple[Heard, ...]  # that the state holds already
    void: tuple[Heard, ...] = ()  # from before an erasure
    erased: bool = False  # everything of before is gone, and `state` begins anew


class _Moment(NamedTuple):
    state: CustomerState
    at: float
    heard: Heard | None  # None: silence
    before: CustomerState | None  # an event's: the state that it met
    timed_at: float  # the time up to which purchases count as known
    judged: bool  # a segment may change
    row: int
    anew: bool = False  # no silence: judged by another policy than before


class _Point(NamedTuple):
    """A customer as of one moment, for which the next move in silence is wanted."""

    row: int
    state: CustomerState
    segments: dict[str, Held]
    as_of: float
    moves: int  # moves made up to here


class _History:
    """One customer between the passes; lives for one call of `advance`."""

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
        self.moments: list[_Moment] = []
        self.moves: list[Move] = []
        self.points: list[_Point] = []
        self.labels: list[Label] = []
        self.repeated: tuple[Heard, ...] = ()
        self.replayed: tuple[Heard, ...] = ()
        self.void: tuple[Heard, ...] = ()


def advance(customers: Sequence[Customer], terms: Terms) -> list[Outcome]:
    """The outcome of each customer, in order. See the module for how."""
    return advance_groups([(customers, terms)])[0]


def advance_groups(groups: Sequence[tuple[Sequence[Customer], Terms]]) -> list[list[Outcome]]:
    """`advance` for several groups in one go, each with times of its own; rules and scorer are the same in all."""
    raw: list[Row] = []
    unfolded = [[_unfold(customer, terms, raw) for customer in customers] for customers, terms in groups]
    if raw:
        _, terms = groups[0]
        c = columns(raw)
        x = from_columns(c, terms.rules.shop)
        terms = terms._replace(scorer=terms.rules.numbers(terms.scorer))
        score_rows: list[list[float]] = terms.scorer.score(x).tolist()
        shifts: list[Shift] = []
        for histories, (_, own) in zip(unfolded, groups, strict=True):
            for history in histories:
                if history.moments:
                    _judge(history, own, x, score_rows, shifts)
        together = [history for histories in unfolded for history in histories]
        _promise(together, terms, c, x)
        if shifts:
            _give_reasons(together, shifts, terms)
    return [[_outcome(history) for history in histories] for histories in unfolded]


def step(customer: Customer, terms: Terms) -> Outcome:
    """`advance` for one customer."""
    return advance([customer], terms)[0]


# --- 1. moments ---------------------------------------------------------------------------------------------------


def _unfold(customer: Customer, terms: Terms, raw: list[Row]) -> _History:
    history = _History(customer)
    start = state = history.start
    applied, erased_at = (-1, -1, -1), -NEVER
    if start is not None:
        applied = start.offsets
        if start.erased_at is not None:
            erased_at = start.erased_at
            state = None if start.is_erased else start  # nobody is in a remainder
    heard = customer.heard
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
        history.moments.append(_Moment(state, at, h, before, timed_at, True, len(raw)))
        raw.append((at, state))
        due = _earliest(state, terms.rules, history.as_of)
    if state is not None and due < terms.horizon:
        state = _silence(history, terms, state, terms.horizon, raw)
    history.state = start if state is None else state
    return history


def _pass_over(history: _History, h: Heard) -> None:
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


def _reconsider(history: _History, terms: Terms, state: CustomerState, raw: list[Row]) -> None:
    """Adds the moment at which a customer last judged by another policy is judged by this one.

    Labels of the time before mature first. What the other policy promised and time hasn't brought yet is void.
    """
    timed_at, at = anew_at(state, terms.ruled_at)
    for moment in _learning_moments(state, history.as_of, timed_at):
        history.moments.append(_Moment(state, moment, None, None, moment, False, len(raw)))
        raw.append((moment, state))
    history.moments.append(_Moment(state, at, None, None, timed_at, True, len(raw), anew=True))
    raw.append((at, state))
    history.as_of = timed_at


def _by_time(heard: Heard) -> tuple[float, int, int]:
    return heard.at, heard.topic, heard.offset


def _silence(history: _History, terms: Terms, state: CustomerState, until: float, raw: list[Row]) -> CustomerState:
    """Adds the moments of silence strictly before `until`.

    What was promised to a customer not heard since is among them whatever the rules say now: looking at it is what
    gives a new promise.
    """
    after = history.as_of
    segment = terms.rules.moments(state.last_event_at, state.last_purchase_at, after, until)
    promise = state.promise if state is history.start and state.ruled == terms.rules.tag else None
    if promise is not None and after < promise.at < until:
        segment.add(promise.at)
    learning = _learning_moments(state, after, until)
    for at in sorted(segment.union(learning)):
        history.moments.append(_Moment(state, at, None, None, at, at in segment, len(raw)))
        raw.append((at, state))
        history.as_of = at
    return state


def _learning_moments(state: CustomerState, after: float, until: float) -> list[float]:
    """When features are kept and labels mature: in (after, until)."""
    last = state.last_event_at + _MATURED_S
    k = int((after - state.first_event_at) // _EXPOSE_S) + 1
    found = []
    while (at := state.first_event_at + k * _EXPOSE_S) < until and at <= last:
        found.append(at)
        k += 1
    return found


def _earliest(state: CustomerState, rules: Rules, after: float) -> float:
    """No moment of silence after `after` comes before this one."""
    first = state.first_event_at
    at = first + (int((after - first) // _EXPOSE_S) + 1) * _EXPOSE_S
    if rules.review_s:
        at = min(at, state.last_event_at + rules.review_s[0])
    spending = state.spending
    if spending is not None and spending.purchases:
        at = min(at, rules.crossing_after(spending.last_purchase_at, after))
    return at


# --- 3. judging ---------------------------------------------------------------------------------------------------


def _judge(history: _History, terms: Terms, x: FloatArray, score_rows: list[list[float]], shifts: list[Shift]) -> None:
    rulings, days_since = terms.rules.rulings, terms.rules.days_since
    start = history.start
    segments = {} if start is None else start.segments
    sequence = 0 if start is None else start.sequence
    exposures = () if start is None else start.exposures
    as_of = -NEVER if start is None else start.as_of
    ripe_at = _ripe_at(exposures)
    scores: list[float] = []
    for moment in history.moments:
        state, at, heard = moment.state, moment.at, moment.heard
        scores = score_rows[moment.row]
        if moment.timed_at >= ripe_at:
            exposures = _mature(history, terms, exposures, moment)
            ripe_at = _ripe_at(exposures)
        learning = moment.anew
        if heard is None and not learning:
            learning = _is_learning(state.first_event_at, at)
            if learning and at <= state.last_event_at + _HORIZON_S:
                exposures = (*exposures, exposure(state, at, x[moment.row]))
                ripe_at = min(ripe_at, at + _THIRTY_S)
        elif heard is not None and moment.before is None:
            exposures = (exposure(state, at, x[moment.row]),)
            ripe_at = at + _THIRTY_S
        elif heard is not None and exposures and heard.at <= exposures[-1].at:
            exposures = _with_late(exposures, heard)
        moved = False
        if moment.judged:
            spending = state.spending
            for ruling in rulings:
                held = segments.get(ruling.name)
                number: float | None
                if ruling.score is not None:
                    number, judged_at = scores[ruling.score], at
                else:
                    judged_at = moment.timed_at
                    number = None
                    if spending is not None and spending.purchases:
                        number = days_since(spending.last_purchase_at, judged_at)
                if held is not None and (moment.anew or (heard is not None and heard.topic == PURCHASE)):
                    # The dwell keeps a number from fluttering; another rule, or a purchase, is news and no flutter.
                    current = ruling.place(number, Held(held.segment, -NEVER), judged_at)
                else:
                    current = ruling.place(number, held, judged_at)
                if held is not None and current == held.segment:
                    continue
                moved = True
                sequence += 1
                segments = {**segments, ruling.name: Held(current, judged_at)}
                previous = None if held is None else held.segment
                cause = PolicyCause(terms.rules.label) if moment.anew else _cause(moment)
                own = tuple(scores[:_SCORES])
                history.moves.append(Move(sequence, ruling.name, previous, current, judged_at, cause, own))
                shifts.append(_shift(ruling, held, current, number, moment, x[moment.row]))
        if heard is not None or learning or moved:
            as_of = max(as_of, moment.timed_at)
        if moved or moment is history.moments[-1]:
            history.points.append(_Point(moment.row, state, segments, as_of, len(history.moves)))
    state = history.moments[-1].state
    history.state = CustomerState(
        state.offsets,
        sequence,
        segments,
        state.first_event_at,
        state.last_event_at,
        as_of,
        state.landmark,
        state.spending,
        state.browsing,
        state.voice,
        state.seen,
        tuple(scores[:_SCORES]),
        state.promise,
        exposures,
        terms.rules.tag,
        state.erased_at,
    )


def _is_learning(first_event_at: float, at: float) -> bool:
    k = round((at - first_event_at) / _EXPOSE_S)
    return k >= 1 and abs(at - first_event_at - k * _EXPOSE_S) < 0.001


def _ripe_at(exposures: tuple[Exposure, ...]) -> float:
    """No label matures before this moment; exposures stand in the order in which they were kept."""
    halves = NEVER
    for kept in exposures:
        if not kept.half:
            return min(halves, kept.at + _THIRTY_S)
        halves = min(halves, kept.at + _NINETY_S)
    return halves


def _mature(history: _History, terms: Terms, exposures: tuple[Exposure, ...], moment: _Moment) -> tuple[Exposure, ...]:
    """Emits the labels that are known at this moment; gives the exposures that still wait.

    At an event, others of its second may follow: a label that matures then waits for the next moment, whose customer
    has done nothing else in between.
    """
    counted = moment.state if moment.before is None else moment.before
    known_at = moment.timed_at if moment.heard is None else moment.timed_at - _SAME_SECOND_S
    pseudonym = terms.pseudonym(history.customer.customer_id)
    unit_minor = terms.rules.shop.unit_minor
    waiting = []
    for kept in exposures:
        first = not kept.half and known_at >= kept.at + _THIRTY_S
        if first:
            history.labels.append(_label(pseudonym, kept, 30, counted, unit_minor))
        if known_at >= kept.at + _NINETY_S:
            history.labels.append(_label(pseudonym, kept, 90, counted, unit_minor))
        else:
            waiting.append(replace(kept, half=True) if first else kept)
    return tuple(waiting)


def _with_late(exposures: tuple[Exposure, ...], heard: Heard) -> tuple[Exposure, ...]:
    """What was bought by the moment of an exposure, and heard only after it, isn't part of what followed."""
    event = heard.event
    if not isinstance(event, Purchase) or event.type != "purchase":
        return exposures
    return tuple(
        replace(kept, purchases=kept.purchases + 1, spend_minor=kept.spend_minor + event.amount_minor)
        if heard.at <= kept.at
        else kept
        for kept in exposures
    )


def _label(pseudonym: str, kept: Exposure, days: Literal[30, 90], counted: CustomerState, unit_minor: int) -> Label:
    purchases = max(counted.purchases - kept.purchases, 0)
    return Label(
        f"{pseudonym}:{kept.at:.3f}:{days}",
        kept.at,
        kept.at + days * DAY_S,
        days,
        kept.feature_set,
        exposed(kept),
        purchases > 0,
        purchases,
        max(counted.spend_minor - kept.spend_minor, 0) / unit_minor,
    )


def _cause(moment: _Moment) -> Cause:
    heard = moment.heard
    if heard is None:
        return SilenceCause(to_rfc3339(moment.at))
    offset = offset_of(heard.offset)
    return EventCause(heard.topic_name, heard.partition, offset, heard.event.event_id, heard.event.type)


def _shift(
    ruling: Ruling, held: Held | None, current: str, number: float | None, moment: _Moment, after: FloatArray
) -> Shift:
    """What is compared to explain a move; see `models.reasons`."""
    state = moment.state
    if moment.anew:
        before = heard = (moment.at, state)
    elif moment.heard is None:
        before = heard = (state.last_event_at, state)
    elif moment.before is None:
        before = heard = (moment.at, CustomerState(landmark=moment.at))
    else:
        before, heard = (moment.at, moment.before), (moment.before.last_event_at, moment.before)
    ratings = 0 if state.voice is None else state.voice.ratings
    return Shift(ruling, held, current, number, before, heard, after, ratings, moment.anew)


# --- 4. promises --------------------------------------------------------------------------------------------------


def _promise(histories: list[_History], terms: Terms, c: FloatArray, x: FloatArray) -> None:
    """Sets what happens next in silence, as of each move and at the end, and when to look at each state again."""
    rules = terms.rules
    points = [point for history in histories for point in history.points]
    promises: list[Promise | None] = [None] * len(points)
    if rules.review_s:
        promises = _scored_flips(points, terms, c, x)
    for i, point in enumerate(points):
        spending = point.state.spending
        if spending is not None and spending.purchases:
            timed = _timed_flip(point, spending.last_purchase_at, rules)
            known = promises[i]
            if timed is not None and (known is None or timed < known):
                promises[i] = timed
    at = 0
    for history in histories:
        if not history.points:
            continue
        promise, made = None, 0
        for point in history.points:
            promise = promises[at]
            at += 1
            for i in range(made, point.moves):
                history.moves[i] = history.moves[i]._replace(promise=promise)
            made = point.moves
        state = history.state
        assert state is not None
        if promise != state.promise:
            history.state = replace(state, promise=promise)
        history.due = _next_learning_moment(state)
        if promise is not None and promise.at < history.due:
            history.due = promise.at


def _timed_flip(point: _Point, bought_at: float, rules: Rules) -> Promise | None:
    at = rules.crossing_after(bought_at, point.as_of)
    while at < NEVER:
        days = rules.days_since(bought_at, at)
        for ruling in rules.rulings:
            if ruling.score is None:
                held = point.segments.get(ruling.name)
                segment = ruling.place(days, held, at)
                if held is None or segment != held.segment:
                    return Promise(at, ruling.name, segment)
        at = rules.crossing_after(bought_at, at)
    return None


def _scored_flips(points: list[_Point], terms: Terms, c: FloatArray, x: FloatArray) -> list[Promise | None]:
    """The first moment of review at which the served model moves each customer, all points and moments at once."""
    rules = terms.rules
    n, g = len(points), len(rules.review_s)
    at_rows = [point.row for point in points]
    last, now = c[:, at_rows], x[at_rows]
    at = last[2][:, None] + np.array(rules.review_s)  # row 2: the latest event
    scores = terms.scorer.score(in_silence(last, now, at, rules.shop)).reshape(n, g, -1)
    later = at > np.array([point.as_of for point in points])[:, None]
    first: list[Promise | None] = [None] * n
    for ruling in rules.rulings:
        if ruling.score is None:
            continue
        held = [point.segments.get(ruling.name, _UNHELD) for point in points]
        current = np.array([ruling.index(h.segment) for h in held])
        numbers = scores[:, :, ruling.score]
        target = ruling.places(numbers, current[:, None])
        free = np.array([h.since for h in held]) + ruling.dwell_s
        flip = (target != current[:, None]) & later & (at >= free[:, None])
        for i in np.flatnonzero(flip.any(axis=1)).tolist():
            j = int(flip[i].argmax())
            promise = Promise(float(at[i, j]), ruling.name, ruling.segments[target[i, j]])
            known = first[i]
            if known is None or promise < known:
                first[i] = promise
    return first


_UNHELD = Held("", -NEVER)


def _next_learning_moment(state: CustomerState) -> float:
    k = int((state.as_of + 0.001 - state.first_event_at) // _EXPOSE_S) + 1
    at = state.first_event_at + k * _EXPOSE_S
    return at if at <= state.last_event_at + _MATURED_S else NEVER


# --- 5. reasons ---------------------------------------------------------------------------------------------------


def _give_reasons(histories: list[_History], shifts: list[Shift], terms: Terms) -> None:
    """Each move's reasons and counterfactual; `shifts` are in the order of the moves."""
    explained = iter(explain(shifts, terms.scorer, terms.rules.shop))
    kept = iter(keepers(shifts, terms.scorer))
    for history in histories:
        moves = []
        for move in history.moves:
            said = next(explained)
            moves.append(move._replace(reasons=said.reasons, counterfactual=next(kept), baseline=said.baseline))
        history.moves = moves


def _outcome(history: _History) -> Outcome:
    changed = bool(history.moments) or history.erased
    return Outcome(
        history.customer,
        history.state if changed else None,
        history.due,
        tuple(history.moves),
        tuple(history.labels),
        history.repeated,
        history.replayed,
        history.void,
        history.erased,
    )
