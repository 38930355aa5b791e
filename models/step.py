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
from typing import NamedTuple

import numpy as np
from msgspec.structs import replace

from models.columns import AT, LAST
from models.counterfactual import keepers
from models.features import FEATURES, FloatArray, Row, columns, exposure, from_columns, in_silence
from models.labels import (
    EXPOSE_S,
    HORIZON_S,
    SAME_SECOND_S,
    is_learning,
    learning_moments,
    matured,
    next_learning_moment,
    with_late,
)
from models.policy import Rules, Ruling
from models.reasons import Shift, explain
from models.scores import Scorer, score_some, wanted
from models.state import CLICK, PURCHASE, Erasure, Reading, erased, observe
from schemas.changes import Cause, Contribution, Counterfactual, EventCause, PolicyCause, SilenceCause
from schemas.events import Event
from schemas.learning import SCORES, Label
from schemas.positions import offset_of
from schemas.states import NEVER, THIRTY_S, CustomerState, Exposure, Held, Promise, decode_state, encode_state
from schemas.states import ripe_at as ripe_at_of
from schemas.times import to_rfc3339

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
    others come after it. `value` is the state as it is stored, where it hasn't been decoded: `state` is None then.
    """

    customer_id: str
    state: CustomerState | None
    due: float  # as stored with the state
    heard: Sequence[Heard]
    erasure: Erasure | None = None
    value: bytes | None = None  # `due` is read from it, too


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


class Outcome:
    """What became of one customer.

    Attributes:
        customer: as it was given.
        due: when the state must be looked at again.
        moves, labels: in their order.
        repeated: events whose id was seen before.
        replayed: events that the state holds already.
        void: events from before an erasure.
        erased: everything of before is gone, and `state` begins anew.
        was_there, is_there: whether somebody was known before, and is now; nobody is in a remainder.
        shows: a standing is due: they moved, something other than clicks was heard, or something else comes next. A
            click that only delays what comes next is no reason: the standing says as of when it was promised.
    """

    # Most customers have none of these: what isn't set costs nothing.
    moves: tuple[Move, ...] = ()
    labels: tuple[Label, ...] = ()
    repeated: tuple[Heard, ...] = ()
    replayed: tuple[Heard, ...] = ()
    void: tuple[Heard, ...] = ()
    erased = False
    was_there = is_there = shows = True

    def __init__(self, customer: Customer, due: float, state: CustomerState | None, value: bytes | None = None) -> None:
        """Args: state, value: as they are now, one or the other; both None: nothing changed."""
        self.customer, self.due = customer, due
        self._state, self._value = state, value

    @property
    def state(self) -> CustomerState | None:
        """The state now; None: nothing changed."""
        if self._state is None and self._value is not None:
            self._state = decode_state(self._value)
        return self._state

    def set_value(self, value: bytes) -> None:
        """The state is as `value` stores it."""
        self._state, self._value = None, value

    @property
    def value(self) -> bytes | None:
        """The state now, as it is stored."""
        if self._value is None and self._state is not None:
            self._value = encode_state(self._state, self.due)
        return self._value


class _Moment(NamedTuple):
    state: CustomerState
    at: float
    heard: Heard | None  # None: silence
    before: CustomerState | None  # an event's: the state that it met
    timed_at: float  # the time up to which purchases count as known
    judged: bool  # a segment may change
    row: int
    anew: bool = False  # no silence: judged by another policy than before


class _Told(NamedTuple):
    """A shift whose numbers of before are still states."""

    shift: Shift
    before: Row
    heard: Row


class _Features:
    """The features of all moments, as far as they are asked for, and their scores.

    Attributes:
        columns: the numbers at each moment.
        scores: (n, numbers that dimensions are cut on).
        ahead: (n, moments of review, the same), should each customer be silent from then on; None: too many to score
            them all, where a customer needs those of one moment.
    """

    def __init__(self, c: FloatArray, terms: Terms) -> None:
        self.columns, self._shop = c, terms.rules.shop
        which, review_s = wanted(terms.scorer), terms.rules.review_s
        self.ahead: FloatArray | None = None
        if c.shape[1] > _FEW or not review_s:
            self.scored = from_columns(c, self._shop, which)
            self.scores: FloatArray = terms.scorer.score(self.scored)
            return
        # Of few customers a call costs more than what it computes: silence is scored in the same one.
        at = np.concatenate([c[AT][:, None], c[LAST][:, None] + np.array(review_s)], axis=1)
        lasting = from_columns(c, self._shop, tuple([i for i in which if not FEATURES[i].passes]))
        together = in_silence(c, lasting, at, self._shop, which)
        scores = terms.scorer.score(together).reshape(*at.shape, -1)
        self.scored = together[:: at.shape[1]]
        self.scores, self.ahead = scores[:, 0], scores[:, 1:]

    def row(self, i: int) -> FloatArray:
        """(features,) of the i-th moment, all of them."""
        row: FloatArray = from_columns(self.columns[:, i : i + 1], self._shop)[0]
        return row


_FEW = 4


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
        terms = terms._replace(scorer=terms.rules.numbers(terms.scorer))
        x = _Features(c, terms)
        score_rows: list[list[float]] = x.scores.tolist()
        shifts: list[_Told] = []
        for histories, (_, own) in zip(unfolded, groups, strict=True):
            for history in histories:
                if history.moments:
                    _judge(history, own, x, score_rows, shifts)
        together = [history for histories in unfolded for history in histories]
        _promise(together, terms, x)
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
    for moment in learning_moments(state, history.as_of, timed_at):
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
    learning = learning_moments(state, after, until)
    for at in sorted(segment.union(learning)):
        history.moments.append(_Moment(state, at, None, None, at, at in segment, len(raw)))
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


# --- 3. judging ---------------------------------------------------------------------------------------------------


def _judge(history: _History, terms: Terms, x: _Features, score_rows: list[list[float]], shifts: list[_Told]) -> None:
    rulings, days_since = terms.rules.rulings, terms.rules.days_since
    start = history.start
    segments = {} if start is None else start.segments
    sequence = 0 if start is None else start.sequence
    exposures = () if start is None else start.exposures
    as_of = -NEVER if start is None else start.as_of
    ripe_at = ripe_at_of(exposures)
    scores: list[float] = []
    for moment in history.moments:
        state, at, heard = moment.state, moment.at, moment.heard
        scores = score_rows[moment.row]
        if moment.timed_at >= ripe_at:
            exposures = _mature(history, terms, exposures, moment)
            ripe_at = ripe_at_of(exposures)
        learning = moment.anew
        if heard is None and not learning:
            learning = is_learning(state.first_event_at, at)
            if learning and at <= state.last_event_at + HORIZON_S:
                exposures = (*exposures, exposure(state, at, x.row(moment.row)))
                ripe_at = min(ripe_at, at + THIRTY_S)
        elif moment.before is None:
            exposures = (exposure(state, at, x.row(moment.row)),)
            ripe_at = at + THIRTY_S
        elif heard is not None and exposures and heard.at <= exposures[-1].at:
            exposures = with_late(exposures, heard.event, heard.at)
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
                shifts.append(_shift(ruling, held, current, number, moment, x.row(moment.row)))
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


def _mature(history: _History, terms: Terms, exposures: tuple[Exposure, ...], moment: _Moment) -> tuple[Exposure, ...]:
    """Emits the labels that are known at this moment; gives the exposures that still wait.

    At an event, others of its second may follow: a label that matures then waits for the next moment, whose customer
    has done nothing else in between.
    """
    counted = moment.state if moment.before is None else moment.before
    known_at = moment.timed_at if moment.heard is None else moment.timed_at - SAME_SECOND_S
    pseudonym = terms.pseudonym(history.customer.customer_id)
    bought = (counted.purchases, counted.spend_minor)
    waiting, labels = matured(exposures, known_at, bought, pseudonym, terms.rules.shop.unit_minor)
    history.labels += labels
    return waiting


def _cause(moment: _Moment) -> Cause:
    heard = moment.heard
    if heard is None:
        return SilenceCause(to_rfc3339(moment.at))
    offset = offset_of(heard.offset)
    return EventCause(heard.topic_name, heard.partition, offset, heard.event.event_id, heard.event.type)


def _shift(
    ruling: Ruling, held: Held | None, current: str, number: float | None, moment: _Moment, after: FloatArray
) -> _Told:
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
    return _Told(Shift(ruling, held, current, number, _NONE, _NONE, after, ratings, moment.anew), before, heard)


_NONE = np.zeros(0)


# --- 4. promises --------------------------------------------------------------------------------------------------


def _promise(histories: list[_History], terms: Terms, x: _Features) -> None:
    """Sets what happens next in silence, as of each move and at the end, and when to look at each state again."""
    rules = terms.rules
    points = [point for history in histories for point in history.points]
    promises: list[Promise | None] = [None] * len(points)
    if rules.review_s:
        promises = _scored_flips(points, terms, x)
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
        history.due = next_learning_moment(state.first_event_at, state.last_event_at, state.as_of)
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


def _scored_flips(points: list[_Point], terms: Terms, x: _Features) -> list[Promise | None]:
    """The first moment of review at which the served model moves each customer, all points and moments at once."""
    rules = terms.rules
    n, g = len(points), len(rules.review_s)
    at_rows = [point.row for point in points]
    at = x.columns[LAST, at_rows][:, None] + np.array(rules.review_s)
    if x.ahead is not None:
        scores = x.ahead[at_rows]
    else:
        later_x = in_silence(x.columns[:, at_rows], x.scored[at_rows], at, rules.shop, wanted(terms.scorer))
        scores = score_some(terms.scorer, later_x, rules.judged_scores).reshape(n, g, -1)
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


# --- 5. reasons ---------------------------------------------------------------------------------------------------


def _give_reasons(histories: list[_History], told: list[_Told], terms: Terms) -> None:
    """Each move's reasons and counterfactual; `told` are in the order of the moves."""
    c = columns([each.before for each in told] + [each.heard for each in told]).T
    n = len(told)
    shifts = [each.shift._replace(before=c[i], heard=c[n + i]) for i, each in enumerate(told)]
    explained = iter(with_reasons([move for history in histories for move in history.moves], shifts, terms))
    for history in histories:
        history.moves = [next(explained) for _ in history.moves]


def with_reasons(moves: Sequence[Move], shifts: Sequence[Shift], terms: Terms) -> list[Move]:
    """`moves` with their reasons and counterfactuals, a shift each.

    Args:
        moves: in any order.
        shifts: in the same.
        terms: with the scorer that gives the numbers dimensions are cut on.
    """
    return [
        move._replace(reasons=said.reasons, counterfactual=keeper, baseline=said.baseline)
        for move, said, keeper in zip(
            moves,
            explain(shifts, terms.scorer, terms.rules.shop),
            keepers(shifts, terms.scorer),
            strict=True,
        )
    ]


def _outcome(history: _History) -> Outcome:
    before, changed = history.customer.state, bool(history.moments) or history.erased
    outcome = Outcome(history.customer, history.due, history.state if changed else None)
    outcome.moves, outcome.labels = tuple(history.moves), tuple(history.labels)
    outcome.repeated, outcome.replayed, outcome.void = history.repeated, history.replayed, history.void
    outcome.erased = history.erased
    now = outcome.state if changed else before
    outcome.was_there = before is not None and not before.is_erased
    outcome.is_there = now is not None and not now.is_erased
    outcome.shows = outcome.is_there and (bool(history.moves) or _shows(history, before, now))
    return outcome


def _shows(history: _History, before: CustomerState | None, now: CustomerState | None) -> bool:
    if before is None or now is None:
        return True
    promised, promises = before.promise, now.promise
    if (promised is None) != (promises is None):
        return True
    if promised is not None and promises is not None and promised[1:] != promises[1:]:
        return True
    return any(heard.topic != CLICK for heard in history.customer.heard)
