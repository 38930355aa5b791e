"""Records of model-train as labels, and as dead letters where they are none."""

from collections.abc import Sequence
from typing import Any

import msgspec
from aiokafka import ConsumerRecord

from schemas.learning import Label, decode_label


def decoded(
    records: Sequence[ConsumerRecord], feature_set: str, width: int
) -> tuple[list[Label], list[dict[str, Any]]]:
    """Labels in order, those of other feature sets among them, and what to send of each record that is none.

    Args:
        records: of model-train.
        feature_set: digest of this process's features.
        width: how many features a label of `feature_set` has.
    """
    labels, dead = [], []
    for record in records:
        try:
            label = decode_label(record.value or b"")
            if label.feature_set == feature_set and len(label.features) != width:
                raise msgspec.ValidationError(f"{len(label.features)} features, not {width} - at `$.features`")
            labels.append(label)
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            dead.append(_dead_letter(record, exc))
    return labels, dead


def _dead_letter(record: ConsumerRecord, exc: Exception) -> dict[str, Any]:
    """Key and value as they came; the headers say where from and why."""
    reason = "schema" if isinstance(exc, msgspec.ValidationError) else "not-json"
    _, _, path = str(exc).partition(" - at `")
    return {
        "key": record.key,
        "value": record.value,
        "headers": [
            ("regulars-topic", record.topic.encode()),
            ("regulars-partition", str(record.partition).encode()),
            ("regulars-offset", str(record.offset).encode()),
            ("regulars-reason", reason.encode()),
            ("regulars-field", (path.rstrip("`") or "$").encode()),
        ],
    }
