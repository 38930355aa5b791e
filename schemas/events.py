"""Input events: one JSON object a record, one struct a topic, every limit of the contract in the type.

`decode` is the one way in: it gives an event or raises `Rejected` with the reason and the field, which become the
headers of the dead letter. Unknown fields are ignored, so producers may add to their events freely.
"""

import json
import re
from collections.abc import Sequence
from datetime import datetime
from itertools import accumulate
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from schemas.headers import CLOCK_HEADER
from schemas.patterns import CUSTOMER_ID_PATTERN, EVENT_TIME_PATTERN, ID_LIMIT_CHARS, id_mistake
from schemas.times import DAY_S, from_rfc3339

RECORD_LIMIT_BYTES = 64 * 1024
TEXT_LIMIT_CHARS = 8_192
# Of unknown fields too. Without a limit of ours it would be the interpreter's, another one in each version of Python.
NESTING_LIMIT = 64
# 10^13 minor units: a hundred billion of a currency with cents; far from 2^53, where sums would lose a unit.
AMOUNT_LIMIT_MINOR = 10**13
# No shop on line is older than 1990, but zero times are: one of the year 1 would be a customer's first purchase for good.
# The years of an event are those of its own offset, as a schema's pattern reads them; `EARLIEST_S` is the same in UTC.
EARLIEST_YEAR, LATEST_YEAR = 1990, 2999
EARLIEST_S = 631_152_000

CLICKSTREAM, PURCHASES, REVIEWS = "clickstream", "purchases", "reviews"
INPUT_TOPICS = (CLICKSTREAM, PURCHASES, REVIEWS)
# Requests to erase customers, in a topic of their own: only who may erase has to be allowed to write to it.
ERASURES = "erasures"
# Everything that the group of workers reads, in the order of the topics' indexes.
GROUP_TOPICS = (*INPUT_TOPICS, ERASURES)

_MINOR = "minor units (pence, cents)"

EventId = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=64,
        description="unique per customer and topic, over all types and producers (begin it with the producer's name); a "
        "retry repeats it",
    ),
]
CustomerId = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=ID_LIMIT_CHARS,
        description="equals the record's key; no control characters",
        extra_json_schema={"pattern": CUSTOMER_ID_PATTERN},
    ),
]
EventTime = Annotated[
    datetime,
    Meta(
        tz=True,
        description="RFC 3339 with an offset, of the years 1990 to 2999; a space in place of T and an offset without colon "
        "are accepted, too; rounded to the nearest microsecond",
        extra_json_schema={"pattern": EVENT_TIME_PATTERN},
    ),
]
Currency = Annotated[str, Meta(pattern="^[A-Z]{3}$", max_length=3, description="ISO 4217")]
Amount = Annotated[int, Meta(ge=0, le=AMOUNT_LIMIT_MINOR, description=f"{_MINOR}; 0: a free order")]
Price = Annotated[int, Meta(ge=0, le=AMOUNT_LIMIT_MINOR, description=_MINOR)]
Quantity = Annotated[int, Meta(gt=0, le=10**9)]
Name = Annotated[str, Meta(max_length=256)]
Text = Annotated[str, Meta(description=f"at most {TEXT_LIMIT_CHARS:,} characters count; longer is cut")]

ClickType = Literal["view", "search", "add_to_cart", "remove_from_cart", "wishlist", "checkout"]
PurchaseType = Literal["purchase", "refund"]
ReviewType = Literal["review", "support"]


class Click(Struct, frozen=True, gc=False, omit_defaults=True):
    """What a customer did in the shop: one record of `clickstream`."""

    event_id: EventId
    customer_id: CustomerId
    event_time: EventTime
    type: ClickType
    session_id: Name
    product_id: Name | None = None
    category: Name | None = None
    query: Text | None = None
    price_minor: Price | None = None
    currency: Currency | None = None
    device: Name | None = None


class Item(Struct, frozen=True, gc=False, omit_defaults=True):
    """One line of a basket."""

    product_id: Name
    quantity: Quantity
    unit_price_minor: Price
    category: Name | None = None
    description: Name | None = None


class Purchase(Struct, frozen=True, gc=False, omit_defaults=True):
    """Money that came in (`purchase`) or went back (`refund`): one record of `purchases`."""

    event_id: EventId
    customer_id: CustomerId
    event_time: EventTime
    type: PurchaseType
    order_id: Name
    amount_minor: Amount
    currency: Currency
    items: tuple[Item, ...] | None = ()
    coupon_id: Name | None = None
    channel: Name | None = None


class Review(Struct, frozen=True, gc=False, omit_defaults=True):
    """What a customer wrote, in public (`review`) or to the shop (`support`): one record of `reviews`."""

    event_id: EventId
    customer_id: CustomerId
    event_time: EventTime
    type: ReviewType
    text: Text
    rating: Annotated[int, Meta(ge=1, le=5)] | None = None
    product_id: Name | None = None
    language: Name | None = None


Event = Click | Purchase | Review
EVENT_OF_TOPIC: dict[str, type[Event]] = {CLICKSTREAM: Click, PURCHASES: Purchase, REVIEWS: Review}

Reason = Literal[
    "no-key",
    "no-value",
    "too-large",
    "not-utf8",
    "not-json",
    "schema",
    "key-mismatch",
    "wrong-partition",
    "future-time",
    "clock",
    "erase",
    "internal",
]


class Rejected(Exception):
    """A record that is no event. Its producer must mend it; `regulars-reason` and `regulars-field` say what.

    Attributes:
        reason: one word of `Reason`, a metric label.
        field: JSON path of the offending field (`$.amount_minor`), or `$` for the record as a whole.
        detail: what was found and what is allowed; never the customer's text.
    """

    def __init__(self, reason: Reason, field: str, detail: str) -> None:
        super().__init__(f"{reason} at {field}: {detail}")
        self.reason, self.field, self.detail = reason, field, detail


_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_MARKS = {b"\xef\xbb\xbf": "UTF-8", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}

_decoders = {topic: msgspec.json.Decoder(event) for topic, event in EVENT_OF_TOPIC.items()}


def decode(topic: str, key: bytes | None, value: bytes | None, latest_s: float) -> Event:
    """The event in a record of `topic` (a name of `INPUT_TOPICS`).

    Args:
        key: the record's key, the customer id in UTF-8.
        value: the record's value.
        latest_s: epoch seconds; an event after it is rejected (a clock ahead would drag event time with it).

    Raises:
        Rejected: the record isn't a valid event of this topic.
    """
    if not key:
        raise Rejected("no-key", "$", "the record has no key; it must be the customer id")
    if value is None:
        raise Rejected("no-value", "$", "the record has no value; an event is one JSON object")
    if len(value) > RECORD_LIMIT_BYTES:
        raise Rejected("too-large", "$", f"{len(value)} bytes; at most {RECORD_LIMIT_BYTES}")
    if value.count(b"{") + value.count(b"[") > NESTING_LIMIT and _depth(value) > NESTING_LIMIT:
        raise Rejected("not-json", "$", f"nested deeper than {NESTING_LIMIT}")
    try:
        event: Event = _decoders[topic].decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        event = _decoded_slowly(topic, value, exc)
    customer_id = event.customer_id
    if (mistake := id_mistake(customer_id)) is not None:
        raise Rejected("schema", "$.customer_id", mistake)
    if customer_id.encode() != key:
        raise Rejected("key-mismatch", "$.customer_id", "the record's key is another than customer_id")
    at = event.event_time
    at_s = at.timestamp()
    if not EARLIEST_YEAR <= at.year <= LATEST_YEAR:
        early = at.year < EARLIEST_YEAR
        raise Rejected("schema", "$.event_time", too_early(at_s) if early else f"after the year {LATEST_YEAR}")
    if at_s > latest_s:
        raise Rejected("future-time", "$.event_time", "later than this worker's clock allows")
    return event


def too_early(at_s: float) -> str:
    """What is said of a time (epoch seconds) before `EARLIEST_S`: which kind it is, and what is allowed.

    >>> too_early(1_705_708.8)
    'in 1970, as seconds taken for milliseconds or no time at all are; allowed from 1990-01-01T00:00:00Z on'
    """
    kind = "a time before 1990"
    if at_s < -62_135_596_800 + 366 * DAY_S:
        kind = "about the year 1, the zero time of Go and .NET"
    elif -DAY_S <= at_s < 365 * DAY_S:
        kind = "in 1970, as seconds taken for milliseconds or no time at all are"
    return f"{kind}; allowed from 1990-01-01T00:00:00Z on"


def decode_clock(headers: Sequence[tuple[str, bytes | None]], latest_s: float) -> float | None:
    """The moment that event time has reached, by a record without key; None: it is no clock record.

    Args:
        headers: the record's; of several `CLOCK_HEADER` the first counts.
        latest_s: epoch seconds, as in `decode`.

    Raises:
        Rejected: it is meant as a clock record, and isn't one.
    """
    moment = next((value or b"" for name, value in headers if name == CLOCK_HEADER), None)
    if moment is None:
        return None
    field = f"header {CLOCK_HEADER}"
    try:
        at = from_rfc3339(moment.decode())
    except ValueError as exc:
        raise Rejected("clock", field, "not an RFC 3339 timestamp") from exc
    if at < EARLIEST_S:
        raise Rejected("clock", field, too_early(at))
    if at > latest_s:
        raise Rejected("future-time", field, "later than this worker's clock allows")
    return at


def as_validators_read(value: bytes) -> str:
    """The JSON text `value` as a validator of a JSON Schema reads it, written anew.

    To it `100.0` and `1e2` are integers, half of a surrogate pair is a character, and of a name that comes twice only
    the last value is there. So integers are written as integers, half of a pair as U+FFFD, as encoders to UTF-8 do, and
    each name once.

    Raises:
        ValueError: `value` is no JSON text in UTF-8, or is nested too deep to be read.

    >>> as_validators_read(b'{"a": 1e2, "b": 0.5, "a": 7.0}')
    '{"a": 7, "b": 0.5}'
    """
    try:
        parsed = json.loads(value.decode(), parse_float=_number, parse_constant=_no_number)
        text = json.dumps(parsed, ensure_ascii=False)
    except RecursionError:
        raise ValueError("nested deeper than can be read") from None
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _decoded_slowly(topic: str, value: bytes, refused: Exception) -> Event:
    """The event in `value`, which the fast reader refused, if a validator of the published schema accepts it.

    Raises:
        Rejected: the record isn't a valid event of this topic.
    """
    try:
        anew = as_validators_read(value)
    except ValueError:
        raise _refusal(value, refused) from None
    try:
        event: Event = _decoders[topic].decode(anew)
    except msgspec.MsgspecError as exc:
        raise _refusal(value, exc) from None
    return event


def _number(literal: str) -> int | float:
    number = float(literal)
    if number.is_integer() and abs(number) < 1e30:
        return int(number)
    return min(max(number, -1e308), 1e308)  # infinity has no spelling in JSON


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _refusal(value: bytes, exc: Exception) -> Rejected:
    if isinstance(exc, msgspec.ValidationError):
        return _invalid(exc)
    if isinstance(exc, UnicodeDecodeError):
        return Rejected("not-utf8", "$", _not_utf8(value, exc))
    return Rejected("not-json", "$", _not_json(value, exc))


def _depth(value: bytes) -> int:
    brackets = _STRING.sub(b"", value).translate(None, _NO_BRACKETS)
    return max(accumulate(1 if each in b"[{" else -1 for each in brackets), default=0)


def _invalid(exc: msgspec.ValidationError) -> Rejected:
    # msgspec: "Expected `int` > 0 - at `$.amount_minor`", "Object missing required field `type`"; an invalid enum's
    # message quotes the value, which may be a customer's, so that part is dropped.
    # From the right: the quoted value may itself hold " - at `".
    message, has_path, path = str(exc).rpartition(" - at `")
    if not has_path:
        message = path
    field = path.rstrip("`") if has_path else "$"
    if message.startswith("Object missing required field `"):
        field = f"{field}.{message.split('`')[1]}"
    if message.startswith("Invalid enum value"):
        message = "not one of the allowed values"
    return Rejected("schema", field, message)


def _not_json(value: bytes, exc: Exception) -> str:
    for mark, encoding in _MARKS.items():
        if value.startswith(mark):
            return f"begins with a byte order mark of {encoding}; UTF-8 without one is allowed"
    return str(exc)


def _not_utf8(value: bytes, exc: UnicodeDecodeError) -> str:
    # msgspec counts from the start of the string that it was reading; the record as a whole tells the place.
    try:
        value.decode()
    except UnicodeDecodeError as whole:
        exc = whole
    return f"byte {exc.start} of the record is not UTF-8"


def cut(text: str) -> str:
    """`text` as far as it counts: its first `TEXT_LIMIT_CHARS` characters."""
    return text[:TEXT_LIMIT_CHARS]
