"""Moment by moment, the policy says which segments are left, features are kept and labels emitted."""

from typing import NamedTuple

import numpy as np

from models.columns import AT, LAST
from models.features import FEATURES, FloatArray, Row, exposure, from_columns, in_silence
from models.labels import HORIZON_S, SAME_SECOND_S, is_learning, matured, with_late
from models.policy import Ruling
from models.reasons import Shift
from models.scores import wanted
from models.state import PURCHASE
from models.terms import Move, Terms
from models.unfolding import CustomerMoment, Standpoint, Unfolded
from schemas.changes import Cause, EventCause, PolicyCause, SilenceCause
from schemas.learning import SCORES
from schemas.positions import offset_of
from schemas.states import NEVER, CustomerState, Exposure, Held
from schemas.states import ripe_at as ripe_at_of
from schemas.times import to_rfc3339

# What dimensions are cut on are the scores and, behind them, features (models.policy.Rules.numbers).
_SCORES = len(SCORES)


class StateShift(NamedTuple):
    """A shift whose numbers of before are still states."""

    shift: Shift
    before: Row
    heard: Row


class MomentFeatures:
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
        self._rows: dict[int, FloatArray] = {}
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
        if i not in self._rows:
            self._rows[i] = from_columns(self.columns[:, i : i + 1], self._shop)[0]
        return self._rows[i]


_FEW = 4


def judge(
    history: Unfolded, terms: Terms, features: MomentFeatures, score_rows: list[list[float]], shifts: list[StateShift]
) -> None:
    """Sets a customer's state, moves, labels and the points from which promises are made.

    Args:
        history: the customer, unfolded.
        terms: of the customer's partition.
        features: of all moments.
        score_rows: the scores of each, in rows.
        shifts: to which each move adds what explains it.
    """
    start = history.start
    exposures = () if start is None else start.exposures
    as_of = -NEVER if start is None else start.as_of
    ripe_at = ripe_at_of(exposures)
    place = _Places(history, terms, features, shifts)
    last = history.moments[-1]
    scores: list[float] = []
    for moment in history.moments:
        scores = score_rows[moment.row]
        if moment.timed_at >= ripe_at:
            exposures = _mature(history, terms, exposures, moment)
            ripe_at = ripe_at_of(exposures)
        learning = moment.anew or (moment.heard is None and is_learning(moment.state.first_event_at, moment.at))
        kept = _kept(exposures, moment, learning, features)
        if kept is not exposures:
            exposures, ripe_at = kept, ripe_at_of(kept)
        moved = moment.judged and place.at(moment, scores)
        if moment.heard is not None or learning or moved:
            as_of = max(as_of, moment.timed_at)
        if moved or moment is last:
            history.points.append(Standpoint(moment.row, moment.state, place.segments, as_of, len(history.moves)))
    state = last.state
    history.state = CustomerState(
        state.offsets,
        place.sequence,
        place.segments,
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
        state.campaigns,
    )


def _kept(
    exposures: tuple[Exposure, ...], moment: CustomerMoment, learning: bool, features: MomentFeatures
) -> tuple[Exposure, ...]:
    """The exposures after a moment: one is kept at it, or a purchase came late; else the same."""
    state, heard = moment.state, moment.heard
    if heard is None:
        if learning and not moment.anew and moment.at <= state.last_event_at + HORIZON_S:
            return (*exposures, exposure(state, moment.at, features.row(moment.row)))
    elif moment.before is None:
        return (exposure(state, moment.at, features.row(moment.row)),)
    elif exposures and heard.at <= exposures[-1].at:
        return with_late(exposures, heard.event, heard.at)
    return exposures


class _Places:
    """Where a customer is in each dimension, moment after moment.

    Attributes:
        segments: by dimension.
        sequence: of the latest move.
    """

    def __init__(self, history: Unfolded, terms: Terms, features: MomentFeatures, shifts: list[StateShift]) -> None:
        start = history.start
        self.segments = {} if start is None else start.segments
        self.sequence = 0 if start is None else start.sequence
        self._moves, self._shifts, self._features, self._rules = history.moves, shifts, features, terms.rules

    def at(self, moment: CustomerMoment, scores: list[float]) -> bool:
        """Judges a moment; whether any segment is another one than before."""
        moved, state, rules = False, moment.state, self._rules
        # The dwell keeps a number from fluttering; another rule, or a purchase, is news and no flutter.
        is_news = moment.anew or (moment.heard is not None and moment.heard.topic == PURCHASE)
        for ruling in rules.rulings:
            held = self.segments.get(ruling.name)
            number: float | None = None
            if ruling.score is not None:
                number, judged_at = scores[ruling.score], moment.at
            else:
                judged_at = moment.timed_at
                if state.spending is not None and state.spending.purchases:
                    number = rules.days_since(state.spending.last_purchase_at, judged_at)
            free = Held(held.segment, -NEVER) if is_news and held is not None else held
            current = ruling.place(number, free, judged_at)
            if held is not None and current == held.segment:
                continue
            moved = True
            self._move(ruling, held, current, number, judged_at, moment, tuple(scores[:_SCORES]))
        return moved

    def _move(
        self,
        ruling: Ruling,
        held: Held | None,
        current: str,
        number: float | None,
        judged_at: float,
        moment: CustomerMoment,
        scores: tuple[float, ...],
    ) -> None:
        self.sequence += 1
        self.segments = {**self.segments, ruling.name: Held(current, judged_at)}
        previous = None if held is None else held.segment
        cause = PolicyCause(self._rules.label) if moment.anew else _cause(moment)
        self._moves.append(Move(self.sequence, ruling.name, previous, current, judged_at, cause, scores))
        self._shifts.append(_shift(ruling, held, current, number, moment, self._features.row(moment.row)))


def _mature(
    history: Unfolded, terms: Terms, exposures: tuple[Exposure, ...], moment: CustomerMoment
) -> tuple[Exposure, ...]:
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


def _cause(moment: CustomerMoment) -> Cause:
    heard = moment.heard
    if heard is None:
        return SilenceCause(to_rfc3339(moment.at))
    offset = offset_of(heard.offset)
    return EventCause(heard.topic_name, heard.partition, offset, heard.event.event_id, heard.event.type)


def _shift(
    ruling: Ruling, held: Held | None, current: str, number: float | None, moment: CustomerMoment, after: FloatArray
) -> StateShift:
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
    return StateShift(Shift(ruling, held, current, number, _NONE, _NONE, after, ratings, moment.anew), before, heard)


_NONE = np.zeros(0)
