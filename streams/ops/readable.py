"""Records as JSON that a person can read: states with names, features by name, bytes as text where they are text."""

import base64
import math
from typing import Any

import msgspec
from aiokafka.structs import ConsumerRecord

from models.features import FEATURE_SET, NAMES, features_in
from schemas.learning import SCORES
from schemas.states import CustomerState
from schemas.stored import decode_state
from schemas.times import to_rfc3339
from schemas.topics import ACTION_REWARDS, CHANGELOG, MODEL_TRAIN

# Fields of a state that are moments, besides those that end in `_at`.
_MOMENTS = frozenset({"at", "since", "until", "as_of", "landmark", "due", "contacts"})
_LEARNING = (ACTION_REWARDS, MODEL_TRAIN)


def record_as_json(topic: str, record: ConsumerRecord) -> dict[str, Any]:
    """One record of `topic` (the declared name): where it is, when it was written, its key, headers and value."""
    return {
        "partition": record.partition,
        "offset": record.offset,
        "written_at": to_rfc3339(record.timestamp / 1000) if record.timestamp >= 0 else None,
        "key": _text(record.key),
        "headers": [[name, _text(value)] for name, value in record.headers],
        "value": _value(topic, record.value),
    }


def state_as_json(state: CustomerState) -> dict[str, Any]:
    """A state with names: moments as RFC 3339 (null: never), scores and features by name, event ids as their number."""
    shown = {name: _shown(name, getattr(state, name)) for name in state.__struct_fields__}
    shown["is_erased"] = state.is_erased
    shown["scores"] = dict(zip(SCORES, state.scores, strict=False))
    shown["seen"] = [f"digests of the latest {len(ids) // 8} event ids" for ids in state.seen]
    return shown


def _value(topic: str, value: bytes | None) -> Any:
    if value is None:
        return None
    if topic == CHANGELOG:
        try:
            return state_as_json(decode_state(value))
        except msgspec.DecodeError:
            return _text(value)
    try:
        body = msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _text(value)
    if topic in _LEARNING and isinstance(body, dict):
        body = _with_names(body)
    return body


def _with_names(body: dict[str, Any]) -> dict[str, Any]:
    features = body.get("features")
    if body.get("feature_set") != FEATURE_SET or not isinstance(features, list) or len(features) != len(NAMES):
        return body  # of another release: its names are not known here
    return body | {"features": dict(zip(NAMES, features, strict=True))}


def _shown(name: str, value: Any) -> Any:
    if isinstance(value, float):
        if name in _MOMENTS or name.endswith("_at"):
            return to_rfc3339(value) if value and math.isfinite(value) else None
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return dict(zip(NAMES, features_in(value), strict=True)) if name == "features" else _text(value)
    if isinstance(value, msgspec.Struct):
        shown = {field: _shown(field, getattr(value, field)) for field in value.__struct_fields__}
        if shown.get("feature_set", FEATURE_SET) != FEATURE_SET:
            shown["features"] = "of another release: their names are not known here"
        return shown
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {field: _shown(field, each) for field, each in value._asdict().items()}
    if isinstance(value, tuple | list):
        return [_shown(name, each) for each in value]
    if isinstance(value, dict):
        return {key: _shown(name if isinstance(each, float) else key, each) for key, each in value.items()}
    return value


def _text(value: bytes | None) -> Any:
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}
