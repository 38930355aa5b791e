"""The trained sentiment head: the probability that a text's writer was content. numpy only.

    raw(text) = w . n-grams(text) + v . z(text) + level      P(content) = sigma(raw), calibrated on texts it hadn't learnt
    score     = 2 sigma(raw - log odds of the share of content writers among those it learnt from) - 1

The score is the probability if half of all writers were content, scaled to [-1, 1]. Most reviews are praise, and a neutral
text should have the score 0, not .6. The zero vector (a text without a token) scores 0.

A head is one safetensors file: arrays and, as metadata, the JSON of `Card`. It holds weights of hashed n-grams and of vector
components, no text. It fits one encoder, named by its version.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from models.text import ngrams
from models.text.directory import ModelDirectory
from models.text.headfile import Arrays, encode_file, kinds_of, read_file, rows_of
from models.text.logistic import FloatArray, sigmoid

FILE = "sentiment.safetensors"
"""A head's name within an encoder's directory."""

LIMIT_BYTES = 1_000_000
PACKAGED = Path(__file__).parent / "heads" / "minilm.safetensors"
FORMAT = 1


class HeadRefused(Exception):
    """This process can't serve the head. Operator action: train it again, or set REGULARS_SENTIMENT to anchors."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"the sentiment head {path}: {why}. Train one with `regulars encoder head train`, or set"
            " REGULARS_SENTIMENT=anchors to serve without one"
        )


class Card(Struct, frozen=True):
    """What a head's arrays mean. New fields get defaults.

    Attributes:
        encoder: version of the encoder whose vectors it reads.
        ngrams: version of the n-grams.
        bits: size of their table, as a power of two.
        level: the constant.
        base_rate: share of content writers among those it learnt from.
        texts: how many texts it learnt from.
        format: version of the file's format.
    """

    encoder: str
    ngrams: str
    bits: int
    level: float
    base_rate: float
    texts: int
    format: int = FORMAT


@dataclass(frozen=True, eq=False)
class TrainedHead:
    """A head as `models.text.reading.SentimentHead`.

    Attributes:
        card: what it was made of.
        places: (k,) int64, ascending: the places of the n-grams' table that have a weight.
        ngram_weights: (k,) float32, the weights at these places.
        vector_weights: (dim,) float32.
    """

    card: Card
    places: NDArray[np.int64]
    ngram_weights: NDArray[np.float32]
    vector_weights: NDArray[np.float32]

    @cached_property
    def version(self) -> str:
        """Names the head; heads with equal numbers have equal names."""
        return f"head-{hashlib.blake2b(encode_head(self), digest_size=4).hexdigest()}"

    def raw(self, texts: Sequence[str], vectors: NDArray[np.float32]) -> FloatArray:
        """Log odds (n,) that the writers were content; equal to the bit for a text alone and among others."""
        log_odds = np.einsum("nd,d->n", vectors.astype(np.float64), self.vector_weights.astype(np.float64))
        for index, text in enumerate(texts):
            log_odds[index] += self._log_odds_of_ngrams(text)
        total: FloatArray = log_odds + self.card.level
        return total

    def _log_odds_of_ngrams(self, text: str) -> float:
        wanted, values = ngrams.ngrams(text, self.card.bits)
        rows, known = rows_of(self.places, wanted)
        return float(self.ngram_weights[rows].astype(np.float64) @ values[known])

    def probability(self, texts: Sequence[str], vectors: NDArray[np.float32]) -> FloatArray:
        """P(content) (n,) in (0, 1); for a text without a token, the share of content writers among those learnt from."""
        probability = sigmoid(self.raw(texts, vectors))
        probability[~vectors.any(axis=1)] = self.card.base_rate
        return probability

    def score(self, texts: Sequence[str], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n,) float32 in [-1, 1]: -1 complains, 1 praises; 0 for the zero vector."""
        base = np.log(self.card.base_rate / (1.0 - self.card.base_rate))
        scores: NDArray[np.float32] = (2.0 * sigmoid(self.raw(texts, vectors) - base) - 1.0).astype(np.float32)
        scores[~vectors.any(axis=1)] = 0.0
        return scores


def encode_head(head: TrainedHead) -> bytes:
    """The bytes of a head's file: float16 weights of n-grams, float32 weights of the vector."""
    arrays: Arrays = {
        "places": head.places.astype(np.uint32),
        "ngram_weights": head.ngram_weights.astype(np.float16),
        "vector_weights": head.vector_weights.astype(np.float32),
    }
    return encode_file(arrays, head.card)


def read_head(path: Path) -> TrainedHead:
    """The head in `path`. Raises HeadRefused if the file is no head, is damaged or comes from another release."""
    card, arrays = read_file(path, LIMIT_BYTES, Card, "a sentiment head", HeadRefused)
    if (card.format, card.ngrams) != (FORMAT, ngrams.VERSION):
        raise HeadRefused(path, f"format {card.format}, {card.ngrams}; this release knows {FORMAT}, {ngrams.VERSION}")
    shapes = kinds_of(arrays)
    if shapes != {"places": ("uint32", 1), "ngram_weights": ("float16", 1), "vector_weights": ("float32", 1)}:
        raise HeadRefused(path, f"its arrays are {shapes}")
    places, ngram_weights = arrays["places"].astype(np.int64), arrays["ngram_weights"].astype(np.float32)
    vector_weights = arrays["vector_weights"]
    finite = np.isfinite(ngram_weights).all() and np.isfinite(vector_weights).all() and np.isfinite(card.level)
    ordered = len(places) == len(ngram_weights) > 0 and (np.diff(places) > 0).all() and places[-1] < 1 << card.bits
    if not finite or not ordered or not 0.0 < card.base_rate < 1.0:
        raise HeadRefused(path, "its numbers are not finite, not in order or out of range")
    return TrainedHead(card, places, ngram_weights, vector_weights)


def head_of(directory: ModelDirectory, wanted: str = "") -> TrainedHead | None:
    """The head to serve with an encoder; None: the anchors.

    Args:
        directory: the encoder.
        asked: a file; `anchors`; or empty: the one in the encoder's directory, else the packaged one where it fits.

    Raises:
        HeadRefused: the file asked for, or the one in the directory, can't be served with this encoder.
    """
    if wanted == "anchors":
        return None
    own = directory.path / FILE
    if not wanted and not own.is_file():
        head = read_head(PACKAGED) if PACKAGED.is_file() else None
        return head if head is not None and head.card.encoder == directory.version else None
    path = Path(wanted).expanduser() if wanted else own
    head = read_head(path)
    if head.card.encoder != directory.version or len(head.vector_weights) != directory.dim:
        raise HeadRefused(path, f"it reads the encoder {head.card.encoder}, not {directory.version}")
    return head
