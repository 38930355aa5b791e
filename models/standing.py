"""Turns moves and states into the records that the CRM reads."""

from models.step import Move
from schemas.changes import Change, Next, Profile, Standing, Trace, Versions, timestamp
from schemas.learning import SCORES
from schemas.states import CustomerState, Promise
from schemas.times import DAY_S, to_rfc3339


def change(customer_id: str, move: Move, versions: Versions, trace: Trace) -> Change:
    """The `segment-changes` record of a move."""
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
    )


def standing(customer_id: str, state: CustomerState, versions: Versions) -> Standing:
    """The `customer-segments` record of a customer, as of the latest moment at which they were judged."""
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
    )


def _scores(scores: tuple[float, ...]) -> dict[str, float]:
    return dict(zip(SCORES, scores, strict=False))


def _next(promise: Promise | None) -> Next | None:
    return None if promise is None else Next(to_rfc3339(promise.at), promise.dimension, promise.segment)
