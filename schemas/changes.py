"""What the CRM consumes: changes (`segment-changes`, a log) and standings (`customer-segments`, a table)."""

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from schemas.headers import ERASED_AT_HEADER, SEQUENCE_HEADER
from schemas.times import to_rfc3339

CHANGE_TYPE = "regulars.segment-change.v1"
STANDING_TYPE = "regulars.standing.v1"

Timestamp = Annotated[str, Meta(description="RFC 3339, UTC")]
Scores = Annotated[
    dict[str, float],
    Meta(
        description="p_purchase_30d, p_purchase_90d: probability (0 to 1) of a purchase within so many days; "
        "expected_purchases_90d: a count; expected_spend_90d: gross, in units (not minor units) of the policy's "
        "currency"
    ),
]


class EventCause(Struct, frozen=True, tag_field="kind", tag="event"):
    """The record that moved the customer."""

    topic: str
    partition: int
    offset: int
    event_id: str
    event_type: str


class SilenceCause(Struct, frozen=True, tag_field="kind", tag="silence"):
    """Nothing was heard until `due_at`."""

    due_at: Timestamp


class PolicyCause(Struct, frozen=True, tag_field="kind", tag="policy"):
    """A new policy was published."""

    version: str


Cause = EventCause | SilenceCause | PolicyCause


class Contribution(Struct, frozen=True):
    """One feature's part in the move: signed, in units of the number that the dimension is cut on.

    Four names are no features: `dwell_days` (held back until the dwell ended), `version` (judged by another model or
    policy), `policy` (its bound, in `value`; where none was crossed, as in a new dimension or from a segment that has gone,
    the number itself and a contribution of 0), `others` (all that isn't named; how many, in `value`).
    """

    feature: str
    value: float
    contribution: float


class Counterfactual(Struct, frozen=True):
    """The smallest single change of an actionable feature that would have kept the previous segment."""

    feature: str
    value: float
    instead: float


class Next(Struct, frozen=True):
    """What happens if nothing more is heard: at `at`, `dimension` becomes `segment`."""

    at: Timestamp
    dimension: str
    segment: str


class Versions(Struct, frozen=True):
    """What the scores and segments were computed with."""

    policy: str
    model: str
    encoder: str


class Trace(Struct, frozen=True):
    """Processing times: record taken from the broker, scored, change written to be sent."""

    consumed_at: Timestamp
    scored_at: Timestamp
    emitted_at: Annotated[
        Timestamp, Meta(description="RFC 3339, UTC; before it is sent: until Kafka acknowledges it comes on top")
    ]


class Change(Struct, frozen=True, omit_defaults=True):
    """One customer moved in one dimension. Equal `change_id`, equal bytes, however often it is delivered."""

    change_id: Annotated[str, Meta(description="<customer_id>:<sequence>")]
    customer_id: str
    sequence: Annotated[int, Meta(ge=1, description="gapless per customer over all dimensions")]
    dimension: str
    previous: str | None
    current: str
    changed_at: Timestamp
    cause: Cause
    scores: Scores
    reasons: tuple[Contribution, ...]
    counterfactual: Counterfactual | None
    next: Next | None
    versions: Versions
    trace: Trace
    baseline: Annotated[
        float | None,
        Meta(description="where the reasons start: with their contributions it sums to the number that was judged"),
    ] = None
    currency: Annotated[
        str | None, Meta(description="ISO 4217: of every amount here, whole units and not minor ones")
    ] = None
    rank: Annotated[int | None, Meta(description="place of `current` in the policy's order; 0: the lowest bound")] = (
        None
    )
    previous_rank: Annotated[int | None, Meta(description="of `previous`; null if the policy does not have it")] = None


class Profile(Struct, frozen=True):
    """The customer in numbers. Money is in minor units, times are event times."""

    recency_days: float | None
    frequency: int
    monetary_minor: float | None
    purchases: int
    refunds: int
    spend_minor: int
    refunded_minor: int
    clicks: int
    reviews: int
    first_purchase_at: Timestamp | None
    last_purchase_at: Timestamp | None
    last_event_at: Timestamp | None


class Standing(Struct, frozen=True, omit_defaults=True):
    """The fold of a customer's changes, with the profile they were judged on.

    A click that moves nobody and changes only when the next move would come writes no standing, so that the table is no
    log of clicks: scores, profile and `next` are as of `as_of`. Other events, moves and another next segment write one.
    """

    customer_id: str
    sequence: int
    segments: dict[str, str]
    scores: Scores
    profile: Profile
    next: Next | None
    versions: Versions
    as_of: Timestamp
    since: Annotated[
        dict[str, Timestamp], Meta(description="dimension -> when its segment was entered, event time")
    ] = {}
    currency: Annotated[str | None, Meta(description="ISO 4217: of every amount here")] = None
    unit_minor: Annotated[int | None, Meta(description="minor units (..._minor) in a unit of the currency")] = None
    ranks: Annotated[
        dict[str, int], Meta(description="dimension -> place of its segment in the policy's order; 0: the lowest bound")
    ] = {}
    held_until: Annotated[
        dict[str, Timestamp],
        Meta(description="dimension -> until when its dwell holds, if later than as_of: purchases and refunds pass it"),
    ] = {}
    retired: Annotated[
        tuple[str, ...], Meta(description="dimensions that the policy no longer has: their segments stay as they were")
    ] = ()


_encoder = msgspec.json.Encoder()
_change = msgspec.json.Decoder(Change)
_standing = msgspec.json.Decoder(Standing)


def encode_change(change: Change) -> bytes:
    """The body of a `segment-changes` record."""
    return _encoder.encode(change)


def decode_change(body: bytes) -> Change:
    """Raises msgspec.DecodeError where `body` is no change."""
    return _change.decode(body)


def encode_standing(standing: Standing) -> bytes:
    """The body of a `customer-segments` record."""
    return _encoder.encode(standing)


def decode_standing(body: bytes) -> Standing:
    """Raises msgspec.DecodeError where `body` is no standing."""
    return _standing.decode(body)


def cloudevent_headers(change: Change, source: str) -> list[tuple[str, bytes]]:
    """The CloudEvents 1.0 attributes of `change` as Kafka headers (binary content mode).

    Three extensions let a consumer filter without reading the body: `dimension`, `current` and, where there is one,
    `previous`.
    """
    headers = _attributes(change.change_id, source, CHANGE_TYPE, change.customer_id, change.changed_at)
    headers += [("ce_dimension", change.dimension.encode()), ("ce_current", change.current.encode())]
    if change.previous is not None:
        headers.append(("ce_previous", change.previous.encode()))
    return headers


def standing_headers(standing: Standing, source: str) -> list[tuple[str, bytes]]:
    """The CloudEvents 1.0 attributes of `standing` as Kafka headers; two standings with one id say the same."""
    name = f"{standing.customer_id}:{standing.sequence}:{standing.as_of}"
    return _attributes(name, source, STANDING_TYPE, standing.customer_id, standing.as_of)


def _attributes(name: str, source: str, kind: str, customer_id: str, at: str) -> list[tuple[str, bytes]]:
    return [
        ("ce_specversion", b"1.0"),
        ("ce_id", name.encode()),
        ("ce_source", source.encode()),
        ("ce_type", kind.encode()),
        ("ce_subject", customer_id.encode()),
        ("ce_time", at.encode()),
        ("content-type", b"application/json"),
    ]


def erased_headers(erased_at: float, sequence: int) -> list[tuple[str, bytes]]:
    """Headers of the null that says in `customer-segments` that a customer was erased.

    Args:
        erased_at: no event up to then counts any more, epoch seconds.
        sequence: the highest that any change of theirs had; changes up to it are of before the erasure.
    """
    return [(ERASED_AT_HEADER, to_rfc3339(erased_at).encode()), (SEQUENCE_HEADER, b"%d" % sequence)]


def timestamp(at_s: float | None) -> str | None:
    """`to_rfc3339`, with None for never."""
    return None if at_s is None else to_rfc3339(at_s)
