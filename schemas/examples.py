"""One sample record of each kind that a producer writes or a CRM reads; the schemas and the AsyncAPI document show them."""

import json
from typing import Any

import msgspec

from schemas.changes import (
    Change,
    Contribution,
    Counterfactual,
    EventCause,
    Next,
    Profile,
    Standing,
    Trace,
    Versions,
)
from schemas.events import CLICKSTREAM, PURCHASES, REVIEWS

CUSTOMER = "c-17850"

_COMMON = {"customer_id": CUSTOMER, "event_time": "2026-03-01T09:30:00Z"}

# Complete events, by the names of their schemas.
EVENTS: dict[str, list[dict[str, Any]]] = {
    "click": [
        {
            "event_id": "web-000122",
            **_COMMON,
            "type": "view",
            "session_id": "s-9",
            "product_id": "p-1",
            "category": "chairs",
        },
        {"event_id": "web-000123", **_COMMON, "type": "search", "session_id": "s-9", "query": "red chair"},
    ],
    "purchase": [
        {
            "event_id": "till-7-000123",
            **_COMMON,
            "type": "purchase",
            "order_id": "o-1001",
            "amount_minor": 18000,
            "currency": "GBP",
            "items": [{"product_id": "p-1", "quantity": 2, "unit_price_minor": 9000, "category": "chairs"}],
        },
        {
            "event_id": "refund-000124",
            **_COMMON,
            "type": "refund",
            "order_id": "o-1001",
            "amount_minor": 9000,
            "currency": "GBP",
        },
    ],
    "review": [
        {
            "event_id": "review-55",
            **_COMMON,
            "type": "review",
            "text": "A very good chair.",
            "rating": 5,
            "product_id": "p-1",
        },
        {
            "event_id": "ticket-56",
            **_COMMON,
            "type": "support",
            "text": "My chair has not arrived yet.",
            "language": "en",
        },
    ],
}
SCHEMA_OF_TOPIC = {CLICKSTREAM: "click", PURCHASES: "purchase", REVIEWS: "review"}

_SCORES = {"p_purchase_30d": 0.62, "p_purchase_90d": 0.81, "expected_purchases_90d": 1.9, "expected_spend_90d": 141.2}
_NEXT = Next("2026-03-31T09:30:00Z", "lifecycle", "at_risk")
_VERSIONS = Versions("default@1", "prior", "all-minilm-l6-v2@1")

CHANGE = Change(
    f"{CUSTOMER}:2",
    CUSTOMER,
    2,
    "value",
    "low",
    "mid",
    "2026-03-01T09:30:00Z",
    EventCause("purchases", 3, 4711, "till-7-000123", "purchase"),
    _SCORES,
    (Contribution("spend", 180.0, 97.4), Contribution("others", 22.0, 31.3)),
    Counterfactual("spend", 180.0, 52.0),
    _NEXT,
    _VERSIONS,
    Trace("2026-03-01T09:30:00.412Z", "2026-03-01T09:30:00.415Z", "2026-03-01T09:30:00.416Z"),
    12.5,
    "GBP",
    1,
    0,
)
STANDING = Standing(
    CUSTOMER,
    2,
    {"lifecycle": "active", "value": "mid"},
    _SCORES,
    Profile(
        0.0,
        1,
        18000.0,
        1,
        0,
        18000,
        0,
        2,
        1,
        "2026-03-01T09:30:00Z",
        "2026-03-01T09:30:00Z",
        "2026-03-01T09:30:00Z",
    ),
    _NEXT,
    _VERSIONS,
    "2026-03-01T09:30:00Z",
    {"lifecycle": "2026-03-01T09:30:00Z", "value": "2026-03-01T09:30:00Z"},
    "GBP",
    100,
    {"lifecycle": 1, "value": 1},
    {"value": "2026-03-02T09:30:00Z"},
)


def examples_of(schema: str) -> list[dict[str, Any]]:
    """Sample records of a schema as JSON values; none for one that only the product itself reads."""
    records = {"segment-change": CHANGE, "standing": STANDING}
    if schema in records:
        return [json.loads(msgspec.json.encode(records[schema]))]
    return EVENTS.get(schema, [])
