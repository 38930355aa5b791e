"""A learner at one moment, as bytes that are safe to load: safetensors (arrays, no code) with JSON metadata.

    8 bytes   length of the header, little endian
    header    JSON: each array's dtype, shape and place; `__metadata__.regulars`: the JSON of `Metadata`
    arrays    as they lie in memory, little endian

A snapshot is all that a worker needs to score and all that a trainer needs to go on: the population, statistics of the
inputs, weights and their covariances, calibration and margins, what the scoreboard may go back to, the labels of an
unfinished block, those seen lately and the offset in model-train after the last label taken.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from models.learning.customers import SIZE as CUSTOMERS_SIZE
from models.learning.inputs import input_names
from models.learning.intervals import GROUPS
from models.learning.population import WIDTH
from models.learning.scoreboard import array_size
from models.learning.seen import REMEMBERED_LABELS
from schemas.learning import SCORES

LIMIT_BYTES = 1_000_000  # a Kafka record is at most 1 MiB by default, its key and headers included
DYNAMIC = "dynamic"
# Contestants that are always there (`models.learning.contest`); no challenger may be named so.
DEFAULT, PRIOR = "default", "prior"
BLOCK = 256  # labels learnt at once; fewer than that can be pending
# No array of a learner comes near it, and its square is still a number.
LARGEST = 1e100
EXPERTS = 3  # of each model, see `models.river.averaging`
MEMORIES = 12  # at most, of their weights: a quarter at one in ten days, and both ends
PENDING = 4  # numbers of a pending label beside its features
# 2: calibration, margins, scoreboard; 3: experts, levels of the mixtures apart; 4: a cell of RFM more; 5: large amounts
# say less
_FORMAT = 5
_METADATA = "regulars"


class SnapshotError(ValueError):
    """These bytes are no snapshot that this process can serve: keep the one you have, and say so."""


_Count = Annotated[int, Meta(ge=0, lt=1 << 53)]


class Metadata(Struct, frozen=True):
    """What the arrays mean. New fields get defaults."""

    version: str
    kind: str
    feature_set: str
    names: tuple[str, ...]
    labels: _Count
    learnt_to: float
    next_offset: _Count
    quality: dict[str, dict[str, float]]
    format: int = _FORMAT
    scoreboard: dict[str, dict[str, float]] = {}
    rollbacks: _Count = 0
    drifts: dict[str, _Count] = {}
    contest: dict[str, Any] = {}
    origins: dict[str, tuple[int, int]] = {}
    topic_id: str = ""


_MAPPINGS = ("quality", "scoreboard", "drifts", "contest", "origins")
_PLAIN = [name for name in Metadata.__struct_fields__ if name not in ("format", *_MAPPINGS)]


@dataclass(frozen=True, eq=False)
class Snapshot:
    """One version of the model.

    Attributes:
        version: "<kind>-<labels learnt>-<digest of the arrays>".
        kind: which scorer reads the arrays; `LINEAR`.
        feature_set: digest of the feature names; a worker with other features can't serve it.
        names: the F features, in order.
        labels: labels learnt.
        learnt_to: event time (epoch seconds) of the latest label's maturity; 0 before the first.
        next_offset: where in model-train learning goes on.
        quality: score -> measure -> value, by progressive validation over the latest labels.
        scoreboard: score -> contestant -> loss over the latest labels (`models.learning.scoreboard`).
        rollbacks: versions taken back so far.
        drifts: score -> alarms of its drift detector since the trainer started.
        contest: who is served for each target, and why: the state of a `models.learning.contest.Contest`.
        origins: partition of a changelog -> the place of the latest label learnt of it (`models.learning.seen`).
        topic_id: Kafka's id of the model-train that `next_offset` is of; empty: not known.
        arrays: of the kind `DYNAMIC`, with I inputs (`models.learning.inputs`), rows in the order of SCORES:
            population (22,): see `models.learning.population`; means and variances (I,) of the inputs;
            weights (4, I + 1): constant first; experts_<score> (any,): those that they are the mean of, for the trainer
            (`models.river.averaging`); count_level (5,), spend_level (2,): of the mixtures; calibration (3,): of the
            30-day probability; <name>_covariance of these three: upper triangles row by row; margins (GROUPS, 2) of spend;
            scoreboard (any,): see `models.learning.scoreboard`;
            counts (2,) int64: labels learnt, and described by means and variances; clock (1,): event time of the last
            block; pending (fewer than BLOCK, F + PENDING): features, horizon, matured_at, purchases, spend of a label;
            seen (any,) uint64: labels seen lately, oldest first; customers (SIZE,) uint8 and trust (1,), or neither: how
            many customers have taught, and what counts of what they taught (`models.learning.customers`).
    """

    version: str
    kind: str
    feature_set: str
    names: tuple[str, ...]
    labels: int
    learnt_to: float
    next_offset: int
    quality: Mapping[str, Mapping[str, float]]
    arrays: Mapping[str, NDArray[Any]]
    scoreboard: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    rollbacks: int = 0
    drifts: Mapping[str, int] = field(default_factory=dict)
    contest: Mapping[str, Any] = field(default_factory=dict)
    origins: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    topic_id: str = ""

    @property
    def served(self) -> Mapping[str, str]:
        """Target -> contestant that is served, where it isn't the default model."""
        served: Mapping[str, str] = self.contest.get("served", {})
        return served


def version_of(kind: str, labels: int, arrays: Mapping[str, NDArray[Any]]) -> str:
    """The version of these arrays: equal arrays, equal version, whichever process learnt them."""
    digest = sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return f"{kind}-{labels}-{digest.hexdigest()[:8]}"


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """The value of a `model-snapshots` record.

    Raises:
        SnapshotError: it is larger than `LIMIT_BYTES`, or isn't one that `decode_snapshot` would take.
    """
    _check_arrays(snapshot.kind, snapshot.names, snapshot.arrays)
    metadata = Metadata(
        **{name: getattr(snapshot, name) for name in _PLAIN},
        quality={score: dict(measures) for score, measures in snapshot.quality.items()},
        scoreboard={score: dict(losses) for score, losses in snapshot.scoreboard.items()},
        drifts=dict(snapshot.drifts),
        contest=dict(snapshot.contest),
        origins=dict(snapshot.origins),
    )
    data: bytes = safetensors.save(
        {name: np.ascontiguousarray(array) for name, array in snapshot.arrays.items()},
        metadata={_METADATA: msgspec.json.encode(metadata).decode()},
    )
    _check_size(data)
    return data


def decode_snapshot(data: bytes, feature_set: str) -> Snapshot:
    """The snapshot in the value of a `model-snapshots` record.

    Args:
        data: the record's value.
        feature_set: digest of the features that this process computes.

    Raises:
        SnapshotError: not a snapshot, damaged, of another feature set, of a kind, format or shape that isn't known
            here, or with a number that isn't finite.
    """
    _check_size(data)
    try:
        arrays = safetensors.load(data)
        metadata = msgspec.json.decode(_metadata_json(data), type=Metadata)
    except (SafetensorError, msgspec.DecodeError, LookupError, TypeError, ValueError, RecursionError) as exc:
        raise SnapshotError(f"not a snapshot: {type(exc).__name__}: {exc}") from exc
    if metadata.format != _FORMAT:
        raise SnapshotError(f"snapshot format {metadata.format}, this process knows {_FORMAT}; run the same release")
    if metadata.feature_set != feature_set:
        raise SnapshotError(
            f"snapshot {metadata.version} is of feature set {metadata.feature_set}, this process computes"
            f" {feature_set}; trainer and workers must run the same release"
        )
    _check_arrays(metadata.kind, metadata.names, arrays)
    if metadata.version != version_of(metadata.kind, metadata.labels, arrays):
        raise SnapshotError(f"snapshot {metadata.version} is damaged: its arrays have another digest")
    fields = {name: getattr(metadata, name) for name in Metadata.__struct_fields__ if name != "format"}
    return Snapshot(**fields, arrays=arrays)


def _metadata_json(data: bytes) -> str:
    length = int.from_bytes(data[:8], "little")
    header: dict[str, Any] = msgspec.json.decode(data[8 : 8 + length])
    text = header["__metadata__"][_METADATA]
    if not isinstance(text, str):
        raise TypeError("its metadata is no text")
    return text


def _check_size(data: bytes) -> None:
    if len(data) > LIMIT_BYTES:
        raise SnapshotError(f"a snapshot of {len(data)} bytes; at most {LIMIT_BYTES}")


def experts_size(width: int, array: NDArray[Any]) -> int:
    """How long an array of experts is, by the number of memories that it states; `width`: weights of one expert."""
    stated = np.ravel(array)[1:2].tolist()
    memories = min(max(int(stated[0]), 1), MEMORIES) if stated and np.isfinite(stated[0]) else 1
    return 2 + EXPERTS * (1 + width + width * (width + 1) // 2) + memories * (1 + EXPERTS * width)


def _check_arrays(kind: str, names: tuple[str, ...], arrays: Mapping[str, NDArray[Any]]) -> None:
    if kind != DYNAMIC:
        raise SnapshotError(f"a snapshot of kind {kind!r}, this process knows {DYNAMIC!r}; run the same release")
    width = len(input_names(names)) + 1
    pending = np.shape(arrays.get("pending", ()))[:1]
    fit_size = WIDTH + 2 * (width - 1) + len(SCORES) * width + 5 + 2 + 3 + 2 * GROUPS
    shapes: dict[str, tuple[str, tuple[int, ...]]] = {
        "population": ("float64", (WIDTH,)),
        "means": ("float64", (width - 1,)),
        "variances": ("float64", (width - 1,)),
        "weights": ("float64", (len(SCORES), width)),
        "count_level": ("float64", (5,)),
        "count_level_covariance": ("float64", (15,)),
        "spend_level": ("float64", (2,)),
        "spend_level_covariance": ("float64", (3,)),
        "calibration": ("float64", (3,)),
        "calibration_covariance": ("float64", (6,)),
        "margins": ("float64", (GROUPS, 2)),
        "scoreboard": ("float64", (array_size(names, fit_size, arrays.get("scoreboard", np.zeros(0))),)),
        "counts": ("int64", (2,)),
        "clock": ("float64", (1,)),
        "pending": ("float64", (min(*pending, BLOCK - 1) if pending else 0, len(names) + PENDING)),
        "customers": ("uint8", (CUSTOMERS_SIZE,)),
        "trust": ("float64", (1,)),
        "seen": ("uint64", (min(np.size(arrays.get("seen", ())), REMEMBERED_LABELS),)),
        **{
            name: ("float64", (experts_size(width, arrays.get(name, np.zeros(0))),))
            for name in (f"experts_{score}" for score in SCORES)
        },
    }
    if "customers" not in arrays:  # of the release before
        del shapes["customers"], shapes["trust"]
    if arrays.keys() != shapes.keys():
        raise SnapshotError(f"a snapshot with arrays {sorted(arrays)}; expected {sorted(shapes)}")
    for name, (dtype, shape) in shapes.items():
        array = arrays[name]
        if (array.dtype, array.shape) != (np.dtype(dtype), shape):
            raise SnapshotError(f"array {name!r} is {array.dtype} {array.shape}; expected {dtype} {shape}")
        if not np.isfinite(array).all():
            raise SnapshotError(f"array {name!r} has a number that isn't finite")
        if array.dtype.kind == "f" and (np.abs(array) > LARGEST).any():
            raise SnapshotError(f"array {name!r} has a number beyond {LARGEST:g}")
    for name in ("counts", "variances"):
        if (arrays[name] < 0).any():
            raise SnapshotError(f"array {name!r} has a number below 0")
