"""Records of model-train as labels, and as dead letters where they are none."""

from collections.abc import Sequence

import msgspec
from aiokafka import ConsumerRecord

from schemas.events import Rejected
from schemas.learning import Label, decode_label
from schemas.letters import Headers, letter


def decoded(
    records: Sequence[ConsumerRecord], feature_set: str, width: int
) -> tuple[list[Label], list[tuple[bytes | None, bytes | None, Headers]]]:
    """Labels in order, those of other feature sets among them, and the dead letter of each record that is none.

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
            dead.append(letter(record, _rejected(exc)))
    return labels, dead


def _rejected(exc: Exception) -> Rejected:
    """Why a label can't be read; it holds numbers and a pseudonym, no customer's text."""
    found, _, path = str(exc).partition(" - at `")
    return Rejected(
        "schema" if isinstance(exc, msgspec.ValidationError) else "not-json", path.rstrip("`") or "$", found
    )
