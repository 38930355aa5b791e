"""Training of an intent head: linear support vectors over a text's terms and its vector, judged by cross-validation.

A support vector machine per intent against the rest (scikit-learn's LinearSVC) reads the hashed terms of a text, as TF-IDF
of length 1, beside `VECTOR_LENGTH` times its vector. The temperature that makes probabilities of its margins is fitted on
margins of texts that the machine hadn't learnt.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse  # type: ignore[import-untyped]
from scipy.optimize import minimize_scalar  # type: ignore[import-untyped]
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.metrics import f1_score
from sklearn.svm import LinearSVC

from models.learning.measures import calibration_error
from models.text import ngrams
from models.text.intents import BITS, IntentCard, IntentHead, softmax
from models.text.logistic import FloatArray
from streams.sources.labelled import Intended, places

VECTOR_LENGTH = 1.5
"""Of the vector, beside the terms' length of 1. Lengths of 1 and 2 are as good on banking77 (.0005 apart)."""

FOLDS = 5
CONFUSED = 8
"""Pairs of intents that a training shows."""


class Mixed(NamedTuple):
    """Texts of one intent that were taken for another."""

    intent: str
    taken_for: str
    texts: int


class IntentMeasures(NamedTuple):
    """How good the intents of n texts are, which the head of the other folds had not learnt.

    Attributes:
        accuracy: share of texts whose likeliest intent is theirs, and its standard error.
        accuracy_error: sqrt(a (1 - a) / n).
        macro_f1: mean of the intents' F1 scores.
        log_loss: mean, natural logarithm.
        ece: of the likeliest intent's probability, as `models.learning.measures.calibration_error` has it.
        confused: the pairs that are mixed up most often, most first.
    """

    accuracy: float
    accuracy_error: float
    macro_f1: float
    log_loss: float
    ece: float
    confused: tuple[Mixed, ...]


class TaughtIntents(NamedTuple):
    """A head that was taught by all texts, and how good heads of four fifths are on the last fifth."""

    head: IntentHead
    measures: IntentMeasures


class _Machine(NamedTuple):
    """What one training gives: TF-IDF's weights and the machine over [terms, vector]."""

    weighing: TfidfTransformer
    weights: FloatArray  # (2^bits + dim, k)
    levels: FloatArray


def teach_intents(
    intended: Intended,
    vectors: NDArray[np.float32],
    encoder: str,
    bits: int = BITS,
    seed: int = 0,
    progress: Callable[[str], None] = lambda step: None,
) -> TaughtIntents:
    """A head from texts with (n, dim) vectors.

    A text and its copies are in one fold, so no text is judged by a head that learnt its copy.

    Args:
        intended: the texts.
        vectors: of the texts, each of length 1 or 0.
        encoder: version of the encoder that they come from.
        bits: of the terms' table.
        seed: of the machine's order.
        progress: is told each step.
    """
    progress("terms")
    counts = _counts(intended.texts, bits)
    folds = places(intended.texts) % FOLDS
    margins = np.zeros((len(intended.texts), len(intended.names)))
    for fold in range(FOLDS):
        progress(f"fold {fold + 1} of {FOLDS}")
        of, others = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        machine = _learnt(counts, vectors, intended, others, seed)
        margins[of] = _rows(counts[of], machine.weighing, vectors[of]) @ machine.weights + machine.levels
    temperature = _temperature(margins, intended.intents)
    progress("all")
    machine = _learnt(counts, vectors, intended, np.arange(len(intended.texts)), seed)
    return TaughtIntents(
        _head(machine, intended, vectors.shape[1], encoder, bits, temperature, np.unique(counts.indices)),
        measured(softmax(temperature * margins), intended.intents, intended.names),
    )


def _counts(texts: Sequence[str], bits: int) -> sparse.csr_matrix:
    """(n, 2^bits): 1 for each term of a text."""
    rows = [ngrams.terms(text, bits) for text in texts]
    starts = np.cumsum([0, *map(len, rows)])
    return sparse.csr_matrix(
        (np.ones(starts[-1]), np.concatenate(rows), starts), shape=(len(texts), 1 << bits), dtype=np.float64
    )


def _rows(counts: sparse.csr_matrix, weighing: TfidfTransformer, vectors: NDArray[np.float32]) -> sparse.csr_matrix:
    """(n, 2^bits + dim): the terms as TF-IDF of length 1, and the vector."""
    return sparse.hstack([weighing.transform(counts), VECTOR_LENGTH * vectors.astype(np.float64)]).tocsr()


def _learnt(
    counts: sparse.csr_matrix, vectors: NDArray[np.float32], intended: Intended, of: NDArray[np.int64], seed: int
) -> _Machine:
    """The machine after the texts `of`; an intent that none of them has is never the likeliest."""
    weighing = TfidfTransformer().fit(counts[of])
    machine = LinearSVC(C=1.0, random_state=seed).fit(_rows(counts[of], weighing, vectors[of]), intended.intents[of])
    k = len(intended.names)
    weights, levels = np.zeros((counts.shape[1] + vectors.shape[1], k)), np.full(k, -1.0)
    if len(machine.classes_) == 2:  # one machine tells two intents apart
        first, second = machine.classes_
        weights[:, [first, second]] = np.column_stack([-machine.coef_[0], machine.coef_[0]])
        levels[[first, second]] = -machine.intercept_[0], machine.intercept_[0]
    else:
        weights[:, machine.classes_] = machine.coef_.T
        levels[machine.classes_] = machine.intercept_
    return _Machine(weighing, weights, levels)


def _temperature(margins: FloatArray, intents: NDArray[np.int64]) -> float:
    """The T whose probabilities have the least log loss."""
    each = np.arange(len(intents))

    def log_loss(log_temperature: float) -> float:
        return float(-np.log(softmax(np.exp(log_temperature) * margins)[each, intents] + 1e-300).mean())

    return float(np.exp(minimize_scalar(log_loss, bounds=(-3.0, 4.0), method="bounded").x))


def _head(
    machine: _Machine,
    intended: Intended,
    dim: int,
    encoder: str,
    bits: int,
    temperature: float,
    known: NDArray[np.int64],
) -> IntentHead:
    terms = len(machine.weights) - dim
    shares = np.bincount(intended.intents, minlength=len(intended.names)) / len(intended.intents)
    return IntentHead(
        IntentCard(
            encoder, ngrams.TERMS_VERSION, bits, temperature, intended.names, intended.urgency, len(intended.texts)
        ),
        known.astype(np.int64),
        machine.weighing.idf_[known].astype(np.float32),
        machine.weights[known].astype(np.float16).astype(np.float32),
        (VECTOR_LENGTH * machine.weights[terms:]).astype(np.float32),
        machine.levels.astype(np.float32),
        shares.astype(np.float32),
    )


def measured(probabilities: FloatArray, intents: NDArray[np.int64], names: Sequence[str]) -> IntentMeasures:
    """The measures of probabilities (n, k) for texts whose intents (n,) are known."""
    taken, sure, n = probabilities.argmax(axis=1), probabilities.max(axis=1), len(intents)
    right = taken == intents
    pairs, texts = np.unique(np.column_stack([intents, taken])[~right], axis=0, return_counts=True)
    most = np.argsort(-texts, kind="stable")[:CONFUSED]
    accuracy = float(right.mean())
    return IntentMeasures(
        accuracy,
        float(np.sqrt(accuracy * (1 - accuracy) / n)),
        float(f1_score(intents, taken, labels=np.arange(len(names)), average="macro", zero_division=0.0)),
        float(-np.log(probabilities[np.arange(n), intents] + 1e-300).mean()),
        calibration_error(right.astype(np.float64), sure),
        tuple(Mixed(names[pairs[at][0]], names[pairs[at][1]], int(texts[at])) for at in most),
    )
