"""Measures of probabilities for texts that were not learnt: ranking, decisions, calibration, and a paired comparison."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.text.logistic import FloatArray, sigmoid

BINS = 10


class BinaryMeasures(NamedTuple):
    """Measures of n log odds against labels 0 and 1.

    Attributes:
        auc: area under the ROC curve.
        log_loss: mean, natural logarithm.
        ece: `BINS` bins of equal mass by forecast: mean |mean forecast - observed share|.
        confusion: ((true negatives, false positives), (false negatives, true positives)) at probability .5.
    """

    auc: float
    log_loss: float
    ece: float
    confusion: tuple[tuple[int, int], tuple[int, int]]

    @property
    def f1(self) -> float:
        """The F1 score of the content writers."""
        (_, false_positive), (false_negative, hit) = self.confusion
        return 2 * hit / max(1, 2 * hit + false_positive + false_negative)

    @property
    def f1_discontent(self) -> float:
        """The F1 score of the discontent writers, who are fewer."""
        (hit, false_positive), (false_negative, _) = self.confusion
        return 2 * hit / max(1, 2 * hit + false_positive + false_negative)

    @property
    def accuracy(self) -> float:
        """The share of correct decisions."""
        (right, _), (_, also) = self.confusion
        return (right + also) / sum(map(sum, self.confusion))


def binary_measures(raw: FloatArray, labels: NDArray[np.int64]) -> BinaryMeasures:
    """The measures of log odds (n,). Both labels must occur."""
    p = sigmoid(raw)
    positives = int(labels.sum())
    negatives = len(labels) - positives
    area = (_ranks(raw)[labels == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives)
    bins = np.array_split(np.argsort(p, kind="stable"), BINS)
    ece = sum(len(each) * abs(p[each].mean() - labels[each].mean()) for each in bins if len(each)) / len(labels)
    decisions = raw > 0
    cells = tuple(tuple(int(((labels == real) & (decisions == claim)).sum()) for claim in (0, 1)) for real in (0, 1))
    (a, b), (c, d) = cells
    return BinaryMeasures(float(area), float(losses(raw, labels).mean()), float(ece), ((a, b), (c, d)))


def _ranks(raw: FloatArray) -> FloatArray:
    """Ranks from 1; equal values share their mean rank."""
    _, where, counts = np.unique(raw, return_inverse=True, return_counts=True)
    ranks: FloatArray = (counts.cumsum() - (counts - 1) / 2)[where]
    return ranks


def losses(raw: FloatArray, labels: NDArray[np.int64]) -> FloatArray:
    """The log loss (n,) of each text."""
    lost: FloatArray = np.logaddexp(0.0, np.where(labels == 1, -raw, raw))
    return lost


class Gain(NamedTuple):
    """How much lower one log loss is than another on the same texts, and the standard error of this difference."""

    mean: float
    error: float

    @property
    def beyond_noise(self) -> bool:
        """Whether the gain is more than its standard error."""
        return self.mean > self.error


def gain(raw: FloatArray, than: FloatArray, labels: NDArray[np.int64]) -> Gain:
    """The gain of log odds `raw` over `than`, both (n,)."""
    differences = losses(than, labels) - losses(raw, labels)
    return Gain(float(differences.mean()), float(differences.std(ddof=1) / np.sqrt(len(differences))))
