"""Turns moves and states into the records that the CRM reads."""

from models.policy.document import Policy
from models.step import Move
from schemas.changes import Change, Next, Profile, Standing, Trace, Versions, timestamp
from schemas.learning import SCORES
from schemas.states import CustomerState, Promise
from schemas.times import DAY_S, to_rfc3339


def change(customer_id: str, move: Move, versions: Versions, trace: Trace, policy: Policy | None = None) -> Change:
    """The `segment-changes` record of a move. `policy`: the served one, which names currency and ranks; None: neither."""
    ranks = _ranks(policy).get(move.dimension, {})
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
        None if policy is None else policy.currency,
        ranks.get(move.current),
        None if move.previous is None else ranks.get(move.previous),
    )


def standing(customer_id: str, state: CustomerState, versions: Versions, policy: Policy | None = None) -> Standing:
    """The `customer-segments` record of a customer, as of the latest moment at which they were judged.

    Args:
        customer_id: whose it is.
        state: the customer's.
        versions: what judged the customer.
        policy: the served one, which names currency, ranks and retired dimensions; None: none of them.
    """
    ranks = _ranks(policy)
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
        None if policy is None else policy.currency,
        None if policy is None else policy.unit_minor,
        {
            dimension: ranks[dimension][held.segment]
            for dimension, held in state.segments.items()
            if held.segment in ranks.get(dimension, {})
        },
        {} if policy is None else _held_until(state, policy, at),
        () if policy is None else tuple(dimension for dimension in state.segments if dimension not in ranks),
    )


def _held_until(state: CustomerState, policy: Policy, at: float) -> dict[str, str]:
    """Per dimension the end of its dwell, where that is after `at`."""
    ends = {
        dimension.name: state.segments[dimension.name].since + dimension.dwell_days * DAY_S
        for dimension in policy.dimensions
        if dimension.dwell_days and dimension.name in state.segments
    }
    return {name: to_rfc3339(end) for name, end in ends.items() if end > at}


def _ranks(policy: Policy | None) -> dict[str, dict[str, int]]:
    """Per dimension each segment's place, from the lowest bound up."""
    dimensions = () if policy is None else policy.dimensions
    return {each.name: {segment.name: i for i, segment in enumerate(each.segments)} for each in dimensions}


def _scores(scores: tuple[float, ...]) -> dict[str, float]:
    return dict(zip(SCORES, scores, strict=False))


def _next(promise: Promise | None) -> Next | None:
    return None if promise is None else Next(to_rfc3339(promise.at), promise.dimension, promise.segment)
