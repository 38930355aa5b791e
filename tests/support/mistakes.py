"""Mistakes that producers make, each as one record, with the reason and the words that its detail must have.

`python -m tests.support.mistakes` writes docs/mistakes.md from them.
"""

import gzip
import json
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from schemas.events import CLICKSTREAM, PURCHASES, REVIEWS
from schemas.mistakes.mistake import Mistake
from schemas.mistakes.records import examine

NOW_S = datetime(2024, 5, 1, tzinfo=UTC).timestamp()
LATEST_S = NOW_S + 3600
COMMON = {"event_id": "shop-1", "customer_id": "Anna-7", "event_time": "2024-05-01T00:00:00Z"}
EVENTS: dict[str, dict[str, Any]] = {
    CLICKSTREAM: {**COMMON, "type": "view", "session_id": "s-1"},
    PURCHASES: {**COMMON, "type": "purchase", "order_id": "o-1", "amount_minor": 1999, "currency": "GBP"},
    REVIEWS: {**COMMON, "type": "review", "text": "a nice chair"},
}
KEY = b"Anna-7"


class Case(NamedTuple):
    """A record with one mistake, where a worker finds it, and what a reader must be told."""

    name: str
    topic: str
    key: bytes | None
    value: bytes | None
    reason: str
    field: str
    words: tuple[str, ...]

    @property
    def mistakes(self) -> list[Mistake]:
        """What is found."""
        examined = examine(self.topic, self.key, self.value, LATEST_S)
        return examined if isinstance(examined, list) else []


def _bytes(topic: str, **changes: Any) -> bytes:
    return json.dumps({**EVENTS[topic], **changes}).encode()


def _raw(topic: str, field: str, raw: str) -> bytes:
    return _bytes(topic, **{field: "@"}).replace(b'"@"', raw.encode())


def _renamed(topic: str, field: str, other: str) -> bytes:
    return json.dumps({other if name == field else name: value for name, value in EVENTS[topic].items()}).encode()


PURCHASE = _bytes(PURCHASES)
PREFIX = b"\x00\x00\x00\x00\x07"


def _as_bytes() -> Iterator[tuple[str, bytes, str, tuple[str, ...]]]:
    """Values that are no JSON text: name, value, reason, words."""
    text = PURCHASE.decode()
    yield "gzip", gzip.compress(PURCHASE, mtime=0), "not-json", ("gzip", "compression.type")
    yield "zlib", zlib.compress(PURCHASE), "not-json", ("zlib", "compression.type")
    yield "Zstandard", b"\x28\xb5\x2f\xfd" + PURCHASE, "not-json", ("Zstandard",)
    yield "LZ4", b"\x04\x22\x4d\x18" + PURCHASE, "not-json", ("LZ4",)
    yield "Snappy", b"\x82SNAPPY\x00" + PURCHASE, "not-json", ("Snappy",)
    yield "Avro with a registry's prefix", PREFIX + b"\x0cshop-1\x0cAnna-7", "not-json", ("registry", "7", "Avro")
    yield "Protobuf with a registry's prefix", PREFIX + b"\x00\x0a\x06shop-1", "not-json", ("registry", "Protobuf")
    yield "JSON with a registry's prefix", PREFIX + PURCHASE, "not-json", ("registry", "JSON")
    yield "Avro", b"\x0cshop-1\x0cAnna-7", "not-json", ("Avro",)
    yield "an Avro file", b"Obj\x01" + b"\x04\x16avro.schema", "not-json", ("Avro file",)
    yield "Protobuf", b"\x0a\x06shop-1\x12\x06Anna-7", "not-json", ("Protobuf",)
    yield "MessagePack", b"\x87\xa8event_id\xa6shop-1", "not-json", ("MessagePack",)
    yield "CBOR", b"\xa7\x68event_id\x66shop-1", "not-json", ("CBOR",)
    yield "a Java object", b"\xac\xed\x00\x05sr", "not-json", ("Java object",)
    yield "a Python pickle", b"\x80\x04\x95\x10", "not-json", ("pickle",)
    yield "Base64", b"eyJldmVudF9pZCI6InNob3AtMSJ9", "not-json", ("Base64",)
    yield "XML", b"<purchase id='shop-1'/>", "not-json", ("XML",)
    yield "CSV", b"shop-1,Anna-7,2024-05-01,1999", "not-json", ("CSV",)
    yield "a form", b"event_id=shop-1&customer_id=Anna-7", "not-json", ("form",)
    yield "a printed dict", str(EVENTS[PURCHASES]).encode(), "not-json", ("single quotes", "json.dumps")
    yield "[object Object]", b"[object Object]", "schema", ("JSON.stringify",)
    yield "names without quotes", b"{event_id: 'shop-1'}", "not-json", ("without quotes", "JSON.stringify")
    yield "a toString", b"Purchase(eventId=shop-1, amount=1999)", "not-json", ("toString",)
    yield "a Java map's toString", b"{event_id=shop-1, amount=1999}", "not-json", ("toString",)
    yield "UTF-16", text.encode("utf-16-le"), "not-json", ("UTF-16",)
    yield "UTF-16 with a mark", text.encode("utf-16"), "not-json", ("byte order mark", "UTF-16")
    yield "UTF-8 with a mark", b"\xef\xbb\xbf" + PURCHASE, "not-json", ("byte order mark", "UTF-8")
    yield "Latin-1", PURCHASE.replace(b"o-1", b"caf\xe9"), "not-utf8", ("Latin-1",)
    yield "cut off", PURCHASE[:-20], "not-json", ("truncated", "cut")
    yield "two events in a record", PURCHASE + b"\n" + PURCHASE, "not-json", ("second", "one record per event")
    yield "a comma too many", PURCHASE[:-1] + b",}", "not-json", ("comma",)
    yield "NaN", _raw(PURCHASES, "amount_minor", "NaN"), "not-json", ("NaN",)
    yield "a leading zero", _raw(PURCHASES, "amount_minor", "01999"), "not-json", ("leading zero",)
    yield "a comment", b"{/* an event */" + PURCHASE[1:], "not-json", ("comment",)
    yield "a line end in a text", PURCHASE.replace(b"o-1", b"o\n1"), "not-json", ("line end",)
    yield "an empty value", b"", "not-json", ("white space",)
    yield "deep nesting", _raw(PURCHASES, "x", "[" * 99 + "]" * 99), "not-json", ("64",)
    yield "a megabyte", _bytes(PURCHASES, note="x" * 1_000_000), "too-large", ("65,536",)


def _envelopes() -> Iterator[tuple[str, Any, tuple[str, ...]]]:
    """Events inside something: name, JSON, words."""
    event = EVENTS[PURCHASES]
    yield "Connect with schema", {"schema": {"type": "struct"}, "payload": event}, ("Connect", "schemas.enable=false")
    debezium = {"before": None, "after": event, "op": "c", "source": {}}
    yield "Debezium", debezium, ("Debezium", "ExtractNewRecordState")
    yield "Debezium with schema", {"schema": {}, "payload": debezium}, ("Debezium",)
    cloud = {"specversion": "1.0", "id": "1", "type": "order", "source": "/shop", "data": event}
    yield "a structured CloudEvent", cloud, ("CloudEvent", "binary")
    yield "data around the event", {"data": event, "version": 2}, ("envelope", "`data`")
    yield "several events", {"events": [event, event]}, ("several",)
    yield "an array", [event], ("array", "one record per event")
    yield "JSON in JSON", json.dumps(event), ("JSON inside", "once")
    yield "null as JSON", None, ("no object",)
    yield "a number", 7, ("no object",)


def _times() -> Iterator[tuple[str, Any, tuple[str, ...]]]:
    yield "a time without offset", "2024-05-01T00:00:00", ("without an offset", "Z")
    yield "a date", "2024-05-01", ("time of day",)
    yield "a time without seconds", "2024-05-01T00:00Z", ("seconds",)
    yield "epoch seconds", 1714521600, ("epoch seconds",)
    yield "epoch milliseconds", 1714521600000, ("epoch milliseconds",)
    yield "epoch microseconds", 1714521600000000, ("epoch microseconds",)
    yield "epoch seconds in quotes", "1714521600", ("epoch seconds",)
    yield "a zone by name", "2024-05-01T00:00:00 UTC", ("by name",)
    yield "a zone in brackets", "2024-05-01T00:00:00+01:00[Europe/London]", ("brackets",)
    yield "an offset without minutes", "2024-05-01T00:00:00+01", ("offset without minutes",)
    yield "a time in words", "Wed, 01 May 2024 00:00:00 GMT", ("in words",)
    yield "a date with slashes", "05/01/2024 00:00", ("slashes",)
    yield "a comma before the fraction", "2024-05-01T00:00:00,5Z", ("comma",)
    yield "month 13", "2024-13-01T00:00:00Z", ("calendar",)
    yield "a leap second", "2016-12-31T23:59:60Z", ("leap second",)
    yield "one digit", "2024-5-1T0:00:00Z", ("one digit",)
    yield "white space", " 2024-05-01T00:00:00Z", ("white space",)
    yield "an empty time", "", ("empty",)
    yield "the year 1", "0001-01-01T00:00:00Z", ("Go and .NET",)
    yield "the year 1970", "1970-01-20T20:15:21Z", ("seconds taken for milliseconds",)
    yield "date parts", [2024, 5, 1], ("array",)


def _fields() -> Iterator[tuple[str, str, bytes, str, tuple[str, ...]]]:
    """One wrong field: name, topic, value, field, words."""
    amount = "$.amount_minor"
    for written, words in (
        ("19.99", ("19.99", "minor units", "1999")),
        ('"19.99"', ("minor units",)),
        ('"1999"', ("in quotes", "without quotes")),
        ('"19,99"', ("minor units",)),
        ("-1999", ("refund",)),
        ("true", ("true", "whole number")),
        ("null", ("null", "whole number")),
        ("1e40", ("10,000,000,000,000",)),
        ('{"value":1999}', ("an object", "whole number")),
    ):
        yield f"amount {written}", PURCHASES, _raw(PURCHASES, "amount_minor", written), amount, words
    for other in ("amount", "amountMinor", "total"):
        yield (
            f"{other} for amount_minor",
            PURCHASES,
            _renamed(PURCHASES, "amount_minor", other),
            amount,
            (f"`{other}`",),
        )
    for field, other in (
        ("customer_id", "user_id"),
        ("customer_id", "customerId"),
        ("event_time", "timestamp"),
        ("event_id", "id"),
        ("type", "event_type"),
        ("order_id", "orderId"),
    ):
        yield (
            f"{other} for {field}",
            PURCHASES,
            _renamed(PURCHASES, field, other),
            f"$.{field}",
            ("missing", f"`{other}`"),
        )
    for code, words in (
        ("gbp", ("capitals",)),
        ("£", ("symbol", "GBP")),
        ("826", ("numeric",)),
        ("GBP ", ("white space",)),
        ("Pounds", ("three capital letters",)),
    ):
        yield f"currency {code!r}", PURCHASES, _bytes(PURCHASES, currency=code), "$.currency", words
    for topic, word, words in (
        (CLICKSTREAM, "VIEW", ("`VIEW`", "write `view`")),
        (CLICKSTREAM, "page_view", ("`page_view`", "write `view`")),
        (CLICKSTREAM, "addToCart", ("`addToCart`", "write `add_to_cart`")),
        (CLICKSTREAM, "purchase", ("topic purchases",)),
        (CLICKSTREAM, "hover", ("`hover`", "wishlist")),
        (PURCHASES, "order.created", ("`order.created`", "write `purchase`")),
        (PURCHASES, "", ("purchase, refund",)),
    ):
        yield f"type {word!r}", topic, _bytes(topic, type=word), "$.type", words
    yield "customer a number", PURCHASES, _bytes(PURCHASES, customer_id=17850), "$.customer_id", ("in quotes",)
    yield "customer empty", PURCHASES, _bytes(PURCHASES, customer_id=""), "$.customer_id", ("1 to 128",)
    yield "customer null", PURCHASES, _bytes(PURCHASES, customer_id=None), "$.customer_id", ("null",)
    yield "event id too long", PURCHASES, _bytes(PURCHASES, event_id="e" * 65), "$.event_id", ("65", "64")
    yield "event id empty", PURCHASES, _bytes(PURCHASES, event_id=""), "$.event_id", ("empty", "1 to 64")
    yield "items an object", PURCHASES, _bytes(PURCHASES, items={"product_id": "p"}), "$.items", ("array",)
    yield "items a text", PURCHASES, _bytes(PURCHASES, items="[]"), "$.items", ("text", "array")
    item = {"product_id": "p", "quantity": 1, "price": 5}
    yield (
        "price for unit_price_minor",
        PURCHASES,
        _bytes(PURCHASES, items=[item]),
        "$.items[0].unit_price_minor",
        ("`price`",),
    )
    item = {"product_id": "p", "quantity": 0, "unit_price_minor": 5}
    yield "quantity 0", PURCHASES, _bytes(PURCHASES, items=[item]), "$.items[0].quantity", ("0", "from 1")
    yield "rating 4.5", REVIEWS, _bytes(REVIEWS, rating=4.5), "$.rating", ("4.5", "whole number from 1 to 5")
    yield "rating 10", REVIEWS, _bytes(REVIEWS, rating=10), "$.rating", ("10", "1 to 5")
    yield "body for text", REVIEWS, _renamed(REVIEWS, "text", "body"), "$.text", ("`body`",)


def _keys() -> Iterator[tuple[str, bytes, str, tuple[str, ...]]]:
    """Keys of a customer: name, key, customer id, words."""
    yield "key in another case", b"anna-7", "Anna-7", ("case",)
    yield "key in quotes", b'"Anna-7"', "Anna-7", ("double quotes", "string serializer")
    yield "key in single quotes", b"'Anna-7'", "Anna-7", ("single quotes",)
    yield "key with a line end", b"Anna-7\n", "Anna-7", ("line end",)
    yield "key with white space", b" Anna-7", "Anna-7", ("white space",)
    yield "key a long", (17850).to_bytes(8, "big"), "17850", ("binary integer", "8 bytes")
    yield "key an int", (17850).to_bytes(4, "big"), "17850", ("binary integer", "4 bytes")
    yield "key with a registry's prefix", PREFIX + b"\x0cAnna-7", "Anna-7", ("registry",)
    yield "key a JSON object", b'{"customer_id":"Anna-7"}', "Anna-7", ("JSON object",)
    yield "key the order", b"o-1", "Anna-7", ("order_id",)
    yield "key with a prefix", b"customer:Anna-7", "Anna-7", ("before or after",)
    yield "key with zeros", b"0017850", "17850", ("leading zeros",)
    yield "key in Base64", b"QW5uYS03", "Anna-7", ("Base64",)
    yield "key not UTF-8", b"\xff\xfe\xfd", "Anna-7", ("not UTF-8",)
    yield "key of somebody else", b"Bob-8", "Anna-7", ("another text",)


def cases() -> list[Case]:
    """Every mistake, in the order of the page."""
    listed = [
        Case("no key", PURCHASES, None, PURCHASE, "no-key", "$", ("no key", "parse.key")),
        Case("an empty key", PURCHASES, b"", PURCHASE, "no-key", "$", ("empty key",)),
        Case("no value", PURCHASES, KEY, None, "no-value", "$", ("no value", "erasure")),
    ]
    listed += [Case(name, PURCHASES, KEY, value, reason, "$", words) for name, value, reason, words in _as_bytes()]
    for name, parsed, words in _envelopes():
        listed.append(Case(name, PURCHASES, KEY, json.dumps(parsed).encode(), "schema", "$", words))
    for name, key, customer_id, words in _keys():
        value = _bytes(PURCHASES, customer_id=customer_id)
        listed.append(Case(name, PURCHASES, key, value, "key-mismatch", "$.customer_id", words))
    for name, at, words in _times():
        listed.append(Case(name, CLICKSTREAM, KEY, _bytes(CLICKSTREAM, event_time=at), "schema", "$.event_time", words))
    later = _bytes(CLICKSTREAM, event_time="2024-05-01T03:00:00Z")
    listed.append(Case("two hours ahead", CLICKSTREAM, KEY, later, "future-time", "$.event_time", ("2 h", "clock")))
    for name, topic, value, field, words in _fields():
        listed.append(Case(name, topic, KEY, value, "schema", field, words))
    return listed


def page() -> str:
    """docs/mistakes.md."""
    listed = cases()
    lines = [
        "# Mistakes of producers",
        "",
        f"{len(listed)} mistakes, and what `regulars events check` and the header `regulars-detail` of a dead letter say",
        "about each. `tests/unit/schemas/test_mistakes.py` checks them, and `python -m tests.support.mistakes` writes this",
        "page. The text of a customer, an id or a name is never quoted.",
        "",
        "| mistake | reason | field | detail |",
        "| --- | --- | --- | --- |",
    ]
    for case in listed:
        first = case.mistakes[0]
        name, detail = (text.replace("|", "\\|") for text in (case.name, first.detail))
        lines.append(f"| {name} | `{first.reason}` | `{first.field}` | {detail} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    Path("docs/mistakes.md").write_text(page(), encoding="utf-8")
