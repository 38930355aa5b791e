"""JSON Schemas and the AsyncAPI document, made from the structs: `python -m schemas.documents` writes them into docs/.

The structs are the truth; a test holds the committed files to them.
"""

import inspect
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import msgspec

from schemas.actions import ACTION_TYPE, Action, ActionOutcome
from schemas.campaigns import MaturedReward
from schemas.changes import CHANGE_TYPE, STANDING_TYPE, Change, Standing, cloudevent_headers, standing_headers
from schemas.events import PURCHASES, Click, Purchase, Reason, Review
from schemas.examples import CHANGE, STANDING, examples_of
from schemas.headers import (
    CLOCK_HEADER,
    DETAIL_HEADER,
    ERASE_BEFORE_HEADER,
    ERASE_HEADER,
    ERASED_AT_HEADER,
    FIELD_HEADER,
    LETTER_HEADERS,
    OFFSET_HEADER,
    PARTITION_HEADER,
    REASON_HEADER,
    REPLAYED_HEADER,
    SEQUENCE_HEADER,
    TOPIC_HEADER,
    TRUNCATED_HEADER,
)
from schemas.learning import Label
from schemas.patterns import EVENT_TIME_PATTERN
from schemas.states import CustomerState
from schemas.topics import APP_ID, CUSTOMER_KEY, CUSTOMER_SEGMENTS, TOPICS, Declaration

# The default of the setting `partitions`, which a test compares.
PARTITIONS = 8

DIALECT = "https://json-schema.org/draft/2020-12/schema"

RECORDS: dict[str, type[msgspec.Struct]] = {
    "click": Click,
    "purchase": Purchase,
    "review": Review,
    "segment-change": Change,
    "standing": Standing,
    "label": Label,
    "action": Action,
    "outcome": ActionOutcome,
    "reward": MaturedReward,
    "customer-state": CustomerState,
}

# Messages that no struct describes: name -> (title, what it is, content type, what the bytes are)
BYTES: dict[str, tuple[str, str, str, str]] = {
    "clock": (
        "Clock",
        "Event time has come this far in this partition. A null key; sent to every partition of all inputs.",
        "application/octet-stream",
        "empty",
    ),
    "erasure": (
        "Erasure",
        "Erases the customer of its key: what was counted goes, and no event up to that time counts any more.",
        "application/octet-stream",
        "null or empty",
    ),
    "erased": (
        "Erased",
        "The customer of its key was erased; delete the row, and keep the sequence.",
        "application/octet-stream",
        "null",
    ),
    "dead-letter": ("DeadLetter", "A record that is no event.", "application/octet-stream", "the bytes as they came"),
    "model-snapshot": (
        "ModelSnapshot",
        "A model at one moment.",
        "application/octet-stream",
        "safetensors: arrays and JSON metadata, no code",
    ),
    "policy": ("Policy", "A policy document.", "application/yaml", "as models/policies/default.yaml"),
    "campaign": ("Campaign", "A campaign document.", "application/yaml", "as in campaigns.md"),
}


def documents() -> dict[str, str]:
    """Path below docs/ -> text of every generated document."""
    texts = {f"schemas/{name}.json": _text(record_schema(name)) for name in RECORDS}
    texts["asyncapi.json"] = _text(asyncapi())
    return texts


def record_schema(name: str) -> dict[str, Any]:
    """The JSON Schema (2020-12) of a name of `RECORDS`, standing alone."""
    schema = _plain(msgspec.json.schema(RECORDS[name]))
    examples = examples_of(name)
    return {"$schema": DIALECT, "$id": f"regulars:{name}", **schema, **({"examples": examples} if examples else {})}


# OpenAPI's `discriminator`, and `format`, which validators without a plug-in for it do not know, are refused by ajv as it is
# by default. Both say twice what `anyOf` with constants, and `pattern`, say already.
_LEFT_OUT = ("discriminator", "format")


def _plain(schema: Any) -> Any:
    """`schema` for any validator; its descriptions, which are docstrings, as any version of Python would print them."""
    if isinstance(schema, list):
        return [_plain(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: inspect.cleandoc(part) if key == "description" and isinstance(part, str) else _plain(part)
        for key, part in schema.items()
        if key not in _LEFT_OUT
    }


def asyncapi() -> dict[str, Any]:
    """The AsyncAPI 3.0 document of all topics; payloads refer to the schemas beside it."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Regulars",
            "version": "1.0.0",
            "description": (
                "Events of a shop in, segment changes out. Topic names may carry a prefix. Keys decide the partition "
                "by Kafka's murmur2. An `event_id` is unique per customer and topic, over all types and producers. What "
                "the schemas can't say, how a consumer starts and what is promised: guarantees.md."
            ),
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {_channel_id(topic): _channel(topic) for topic in TOPICS},
        "operations": {
            _channel_id(topic): {
                "action": "receive" if topic.is_input else "send",
                "channel": {"$ref": f"#/channels/{_channel_id(topic)}"},
                "summary": topic.summary,
            }
            for topic in TOPICS
        },
        "components": {"messages": {name: _message(name) for name in (*RECORDS, *BYTES)}},
    }


# Messages of a topic beside its records.
_BESIDE = {PURCHASES: ("erasure",), CUSTOMER_SEGMENTS: ("erased",)}
_BINDING = "0.5.0"


def _channel_id(topic: Declaration) -> str:
    return topic.name.replace(f"{APP_ID}-", "")


def _channel(topic: Declaration) -> dict[str, Any]:
    messages = (topic.record, *_BESIDE.get(topic.name, ()), *(("clock",) if topic.is_input else ()))
    channel: dict[str, Any] = {
        "address": topic.name,
        "description": f"{topic.summary} Key: {topic.key}.",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
        "bindings": {"kafka": _channel_binding(topic)},
    }
    if APP_ID in topic.name:
        channel["parameters"] = {"appId": {"description": "the setting app_id", "default": "regulars"}}
    return channel


def _channel_binding(topic: Declaration) -> dict[str, Any]:
    """Partitions by default, and what decides how long records are kept."""
    configuration: dict[str, Any] = {"cleanup.policy": ["compact" if topic.is_compacted else "delete"]}
    if topic.kept_days is not None:
        configuration["retention.ms"] = topic.kept_days * 86_400_000
    if topic.nulls_days is not None:
        configuration["delete.retention.ms"] = topic.nulls_days * 86_400_000
    if topic.limit_bytes is not None:
        configuration["max.message.bytes"] = topic.limit_bytes
    partitions = PARTITIONS if topic.by_customer else 1
    return {"partitions": partitions, "topicConfiguration": configuration, "bindingVersion": _BINDING}


# What the key of a message is, for code that is generated from the document.
_KEYS = {topic.record: topic.key for topic in TOPICS} | {"erasure": CUSTOMER_KEY, "erased": CUSTOMER_KEY}


def _key_binding(name: str) -> dict[str, Any]:
    """The key of message `name`; clock records have none."""
    key: dict[str, Any] = {"type": "null", "description": "none: name the partition"}
    if name != "clock":
        key = {"type": "string", "description": _KEYS.get(name, CUSTOMER_KEY)}
    return {"kafka": {"key": key, "bindingVersion": _BINDING}}


def _message(name: str) -> dict[str, Any]:
    if name in BYTES:
        title, summary, content, what = BYTES[name]
        headers = _HEADERS_OF_BYTES.get(name, dict)()
        required = LETTER_HEADERS if name == "dead-letter" else None
        described = _described(title, summary, {"description": what}, headers, content, required)
        return described | {"bindings": _key_binding(name)}
    struct = RECORDS[name]
    payload: dict[str, Any] = {
        "schemaFormat": "application/schema+json;version=2020-12",
        "schema": {"$ref": f"./schemas/{name}.json"},
    }
    content = "application/x-msgpack" if name == "customer-state" else "application/json"
    headers = {Change: _change_headers, Standing: _standing_headers, Action: _action_headers}.get(struct, dict)()
    always = [header for header in headers if header != "ce_previous"]
    described = _described(struct.__name__, _summary(struct), payload, headers, content, always)
    examples = [{"payload": example} for example in examples_of(name)]
    if struct is Change:
        sent = {key: value.decode() for key, value in cloudevent_headers(CHANGE, "/regulars/regulars")}
        examples = [{"headers": sent, **each} for each in examples]
    if struct is Standing:
        sent = {key: value.decode() for key, value in standing_headers(STANDING, "/regulars/regulars")}
        examples = [{"headers": sent, **each} for each in examples]
    return described | {"bindings": _key_binding(name)} | ({"examples": examples} if examples else {})


def _described(
    name: str,
    summary: str,
    payload: dict[str, Any],
    headers: dict[str, Any],
    content: str,
    required: Sequence[str] | None = None,
) -> dict[str, Any]:
    message = {"name": name, "summary": summary, "contentType": content, "payload": payload}
    if headers:
        message["headers"] = {
            "type": "object",
            "properties": headers,
            "required": list(headers if required is None else required),
        }
    return message


def _clock_headers() -> dict[str, Any]:
    described = "RFC 3339 with an offset, from 1990-01-01T00:00:00Z on"
    return {CLOCK_HEADER: {"type": "string", "pattern": EVENT_TIME_PATTERN, "description": described}}


def _erasure_headers() -> dict[str, Any]:
    described = "RFC 3339 with an offset: no event of the customer up to then counts"
    before = "JSON object, event topic -> end offset of the key's partition: records below lie before the erasure, too"
    return {
        ERASE_HEADER: {"type": "string", "pattern": EVENT_TIME_PATTERN, "description": described},
        ERASE_BEFORE_HEADER: {"type": "string", "contentMediaType": "application/json", "description": before},
    }


def _erased_headers() -> dict[str, Any]:
    return {
        ERASED_AT_HEADER: {"type": "string", "description": "RFC 3339, UTC: no event up to then counts any more"},
        SEQUENCE_HEADER: {"type": "string", "description": "the highest sequence of their changes, decimal"},
    }


def _dead_letter_headers() -> dict[str, Any]:
    return {
        TOPIC_HEADER: {"type": "string", "description": "topic that the record came from"},
        PARTITION_HEADER: {"type": "string", "description": "its partition, decimal"},
        OFFSET_HEADER: {"type": "string", "description": "its offset, decimal"},
        REASON_HEADER: {"type": "string", "enum": list(get_args(Reason))},
        FIELD_HEADER: {"type": "string", "description": "JSON path of the offending field; $: the whole record"},
        DETAIL_HEADER: {"type": "string", "description": "what was found and what is allowed, never the text"},
        TRUNCATED_HEADER: {
            "type": "string",
            "description": "only of a record over 2 MiB, whose letter has its beginning: bytes that it had, as key=5 "
            "value=20000000 headers=0",
        },
        REPLAYED_HEADER: {
            "type": "string",
            "description": "only of a record that was sent back before: topic/partition/offset where it was refused first",
        },
    }


_HEADERS_OF_BYTES: dict[str, Callable[[], dict[str, Any]]] = {
    "dead-letter": _dead_letter_headers,
    "clock": _clock_headers,
    "erasure": _erasure_headers,
    "erased": _erased_headers,
}

_SOURCE = "which installation sent it: /regulars/<topic prefix>/<app id>, without prefix /regulars/<app id>"


def _cloudevent_headers() -> dict[str, Any]:
    return {
        "ce_specversion": {"type": "string", "const": "1.0"},
        "ce_id": {"type": "string", "description": "change_id"},
        "ce_source": {"type": "string", "description": _SOURCE},
        "ce_type": {"type": "string", "const": CHANGE_TYPE},
        "ce_subject": {"type": "string", "description": "customer_id"},
        "ce_time": {"type": "string", "format": "date-time", "description": "changed_at"},
        "content-type": {"type": "string", "const": "application/json"},
    }


def _change_headers() -> dict[str, Any]:
    return _cloudevent_headers() | {
        "ce_dimension": {"type": "string", "description": "dimension"},
        "ce_current": {"type": "string", "description": "current"},
        "ce_previous": {"type": "string", "description": "previous; absent the first time"},
    }


def _standing_headers() -> dict[str, Any]:
    return _cloudevent_headers() | {
        "ce_id": {"type": "string", "description": "<customer_id>:<sequence>:<as_of>"},
        "ce_type": {"type": "string", "const": STANDING_TYPE},
        "ce_time": {"type": "string", "format": "date-time", "description": "as_of"},
    }


def _action_headers() -> dict[str, Any]:
    return _cloudevent_headers() | {
        "ce_id": {"type": "string", "description": "action_id"},
        "ce_type": {"type": "string", "const": ACTION_TYPE},
        "ce_time": {"type": "string", "format": "date-time", "description": "decided_at"},
    }


def _summary(struct: type[msgspec.Struct]) -> str:
    return (struct.__doc__ or "").splitlines()[0]


def _text(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def write(docs: Path) -> list[Path]:
    """Writes every document below `docs`; gives the paths."""
    paths = []
    for name, text in documents().items():
        path = docs / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        paths.append(path)
    return paths


if __name__ == "__main__":
    for written in write(Path("docs")):
        print(written, file=sys.stderr)
