"""JSON Schemas and the AsyncAPI document, made from the structs: `python -m schemas.documents` writes them into docs/.

The structs are the truth; a test holds the committed files to them.
"""

import inspect
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import msgspec

from schemas.actions import ACTION_TYPE, Action, Outcome
from schemas.changes import CHANGE_TYPE, Change, Standing
from schemas.events import CLOCK_HEADER, EVENT_TIME_PATTERN, Click, Purchase, Reason, Review
from schemas.learning import Label
from schemas.letters import LETTER_HEADERS
from schemas.states import CustomerState

DIALECT = "https://json-schema.org/draft/2020-12/schema"

RECORDS: dict[str, type[msgspec.Struct]] = {
    "click": Click,
    "purchase": Purchase,
    "review": Review,
    "segment-change": Change,
    "standing": Standing,
    "label": Label,
    "action": Action,
    "outcome": Outcome,
    "customer-state": CustomerState,
}

# topic -> (record, who sends it: "in" producers to us, "out" we to others, "own" we to ourselves; what it is, key)
_CUSTOMER_KEY = "customer id, UTF-8"
CHANNELS: dict[str, tuple[str, str, str, str]] = {
    "clickstream": ("click", "in", "What customers do in the shop.", _CUSTOMER_KEY),
    "purchases": (
        "purchase",
        "in",
        "Purchases and refunds. An empty value with the header `regulars-erase` (RFC 3339) erases the key's customer.",
        _CUSTOMER_KEY,
    ),
    "reviews": ("review", "in", "Reviews and messages to support.", _CUSTOMER_KEY),
    "segment-changes": ("segment-change", "out", "Every move of a customer, in order, for 30 days.", _CUSTOMER_KEY),
    "customer-segments": (
        "standing",
        "out",
        "Where each customer stands: compacted; null: an erased customer (header `regulars-sequence`: their last).",
        _CUSTOMER_KEY,
    ),
    "dead-letters": (
        "dead-letter",
        "out",
        "Records that are no events, as they came, for 30 days; of one over 2 MiB the beginning.",
        "as it came",
    ),
    "model-train": ("label", "own", "What customers went on to do; one partition.", "customer pseudonym"),
    "{appId}-customers-changelog": (
        "customer-state",
        "own",
        "Each customer's state: 8 bytes float64, little-endian (when to look again), then msgpack; compacted.",
        _CUSTOMER_KEY,
    ),
    "model-snapshots": ("model-snapshot", "own", "What workers score with; one partition, compacted.", "model name"),
    "policies": (
        "policy",
        "own",
        "What segments are; one partition, compacted.",
        "policy name, or shadow: a policy that is only compared",
    ),
}

# Messages that no struct describes: name -> (title, what it is, content type, what the bytes are)
BYTES: dict[str, tuple[str, str, str, str]] = {
    "clock": (
        "Clock",
        "Event time has come this far in this partition. A null key; sent to every partition of all inputs.",
        "application/octet-stream",
        "empty",
    ),
    "dead-letter": ("DeadLetter", "A record that is no event.", "application/octet-stream", "the bytes as they came"),
    "model-snapshot": (
        "ModelSnapshot",
        "A model at one moment.",
        "application/octet-stream",
        "safetensors: arrays and JSON metadata, no code",
    ),
    "policy": ("Policy", "A policy document.", "application/yaml", "as models/policies/default.yaml"),
}


def documents() -> dict[str, str]:
    """Path below docs/ -> text of every generated document."""
    texts = {f"schemas/{name}.json": _text(record_schema(name)) for name in RECORDS}
    texts["asyncapi.json"] = _text(asyncapi())
    return texts


def record_schema(name: str) -> dict[str, Any]:
    """The JSON Schema (2020-12) of a name of `RECORDS`, standing alone."""
    schema = _unindented(msgspec.json.schema(RECORDS[name]))
    return {"$schema": DIALECT, "$id": f"regulars:{name}", **schema}


def _unindented(schema: Any) -> Any:
    """`schema` with its descriptions, which are docstrings, as any version of Python would print them."""
    if isinstance(schema, list):
        return [_unindented(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: inspect.cleandoc(part) if key == "description" and isinstance(part, str) else _unindented(part)
        for key, part in schema.items()
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
        "channels": {_channel_id(topic): _channel(topic) for topic in CHANNELS},
        "operations": {
            _channel_id(topic): {
                "action": "receive" if direction == "in" else "send",
                "channel": {"$ref": f"#/channels/{_channel_id(topic)}"},
                "summary": summary,
            }
            for topic, (_, direction, summary, _) in CHANNELS.items()
        },
        "components": {"messages": {name: _message(name) for name in (*RECORDS, *BYTES)}},
    }


def _channel_id(topic: str) -> str:
    return topic.replace("{appId}-", "")


def _channel(topic: str) -> dict[str, Any]:
    record, direction, summary, key = CHANNELS[topic]
    messages = (record, "clock") if direction == "in" else (record,)
    channel: dict[str, Any] = {
        "address": topic,
        "description": f"{summary} Key: {key}.",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
    }
    if "{appId}" in topic:
        channel["parameters"] = {"appId": {"description": "the setting app_id", "default": "regulars"}}
    return channel


def _message(name: str) -> dict[str, Any]:
    if name in BYTES:
        title, summary, content, what = BYTES[name]
        headers = {"dead-letter": _dead_letter_headers, "clock": _clock_headers}.get(name, dict)()
        required = LETTER_HEADERS if name == "dead-letter" else None
        return _described(title, summary, {"description": what}, headers, content, required)
    struct = RECORDS[name]
    payload: dict[str, Any] = {
        "schemaFormat": "application/schema+json;version=2020-12",
        "schema": {"$ref": f"./schemas/{name}.json"},
    }
    content = "application/x-msgpack" if name == "customer-state" else "application/json"
    headers = {Change: _cloudevent_headers, Action: _action_headers}.get(struct, dict)()
    return _described(struct.__name__, _summary(struct), payload, headers, content)


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


def _dead_letter_headers() -> dict[str, Any]:
    return {
        "regulars-topic": {"type": "string", "description": "topic that the record came from"},
        "regulars-partition": {"type": "string", "description": "its partition, decimal"},
        "regulars-offset": {"type": "string", "description": "its offset, decimal"},
        "regulars-reason": {"type": "string", "enum": list(get_args(Reason))},
        "regulars-field": {"type": "string", "description": "JSON path of the offending field; $: the whole record"},
        "regulars-detail": {"type": "string", "description": "what was found and what is allowed, never the text"},
        "regulars-truncated": {
            "type": "string",
            "description": "only of a record over 2 MiB, whose letter has its beginning: bytes that it had, as key=5 "
            "value=20000000 headers=0",
        },
        "regulars-replayed-from": {
            "type": "string",
            "description": "only of a record that was sent back before: topic/partition/offset where it was refused first",
        },
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
