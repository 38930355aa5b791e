"""The intent head: what a text wants, as a probability per intent. numpy only.

    margin_k(text) = u_k . terms(text) + w_k . z(text) + b_k        P(k) = exp(T margin_k) / sum over intents

`terms` are the words and pairs of words of a text, hashed (`models.text.ngrams.terms`). Each is weighed by its inverse
document frequency, as a row of length 1: TF-IDF without a vocabulary. `z` is the encoder's vector. `T` calibrates the
probabilities on texts that were not learnt (temperature scaling, Guo et al., 2017). A text without a token has the shares
that the intents had among the texts learnt from.

A head is one safetensors file: arrays and, as metadata, the JSON of `IntentCard`. It holds weights and the names of the
intents, no text. It fits one encoder, named by its version.
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
from models.text.logistic import FloatArray

FILE = "intents.safetensors"
"""A head's name within its directory."""

BITS = 18
"""A table of 262,144 places; 20,000 of them are taken by the terms of 10,000 questions."""

MOST_INTENTS = 1_000
LIMIT_BYTES = 256_000_000
FORMAT = 1
_ARRAYS = {
    "places": ("uint32", 1),
    "idf": ("float32", 1),
    "term_weights": ("float16", 2),
    "vector_weights": ("float32", 2),
    "levels": ("float32", 1),
    "shares": ("float32", 1),
}


class IntentsRefused(Exception):
    """This process can't use the intent head. Operator action: train it again, or unset REGULARS_INTENTS."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"the intent head {path}: {why}. Train one with `regulars intents train`")


class IntentCard(Struct, frozen=True):
    """What a head's arrays mean. New fields get defaults.

    Attributes:
        encoder: version of the encoder whose vectors it reads.
        terms: version of the terms.
        bits: size of their table, as a power of two.
        temperature: T.
        intents: their names, in the order of the arrays' columns.
        urgency: how urgent each is, 0 to 1, where the texts that taught it said so; else empty.
        texts: how many texts it learnt from.
        format: version of the file's format.
    """

    encoder: str
    terms: str
    bits: int
    temperature: float
    intents: tuple[str, ...]
    urgency: tuple[float, ...]
    texts: int
    format: int = FORMAT


@dataclass(frozen=True, eq=False)
class IntentHead:
    """A head that tells what texts want.

    Attributes:
        card: what it was made of; k intents.
        places: (p,) int64, ascending: the places of the terms' table that it knows.
        idf: (p,) float32, the inverse document frequency of these.
        term_weights: (p, k) float32.
        vector_weights: (dim, k) float32.
        levels: (k,) float32.
        shares: (k,) float32, sum 1: of each intent among the texts learnt from.
    """

    card: IntentCard
    places: NDArray[np.int64]
    idf: NDArray[np.float32]
    term_weights: NDArray[np.float32]
    vector_weights: NDArray[np.float32]
    levels: NDArray[np.float32]
    shares: NDArray[np.float32]

    @cached_property
    def version(self) -> str:
        """Names the head; heads with equal numbers have equal names."""
        return f"intents-{hashlib.blake2b(encode_intents(self), digest_size=4).hexdigest()}"

    def probabilities(self, texts: Sequence[str], vectors: NDArray[np.float32]) -> FloatArray:
        """(n, k) in (0, 1), each row's sum is 1; equal to the bit for a text alone and among others.

        Args:
            texts: n of them.
            vectors: (n, dim) of length 1, or 0 for a text without a token.
        """
        margins = np.einsum("nd,dk->nk", vectors.astype(np.float64), self.vector_weights.astype(np.float64))
        for index, text in enumerate(texts):
            margins[index] += self._margins_of_terms(text)
        probabilities = softmax(self.card.temperature * (margins + self.levels))
        probabilities[~vectors.any(axis=1)] = self.shares
        return probabilities

    def _margins_of_terms(self, text: str) -> FloatArray:
        known, _ = rows_of(self.places, ngrams.terms(text, self.card.bits))
        values = self.idf[known].astype(np.float64)
        length = float(np.sqrt(values @ values)) or 1.0
        margins: FloatArray = (values / length) @ self.term_weights[known].astype(np.float64)
        return margins

    def urgencies(self, probabilities: FloatArray) -> FloatArray:
        """(n,) in 0 to 1: the mean urgency of the intents, each counted by its probability; 0 where nobody said any."""
        if not self.card.urgency:
            return np.zeros(len(probabilities))
        expected: FloatArray = probabilities @ np.array(self.card.urgency)
        return expected


def softmax(margins: FloatArray) -> FloatArray:
    """(n, k) probabilities of margins (n, k)."""
    raised = np.exp(margins - margins.max(axis=1, keepdims=True))
    shares: FloatArray = raised / raised.sum(axis=1, keepdims=True)
    return shares


def urgency(sentiment: FloatArray, of_intents: FloatArray) -> FloatArray:
    """(n,) in 0 to 1: how soon somebody should answer.

        1 - (1 - complaint) (1 - urgency of the intent)        complaint = max(0, -sentiment)

    Either alone makes a text urgent: an unhappy writer, or a matter that can't wait ("noisy or", Pearl, 1988).
    """
    soon: FloatArray = 1.0 - (1.0 - np.maximum(0.0, -sentiment)) * (1.0 - of_intents)
    return soon


def encode_intents(head: IntentHead) -> bytes:
    """The bytes of a head's file: float16 weights of terms, float32 of the rest."""
    arrays: Arrays = {
        "places": head.places.astype(np.uint32),
        "idf": head.idf.astype(np.float32),
        "term_weights": head.term_weights.astype(np.float16),
        "vector_weights": head.vector_weights.astype(np.float32),
        "levels": head.levels.astype(np.float32),
        "shares": head.shares.astype(np.float32),
    }
    return encode_file(arrays, head.card)


def read_intents(path: Path) -> IntentHead:
    """The head in `path`, a file or its directory.

    Raises IntentsRefused if it is no head, is damaged or comes from another release.
    """
    path = path / FILE if path.is_dir() else path
    card, arrays = read_file(path, LIMIT_BYTES, IntentCard, "an intent head", IntentsRefused)
    if (card.format, card.terms) != (FORMAT, ngrams.TERMS_VERSION):
        raise IntentsRefused(
            path, f"format {card.format}, {card.terms}; this release knows {FORMAT}, {ngrams.TERMS_VERSION}"
        )
    if (kinds := kinds_of(arrays)) != _ARRAYS:
        raise IntentsRefused(path, f"its arrays are {kinds}")
    head = IntentHead(card, arrays["places"].astype(np.int64), *(_wide(arrays[name]) for name in list(_ARRAYS)[1:]))
    if (flaw := _flaw(head)) is not None:
        raise IntentsRefused(path, flaw)
    return head


def _wide(array: NDArray[np.floating]) -> NDArray[np.float32]:
    return array.astype(np.float32)


def _flaw(head: IntentHead) -> str | None:
    """What is wrong with the numbers of a head; None: nothing."""
    k, p, card = len(head.card.intents), len(head.places), head.card
    if not 2 <= k <= MOST_INTENTS or len(set(card.intents)) != k or len(card.urgency) not in (0, k):
        return f"{k} intents; 2 to {MOST_INTENTS} of different names"
    shapes = (
        head.idf.shape,
        head.term_weights.shape,
        head.vector_weights.shape[1:],
        head.levels.shape,
        head.shares.shape,
    )
    if shapes != ((p,), (p, k), (k,), (k,), (k,)) or not p:
        return f"its arrays have the shapes {shapes}"
    numbers = (head.idf, head.term_weights, head.vector_weights, head.levels, head.shares, np.array(card.temperature))
    if not all(np.isfinite(array).all() for array in numbers) or card.temperature <= 0:
        return "its numbers are not finite"
    if (np.diff(head.places) <= 0).any() or head.places[-1] >= 1 << card.bits:
        return "its places are not in order, or lie outside the table"
    return None


def intents_of(directory: ModelDirectory, path: str) -> IntentHead | None:
    """The head in `path` (a file or its directory), to be used with an encoder; None: `path` is empty.

    Raises:
        IntentsRefused: it can't be read, or reads another encoder.
    """
    if not path:
        return None
    where = Path(path).expanduser()
    head = read_intents(where)
    if head.card.encoder != directory.version or len(head.vector_weights) != directory.dim:
        raise IntentsRefused(where, f"it reads the encoder {head.card.encoder}, not {directory.version}")
    return head
