"""Records of model-train in; labels out, and a dead letter for each record that is no label."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from aiokafka import ConsumerRecord

from schemas.events import Rejected
from schemas.learning import Label, Origin, decode_label
from schemas.letters import Headers, letter


class Decoded(NamedTuple):
    """What records of model-train hold.

    Attributes:
        labels: in order, also those of other feature sets.
        origins: of each label; None: it does not say where it comes from.
        dead: the dead letter of each record that is no label: key, value, headers. Nulls that delete a label are none.
    """

    labels: list[Label]
    origins: list[Origin | None]
    dead: list[tuple[bytes | None, bytes | None, Headers]]


def decoded(records: Sequence[ConsumerRecord], feature_set: str, width: int) -> Decoded:
    """What `records` hold.

    Args:
        records: of model-train.
        feature_set: digest of this process's features.
        width: how many features a label of `feature_set` has.
    """
    whole = Decoded([], [], [])
    for record in records:
        if record.key and record.value is None:
            continue  # deletes a label of somebody who was erased; what was learnt of it stays
        try:
            label = decode_label(record.value or b"")
            if label.feature_set == feature_set and len(label.features) != width:
                raise msgspec.ValidationError(f"{len(label.features)} features, not {width} - at `$.features`")
            whole.labels.append(label)
            whole.origins.append(Origin.of(record.headers))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            whole.dead.append(letter(record, _rejected(exc)))
    return whole


def _rejected(exc: Exception) -> Rejected:
    """Why a record can't be read as a label. The reason may quote it: a label has numbers and a pseudonym, no text."""
    reason, _, path = str(exc).partition(" - at `")
    return Rejected(
        "schema" if isinstance(exc, msgspec.ValidationError) else "not-json", path.rstrip("`") or "$", reason
    )
