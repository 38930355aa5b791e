"""Every field of an event compared with what its struct allows: all mistakes, in the order in which they are written."""

import re
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from typing import Any

import msgspec
from msgspec import inspect

from schemas.currencies import unit_minor_of
from schemas.events import EARLIEST_YEAR, EVENT_OF_TOPIC, LATEST_YEAR, Currency, too_early
from schemas.mistakes import names, times
from schemas.mistakes.mistake import Mistake
from schemas.patterns import id_mistake

_CURRENCY = inspect.type_info(Currency)
_MINOR = "_minor"


class Literal(str):
    """A JSON number as it was written, `19.99` or `1e2`."""

    __slots__ = ()


@cache
def _fields(struct: type[msgspec.Struct]) -> dict[str, inspect.Field]:
    info = inspect.type_info(struct)
    assert isinstance(info, inspect.StructType)
    return {field.encode_name: field for field in info.fields}


def mistakes_of_object(struct: type[msgspec.Struct], event: dict[str, Any], path: str, topic: str) -> Iterator[Mistake]:
    """What keeps `event` from being a `struct`, first by the fields that are there, then those that are missing."""
    fields = _fields(struct)
    for name, value in event.items():
        if (field := fields.get(name)) is not None:
            yield from _of_value(field.type, value, f"{path}.{name}", topic, event)
    unknown = [name for name in event if name not in fields]
    for name, field in fields.items():
        if field.required and name not in event:
            other = names.meant(name, unknown)
            hint = f"the record has `{other}`; is it meant?" if other is not None else ""
            yield Mistake("schema", f"{path}.{name}", "missing", _allowed(field.type, name), hint)


def _of_value(kind: inspect.Type, value: Any, path: str, topic: str, event: dict[str, Any]) -> Iterator[Mistake]:
    if isinstance(kind, inspect.UnionType):
        if value is None:
            return
        (kind,) = (part for part in kind.types if not isinstance(part, inspect.NoneType))
    if isinstance(kind, inspect.Metadata):
        kind = kind.type
    name = path.rpartition(".")[2]
    mistake: tuple[str, str] | None = None
    if isinstance(kind, inspect.VarTupleType):
        if isinstance(value, list):
            for i, item in enumerate(value):
                yield from _of_value(kind.item_type, item, f"{path}[{i}]", topic, event)
            return
        mistake = _kind_of(value), "an array, also around one item"
    elif isinstance(kind, inspect.StructType):
        if isinstance(value, dict):
            yield from mistakes_of_object(kind.cls, value, path, topic)
            return
        mistake = _kind_of(value), ""
    elif isinstance(kind, inspect.IntType):
        mistake = _of_integer(kind, value, name, event)
    elif isinstance(kind, inspect.LiteralType):
        mistake = _of_word(kind, value, topic)
    elif isinstance(kind, inspect.DateTimeType):
        mistake = _of_time(value)
    elif isinstance(kind, inspect.StrType):
        mistake = _of_text(kind, value, name)
    if mistake is not None:
        yield Mistake("schema", path, mistake[0], _allowed(kind, name), mistake[1])


def _of_integer(kind: inspect.IntType, value: Any, name: str, event: dict[str, Any]) -> tuple[str, str] | None:
    if not isinstance(value, Literal):
        if isinstance(value, str) and len(value) > 40:
            return f"a text of {len(value):,} characters", "write a whole number without quotes"
        if isinstance(value, str):
            if re.fullmatch(r"\s*-?[0-9]{1,15}\s*", value):
                return "a number in quotes", "write it without quotes"
            if re.fullmatch(r"\s*[^0-9A-Za-z]{0,2}[0-9][0-9.,' ]*[^0-9A-Za-z]{0,2}\s*", value):
                return "an amount as text", _minor_hint(event) if name.endswith(_MINOR) else "write a whole number"
            return "a text", "write a whole number without quotes"
        return _kind_of(value), ""
    number = float(value)
    if not number.is_integer() and abs(number) < 1e30:
        # A number that is written as such is no customer's words: it can be shown.
        shown = value if len(value) <= 20 else "a number with point or exponent"
        return shown, _minor_hint(event, value) if name.endswith(_MINOR) else "write a whole number"
    number_int = int(min(max(number, -1e30), 1e30))
    low = kind.ge if kind.ge is not None else (kind.gt or 0) + 1
    high = kind.le
    if number_int < low:
        if name.endswith(_MINOR):
            return "less than 0", "money that goes back is of type refund, with an amount above 0"
        return (value if len(value) <= 20 else "a negative number"), ""
    if high is not None and number_int > high:
        return (value if len(value) <= 20 else f"a number of {len(value)} digits"), ""
    return None


def _minor_hint(event: dict[str, Any], literal: str = "") -> str:
    currency = event.get("currency")
    unit = unit_minor_of(currency) if isinstance(currency, str) and not isinstance(currency, Literal) else None
    if unit is None:
        return "amounts are in minor units: 19.99 is 1999 where a unit has 100 cents"
    if not literal or unit == 1 or len(literal) > 20 or "e" in literal.lower():
        if unit == 1:
            return f"amounts are in minor units, and {currency} has none: 1999 is 1999"
        return f"amounts are in minor units: 19.99 {currency} is {round(19.99 * unit)}"
    return f"amounts are in minor units: {literal} {currency} is {round(float(literal) * unit)}"


def _of_word(kind: inspect.LiteralType, value: Any, topic: str) -> tuple[str, str] | None:
    if isinstance(value, Literal) or not isinstance(value, str):
        return _kind_of(value), ""
    if value in kind.values:
        return None
    if not names.is_token(value):
        return f"a text of {len(value)} characters that is none of them", ""
    if (word := names.meant_word(value, [str(each) for each in kind.values])) is not None:
        return f"`{value}`", f"write `{word}`"
    for other, struct in EVENT_OF_TOPIC.items():
        words = getattr(_fields(struct)["type"].type, "values", ())
        if other != topic and (word := names.meant_word(value, words)) is not None:
            return f"`{value}`", f"`{word}` belongs to the topic {other}"
    return f"`{value}`", ""


def _of_time(value: Any) -> tuple[str, str] | None:
    if isinstance(value, Literal):
        return times.numeric_time(value)
    if not isinstance(value, str):
        hint = "an array or object of date parts? write one timestamp" if isinstance(value, list) else ""
        return _kind_of(value), hint
    try:
        at = _aware.decode(msgspec.json.encode(value))
    except (msgspec.ValidationError, UnicodeEncodeError):
        return times.untimely(value)
    if at.tzinfo is None:
        return times.untimely(value)
    if at.year < EARLIEST_YEAR:
        return too_early(at.timestamp()).partition(";")[0], "events are from 1990 on"
    return (f"a time after the year {LATEST_YEAR}", "") if at.year > LATEST_YEAR else None


_aware = msgspec.json.Decoder(datetime)


def _of_text(kind: inspect.StrType, value: Any, name: str) -> tuple[str, str] | None:
    if isinstance(value, Literal):
        return "a number", "write it in quotes"
    if not isinstance(value, str):
        return _kind_of(value), ""
    if name == "customer_id":
        # The pattern of the type says in ECMA 262 what this function decides.
        mistake = id_mistake(value)
        return None if mistake is None else (mistake.partition(";")[0], "")
    if kind.pattern is not None and not (re.search(kind.pattern, value) and len(value) <= (kind.max_length or 3)):
        return _of_currency(value)
    if kind.min_length is not None and len(value) < kind.min_length:
        return "an empty text", ""
    if kind.max_length is not None and len(value) > kind.max_length:
        return f"{len(value):,} characters", ""
    return None


def _of_currency(value: str) -> tuple[str, str]:
    if re.fullmatch("[A-Za-z]{3}", value):
        return "three letters, not all capitals", "write them as capitals"
    if value.strip() != value:
        return "white space around the code", "leave it out"
    if re.fullmatch("[0-9]{3}", value):
        return "the numeric code of ISO 4217", "write the three letters"
    if len(value) <= 3 and not value.isalnum() and value:
        return "a symbol", "write the three letters, as GBP"
    return f"a text of {len(value)} characters", ""


def _kind_of(value: Any) -> str:
    if isinstance(value, Literal):
        return "a number"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, str):
        return "a text"
    return "null" if value is None else "an array"


def _allowed(kind: inspect.Type, name: str) -> str:
    if isinstance(kind, inspect.UnionType):
        (kind,) = (part for part in kind.types if not isinstance(part, inspect.NoneType))
    if isinstance(kind, inspect.Metadata):
        kind = kind.type
    if isinstance(kind, inspect.LiteralType):
        return ", ".join(map(str, kind.values))
    if isinstance(kind, inspect.DateTimeType):
        return times.FORM
    if isinstance(kind, inspect.IntType):
        low = kind.ge if kind.ge is not None else (kind.gt or 0) + 1
        return f"a whole number from {low:,} to {kind.le:,}"
    if isinstance(kind, inspect.StrType):
        if kind.pattern is not None:
            return "three capital letters (ISO 4217)"
        controls = ", without control characters" if name == "customer_id" else ""
        low, high = kind.min_length or 0, kind.max_length
        return f"a text of {low} to {high} characters{controls}" if high is not None else "a text"
    return "an array of items" if isinstance(kind, inspect.VarTupleType) else "an object"
