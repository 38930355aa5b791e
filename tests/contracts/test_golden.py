"""Old bytes stay readable, and what we send stays the same to the byte: tests/golden/ holds one file a record kind.

A file here is never changed. A new field gets a default and, where it shows in the bytes, a new file.
"""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from schemas.actions import Action, ActionOutcome, decode_action, decode_outcome, encode_action, encode_outcome
from schemas.changes import (
    Change,
    Contribution,
    Counterfactual,
    EventCause,
    Next,
    PolicyCause,
    Profile,
    SilenceCause,
    Standing,
    Trace,
    Versions,
    decode_change,
    decode_standing,
    encode_change,
    encode_standing,
)
from schemas.events import INPUT_TOPICS, Click, Event, Item, Purchase, Review, decode
from schemas.learning import Label, decode_label, encode_label

GOLDEN = Path(__file__).parent.parent / "golden"
AT = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)
LONDON = timezone(timedelta(hours=1))

EVENTS: dict[str, tuple[str, Event]] = {
    "click-view.json": (
        "clickstream",
        Click(
            "e-1",
            "c-1",
            AT,
            "view",
            "s-1",
            product_id="p-1",
            category="toys",
            price_minor=1250,
            currency="GBP",
            device="phone",
        ),
    ),
    "click-search.json": ("clickstream", Click("e-2", "c-1", AT, "search", "s-1", query="red café chair")),
    "click-add-to-cart.json": ("clickstream", Click("e-3", "c-1", AT, "add_to_cart", "s-1", product_id="p-1")),
    "click-remove-from-cart.json": (
        "clickstream",
        Click("e-4", "c-1", AT, "remove_from_cart", "s-1", product_id="p-1"),
    ),
    "click-wishlist.json": ("clickstream", Click("e-5", "c-1", AT, "wishlist", "s-1", product_id="p-1")),
    "click-checkout.json": (
        "clickstream",
        Click("e-6", "c-1", datetime(2024, 5, 1, 13, 0, 0, 250_000, tzinfo=LONDON), "checkout", "s-1"),
    ),
    "purchase.json": (
        "purchases",
        Purchase(
            "e-7",
            "c-1",
            AT,
            "purchase",
            "o-1",
            2500,
            "GBP",
            items=(Item("p-1", 2, 1250, "toys", "RED CHAIR"), Item("p-2", 1, 0)),
            coupon_id="MAY",
            channel="web",
        ),
    ),
    "refund.json": ("purchases", Purchase("e-8", "c-1", AT, "refund", "o-1", 1250, "GBP")),
    "review.json": ("reviews", Review("e-9", "c-1", AT, "review", "Comfortable.", 5, "p-1", "en")),
    "support.json": ("reviews", Review("e-10", "c-1", AT, "support", "Where is my parcel?")),
}

VERSIONS = Versions("default@1", "prior", "minilm")
TRACE = Trace("2024-05-01T12:00:00.100000Z", "2024-05-01T12:00:00.104000Z", "2024-05-01T12:00:00.105000Z")
CAUSES = {
    "event": EventCause("purchases", 3, 42, "e-7", "purchase"),
    "silence": SilenceCause("2024-05-31T12:00:00Z"),
    "policy": PolicyCause("spring@2"),
}
FULL = {
    "change_id": "c-1:2",
    "customer_id": "c-1",
    "sequence": 2,
    "dimension": "lifecycle",
    "previous": "prospect",
    "current": "active",
    "changed_at": "2024-05-01T12:00:00Z",
    "scores": {"p_purchase_30d": 0.25, "expected_spend_90d": 61.5},
    "reasons": (Contribution("recency_days", 0.0, 12.5), Contribution("refunds", 1.0, -3.25)),
    "counterfactual": Counterfactual("recency_days", 0.0, 31.0),
    "next": Next("2024-05-31T12:00:00Z", "lifecycle", "at_risk"),
    "versions": VERSIONS,
    "trace": TRACE,
}
BARE = {**FULL, "previous": None, "reasons": (), "counterfactual": None, "next": None}
CHANGES = {
    "change-event.json": Change(cause=CAUSES["event"], **FULL),  # type: ignore[arg-type]
    "change-silence.json": Change(cause=CAUSES["silence"], **FULL),  # type: ignore[arg-type]
    "change-policy.json": Change(cause=CAUSES["policy"], **FULL),  # type: ignore[arg-type]
    "change-bare.json": Change(cause=CAUSES["policy"], **BARE),  # type: ignore[arg-type]
    "change-baseline.json": Change(cause=CAUSES["event"], **FULL, baseline=21.75),  # type: ignore[arg-type]
}
STANDING = Standing(
    customer_id="c-1",
    sequence=2,
    segments={"lifecycle": "active", "value": "mid"},
    scores={"p_purchase_30d": 0.25, "expected_spend_90d": 61.5},
    profile=Profile(
        recency_days=0.5,
        frequency=1,
        monetary_minor=2500.0,
        purchases=1,
        refunds=1,
        spend_minor=2500,
        refunded_minor=1250,
        clicks=6,
        reviews=2,
        first_purchase_at="2024-05-01T12:00:00Z",
        last_purchase_at="2024-05-01T12:00:00Z",
        last_event_at="2024-05-02T00:00:00Z",
    ),
    next=Next("2024-05-31T12:00:00Z", "lifecycle", "at_risk"),
    versions=VERSIONS,
    as_of="2024-05-02T00:00:00Z",
)
LABEL = Label("4f1c:1714564800:30", 1714564800.0, 1717156800.0, 30, "9a3e", (0.0, 1.5, -2.25), True, 2, 61.5)

ACTION = Action(
    action_id="c-1:win-back:2",
    customer_id="c-1",
    campaign="win-back",
    version="3",
    decided_at="2024-05-01T12:00:00Z",
    cause=CAUSES["silence"],
    arm="coupon-10",
    channel="email",
    cost=3.0,
    propensities={"none": 0.25, "coupon-10": 0.75},
    eligible=("none", "coupon-10"),
    suppressed={"coupon-20": "budget"},
    holdout=False,
    model="bandit@17",
    seed="8000000000000000",
    expires_at="2024-05-02T12:00:00Z",
    reasons=(Contribution("recency_days", 31.0, 0.25),),
)
OUTCOME = ActionOutcome("o-1", "c-1:win-back:2", "c-1", AT, "redeemed")


@pytest.mark.parametrize(("name", "topic", "expected"), [(name, *event) for name, event in EVENTS.items()])
def test_golden_event_decodes_to_the_same_event(name: str, topic: str, expected: Event) -> None:
    """An event that a producer sent long ago means today what it meant then."""
    assert topic in INPUT_TOPICS
    assert decode(topic, b"c-1", (GOLDEN / name).read_bytes(), AT.timestamp() + 60) == expected


@pytest.mark.parametrize(("name", "change"), CHANGES.items())
def test_golden_change_is_the_same_to_the_byte(name: str, change: Change) -> None:
    """A change that is sent again has the bytes that it had."""
    body = (GOLDEN / name).read_bytes()

    assert decode_change(body) == change
    assert encode_change(change) == body


def test_golden_standing_is_the_same_to_the_byte() -> None:
    """A standing that is sent again has the bytes that it had."""
    body = (GOLDEN / "standing.json").read_bytes()

    assert decode_standing(body) == STANDING
    assert encode_standing(STANDING) == body


def test_golden_label_is_the_same_to_the_byte() -> None:
    """A label that is sent again has the bytes that it had."""
    body = (GOLDEN / "label.json").read_bytes()

    assert decode_label(body) == LABEL
    assert encode_label(LABEL) == body


def test_golden_action_is_the_same_to_the_byte() -> None:
    """A decision that is sent again has the bytes that it had."""
    body = (GOLDEN / "action.json").read_bytes()

    assert decode_action(body) == ACTION
    assert encode_action(ACTION) == body


def test_golden_outcome_is_the_same_to_the_byte() -> None:
    """An outcome that was sent long ago means today what it meant then."""
    value = (GOLDEN / "outcome.json").read_bytes()

    assert decode_outcome(value) == OUTCOME
    assert encode_outcome(OUTCOME) == value


def test_every_golden_file_is_tested() -> None:
    """No file lies in tests/golden/ that nobody decodes."""
    tested = {*EVENTS, *CHANGES, "standing.json", "label.json", "action.json", "outcome.json"}

    assert {path.name for path in GOLDEN.glob("*.json")} == tested
