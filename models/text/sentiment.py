"""Sentiment of a text vector without training: is it nearer to praise or to complaint? numpy only.

    score(z) = tanh(K * (cos(z, P) - cos(z, N)))

where P and N are the mean vectors of the praising and the complaining anchors. An encoder without a trained head
(`models.text.head`) is served with it. docs/text.md has its measures.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

PRAISE = (
    "I recommend it.",
    "I am satisfied.",
    "I love it.",
    "I am keeping it.",
    "The quality is good.",
    "It was worth the money.",
    "The support was helpful.",
    "This is a positive review: I am happy and recommend it.",
    "I love it and I am keeping it.",
    "It works perfectly, worth the money.",
    "The service was friendly and quick.",
    "I love it, it is perfect.",
    "Great quality, I highly recommend it.",
)

COMPLAINT = (
    "I do not recommend it.",
    "I am disappointed.",
    "I hate it.",
    "I am sending it back.",
    "The quality is bad.",
    "It was a waste of money.",
    "The support was useless.",
    "This is a negative review: I am unhappy and do not recommend it.",
    "I was disappointed and I am returning it.",
    "It is broken, a waste of money.",
    "The service was rude and slow.",
    "I hate it, it is terrible.",
    "Poor quality, I do not recommend it.",
)
"""In pairs that differ in little but the opinion, so that their topics (quality, money, service) cancel out: neutral
questions then score about 0."""

ANCHORS = PRAISE + COMPLAINT
"""The sentences that an encoder must encode for the head; praise comes first."""

K = 10.0
"""MiniLM's difference of cosines is 0.11 for five stars and 0.01 for one (sd 0.06): 10 spreads it over [-1, 1]."""


class AnchorSentiment:
    """The head for one encoder, from the vectors of ANCHORS (n, dim) float32 in their order.

    `direction` is P - N, (dim,) float32.
    """

    def __init__(self, anchors: NDArray[np.float32], praises: int = len(PRAISE), k: float = K) -> None:
        self.direction: NDArray[np.float32] = _unit(anchors[:praises].mean(axis=0)) - _unit(
            anchors[praises:].mean(axis=0)
        )
        self._k = k
        self.version = version_of(k)

    def score(self, texts: Sequence[str], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, dim) float32 -> (n,) float32 in [-1, 1]; -1 complains, 1 praises, 0 for the zero vector."""
        leaning: NDArray[np.float32] = np.einsum("nd,d->n", vectors, self.direction)
        scored: NDArray[np.float32] = np.tanh(self._k * leaning).astype(np.float32)
        return scored


def _unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    length = np.float32(np.linalg.norm(vector))
    return vector if length == 0 else vector / length


def version_of(k: float = K) -> str:
    """Names the head by its anchors and its steepness, independent of the encoder."""
    digest = hashlib.blake2b("\n".join((*ANCHORS, repr(k))).encode(), digest_size=4).hexdigest()
    return f"anchors-{digest}"
