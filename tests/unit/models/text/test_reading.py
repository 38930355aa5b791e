"""Laws of readings and of the sentiment made from anchors."""

import subprocess
import sys

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.text.reading import TextReader
from models.text.sentiment import ANCHORS, COMPLAINT, PRAISE, AnchorSentiment


def _unit_vectors(rows: int, seed: int) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).standard_normal((rows, 384)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


HEAD = AnchorSentiment(_unit_vectors(len(ANCHORS), 1))
READER = TextReader("abc", HEAD)


@given(st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_a_vector_reads_the_same_bits_alone_and_among_others(rows: int, seed: int) -> None:
    """Replays cut into other chunks must give the same states."""
    vectors = _unit_vectors(rows, seed)

    texts = [f"text {row}" for row in range(rows)]
    for row, reading in enumerate(READER.read(texts, vectors)):
        (alone,) = READER.read(texts[row : row + 1], vectors[row : row + 1])
        assert alone == reading


@given(st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_sentiment_stays_in_its_range(rows: int, seed: int) -> None:
    """No vector scores beyond -1 or 1."""
    assert (np.abs(HEAD.score([""] * rows, _unit_vectors(rows, seed))) <= 1).all()


def test_swapping_praise_and_complaint_turns_the_sign() -> None:
    """The score is odd in its anchors: no side has the upper hand."""
    anchors = _unit_vectors(len(ANCHORS), 1)
    swapped = AnchorSentiment(np.concatenate([anchors[len(PRAISE) :], anchors[: len(PRAISE)]]))
    vectors = _unit_vectors(50, 2)

    assert np.allclose(swapped.score([""] * 50, vectors), -HEAD.score([""] * 50, vectors), atol=1e-6)


def test_every_praise_has_its_complaint() -> None:
    """Anchors come in pairs on one topic, so that topics cancel out."""
    assert len(PRAISE) == len(COMPLAINT)
    assert len(set(ANCHORS)) == len(ANCHORS)


def test_the_zero_vector_reads_as_zeros() -> None:
    """An empty text neither praises nor complains and moves no profile."""
    (reading,) = READER.read([""], np.zeros((1, 384), dtype=np.float32))

    assert reading.vector == (0.0,) * 16
    assert reading.sentiment == 0


def test_the_version_names_encoder_projection_and_head() -> None:
    """A change says with what its text was read."""
    assert READER.version == f"abc+jl16-1+{HEAD.version}"
    assert AnchorSentiment(_unit_vectors(len(ANCHORS), 1), k=3).version != HEAD.version


def test_the_lane_and_the_readings_import_no_torch() -> None:
    """A worker is up before torch is imported, and the core never imports it."""
    code = "import sys, streams.worker.encoding, models.text.reading; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
