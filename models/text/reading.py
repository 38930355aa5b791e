"""The reading of a text: its projected vector and its sentiment. Nothing here imports torch, even indirectly."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.state import Reading
from models.text import projection


class SentimentHead(Protocol):
    """Texts and their vectors -> sentiment: the anchors (`models.text.sentiment`) or a trained head (`models.text.head`)."""

    @property
    def version(self) -> str:
        """Names the head; changes whenever its scores change."""

    def score(self, texts: Sequence[str], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """N texts and their (n, dim) float32 of length 1 or 0 -> (n,) float32 in [-1, 1]; 0 for the zero vector."""


class TextEncoder(Protocol):
    """What a text lane needs from an encoder: `models.text.encoder.Encoder`, or a test's fake."""

    @property
    def version(self) -> str:
        """Names the model; changes whenever its vectors change."""

    @property
    def dim(self) -> int:
        """Width of a vector."""

    @property
    def budget(self) -> int:
        """Tokens of one batch, padding included."""

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text; may run while `forward` does."""

    def forward(self, tokens: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """(n, dim) float32 of one batch."""


def version_of(encoder_version: str, head_version: str) -> str:
    """Names encoder, projection and head; known before any of them is loaded."""
    return f"{encoder_version}+{projection.VERSION}+{head_version}"


class TextReader:
    """Makes readings of texts and their vectors.

    `version` names encoder, projection and head; changes carry it.
    """

    def __init__(self, encoder_version: str, head: SentimentHead) -> None:
        self.version = version_of(encoder_version, head.version)
        self._head = head

    def read(self, texts: Sequence[str], vectors: NDArray[np.float32]) -> list[Reading]:
        """The readings of n texts with (n, dim) float32 vectors, in order; the same bits for a text alone or not."""
        projected = map(tuple, projection.project(vectors).tolist())
        return list(map(Reading, projected, self._head.score(texts, vectors).tolist()))
