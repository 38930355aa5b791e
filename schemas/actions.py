"""What is decided about a customer (`actions`) and what became of it (`outcomes`)."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from schemas.changes import Cause, Contribution, Timestamp
from schemas.events import CustomerId, EventId, EventTime

ACTION_TYPE = "regulars.action.v1"

# The arm that every campaign has: nothing is done.
NONE = "none"

ACTION_ID_LIMIT_CHARS = 256

Suppression = Literal["consent", "cap", "budget", "quiet_hours", "holdout"]
OutcomeKind = Literal["sent", "delivered", "opened", "clicked", "redeemed", "failed", "suppressed", "unsubscribed"]
Probability = Annotated[float, Meta(ge=0, le=1)]


class Action(Struct, frozen=True, omit_defaults=True):
    """One decision of one campaign about one customer. Equal `action_id`, equal bytes, however often it is delivered.

    `none` is an arm as any other: who gets nothing is recorded too, or no effect could be measured.
    """

    action_id: Annotated[str, Meta(description="<customer_id>:<campaign>:<n>")]
    customer_id: str
    campaign: str
    version: str
    decided_at: Timestamp
    cause: Cause
    arm: str
    channel: str | None
    cost: Annotated[float, Meta(ge=0, description="of the arm, in units of the campaign's currency")]
    propensities: Annotated[
        dict[str, Probability], Meta(description="arm -> probability that it was drawn, over `eligible`; sums to 1")
    ]
    eligible: Annotated[tuple[str, ...], Meta(description="the arms that could be drawn; `none` always can")]
    suppressed: Annotated[dict[str, Suppression], Meta(description="arm -> why it could not be drawn")]
    holdout: Annotated[bool, Meta(description="the customer is one of those who are never contacted")]
    model: Annotated[str | None, Meta(description="version of the bandit; null: drawn by fixed or equal shares")]
    seed: Annotated[
        str,
        Meta(
            description="16 hex digits made from salt, customer, campaign, version and n; as a fraction of 2^64 they fall "
            "into the share of the drawn arm when the propensities are laid end to end in the order of `eligible`"
        ),
    ]
    expires_at: Annotated[Timestamp, Meta(description="RFC 3339, UTC; after it the action must not be carried out")]
    reasons: tuple[Contribution, ...] = ()


class Outcome(Struct, frozen=True, gc=False, omit_defaults=True):
    """What became of an action, as the system says that carried it out: one record of `outcomes`."""

    outcome_id: EventId
    action_id: Annotated[
        str, Meta(min_length=1, max_length=ACTION_ID_LIMIT_CHARS, description="<customer_id>:<campaign>:<n>")
    ]
    customer_id: CustomerId
    event_time: EventTime
    kind: OutcomeKind


_encoder = msgspec.json.Encoder()
_action = msgspec.json.Decoder(Action)
_outcome = msgspec.json.Decoder(Outcome)


def action_id(customer_id: str, campaign: str, n: int) -> str:
    """The id of the n-th decision (from 1) of `campaign` about a customer.

    >>> action_id("c-1", "win-back", 2)
    'c-1:win-back:2'
    """
    return f"{customer_id}:{campaign}:{n}"


def encode_action(action: Action) -> bytes:
    """The body of an `actions` record."""
    return _encoder.encode(action)


def decode_action(body: bytes) -> Action:
    """Raises msgspec.DecodeError where `body` is no action."""
    return _action.decode(body)


def encode_outcome(outcome: Outcome) -> bytes:
    """The value of an `outcomes` record."""
    return _encoder.encode(outcome)


def decode_outcome(value: bytes) -> Outcome:
    """Raises msgspec.DecodeError where `value` is no outcome."""
    return _outcome.decode(value)


def action_headers(action: Action, source: str) -> list[tuple[str, bytes]]:
    """The CloudEvents 1.0 attributes of `action` as Kafka headers (binary content mode)."""
    return [
        ("ce_specversion", b"1.0"),
        ("ce_id", action.action_id.encode()),
        ("ce_source", source.encode()),
        ("ce_type", ACTION_TYPE.encode()),
        ("ce_subject", action.customer_id.encode()),
        ("ce_time", action.decided_at.encode()),
        ("content-type", b"application/json"),
    ]
