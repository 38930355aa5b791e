"""The published schemas of events and `decode` accept the same events, and refuse the same."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from schemas import documents
from schemas.events import CLICKSTREAM, EVENT_OF_TOPIC, PURCHASES, REVIEWS, Item, Rejected, decode

RECORD_OF_TOPIC = {CLICKSTREAM: "click", PURCHASES: "purchase", REVIEWS: "review"}
VALIDATORS = {topic: Draft202012Validator(documents.record_schema(record)) for topic, record in RECORD_OF_TOPIC.items()}
COMMON = {"event_id": "shop-1", "customer_id": "c-1", "event_time": "2024-05-01T00:00:00Z"}
ITEM = {"product_id": "p-1", "quantity": 2, "unit_price_minor": 600, "category": "toys", "description": "RED CHAIR"}
GOOD: dict[str, dict[str, Any]] = {
    CLICKSTREAM: COMMON
    | {"type": "view", "session_id": "s-1", "product_id": "p-1", "category": "toys", "query": "red chair"}
    | {"price_minor": 1250, "currency": "GBP", "device": "phone"},
    PURCHASES: COMMON
    | {"type": "purchase", "order_id": "o-1", "amount_minor": 1250, "currency": "GBP", "items": [ITEM]}
    | {"coupon_id": "MAY", "channel": "web"},
    REVIEWS: COMMON | {"type": "review", "text": "good", "rating": 5, "product_id": "p-1", "language": "en"},
}
NO_LIMIT_S = 1e18  # the clock is another matter than the schema


def _takes_schema(topic: str, raw: str) -> bool:
    return bool(VALIDATORS[topic].is_valid(json.loads(raw)))


def _takes_worker(topic: str, raw: str) -> bool:
    customer = json.loads(raw).get("customer_id")
    # As encoders to UTF-8 write half of a surrogate pair.
    key = (
        customer.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()
        if isinstance(customer, str)
        else b"c-1"
    )
    try:
        decode(topic, key or b"c-1", raw.encode(), NO_LIMIT_S)
    except Rejected:
        return False
    return True


# --- events, good but for a few fields


def _spelt(number: int) -> st.SearchStrategy[str]:
    return st.sampled_from([str(number), f"{number}.0", f"{number}e0", f"{number}.5", f'"{number}"'])


_edges = [0, 1, 5, 6, 10**9, 10**13, 2**53, 2**63, 2**64, 10**30]
_numbers = st.sampled_from([edge + by for edge in _edges for by in (-1, 0, 1)]).flatmap(_spelt) | st.just("-0")
_characters = st.sampled_from(["a", "é", "😀", " ", "\n", "\x00", "\x1f", "\x7f", "\x9f", "\xa0", "\u2028", "\ud83d"])
_long = st.builds(lambda each, n: each * n, _characters, st.sampled_from([1, 3, 64, 65, 128, 129, 256, 257]))
_texts = st.one_of(st.text(max_size=5), _long, st.sampled_from(["", "GBP", "GBP\n", "gbp", "view", "refund", "review"]))
_two = st.integers(0, 62).map("{:02}".format)
_year = st.sampled_from(
    ["0000", "0001", "1899", "1970", "1989", "1990", "1900", "2000", "2023", "2024", "2100", "2999", "3000", "9999"]
)
_months = st.sampled_from(["00", "01", "02", "04", "12", "13", "1"])
_days = st.sampled_from(["00", "01", "28", "29", "30", "31", "32"])
_parts = st.tuples(
    _year,
    st.just("-"),
    _months,
    st.just("-"),
    _days,
    st.sampled_from(["T", "T", "t", " ", "_", "", "\n"]),
    st.sampled_from(["00", "12", "23", "24"]),
    st.just(":"),
    _two,
    st.sampled_from([":", ":", "."]),
    _two,
    st.sampled_from(["", "", ".", ".5", ",5", ".999999999", ".123456789012"]),
    st.sampled_from(["Z", "Z", "z", "", "+01:00", "+0100", "-23:59", "+24:00", "+01", " Z", "Z\n", "−01:00", "+00:60"]),
)
_near = st.sampled_from(["1989-12-31T23:59:59", "1989-12-31t23:59:59", "1990-01-01T00:00:00", "2999-12-31 23:59:59"])
_fractions = st.sampled_from(["", ".0", ".5", ".999999", ".9999994999", ".9999995", ".99999999"])
_times = _parts.map("".join) | st.tuples(_near, _fractions, st.sampled_from(["Z", "+00:01", "-00:01"])).map("".join)
_simple = st.one_of(
    st.sampled_from(["null", "true", "[]", "{}"]), _numbers, _texts.map(json.dumps), _times.map(json.dumps)
)


def _object(fields: dict[str, str]) -> str:
    return "{" + ",".join(f"{json.dumps(name)}:{raw}" for name, raw in fields.items()) + "}"


def _spoilt(good: dict[str, Any], names: tuple[str, ...], values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    whole = {name: json.dumps(value) for name, value in good.items()}
    changes = st.dictionaries(st.sampled_from([*names, "unknown"]), values, max_size=3)
    return st.builds(
        lambda changed, left_out: _object({n: v for n, v in {**whole, **changed}.items() if n not in left_out}),
        changes,
        st.sets(st.sampled_from(names), max_size=1),
    )


_items = st.lists(_spoilt(ITEM, Item.__struct_fields__, _simple), max_size=2).map(lambda each: f"[{','.join(each)}]")
EVENTS = st.sampled_from(list(GOOD)).flatmap(
    lambda topic: st.tuples(
        st.just(topic), _spoilt(GOOD[topic], EVENT_OF_TOPIC[topic].__struct_fields__, _simple | _items)
    )
)


@settings(max_examples=400)
@given(EVENTS)
def test_schema_and_worker_take_the_same_events(event: tuple[str, str]) -> None:
    """A producer who validates is never refused, and nothing else is accepted."""
    topic, raw = event

    assert _takes_schema(topic, raw) == _takes_worker(topic, raw), raw


@settings(max_examples=400)
@given(_times)
def test_pattern_of_times_is_what_the_worker_takes(text: str) -> None:
    """Days of each month, leap years, the offset: whatever is written, both read it alike."""
    raw = json.dumps(GOOD[CLICKSTREAM] | {"event_time": text})

    assert _takes_schema(CLICKSTREAM, raw) == _takes_worker(CLICKSTREAM, raw), text


@pytest.mark.parametrize("topic", GOOD)
def test_null_is_an_optional_field_left_out(topic: str) -> None:
    """Serializers that write every field are no reason for a dead letter."""
    needed = set(VALIDATORS[topic].schema["$defs"][EVENT_OF_TOPIC[topic].__name__]["required"])
    raw = json.dumps({name: value if name in needed else None for name, value in GOOD[topic].items()})

    assert (_takes_schema(topic, raw), _takes_worker(topic, raw)) == (True, True)
