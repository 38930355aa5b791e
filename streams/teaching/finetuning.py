"""`regulars encoder finetune`: trains an encoder on labelled texts and publishes it if it is better than the served one.

    texts -> held out (a fifth, by digest) | learnt
    learnt   -> FineTuning -> checkpoint every minute -> candidate directory
    held out -> candidate and its head | served encoder and a head taught by the same texts -> better?
                                                                                       -> OUT/encoder-<version>

A fine-tuned encoder knows the texts that it learnt, so its head's blend is fitted on held-out texts: on one half to judge
the other half, and on all of them for the head that is published.
"""

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.text import ngrams
from models.text.directory import ModelDirectory, open_directory
from models.text.finetuning import FineTuning, Recipe
from models.text.head import FILE, encode_head
from models.text.logistic import FloatArray
from models.text.sentiment import ANCHORS, AnchorSentiment
from streams.settings import Settings
from streams.sources.labelled import held_out, read_labelled
from streams.teaching.head_training import HeadLearner, blended, fitted, learnt
from streams.teaching.judging import BinaryMeasures, Gain, binary_measures, gain
from streams.teaching.progress import TrainingProgress
from streams.teaching.vectors import vectors_of

WORK = "work"
CHECKPOINT_S = 60.0
LEAST_HELD_OUT = 10
"""With fewer texts of a label, the candidate can't be judged."""


class Stopped(Exception):
    """The run was asked to stop. Its checkpoint is written, and the same command continues from there."""


class NotBetter(Exception):
    """The candidate isn't better than the served encoder, so nothing was published."""


class TooFew(Exception):
    """There are too few labelled texts to hold some out."""


@dataclass(frozen=True)
class Figures:
    """Held-out measures: of the served encoder with its head, of the candidate alone, and of the candidate with n-grams."""

    served: BinaryMeasures
    candidate: BinaryMeasures
    with_ngrams: BinaryMeasures
    gain: Gain
    learnt: int
    held_out: int


class Published(NamedTuple):
    """The folder of the new encoder, and its measures."""

    folder: Path
    figures: Figures


def finetune(
    data: Path,
    out: Path,
    settings: Settings,
    recipe: Recipe,
    share: float = 0.2,
    force: bool = False,
    stopping: Callable[[], bool] = lambda: False,
    progress: Callable[[TrainingProgress], None] = lambda progress: None,
) -> Published:
    """Fine-tunes the encoder of `settings` on `data`, from the checkpoint in `out` where there is one.

    Raises:
        FileRefused, OneSided: `data` holds no labelled texts, or texts with only one of the labels.
        TooFew: fewer than `LEAST_HELD_OUT` of a label are held out.
        EncoderUnavailable: the encoder of the settings can't be opened.
        CheckpointRefused: `out` holds a checkpoint of something else.
        Stopped: `stopping` returned True.
        NotBetter: the candidate is not better, and `force` was not given.
    """
    labelled = read_labelled(data)
    texts, labels = labelled.texts, labelled.positive
    apart = held_out(texts, share)
    if min(np.bincount(labels[apart], minlength=2)) < LEAST_HELD_OUT:
        raise TooFew(f"{int(apart.sum())} texts would be held out; it takes {LEAST_HELD_OUT} of each label")
    base = open_directory(settings.encoder)
    work = out / WORK
    of = np.flatnonzero(~apart)
    tuning = FineTuning(base, [texts[index] for index in of], labels[of], recipe, settings.device)
    tuning.resume(work)
    _run(tuning, work, stopping, progress)
    staged = work / "candidate"
    tuning.publish(staged)
    candidate = open_directory(staged)
    rows = [ngrams.ngrams(text) for text in texts]
    judge = _Judge(texts, labels, apart, rows, settings, progress, stopping)
    served_raw = judge.served(base)
    outputs, learner = judge.outputs(candidate, tuning.weights())
    truth = labels[apart]
    raw = _across_halves(outputs, learner.base, truth)
    figures = Figures(
        binary_measures(served_raw, truth),
        binary_measures(outputs[:, 1] + learner.base, truth),
        binary_measures(raw, truth),
        gain(raw, served_raw, truth),
        len(of),
        int(apart.sum()),
    )
    head = learner.head(fitted(outputs, learner.base, truth), tuning.weights())
    (staged / FILE).write_bytes(encode_head(head))
    (staged / "training.json").write_text(json.dumps(_card(base, candidate, recipe, figures, data), indent=2))
    if not figures.gain.beyond_noise and not force:
        raise NotBetter(_refusal(figures, staged))
    folder = out / f"encoder-{candidate.version}"
    if folder.exists():
        shutil.rmtree(folder)
    staged.rename(folder)
    return Published(folder, figures)


def _refusal(figures: Figures, staged: Path) -> str:
    return (
        f"log loss on {figures.held_out:,} held-out texts {figures.with_ngrams.log_loss:.4f}, the served encoder's"
        f" {figures.served.log_loss:.4f}: the gain of {figures.gain.mean:.4f} is not more than its standard error of"
        f" {figures.gain.error:.4f}. Nothing was published; --force publishes it anyway. The candidate is in {staged}"
    )


def _run(
    tuning: FineTuning, work: Path, stopping: Callable[[], bool], progress: Callable[[TrainingProgress], None]
) -> None:
    saved_at = time.monotonic()
    recent: list[float] = []
    progress(TrainingProgress("learning", tuning.step, tuning.steps))
    for loss in tuning.run():
        recent = [*recent[-49:], loss]
        progress(TrainingProgress("learning", tuning.step, tuning.steps, float(np.mean(recent))))
        if stopping():
            tuning.save(work)
            raise Stopped(
                f"stopped after step {tuning.step:,} of {tuning.steps:,}: the same command continues from there"
            )
        if time.monotonic() - saved_at > CHECKPOINT_S:
            tuning.save(work)
            saved_at = time.monotonic()
    tuning.save(work)


@dataclass
class _Judge:
    """Held-out log odds of an encoder with its head."""

    texts: list[str]
    labels: NDArray[np.int64]
    apart: NDArray[np.bool_]
    rows: list[ngrams.Hashed]
    settings: Settings
    progress: Callable[[TrainingProgress], None]
    stopping: Callable[[], bool]

    def served(self, base: ModelDirectory) -> FloatArray:
        """Log odds (held out,) of the served encoder with a head that learns the same texts as the candidate.

        The served head itself isn't used: it may have learnt the held-out texts.
        """
        vectors = self._vectors(base, self.texts, "served encoder")
        anchors = AnchorSentiment(vectors_of(ANCHORS, base, self.settings))
        learner = self._taught(vectors, HeadLearner(base.dim, base.version, anchors.direction))
        outputs = learner.outputs([self.rows[index] for index in self._held_out], vectors[self._held_out])
        return _across_halves(outputs, learner.base, self.labels[self._held_out])

    def outputs(self, candidate: ModelDirectory, weights: tuple[FloatArray, float]) -> tuple[FloatArray, HeadLearner]:
        """(held out, 3): log odds of the n-grams and of the fine-tuned vector, and zeros; and the n-grams' learner."""
        # The n-grams are learnt without vectors: the encoder knows the texts that it learnt too well.
        nothing = np.zeros((len(self.texts), candidate.dim), dtype=np.float32)
        learner = self._taught(nothing, HeadLearner(candidate.dim, candidate.version))
        vectors = self._vectors(candidate, [self.texts[index] for index in self._held_out], "candidate")
        outputs = learner.outputs([self.rows[index] for index in self._held_out], vectors)
        outputs[:, 1] = vectors.astype(np.float64) @ weights[0] + weights[1] - learner.base
        return outputs, learner

    @property
    def _held_out(self) -> NDArray[np.int64]:
        return np.flatnonzero(self.apart)

    def _taught(self, vectors: NDArray[np.float32], learner: HeadLearner) -> HeadLearner:
        return learnt(self.rows, vectors, self.labels, np.flatnonzero(~self.apart), learner)

    def _vectors(self, directory: ModelDirectory, texts: list[str], what: str) -> NDArray[np.float32]:
        def progress(done: int) -> None:
            self.progress(TrainingProgress(f"encoding, {what}", done, len(texts)))
            if self.stopping():
                raise Stopped(f"stopped while encoding ({what}): the same command continues from there")

        return vectors_of(texts, directory, self.settings, progress)


def _across_halves(outputs: FloatArray, base: float, labels: NDArray[np.int64]) -> FloatArray:
    """Log odds (n,) of the blend: for each half, of a blend that was fitted on the other half."""
    even = np.arange(len(outputs)) % 2 == 0
    by_odd, by_even = fitted(outputs[~even], base, labels[~even]), fitted(outputs[even], base, labels[even])
    return np.where(even, blended(by_odd, outputs, base), blended(by_even, outputs, base))


def _card(
    base: ModelDirectory, made: ModelDirectory, recipe: Recipe, figures: Figures, data: Path
) -> dict[str, object]:
    return {
        "encoder": made.version,
        "fine_tuned_from": base.version,
        "recipe": asdict(recipe),
        "file": data.name,
        "learnt": figures.learnt,
        "held_out": figures.held_out,
        "served": figures.served._asdict(),
        "candidate": figures.candidate._asdict(),
        "candidate_with_ngrams": figures.with_ngrams._asdict(),
        "gain_in_log_loss": figures.gain._asdict(),
    }
