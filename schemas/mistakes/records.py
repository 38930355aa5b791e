"""A record examined as a whole: the event in it, or all its mistakes."""

import json
from collections.abc import Sequence
from typing import Any

from schemas.events import (
    EVENT_OF_TOPIC,
    NESTING_LIMIT,
    RECORD_LIMIT_BYTES,
    Event,
    Rejected,
    as_validators_read,
    decode,
)
from schemas.headers import ERASE_HEADER
from schemas.mistakes import keys, times
from schemas.mistakes.fields import Literal, mistakes_of_object
from schemas.mistakes.formats import PLAIN, likely_format, wrapped
from schemas.mistakes.mistake import Mistake
from schemas.times import from_rfc3339

Headers = Sequence[tuple[str, bytes | None]]


def examine(topic: str, key: bytes | None, value: bytes | None, latest_s: float) -> Event | list[Mistake]:
    """The event in a record, or every mistake of it; the first is the one for which a worker rejects it.

    Args:
        topic: a name of `INPUT_TOPICS`.
        key: the record's key, the customer id in UTF-8.
        value: the record's value.
        latest_s: epoch seconds; an event after it is a mistake.
    """
    try:
        return decode(topic, key, value, latest_s)
    except Rejected as rejected:
        return explain(rejected, topic, key, value, latest_s)


def explain(rejected: Rejected, topic: str, key: bytes | None, value: bytes | None, latest_s: float) -> list[Mistake]:
    """Every mistake of a record that `decode` rejected, that one first."""
    mistakes = _whole(rejected, topic, key, value)
    parsed = _parsed(value, rejected)
    if parsed is not None:
        mistakes += _inside(parsed, topic, key, latest_s)
    elif rejected.reason == "schema" and value is not None and (likely := likely_format(value)) is not None:
        # The reader gave up at a wrong type before it came to the place where the text is no JSON.
        mistakes.append(Mistake("schema" if rejected.field == "$" else "not-json", "$", likely[0], PLAIN, likely[1]))
    # An envelope explains why every field is missing; it stands in place of them.
    first = next((each for each in mistakes if (each.reason, each.field) == (rejected.reason, rejected.field)), None)
    if first is None and not any(each.reason == rejected.reason for each in mistakes):
        first = Mistake(rejected.reason, rejected.field, rejected.detail)
        mistakes.append(first)
    if first is None:
        first = next(each for each in mistakes if each.reason == rejected.reason)
    return [first, *(each for each in mistakes if each is not first)]


def detailed(rejected: Rejected, topic: str, key: bytes | None, value: bytes | None, latest_s: float) -> Rejected:
    """`rejected` with a detail that says what was found, what is allowed and what is the likely cause."""
    first = explain(rejected, topic, key, value, latest_s)[0]
    return Rejected(first.reason, first.field, first.detail)


def _whole(rejected: Rejected, topic: str, key: bytes | None, value: bytes | None) -> list[Mistake]:
    """The mistakes of the record as a whole: its key, its size, bytes that are no JSON."""
    mistakes = []
    if not key:
        found = "no key" if key is None else "an empty key"
        hint = "set the producer's key to customer_id; the console producer needs parse.key=true"
        mistakes.append(Mistake("no-key", "$", found, "the customer id in UTF-8", hint))
    if value is None:
        hint = f"an erasure is a null with the header {ERASE_HEADER}"
        mistakes.append(Mistake("no-value", "$", "no value (null)", PLAIN, hint))
        return mistakes
    if len(value) > RECORD_LIMIT_BYTES:
        hint = "send long texts cut, and pictures and documents as a link"
        mistakes.append(Mistake("too-large", "$", f"{len(value):,} bytes", f"at most {RECORD_LIMIT_BYTES:,}", hint))
    if rejected.reason in ("not-json", "not-utf8"):
        mistakes.append(_unreadable(rejected, value))
    return mistakes


def _unreadable(rejected: Rejected, value: bytes) -> Mistake:
    if "nested" in rejected.detail:
        return Mistake(rejected.reason, "$", rejected.detail, f"at most {NESTING_LIMIT} levels")
    likely = likely_format(value)
    if likely is not None:
        return Mistake(rejected.reason, "$", likely[0], PLAIN, likely[1])
    if rejected.reason == "not-utf8":
        return Mistake(rejected.reason, "$", rejected.detail, "UTF-8", "Latin-1 or Windows-1252? encode as UTF-8")
    hint = (
        "the text was cut: compare its length with a limit of your producer" if "truncated" in rejected.detail else ""
    )
    return Mistake(rejected.reason, "$", rejected.detail, PLAIN, hint)


def _parsed(value: bytes | None, rejected: Rejected) -> Any:
    """The JSON value, numbers as `Literal`; None where it can't be read, or is too large to be worth it."""
    if value is None or rejected.reason in ("not-json", "not-utf8") or len(value) > 4 * RECORD_LIMIT_BYTES:
        return None
    try:
        parsed = json.loads(as_validators_read(value), parse_int=Literal, parse_float=Literal)
    except ValueError:
        return None
    return Literal("null") if parsed is None else parsed


def _inside(parsed: Any, topic: str, key: bytes | None, latest_s: float) -> list[Mistake]:
    envelope = wrapped(parsed, topic)
    if envelope is not None:
        return [Mistake("schema", "$", envelope[0], PLAIN, envelope[1])]
    if not isinstance(parsed, dict):
        return [Mistake("schema", "$", "a JSON value that is no object", PLAIN)]
    mistakes = list(mistakes_of_object(EVENT_OF_TOPIC[topic], parsed, "$", topic))
    wrong = {mistake.field for mistake in mistakes}
    customer_id = parsed.get("customer_id")
    if key and "$.customer_id" not in wrong and isinstance(customer_id, str) and customer_id.encode() != key:
        found, hint = keys.difference(key, customer_id, {n: v for n, v in parsed.items() if n != "customer_id"})
        mistakes.append(Mistake("key-mismatch", "$.customer_id", found, "the record's key", hint))
    if "$.event_time" not in wrong and (at_s := _time_of(parsed)) is not None and at_s > latest_s:
        found, hint = times.ahead(at_s - latest_s)
        mistakes.append(Mistake("future-time", "$.event_time", found, "up to that clock", hint))
    return mistakes


def _time_of(event: dict[str, Any]) -> float | None:
    try:
        return from_rfc3339(event["event_time"])
    except (KeyError, ValueError):
        return None
