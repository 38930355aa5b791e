"""Training of a sentiment head: what three voices add to the share of content writers, and the weight of each voice.

    n-grams -> SparseLogistic (River's logistic regression with AdaGrad) -------+
    vector  -> DynamicLogisticRegression (second order, no step size) ----------+-- blend -> log odds of content
    vector  -> the anchors' direction, which nothing was taught ----------------+

    log odds = base + a ngrams + b vector + c anchors,   base: of the share of content writers

A voice that knows nothing about a text gives 0, so a text of a kind that was never learnt ends near the base, and its score
near 0. The blend is a logistic regression on the voices' outputs *before* a text was learnt (stacking, Wolpert 1992; in a
stream: progressive validation). So it weighs each voice by its worth on new texts, and that calibrates the result.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.learning.corrections import corrector
from models.text import ngrams
from models.text.head import Card, TrainedHead
from models.text.logistic import FloatArray, SparseLogistic
from models.text.ngrams import Hashed
from streams.sources.labelled import places

RATE = 0.2
"""AdaGrad's step size; with .1 and .3 the AUC on the first of five folds was .003 and .0003 lower."""

VECTOR_SCALE = 4.0
"""Standard deviation of a weight of the vector before anything was learnt: its 384 numbers are about .05 each."""

SHARPNESS = 20.0
"""Of the anchors' direction, in log odds: 2 K of `models.text.sentiment`."""

BLOCK = 64
"""Texts that the vector's learner learns at once."""

KEPT = 100_000
"""N-grams that a head keeps, those that moved it most, 0.6 MB: 80,000 and 140,000 were as good on the first fold."""

PASSES = 2
FOLDS = 5
_NONE = 1e-6
"""Standard deviation of an intercept that must stay 0."""


class Blend(NamedTuple):
    """The weight of each voice."""

    ngrams: float
    vector: float
    anchors: float


class HeadLearner:
    """Learns P(content) from texts, their vectors and labels 0 or 1, in their order; deterministic.

    Args:
        dim: of the vectors.
        encoder: version of the encoder that they come from.
        direction: (dim,) of the anchors (`models.text.sentiment`); None: no such voice.
        bits: of the n-grams' table.
    """

    def __init__(
        self, dim: int, encoder: str, direction: NDArray[np.float32] | None = None, bits: int = ngrams.BITS
    ) -> None:
        self.texts = self.content = 0
        self._encoder, self._bits = encoder, bits
        self._anchors = np.zeros(dim) if direction is None else SHARPNESS * direction.astype(np.float64)
        self._ngrams = SparseLogistic(1 << bits, RATE)
        self._vector = corrector("logit", range(dim), scale=VECTOR_SCALE, intercept_scale=_NONE)
        self._blend = corrector("logit", Blend._fields, scale=1.0, intercept_scale=_NONE)

    @property
    def base(self) -> float:
        """Log odds of the share of content writers so far; 0 before the first."""
        return float(np.log((self.content + 1) / (self.texts - self.content + 1)))

    @property
    def blend(self) -> Blend:
        """The blend of the stream so far."""
        return Blend(*self._blend.coefficients[1:].tolist())

    def learn_many(self, rows: Sequence[Hashed], vectors: NDArray[np.float32], labels: NDArray[np.int64]) -> FloatArray:
        """Learns n texts, their `ngrams.ngrams` and (n, dim) vectors, a block at a time.

        Gives (n, 3): the voices' outputs for each text before it was learnt (the vector's: before its block).
        """
        outputs = np.zeros((len(rows), 3))
        for start in range(0, len(rows), BLOCK):
            block = slice(start, start + BLOCK)
            z, y = vectors[block].astype(np.float64), labels[block].astype(np.float64)
            base = np.full(len(y), self.base)
            pairs = zip(rows[block], y.tolist(), strict=True)
            outputs[block, 1:] = self._outputs_of_vectors(z)
            outputs[block, 0] = [self._ngrams.learn_one(row, label, base[0]) for row, label in pairs]
            self._vector.learn_array(z, y, base, 0.0)
            self._blend.learn_array(outputs[block], y, base, 0.0)
            self.texts += len(y)
            self.content += int(y.sum())
        return outputs

    def repeat(self, rows: Sequence[Hashed], labels: NDArray[np.int64]) -> None:
        """The n-grams learn known texts once more. The vector's learner gains nothing from a second pass."""
        for row, label in zip(rows, labels.tolist(), strict=True):
            self._ngrams.learn_one(row, label, self.base)

    def outputs(self, rows: Sequence[Hashed], vectors: NDArray[np.float32]) -> FloatArray:
        """(n, 3): the voices' outputs for texts that are not learnt."""
        return np.column_stack(
            [[self._ngrams.log_odds(row) for row in rows], self._outputs_of_vectors(vectors.astype(np.float64))]
        )

    def _outputs_of_vectors(self, z: FloatArray) -> FloatArray:
        return np.column_stack([z @ self._vector.coefficients[1:], z @ self._anchors])

    def head(self, blend: Blend | None = None, vector: tuple[FloatArray, float] | None = None) -> TrainedHead:
        """The head that was learnt, ready to be served.

        Args:
            blend: instead of the stream's own.
            vector: (dim,) weights and constant of log odds instead of those learnt here: a fine-tuned encoder's.
        """
        blend = self.blend if blend is None else blend
        weights, level = (self._vector.coefficients[1:], self.base) if vector is None else vector
        moved = np.abs(self._ngrams.weights) * np.sqrt(self._ngrams.gradients)
        kept = np.sort(np.argpartition(-moved, KEPT)[:KEPT]) if len(moved) > KEPT else np.arange(len(moved))
        base_rate = 1.0 / (1.0 + np.exp(-self.base))
        total = self.base + blend.vector * (level - self.base)
        return TrainedHead(
            Card(self._encoder, ngrams.VERSION, self._bits, float(total), float(base_rate), self.texts),
            kept.astype(np.int64),
            (blend.ngrams * self._ngrams.weights[kept]).astype(np.float16).astype(np.float32),
            (blend.vector * weights + blend.anchors * self._anchors).astype(np.float32),
        )


class Taught(NamedTuple):
    """A head, and how good it is.

    Attributes:
        head: taught by all texts.
        blend: its blend.
        outputs: (n, 3): outputs of n-grams, vector and anchors for each text, learnt from the other folds.
        base: (n,): log odds of content in those folds.
        raw: (n,): log odds of the blend that was fitted on the other folds.
    """

    head: TrainedHead
    blend: Blend
    outputs: FloatArray
    base: FloatArray
    raw: FloatArray


def teach(
    texts: Sequence[str],
    vectors: NDArray[np.float32],
    labels: NDArray[np.int64],
    encoder: str,
    direction: NDArray[np.float32] | None = None,
    passes: int = PASSES,
    seed: int = 0,
    progress: Callable[[str], None] = lambda step: None,
) -> Taught:
    """A head from texts with (n, dim) vectors and labels (n,), judged by `FOLDS`-fold cross-validation.

    A text and its copies are in one fold, so no text is judged by a head that learnt its copy. The blend of the head that
    learns all texts is fitted on the outputs across the folds. `seed` orders the texts.
    """
    progress("n-grams")
    rows = [ngrams.ngrams(text) for text in texts]
    folds = places(texts) % FOLDS
    outputs, base, raw = np.zeros((len(texts), 3)), np.zeros(len(texts)), np.zeros(len(texts))

    def learnt_by(of: NDArray[np.int64]) -> HeadLearner:
        return learnt(rows, vectors, labels, of, HeadLearner(vectors.shape[1], encoder, direction), passes, seed)

    for fold in range(FOLDS):
        progress(f"fold {fold + 1} of {FOLDS}")
        learner = learnt_by(np.flatnonzero(folds != fold))
        of = np.flatnonzero(folds == fold)
        outputs[of], base[of] = learner.outputs([rows[index] for index in of], vectors[of]), learner.base
    for fold in range(FOLDS):
        of, others = folds == fold, folds != fold
        raw[of] = blended(fitted(outputs[others], base[others], labels[others]), outputs[of], base[of])
    progress("all")
    blend = fitted(outputs, base, labels)
    return Taught(learnt_by(np.arange(len(texts))).head(blend), blend, outputs, base, raw)


def learnt(
    rows: Sequence[Hashed],
    vectors: NDArray[np.float32],
    labels: NDArray[np.int64],
    of: NDArray[np.int64],
    learner: HeadLearner,
    passes: int = PASSES,
    seed: int = 0,
) -> HeadLearner:
    """`learner` after the texts `of`, in an order drawn from `seed`, taken `passes` times."""
    random = np.random.default_rng(seed)
    for number in range(passes):
        order = random.permutation(of)
        chosen = [rows[index] for index in order]
        if number == 0:
            learner.learn_many(chosen, vectors[order], labels[order])
        else:
            learner.repeat(chosen, labels[order])
    return learner


def fitted(outputs: FloatArray, base: FloatArray | float, labels: NDArray[np.int64], steps: int = 25) -> Blend:
    """The maximum-likelihood blend for outputs (n, 3) of texts that were not learnt: Newton's method, a ridge of 1."""
    weights = np.zeros(outputs.shape[1])
    for _ in range(steps):
        p = 1.0 / (1.0 + np.exp(-np.clip(base + outputs @ weights, -30, 30)))
        slope = outputs.T @ (labels - p) - weights
        curvature = (outputs * (p * (1.0 - p))[:, None]).T @ outputs + np.eye(len(weights))
        weights = weights + np.linalg.solve(curvature, slope)
    return Blend(*weights.tolist())


def blended(blend: Blend, outputs: FloatArray, base: FloatArray | float) -> FloatArray:
    """Log odds (n,) of a blend."""
    total: FloatArray = base + outputs @ np.array(blend)
    return total
