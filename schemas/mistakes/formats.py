"""What bytes probably are that are no JSON event: another serializer, a compression, an envelope around the event."""

import base64
import binascii
import json
import re
from collections.abc import Sequence
from typing import Any

from schemas.events import EVENT_OF_TOPIC

PLAIN = "one JSON object in UTF-8 per record"
# Kafka's registry serializers begin each value with a zero byte and the schema's id, four bytes.
REGISTRY_PREFIX_BYTES = 5

_COMPRESS = "compress the batch with the producer's compression.type instead of the value"
_CUSTOM = "use a serializer that writes plain JSON"
_STARTS: tuple[tuple[bytes, str, str], ...] = (
    (b"\x1f\x8b", "gzip", _COMPRESS),
    (b"\x28\xb5\x2f\xfd", "Zstandard", _COMPRESS),
    (b"\x04\x22\x4d\x18", "an LZ4 frame", _COMPRESS),
    (b"\x82SNAPPY\x00", "Snappy", _COMPRESS),
    (b"BZh", "bzip2", _COMPRESS),
    (b"PK\x03\x04", "a ZIP archive", _COMPRESS),
    (b"\x78\x01", "zlib", _COMPRESS),
    (b"\x78\x9c", "zlib", _COMPRESS),
    (b"\x78\xda", "zlib", _COMPRESS),
    (b"Obj\x01", "an Avro file", _CUSTOM),
    (b"PAR1", "a Parquet file", _CUSTOM),
    (b"\xac\xed\x00\x05", "a serialized Java object", _CUSTOM),
    (b"\x80\x02", "a Python pickle", _CUSTOM),
    (b"\x80\x03", "a Python pickle", _CUSTOM),
    (b"\x80\x04", "a Python pickle", _CUSTOM),
    (b"\x80\x05", "a Python pickle", _CUSTOM),
    (b"\xef\xbb\xbf", "a byte order mark of UTF-8", "write UTF-8 without one"),
    (b"\xff\xfe", "a byte order mark of UTF-16", "write UTF-8 without one"),
    (b"\xfe\xff", "a byte order mark of UTF-16", "write UTF-8 without one"),
    (b"{\x00", "UTF-16", "write UTF-8"),
    (b"\x00{", "UTF-16", "write UTF-8"),
)
_WORDS = re.compile(r"[\w.-]+=[^&=]*(?:&[\w.-]+=[^&=]*)*")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f]")
_NUMBER_OR_NAME = re.compile(r"[:\[,]\s*(?:NaN|-?Infinity|undefined|None|True|False)\b")


def likely_format(value: bytes) -> tuple[str, str] | None:
    r"""What bytes that are no JSON text probably are, and the way out; None: nothing that is known here.

    >>> likely_format(b"\x1f\x8b\x08")[0]
    'begins as gzip does'
    """
    if not value.strip():
        return "no bytes but white space", "send the event, or a null value with the header of an erasure"
    for start, name, way_out in _STARTS:
        if value.startswith(start):
            verb = "begins with" if "mark" in name else "begins as"
            return f"{verb} {name}" + ("" if "mark" in name else " does"), way_out
    likely = _binary(value)
    if likely is not None:
        return likely
    try:
        return _text(value.decode().strip())
    except UnicodeDecodeError:
        return None


def _binary(value: bytes) -> tuple[str, str] | None:
    first = value[0]
    if first == 0 and len(value) > REGISTRY_PREFIX_BYTES:
        rest = value[REGISTRY_PREFIX_BYTES:].lstrip()
        kind = "JSON" if rest[:1] == b"{" else "Avro or Protobuf"
        schema = int.from_bytes(value[1:REGISTRY_PREFIX_BYTES], "big")
        return (
            f"begins with a schema registry's prefix (zero byte, schema id {schema}), then {kind}",
            "use a plain JSON serializer, without the schema registry",
        )
    if (
        first == 0x0A
        and len(value) > 2
        and value[1] < 0x80
        and value[2 + value[1] : 3 + value[1]] in (b"\x12", b"\x1a")
    ):
        return "looks like Protobuf", _CUSTOM
    if 0x80 <= first <= 0x8F or first in (0xDE, 0xDF):
        return "looks like MessagePack", _CUSTOM
    if 0xA0 <= first <= 0xBF:
        return "looks like CBOR", _CUSTOM
    if len(value) > 4 and int.from_bytes(value[:4], "little") == len(value) and value[-1] == 0:
        return "looks like BSON", _CUSTOM
    if first < 0x20 and first not in b"\t\n\r":
        return "looks like Avro or another binary format", _CUSTOM
    return None


def _text(text: str) -> tuple[str, str] | None:
    if text.startswith("<"):
        return "looks like XML or HTML", _CUSTOM
    if text == "[object Object]":
        return "a JavaScript object turned into text", "use JSON.stringify(event)"
    if re.match(r"\{\s*'", text):
        return "names in single quotes, as Python prints a dict", "use json.dumps(event)"
    if re.match(r"\{\s*[A-Za-z_]\w*\s*=", text) or re.match(r"[A-Z]\w*[({\[]\s*\w+\s*=", text):
        return "looks like an object's toString", _CUSTOM
    if re.match(r"\{\s*[A-Za-z_]\w*\s*:", text):
        return "names without quotes, as in JavaScript", "use JSON.stringify(event)"
    if _decoded_base64(text) is not None:
        return "looks like Base64", "send the JSON bytes themselves"
    if _WORDS.fullmatch(text):
        return "looks like a form (name=value)", _CUSTOM
    return _nearly_json(text)


def _decoded_base64(text: str) -> bytes | None:
    try:
        decoded = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return decoded if decoded[:1] in (b"{", b"[", b'"') else None


def _nearly_json(text: str) -> tuple[str, str] | None:
    """What is wrong with a text that begins as JSON does."""
    if not text.startswith(("{", "[")):
        if text.count(",") > 1:
            return "looks like CSV", _CUSTOM
        return None
    try:
        _, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        end = 0
    if 0 < end < len(text):
        more = text[end:].lstrip()
        kind = "a second JSON value" if more[:1] in ("{", "[") else "more text"
        return f"{kind} after the first", "send one record per event"
    bare = _STRING.sub('""', text)
    if _NUMBER_OR_NAME.search(bare):
        return "holds NaN, Infinity or another word that JSON does not have", "leave the field out, or write null"
    if re.search(r",\s*[}\]]", bare):
        return "holds a comma before a closing bracket", _CUSTOM
    if re.search(r"(?m)^[ \t]*//|/\*", bare):
        return "holds a comment, which JSON does not have", _CUSTOM
    if re.search(r":\s*(?:-?0\d|\+\d|\.\d)", bare):
        return "holds a number that JSON does not have (a leading zero, plus or point)", _CUSTOM
    if any(_CONTROL.search(match.group()) for match in _STRING.finditer(text)):
        return "a text holds a line end or another control character as it is", "escape it, as \\n"
    return None


def wrapped(parsed: Any, topic: str) -> tuple[str, str] | None:
    """Which envelope `parsed` (JSON as Python values) is around an event, and the way out; None: it is none."""
    if isinstance(parsed, str):
        inner = parsed.lstrip()[:1]
        return ("JSON inside a JSON text", "serialize the event once") if inner in ("{", "[") else None
    if isinstance(parsed, list):
        return "an array", "send one record per event"
    if not isinstance(parsed, dict):
        return None
    names = set(parsed)
    if "specversion" in names and names & {"data", "data_base64"}:
        return "a CloudEvent in structured mode", "send what is in `data`, with the attributes as headers (binary mode)"
    body = parsed.get("payload") if {"schema", "payload"} <= names else parsed
    if isinstance(body, dict) and "op" in body and {"after", "before"} & set(body):
        return "a change of Debezium", "add the transformation ExtractNewRecordState, and map its columns to an event"
    if body is not parsed:
        return "an envelope of Kafka Connect (schema, payload)", "set value.converter.schemas.enable=false"
    required = _required(topic)
    if names & required:
        return None
    for name, inner in parsed.items():
        if isinstance(inner, dict) and len(set(inner) & required) > 1 and re.fullmatch("[A-Za-z_]{1,20}", name):
            return f"an envelope with the event in `{name}`", "send what is in it"
        if isinstance(inner, list) and inner and isinstance(inner[0], dict) and set(inner[0]) & required:
            return "an envelope with several events", "send one record per event"
    return None


def _required(topic: str) -> set[str]:
    struct = EVENT_OF_TOPIC[topic]
    return set(struct.__struct_fields__) - set(_optional(struct.__struct_fields__, struct.__struct_defaults__))


def _optional(names: Sequence[str], defaults: Sequence[Any]) -> Sequence[str]:
    return names[len(names) - len(defaults) :] if defaults else ()
