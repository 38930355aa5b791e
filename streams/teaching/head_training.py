"""Teaching a sentiment head: what three voices add to the share of content writers, and what each is worth.

    n-grams -> SparseLogistic (River's logistic regression with AdaGrad) -------+
    vector  -> DynamicLogisticRegression (second order, no step size) ----------+-- blend -> log odds of content
    vector  -> the anchors' direction, which nothing was taught ----------------+

    log odds = base + a ngrams + b vector + c anchors,   base: of the share of content writers

Each voice says nothing where it knows nothing, so a text of another kind than those learnt ends near the base, and its score
near 0. The blend is a logistic regression on what the voices said *before* a text was learnt (stacking, Wolpert 1992; in a
stream: progressive), so it knows how far each can be trusted on new texts: that is the calibration.
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
"""AdaGrad's step size; .1 and .3 were .003 and .0003 of AUC worse on the first of five folds."""

VECTOR_SCALE = 4.0
"""Standard deviation of a weight of the vector before anything was learnt: its 384 numbers are about .05 each."""

SHARPNESS = 20.0
"""Of the anchors' direction, in log odds: 2 K of `models.text.sentiment`."""

BLOCK = 64
"""Texts that the vector's learner takes at once."""

KEPT = 100_000
"""N-grams that a head keeps, those that moved it most, 0.6 MB: 80,000 and 140,000 were as good on the first fold."""

PASSES = 2
FOLDS = 5
_NONE = 1e-6
"""Standard deviation of a constant that is to stay 0."""


class Blend(NamedTuple):
    """What each voice counts."""

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

        Gives (n, 3): what the voices said of each before it (of the vector: before its block).
        """
        said = np.zeros((len(rows), 3))
        for start in range(0, len(rows), BLOCK):
            block = slice(start, start + BLOCK)
            z, y = vectors[block].astype(np.float64), labels[block].astype(np.float64)
            base = np.full(len(y), self.base)
            pairs = zip(rows[block], y.tolist(), strict=True)
            said[block, 1:] = self._told_by_vectors(z)
            said[block, 0] = [self._ngrams.learn_one(row, label, base[0]) for row, label in pairs]
            self._vector.learn_array(z, y, base, 0.0)
            self._blend.learn_array(said[block], y, base, 0.0)
            self.texts += len(y)
            self.content += int(y.sum())
        return said

    def repeat(self, rows: Sequence[Hashed], labels: NDArray[np.int64]) -> None:
        """N-grams learn texts that were learnt before once more; the vector's learner has taken all they say."""
        for row, label in zip(rows, labels.tolist(), strict=True):
            self._ngrams.learn_one(row, label, self.base)

    def told(self, rows: Sequence[Hashed], vectors: NDArray[np.float32]) -> FloatArray:
        """(n, 3): what the voices say of texts that are not learnt."""
        return np.column_stack(
            [[self._ngrams.told(row) for row in rows], self._told_by_vectors(vectors.astype(np.float64))]
        )

    def _told_by_vectors(self, z: FloatArray) -> FloatArray:
        return np.column_stack([z @ self._vector.coefficients[1:], z @ self._anchors])

    def head(self, blend: Blend | None = None, vector: tuple[FloatArray, float] | None = None) -> TrainedHead:
        """What was learnt, to be served.

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
    """A head and what it is worth.

    Attributes:
        head: taught by all texts.
        blend: its blend.
        said: (n, 3): what n-grams, vector and anchors say of each text, taught by other folds than its own.
        base: (n,): log odds of content in those folds.
        raw: (n,): log odds of the blend that was fitted on the other folds.
    """

    head: TrainedHead
    blend: Blend
    said: FloatArray
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
    heard: Callable[[str], None] = lambda step: None,
) -> Taught:
    """A head from texts with (n, dim) vectors and labels (n,), judged by `FOLDS`-fold cross-validation.

    A text and its copies are in one fold, so that none is judged by what its copies taught. The blend of the head that is
    taught by all texts is fitted on what was said across the folds. `seed` orders the texts.
    """
    heard("n-grams")
    rows = [ngrams.ngrams(text) for text in texts]
    folds = places(texts) % FOLDS
    said, base, raw = np.zeros((len(texts), 3)), np.zeros(len(texts)), np.zeros(len(texts))

    def learnt_by(of: NDArray[np.int64]) -> HeadLearner:
        return learnt(rows, vectors, labels, of, HeadLearner(vectors.shape[1], encoder, direction), passes, seed)

    for fold in range(FOLDS):
        heard(f"fold {fold + 1} of {FOLDS}")
        learner = learnt_by(np.flatnonzero(folds != fold))
        of = np.flatnonzero(folds == fold)
        said[of], base[of] = learner.told([rows[index] for index in of], vectors[of]), learner.base
    for fold in range(FOLDS):
        of, others = folds == fold, folds != fold
        raw[of] = blended(fitted(said[others], base[others], labels[others]), said[of], base[of])
    heard("all")
    blend = fitted(said, base, labels)
    return Taught(learnt_by(np.arange(len(texts))).head(blend), blend, said, base, raw)


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


def fitted(said: FloatArray, base: FloatArray | float, labels: NDArray[np.int64], steps: int = 25) -> Blend:
    """The blend of most likelihood for what was said (n, 3) of texts not learnt: Newton's method, a ridge of 1."""
    weights = np.zeros(said.shape[1])
    for _ in range(steps):
        p = 1.0 / (1.0 + np.exp(-np.clip(base + said @ weights, -30, 30)))
        slope = said.T @ (labels - p) - weights
        curvature = (said * (p * (1.0 - p))[:, None]).T @ said + np.eye(len(weights))
        weights = weights + np.linalg.solve(curvature, slope)
    return Blend(*weights.tolist())


def blended(blend: Blend, said: FloatArray, base: FloatArray | float) -> FloatArray:
    """Log odds (n,) of a blend."""
    total: FloatArray = base + said @ np.array(blend)
    return total
