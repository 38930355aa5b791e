"""What `schemas.events.decode` lets in and what it turns away, with which reason."""

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import events
from schemas.events import Click, Purchase, Rejected, Review

NOW_S = datetime(2024, 5, 1, tzinfo=UTC).timestamp()
LATEST_S = NOW_S + 3600

CLICK = {
    "event_id": "e-1",
    "customer_id": "c-1",
    "event_time": "2024-05-01T00:00:00Z",
    "type": "view",
    "session_id": "s-1",
}
PURCHASE = {
    "event_id": "e-2",
    "customer_id": "c-1",
    "event_time": "2024-05-01T00:00:00Z",
    "type": "purchase",
    "order_id": "o-1",
    "amount_minor": 1250,
    "currency": "GBP",
}
REVIEW = {
    "event_id": "e-3",
    "customer_id": "c-1",
    "event_time": "2024-05-01T00:00:00Z",
    "type": "review",
    "text": "good",
}


def _json(event: dict[str, Any], **changes: Any) -> bytes:
    return json.dumps({**event, **changes}).encode()


def _without(event: dict[str, Any], field: str) -> bytes:
    return json.dumps({name: value for name, value in event.items() if name != field}).encode()


def _raw(event: dict[str, Any], field: str, raw: bytes) -> bytes:
    """The event with `raw` where the field's JSON value would stand."""
    return _json(event, **{field: "@"}).replace(b'"@"', raw)


BAD = {
    "no key": ("clickstream", None, _json(CLICK), "no-key", "$"),
    "empty key": ("clickstream", b"", _json(CLICK), "no-key", "$"),
    "no value": ("clickstream", b"c-1", None, "no-value", "$"),
    "empty value": ("clickstream", b"c-1", b"", "not-json", "$"),
    "not JSON": ("clickstream", b"c-1", b"event_id=1", "not-json", "$"),
    "cut off": ("clickstream", b"c-1", _json(CLICK)[:-5], "not-json", "$"),
    "two objects": ("clickstream", b"c-1", _json(CLICK) * 2, "not-json", "$"),
    "byte order mark": ("clickstream", b"c-1", b"\xef\xbb\xbf" + _json(CLICK), "not-json", "$"),
    "an array": ("clickstream", b"c-1", b"[" + _json(CLICK) + b"]", "schema", "$"),
    "null": ("clickstream", b"c-1", b"null", "schema", "$"),
    "deep nesting": ("clickstream", b"c-1", _raw(CLICK, "x", b"[" * 20_000 + b"]" * 20_000), "not-json", "$"),
    "deep nesting in items": ("purchases", b"c-1", b'{"items":' + b"[" * 20_000, "not-json", "$"),
    "bad UTF-8": ("clickstream", b"c-1", _raw(CLICK, "event_id", b'"\xff\xfe"'), "not-utf8", "$"),
    "overlong UTF-8": ("clickstream", b"c-1", _raw(CLICK, "event_id", b'"\xc0\x80"'), "not-utf8", "$"),
    "a surrogate in UTF-8": ("clickstream", b"c-1", _raw(CLICK, "event_id", b'"\xed\xa0\x80"'), "not-utf8", "$"),
    "key of another": ("clickstream", b"c-2", _json(CLICK), "key-mismatch", "$.customer_id"),
    "key not UTF-8": ("clickstream", b"\xff", _json(CLICK), "key-mismatch", "$.customer_id"),
    "customer twice": (
        "clickstream",
        b"c-1",
        _json(CLICK)[:-1] + b',"customer_id":"c-2"}',
        "key-mismatch",
        "$.customer_id",
    ),
    "customer missing": ("clickstream", b"c-1", _without(CLICK, "customer_id"), "schema", "$.customer_id"),
    "customer empty": ("clickstream", b"c-1", _json(CLICK, customer_id=""), "schema", "$.customer_id"),
    "customer too long": ("clickstream", b"c-1", _json(CLICK, customer_id="c" * 129), "schema", "$.customer_id"),
    "customer and a line end": ("clickstream", b"c-1\n", _json(CLICK, customer_id="c-1\n"), "schema", "$.customer_id"),
    "customer with NUL": ("clickstream", b"c\0", _json(CLICK, customer_id="c\0"), "schema", "$.customer_id"),
    "customer with C1": ("clickstream", b"\xc2\x85", _json(CLICK, customer_id="\x85"), "schema", "$.customer_id"),
    "customer a number": ("clickstream", b"1", _json(CLICK, customer_id=1), "schema", "$.customer_id"),
    "event id too long": ("clickstream", b"c-1", _json(CLICK, event_id="e" * 65), "schema", "$.event_id"),
    "event id empty": ("clickstream", b"c-1", _json(CLICK, event_id=""), "schema", "$.event_id"),
    "session missing": ("clickstream", b"c-1", _without(CLICK, "session_id"), "schema", "$.session_id"),
    "type missing": ("clickstream", b"c-1", _without(CLICK, "type"), "schema", "$.type"),
    "type unknown": ("clickstream", b"c-1", _json(CLICK, type="teleport"), "schema", "$.type"),
    "type of another topic": ("clickstream", b"c-1", _json(CLICK, type="purchase"), "schema", "$.type"),
    "type that looks like a path": (
        "clickstream",
        b"c-1",
        _json(CLICK, type="x - at `$.secret`"),
        "schema",
        "$.type",
    ),
    "time without offset": (
        "clickstream",
        b"c-1",
        _json(CLICK, event_time="2024-05-01T00:00:00"),
        "schema",
        "$.event_time",
    ),
    "time a date": ("clickstream", b"c-1", _json(CLICK, event_time="2024-05-01"), "schema", "$.event_time"),
    "time a number": ("clickstream", b"c-1", _json(CLICK, event_time=1714521600), "schema", "$.event_time"),
    "month 13": ("clickstream", b"c-1", _json(CLICK, event_time="2024-13-01T00:00:00Z"), "schema", "$.event_time"),
    "leap second": ("clickstream", b"c-1", _json(CLICK, event_time="2016-12-31T23:59:60Z"), "schema", "$.event_time"),
    "before year 1": (
        "clickstream",
        b"c-1",
        _json(CLICK, event_time="0001-01-01T00:00:00+14:00"),
        "schema",
        "$.event_time",
    ),
    "before 1990": (
        "clickstream",
        b"c-1",
        _json(CLICK, event_time="1989-12-31T23:59:59.9-01:00"),
        "schema",
        "$.event_time",
    ),
    "after year 2999": (
        "clickstream",
        b"c-1",
        _json(CLICK, event_time="3000-01-01T00:00:00Z"),
        "schema",
        "$.event_time",
    ),
    "future": ("clickstream", b"c-1", _json(CLICK, event_time="2024-05-01T01:00:01Z"), "future-time", "$.event_time"),
    "amount missing": ("purchases", b"c-1", _without(PURCHASE, "amount_minor"), "schema", "$.amount_minor"),
    "amount negative": ("purchases", b"c-1", _json(PURCHASE, amount_minor=-1), "schema", "$.amount_minor"),
    "amount a fraction": ("purchases", b"c-1", _json(PURCHASE, amount_minor=12.5), "schema", "$.amount_minor"),
    "amount text": ("purchases", b"c-1", _json(PURCHASE, amount_minor="1250"), "schema", "$.amount_minor"),
    "amount true": ("purchases", b"c-1", _json(PURCHASE, amount_minor=True), "schema", "$.amount_minor"),
    "amount NaN": ("purchases", b"c-1", _raw(PURCHASE, "amount_minor", b"NaN"), "not-json", "$"),
    "amount infinite": ("purchases", b"c-1", _raw(PURCHASE, "amount_minor", b"1e400"), "schema", "$.amount_minor"),
    "amount huge": ("purchases", b"c-1", _json(PURCHASE, amount_minor=10**40), "schema", "$.amount_minor"),
    "currency lower case": ("purchases", b"c-1", _json(PURCHASE, currency="gbp"), "schema", "$.currency"),
    "currency and a line end": ("purchases", b"c-1", _json(PURCHASE, currency="GBP\n"), "schema", "$.currency"),
    "currency missing": ("purchases", b"c-1", _without(PURCHASE, "currency"), "schema", "$.currency"),
    "item without product": (
        "purchases",
        b"c-1",
        _json(PURCHASE, items=[{"quantity": 1, "unit_price_minor": 1}]),
        "schema",
        "$.items[0].product_id",
    ),
    "item quantity zero": (
        "purchases",
        b"c-1",
        _json(PURCHASE, items=[{"product_id": "p", "quantity": 0, "unit_price_minor": 1}]),
        "schema",
        "$.items[0].quantity",
    ),
    "text missing": ("reviews", b"c-1", _without(REVIEW, "text"), "schema", "$.text"),
    "text null": ("reviews", b"c-1", _json(REVIEW, text=None), "schema", "$.text"),
    "rating 6": ("reviews", b"c-1", _json(REVIEW, rating=6), "schema", "$.rating"),
    "rating 0": ("reviews", b"c-1", _json(REVIEW, rating=0), "schema", "$.rating"),
    "1 MB text": ("reviews", b"c-1", _json(REVIEW, text="x" * 1_000_000), "too-large", "$"),
}


@pytest.mark.parametrize(("topic", "key", "value", "reason", "field"), BAD.values(), ids=BAD.keys())
def test_bad_record_is_rejected_with_its_reason_and_field(
    topic: str, key: bytes | None, value: bytes | None, reason: str, field: str
) -> None:
    """Each kind of bad record tells its producer what to mend and where."""
    latest_s = 1e18 if "3000" in str(value) else LATEST_S

    with pytest.raises(Rejected) as rejected:
        events.decode(topic, key, value, latest_s)

    assert (rejected.value.reason, rejected.value.field) == (reason, field)


@pytest.mark.parametrize(
    ("topic", "value"),
    [
        ("clickstream", _json(CLICK, type="Dear shop, my name is Jane - at `$.secret`")),
        ("purchases", _json(PURCHASE, currency="Jane")),
        ("purchases", _json(PURCHASE, customer_id="Jane")),
        ("reviews", _json(REVIEW, rating="Jane")),
        ("reviews", b'{"text":"Jane'),
        ("clickstream", _json(CLICK, event_time="Jane")),
    ],
)
def test_rejection_never_quotes_the_record(topic: str, value: bytes) -> None:
    """What a customer wrote stays out of errors, headers and logs."""
    with pytest.raises(Rejected) as rejected:
        events.decode(topic, b"c-1", value, LATEST_S)

    assert "Jane" not in str(rejected.value)


def test_bad_utf8_is_placed_by_its_byte_in_the_record() -> None:
    """The byte that a rejection names is where a hex dump of the record shows it."""
    value = _raw(CLICK, "event_id", b'"ab\xff"')

    with pytest.raises(Rejected) as rejected:
        events.decode("clickstream", b"c-1", value, LATEST_S)

    assert f"byte {value.index(0xFF)} " in rejected.value.detail


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (b"\xef\xbb\xbf" + _json(CLICK), "byte order mark of UTF-8"),
        ("\ufeff{}".encode("utf-16-le"), "byte order mark of UTF-16"),
        (_json(CLICK)[:-5], "truncated"),
    ],
)
def test_bytes_that_are_no_json_are_told_apart(value: bytes, found: str) -> None:
    """Where a producer's encoder went wrong is in the detail, not guessed from where the parser gave up."""
    with pytest.raises(Rejected) as rejected:
        events.decode("clickstream", b"c-1", value, LATEST_S)

    assert found in rejected.value.detail


@pytest.mark.parametrize(
    ("event_time", "kind"),
    [
        ("0001-01-01T00:00:00Z", "zero time of Go"),
        ("1970-01-20T17:48:28.8Z", "seconds taken for milliseconds"),
        ("1899-12-30T00:00:00Z", "before 1990"),
    ],
)
def test_time_before_1990_is_told_with_its_kind_and_the_limit(event_time: str, kind: str) -> None:
    """Which zero time it is says what to look for in the producer."""
    with pytest.raises(Rejected, match=rf"{kind}.*1990-01-01T00:00:00Z"):
        events.decode("clickstream", b"c-1", _json(CLICK, event_time=event_time), LATEST_S)


@pytest.mark.parametrize(
    "event_time", ["1990-01-01T00:00:00Z", "1990-01-01T00:59:59+01:00", "1997-01-01T00:00:00Z", "2024-05-01T01:00:00Z"]
)
def test_any_time_from_1990_on_is_accepted(event_time: str) -> None:
    """However late an event is, it is an event, up to the very limit of the future."""
    event = events.decode("clickstream", b"c-1", _json(CLICK, event_time=event_time), LATEST_S)

    assert event.event_time == datetime.fromisoformat(event_time)


@pytest.mark.parametrize("customer_id", ["a b", "\xa0", "\u200b", "名前", "a/b", "\U0010fffd"])
def test_customer_id_is_any_text_without_controls(customer_id: str) -> None:
    """What isn't printed needn't be a control character."""
    event = events.decode("clickstream", customer_id.encode(), _json(CLICK, customer_id=customer_id), LATEST_S)

    assert event.customer_id == customer_id


@pytest.mark.parametrize("written", [b"1250.0", b"1.25e3", b"12500e-1"])
def test_whole_number_with_point_or_exponent_is_a_whole_number(written: bytes) -> None:
    """To a JSON Schema, and to JavaScript, they are the same number."""
    event = events.decode("purchases", b"c-1", _raw(PURCHASE, "amount_minor", written), LATEST_S)

    assert isinstance(event, Purchase)
    assert event.amount_minor == 1250


@pytest.mark.parametrize("cut", [b"\\ud83d", b"\\ude00"])
def test_half_of_a_character_costs_nobody_an_event(cut: bytes) -> None:
    """A text that JavaScript cut within an emoji has a character that nobody can print, and counts."""
    event = events.decode("reviews", b"c-1", _raw(REVIEW, "text", b'"good ' + cut + b' chair"'), LATEST_S)

    assert isinstance(event, Review)
    assert event.text == "good \ufffd chair"


def test_repeated_field_counts_as_last_written() -> None:
    """JSON leaves it open; here the last one counts."""
    event = events.decode("clickstream", b"c-1", _json(CLICK)[:-1] + b',"event_id":"last"}', LATEST_S)
    mended = events.decode("clickstream", b"c-1", b'{"event_id":7,' + _json(CLICK)[1:], LATEST_S)

    assert event.event_id == "last"
    assert mended.event_id == CLICK["event_id"]


def test_record_of_exactly_the_limit_is_accepted() -> None:
    """The size limit itself is allowed; one byte more is not."""
    room = events.RECORD_LIMIT_BYTES - len(_json(REVIEW, text=""))

    event = events.decode("reviews", b"c-1", _json(REVIEW, text="x" * room), LATEST_S)

    assert isinstance(event, Review)
    assert len(events.cut(event.text)) == events.TEXT_LIMIT_CHARS
    with pytest.raises(Rejected, match="too-large"):
        events.decode("reviews", b"c-1", _json(REVIEW, text="x" * (room + 1)), LATEST_S)


@pytest.mark.parametrize("opened", [b"[", b'{"a":'])
def test_nesting_is_limited_alike_wherever_it_is_decoded(opened: bytes) -> None:
    """Exactly the limit is allowed, the event itself counted; brackets in a text don't nest."""
    closed = b"1" + (b"]" if opened == b"[" else b"}") * (events.NESTING_LIMIT - 1)
    text = '"[{' * 2_000 + "\\"

    nested = _raw(REVIEW, "x", opened * (events.NESTING_LIMIT - 1) + closed)
    deeper = nested.replace(b'"x":', b'"x":[').replace(closed, closed + b"]")

    events.decode("reviews", b"c-1", nested, LATEST_S)
    with pytest.raises(Rejected, match=r"not-json .* deeper than 64"):
        events.decode("reviews", b"c-1", deeper, LATEST_S)
    assert events.decode("reviews", b"c-1", _json(REVIEW, text=text, x=[[]] * 99), LATEST_S)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=256)
COMMON = {
    "event_id": st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=64),
    "customer_id": st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=128),
    "event_time": st.datetimes(min_value=datetime(1990, 1, 1), max_value=datetime(2024, 4, 1), timezones=st.just(UTC)),
}
CURRENCY = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=3, max_size=3)
AMOUNT = st.integers(0, events.AMOUNT_LIMIT_MINOR)
EVENTS = st.one_of(
    st.builds(Click, **COMMON, session_id=NAMES, query=st.none() | TEXTS, currency=st.none() | CURRENCY),
    st.builds(
        Purchase,
        **COMMON,
        order_id=NAMES,
        amount_minor=AMOUNT,
        currency=CURRENCY,
        items=st.lists(
            st.builds(
                events.Item,
                product_id=NAMES,
                quantity=st.integers(1, 10**9),
                unit_price_minor=st.integers(0, events.AMOUNT_LIMIT_MINOR),
                category=st.none() | NAMES,
                description=st.none() | NAMES,
            ),
            max_size=3,
        ).map(tuple),
        coupon_id=st.none() | NAMES,
        channel=st.none() | NAMES,
    ),
    st.builds(Review, **COMMON, text=TEXTS, rating=st.none() | st.integers(1, 5), language=st.none() | NAMES),
)


def _topic(event: events.Event) -> str:
    return next(topic for topic, kind in events.EVENT_OF_TOPIC.items() if isinstance(event, kind))


@given(st.sampled_from(events.INPUT_TOPICS), st.none() | st.binary(max_size=200), st.none() | st.binary(max_size=400))
def test_any_bytes_are_an_event_or_rejected(topic: str, key: bytes | None, value: bytes | None) -> None:
    """No bytes whatever make `decode` fail in a third way."""
    try:
        event = events.decode(topic, key, value, LATEST_S)
    except Rejected as rejected:
        assert rejected.field.startswith("$")
    else:
        assert isinstance(event, events.EVENT_OF_TOPIC[topic])


@given(
    st.sampled_from([("clickstream", CLICK), ("purchases", PURCHASE), ("reviews", REVIEW)]),
    st.dictionaries(
        st.sampled_from(sorted({*CLICK, *PURCHASE, *REVIEW, "items", "rating", "price_minor"})), JSON_VALUES, max_size=4
    ),
)
def test_any_json_in_any_field_is_an_event_or_rejected(
    topic: tuple[str, dict[str, Any]], fields: dict[str, Any]
) -> None:
    """However a field is mistyped, the record is an event or rejected, at a field of its own."""
    name, event = topic
    try:
        decoded = events.decode(name, b"c-1", _json(event, **fields), LATEST_S)
    except Rejected as rejected:
        assert rejected.field.split("[")[0].removeprefix("$").lstrip(".").split(".")[0] in {"", *fields}
    else:
        assert decoded.customer_id == "c-1"


@given(EVENTS)
def test_valid_event_survives_encoding_and_decoding(event: events.Event) -> None:
    """What a producer encodes is what we apply."""
    decoded = events.decode(_topic(event), event.customer_id.encode(), msgspec.json.encode(event), LATEST_S)

    assert decoded == event


@given(EVENTS, st.dictionaries(st.text(min_size=1).map(lambda name: f"x-{name}"), JSON_VALUES, max_size=4))
def test_unknown_fields_are_ignored(event: events.Event, unknown: dict[str, Any]) -> None:
    """Producers may add to their events freely."""
    value = json.dumps({**msgspec.to_builtins(event), **unknown}).encode()

    assert events.decode(_topic(event), event.customer_id.encode(), value, LATEST_S) == event
