"""Turns moves and states into the records that the CRM reads."""

from typing import NamedTuple

from models.policy.document import Policy
from models.step import Move
from schemas.changes import Change, Next, Profile, Standing, Trace, Versions, timestamp
from schemas.learning import SCORES
from schemas.states import CustomerState, Promise
from schemas.times import DAY_S, to_rfc3339


class Wording(NamedTuple):
    """What records say of the served policy beside its label.

    Attributes:
        currency: of all amounts.
        unit_minor: minor units in a unit of it.
        ranks: per dimension each segment's place, from the lowest bound up.
        dwells_s: per dimension with a dwell, how long it holds.
    """

    currency: str
    unit_minor: int
    ranks: dict[str, dict[str, int]]
    dwells_s: dict[str, float]

    @classmethod
    def of(cls, policy: Policy) -> "Wording":
        """That of a policy."""
        ranks = {each.name: {segment.name: i for i, segment in enumerate(each.segments)} for each in policy.dimensions}
        dwells = {each.name: each.dwell_days * DAY_S for each in policy.dimensions if each.dwell_days}
        return cls(policy.currency, policy.unit_minor, ranks, dwells)


def change(customer_id: str, move: Move, versions: Versions, trace: Trace, wording: Wording | None = None) -> Change:
    """The `segment-changes` record of a move. `wording`: of the served policy; None: no currency and no ranks."""
    ranks = {} if wording is None else wording.ranks.get(move.dimension, {})
    return Change(
        f"{customer_id}:{move.sequence}",
        customer_id,
        move.sequence,
        move.dimension,
        move.previous,
        move.current,
        to_rfc3339(move.at),
        move.cause,
        _scores(move.scores),
        move.reasons,
        move.counterfactual,
        _next(move.promise),
        versions,
        trace,
        move.baseline,
        None if wording is None else wording.currency,
        ranks.get(move.current),
        None if move.previous is None else ranks.get(move.previous),
    )


def standing(customer_id: str, state: CustomerState, versions: Versions, wording: Wording | None = None) -> Standing:
    """The `customer-segments` record of a customer, as of the latest moment at which they were judged.

    Args:
        customer_id: whose it is.
        state: the customer's.
        versions: what judged the customer.
        wording: of the served policy; None: no currency, ranks, dwells and retired dimensions.
    """
    ranks = {} if wording is None else wording.ranks
    at = max(state.as_of, state.last_event_at)
    bought_at, purchases = state.last_purchase_at, state.purchases
    return Standing(
        customer_id,
        state.sequence,
        {dimension: held.segment for dimension, held in state.segments.items()},
        _scores(state.scores),
        Profile(
            None if bought_at is None else max(at - bought_at, 0.0) / DAY_S,
            purchases,
            state.spend_minor / purchases if purchases else None,
            purchases,
            state.refunds,
            state.spend_minor,
            state.refunded_minor,
            state.clicks,
            state.reviews,
            timestamp(state.first_purchase_at),
            timestamp(bought_at),
            timestamp(state.last_event_at),
        ),
        _next(state.promise),
        versions,
        to_rfc3339(at),
        {dimension: to_rfc3339(held.since) for dimension, held in state.segments.items()},
        None if wording is None else wording.currency,
        None if wording is None else wording.unit_minor,
        {
            dimension: ranks[dimension][held.segment]
            for dimension, held in state.segments.items()
            if held.segment in ranks.get(dimension, {})
        },
        {} if wording is None else _held_until(state, wording, at),
        () if wording is None else tuple(dimension for dimension in state.segments if dimension not in ranks),
    )


def _held_until(state: CustomerState, wording: Wording, at: float) -> dict[str, str]:
    """Per dimension the end of its dwell, where that is after `at`."""
    held = state.segments
    ends = {name: held[name].since + dwell_s for name, dwell_s in wording.dwells_s.items() if name in held}
    return {name: to_rfc3339(end) for name, end in ends.items() if end > at}


def _scores(scores: tuple[float, ...]) -> dict[str, float]:
    return dict(zip(SCORES, scores, strict=False))


def _next(promise: Promise | None) -> Next | None:
    return None if promise is None else Next(to_rfc3339(promise.at), promise.dimension, promise.segment)
