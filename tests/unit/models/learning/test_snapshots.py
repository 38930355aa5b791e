"""Laws of snapshots: whole ones come back, everything else is refused and says why."""

import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import numpy as safetensors

from models.features import NAMES as NAMES_SERVED
from models.learning.corrections import averaged_corrector
from models.learning.inputs import input_names
from models.learning.snapshots import (
    BLOCK,
    DYNAMIC,
    LIMIT_BYTES,
    MEMORIES,
    Snapshot,
    SnapshotError,
    decode_snapshot,
    encode_snapshot,
    experts_size,
    version_of,
)
from schemas.learning import SCORES

NAMES = ("recency_days", "spend")
FEATURE_SET = "f00d"
WIDTH = len(input_names(NAMES)) + 1


def arrays(seed: int = 1, seen: int = 3) -> dict[str, Any]:
    """Arrays of the shapes that a dynamic snapshot has."""
    rng = np.random.default_rng(seed)
    return {
        "population": rng.normal(size=22),
        "counts": np.array([7, 5]),
        "clock": np.array([1.4e9]),
        "means": rng.normal(size=WIDTH - 1),
        "variances": rng.uniform(size=WIDTH - 1),
        "weights": rng.normal(size=(4, WIDTH)),
        "count_level": rng.normal(size=5),
        "count_level_covariance": rng.uniform(size=15),
        "spend_level": rng.normal(size=2),
        "spend_level_covariance": rng.uniform(size=3),
        **{f"experts_{score}": averaged_corrector("log", range(WIDTH - 1)).to_array() for score in SCORES},
        "calibration": rng.normal(size=3),
        "calibration_covariance": rng.uniform(size=6),
        "margins": rng.normal(size=(10, 2)),
        "scoreboard": np.zeros(28),
        "pending": rng.normal(size=(2, len(NAMES) + 4)),
        "seen": rng.integers(2**63, size=seen, dtype=np.uint64),
    }


def snapshot(seed: int = 1, seen: int = 3) -> Snapshot:
    """A dynamic snapshot with made-up numbers."""
    content = arrays(seed, seen)
    return Snapshot(
        version=version_of(DYNAMIC, 12, content),
        kind=DYNAMIC,
        feature_set=FEATURE_SET,
        names=NAMES,
        labels=12,
        learnt_to=1.5e9,
        next_offset=40,
        quality={"p_purchase_30d": {"log_loss": 0.5, "auc": 0.7}, "expected_spend_90d": {}},
        arrays=content,
    )


def with_array(name: str, array: Any) -> bytes:
    """Bytes of a snapshot whose metadata is right and one of whose arrays is another; None leaves it out."""
    whole = encode_snapshot(snapshot())
    content = arrays() | {name: array}
    if array is None:
        del content[name]
    data: bytes = safetensors.save(content, metadata=metadata_of(whole))
    return data


def with_metadata(**changes: Any) -> bytes:
    """Bytes of a snapshot with other metadata."""
    metadata = msgspec.json.decode(metadata_of(encode_snapshot(snapshot()))["regulars"])
    data: bytes = safetensors.save(arrays(), metadata={"regulars": msgspec.json.encode(metadata | changes).decode()})
    return data


def metadata_of(data: bytes) -> dict[str, str]:
    """What safetensors keeps beside the arrays."""
    (length,) = struct.unpack("<Q", data[:8])
    found: dict[str, str] = msgspec.json.decode(data[8 : 8 + length])["__metadata__"]
    return found


@given(seed=st.integers(0, 1_000), seen=st.integers(0, 50))
def test_a_snapshot_comes_back_whole(seed: int, seen: int) -> None:
    """Decoding what was encoded gives every field and every number, to the bit."""
    before = snapshot(seed, seen)

    after = decode_snapshot(encode_snapshot(before), FEATURE_SET)

    for field in ("version", "kind", "feature_set", "names", "labels", "learnt_to", "next_offset", "quality"):
        assert getattr(after, field) == getattr(before, field)
    assert after.arrays.keys() == before.arrays.keys()
    assert all((after.arrays[name] == array).all() for name, array in before.arrays.items())


def test_equal_snapshots_have_equal_bytes() -> None:
    """So a snapshot that is published again is the same record."""
    assert encode_snapshot(snapshot()) == encode_snapshot(snapshot())


def test_the_version_names_kind_labels_and_content() -> None:
    """One changed number makes another version."""
    content = arrays()
    kind, labels, digest = version_of(DYNAMIC, 12, content).split("-")
    content["weights"][0, 0] += 1e-9

    assert (kind, labels, len(digest)) == (DYNAMIC, "12", 8)
    assert version_of(DYNAMIC, 12, content) != f"{kind}-{labels}-{digest}"


def test_a_full_snapshot_of_a_fifth_more_features_is_below_the_limit() -> None:
    """With a full block but one pending, every label remembered, and every memory of the experts."""
    from models.learning.learner import Learner
    from models.learning.seen import REMEMBERED_LABELS
    from models.scores import PriorScorer

    names = tuple(f"feature_{i}" for i in range(len(NAMES_SERVED) * 6 // 5))
    whole = Learner(names, FEATURE_SET, PriorScorer()).snapshot(seen=np.zeros(REMEMBERED_LABELS, dtype=np.uint64))
    width = len(input_names(names)) + 1
    experts = {}
    for score in SCORES:
        least = whole.arrays[f"experts_{score}"]
        least[1] = MEMORIES
        experts[f"experts_{score}"] = np.resize(least, experts_size(width, least))
    full = replace(whole, arrays={**whole.arrays, **experts, "pending": np.ones((BLOCK - 1, len(names) + 4))})

    assert len(encode_snapshot(full)) < LIMIT_BYTES


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not a snapshot"),
        (b"{}", "not a snapshot"),
        (b"\x80\x04\x95 a pickle", "not a snapshot"),
        (encode_snapshot(snapshot())[:-1], "not a snapshot"),
        (safetensors.save(arrays()), "not a snapshot"),
        (safetensors.save(arrays(), metadata={"regulars": "no JSON"}), "not a snapshot"),
        (safetensors.save(arrays(), metadata={"regulars": "{}"}), "not a snapshot"),
        (bytes(LIMIT_BYTES + 1), "at most 1000000"),
        (with_metadata(feature_set="beef"), "beef, this process computes f00d"),
        (with_metadata(format=1), "format 1"),
        (with_metadata(format=3), "format 3, this process knows 5"),
        (with_metadata(kind="forest"), "kind 'forest'"),
        (with_metadata(labels=13), "damaged"),
        (with_metadata(names=["recency_days"]), "'means' is float64 \\(7,\\); expected float64 \\(6,\\)"),
        (with_array("weights", np.zeros((4, WIDTH + 1))), "'weights' is float64"),
        (with_array("weights", np.zeros((4, WIDTH), dtype=np.float32)), "'weights' is float32"),
        (with_array("weights", np.full((4, WIDTH), np.nan)), "'weights' has a number that isn't finite"),
        (with_array("means", np.full(WIDTH - 1, np.inf)), "'means' has a number that isn't finite"),
        (with_array("variances", np.full(WIDTH - 1, -1.0)), "'variances' has a number below 0"),
        (with_array("weights", np.zeros((4, WIDTH))), "damaged"),
        (with_array("scoreboard", np.zeros(29)), "'scoreboard' is float64"),
        (with_array("scoreboard", np.zeros(0)), "'scoreboard' is float64"),
        (with_array("experts_p_purchase_30d", np.zeros(1)), "'experts_p_purchase_30d' is float64"),
        (with_array("experts_p_purchase_30d", np.full(9, np.nan)), "'experts_p_purchase_30d' is float64"),
        (with_array("experts_p_purchase_30d", np.full(9, 1e300)), "'experts_p_purchase_30d' is float64"),
        (with_array("weights", None), "a snapshot with arrays"),
        (with_array("more", np.zeros(1)), "a snapshot with arrays"),
        (with_array("pending", np.zeros((BLOCK, len(NAMES) + 4))), "'pending' is float64"),
        (with_array("seen", np.zeros((2, 2), dtype=np.uint64)), "'seen' is uint64"),
        (with_array("seen", np.array(1, dtype=np.uint64)), "'seen' is uint64"),
    ],
)
def test_what_is_no_whole_snapshot_is_refused_with_its_reason(data: bytes, says: str) -> None:
    """A worker keeps the version that it has and says this."""
    with pytest.raises(SnapshotError, match=says):
        decode_snapshot(data, FEATURE_SET)


@given(position=st.integers(0, 10_000), byte=st.integers(1, 255))
def test_no_flipped_byte_goes_unnoticed_or_raises_another_error(position: int, byte: int) -> None:
    """Damage in the arrays never decodes; damage in the metadata decodes to the same arrays or not at all."""
    data = bytearray(encode_snapshot(snapshot()))
    data[position % len(data)] ^= byte

    try:
        decoded = decode_snapshot(bytes(data), FEATURE_SET)
    except SnapshotError:
        return
    assert all((decoded.arrays[name] == array).all() for name, array in snapshot().arrays.items())


@pytest.mark.parametrize(
    "spoil",
    [lambda content: content["weights"].__setitem__((0, 0), np.nan), lambda content: content.pop("count_level")],
    ids=["a weight that isn't finite", "a missing array"],
)
def test_a_snapshot_that_nobody_could_decode_is_not_encoded(spoil: Callable[[dict[str, Any]], object]) -> None:
    """The trainer fails instead of publishing what every worker refuses."""
    content = arrays()
    spoil(content)

    with pytest.raises(SnapshotError):
        encode_snapshot(replace(snapshot(), arrays=content))
