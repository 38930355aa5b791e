"""How right a policy's segments were: what customers were called at a moment, beside what they then did.

Each row is one buyer at one cut-off. The segment is the one that the live code had put the customer in by then. The outcome
is what came within the horizon of the dimension's number. Intervals hold 95 % of the values over bootstrap samples of
customers: all rows of a customer are drawn together.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from models.decisions.confidence import Interval
from models.features import FloatArray
from models.learning.backtest import Forecasts
from models.policy import DAYS_SINCE_PURCHASE
from models.policy.document import Dimension
from schemas.learning import SCORES
from streams.report.evaluation import Rows

DRAWS = 200
CURVE_POINTS = 100
Curve = list[tuple[float, float, float]]

# What a dimension is judged by where its number is not itself a forecast: the longest horizon.
PURCHASE_90 = "p_purchase_90d"


@dataclass(frozen=True)
class SegmentQuality:
    """Of one segment, of those called so: how many, and how many of them were; see `Boundary` for the words."""

    name: str
    called: int
    came: int
    precision: Interval
    recall: Interval
    f1: Interval


@dataclass(frozen=True)
class Boundary:
    """Who was called at or above a segment's bound, against who then was.

    Attributes:
        segment: the segment that begins at the bound.
        bound: in units of the dimension's number.
        base_rate: share of rows with the outcome.
        precision: share of those called who had the outcome.
        recall: share of those with the outcome who were called.
        auc: area under the ROC curve of the dimension's number.
        average_precision: area under its precision-recall curve.
        roc: (false positive rate, true positive rate, threshold), up to `CURVE_POINTS` points.
        precision_recall: (recall, precision, threshold), likewise.
        chosen: the threshold with the best F1 on the earlier half of the cut-offs, judged on the later half.
        kept: the policy's bound, judged on that later half too.
    """

    segment: str
    bound: float
    base_rate: float
    precision: Interval
    recall: Interval
    f1: Interval
    auc: Interval
    average_precision: Interval
    roc: Curve
    precision_recall: Curve
    chosen: Mapping[str, float]
    kept: Mapping[str, float]


@dataclass(frozen=True)
class DimensionQuality:
    """One dimension.

    Attributes:
        outcome: what was counted: the dimension's own number as it came, `purchase`, or `no purchase`.
        came_segments: columns of `confusion`; the dimension's segments where the outcome is its number.
        confusion: rows by segment called, columns by what came.
        accuracy: share of rows whose segment came; NaN unless the outcome is the dimension's number.
    """

    name: str
    over: str
    horizon_days: int
    outcome: str
    rows: int
    segments: tuple[str, ...]
    came_segments: tuple[str, ...]
    confusion: list[list[int]]
    accuracy: Interval
    by_segment: list[SegmentQuality] = field(default_factory=list)
    boundaries: list[Boundary] = field(default_factory=list)


class Bootstrap:
    """Samples of customers as weights of rows; the same for every figure, so that figures may be compared."""

    def __init__(self, customers: NDArray[np.str_], draws: int = DRAWS, seed: int = 0) -> None:
        _, place = np.unique(customers, return_inverse=True)
        rng, count = np.random.default_rng(seed), int(place.max()) + 1
        drawn = (np.bincount(rng.integers(count, size=count), minlength=count) for _ in range(draws))
        self._place = place
        self._samples = [each.astype(np.float32) for each in drawn]

    def interval(self, measure: Callable[[FloatArray], float]) -> Interval:
        """`intervals` of one figure."""
        return self.intervals(lambda w: (measure(w),))[0]

    def intervals(self, measure: Callable[[FloatArray], Sequence[float]]) -> list[Interval]:
        """The figures that `measure` gives for row weights (n,), each with the bounds that hold 95 % of its samples.

        Samples for which a figure is not defined are left out; a figure without any has NaN for bounds.
        """
        whole = measure(np.ones(len(self._place)))
        samples = np.array([measure(sample[self._place].astype(np.float64)) for sample in self._samples])
        return [_bounded(value, of_one) for value, of_one in zip(whole, samples.T, strict=True)]


def _bounded(value: float, samples: FloatArray) -> Interval:
    defined = samples[np.isfinite(samples)]
    low, high = np.quantile(defined, [0.025, 0.975]).tolist() if len(defined) else (float("nan"),) * 2
    return Interval(value, low, high)


def judge_dimension(
    dimension: Dimension, forecasts: Sequence[Forecasts], by_score: Mapping[str, Rows], draws: int = DRAWS
) -> DimensionQuality:
    """What `dimension` called customers, beside what came.

    Args:
        dimension: of the policy that the forecasts were made under.
        forecasts: of each cut-off, with segments.
        by_score: outcomes by score (`evaluation.rows_by_score`); a cut-off without a whole horizon has none.
        draws: bootstrap samples.
    """
    is_forecast = dimension.over in SCORES
    score = dimension.over if is_forecast else PURCHASE_90
    rows = by_score[score]
    names = tuple(segment.name for segment in dimension.segments)
    called, number = _called(dimension, names, forecasts, rows)
    bootstrap = Bootstrap(rows.customers, draws)
    amount = is_forecast and not score.startswith("p_")
    if amount:
        outcome, came_names = dimension.over, names
        came = _segment_of(dimension, rows.truth)
    else:
        silent = dimension.over == DAYS_SINCE_PURCHASE
        outcome = "no purchase" if silent else "purchase"
        came_names = ("purchase", "no purchase") if silent else ("no purchase", "purchase")
        came = (rows.truth > 0).astype(np.int64) if not silent else (rows.truth <= 0).astype(np.int64)
    confusion = np.zeros((len(names), len(came_names)), dtype=np.int64)
    np.add.at(confusion, (called, came), 1)
    nothing = Interval(*(float("nan"),) * 3)
    return DimensionQuality(
        name=dimension.name,
        over=dimension.over,
        horizon_days=30 if score.endswith("_30d") else 90,
        outcome=outcome,
        rows=len(rows.truth),
        segments=names,
        came_segments=came_names,
        confusion=confusion.tolist(),
        accuracy=bootstrap.interval(lambda w: float(w[called == came].sum() / w.sum())) if amount else nothing,
        by_segment=[_segment_quality(i, name, called, came, bootstrap) for i, name in enumerate(names)]
        if amount
        else [],
        boundaries=[
            _boundary(place, dimension, called, came >= place if amount else came > 0, number, rows.as_of, bootstrap)
            for place, segment in enumerate(dimension.segments)
            if place and segment.bound is not None
        ],
    )


def _called(
    dimension: Dimension, names: tuple[str, ...], forecasts: Sequence[Forecasts], rows: Rows
) -> tuple[NDArray[np.int64], FloatArray]:
    """(n,) the segment of each row as of its cut-off, and (n,) the dimension's number then."""
    place = {name: i for i, name in enumerate(names)}
    counted = counted_in(rows, forecasts)
    called = np.array([place[segment] for each in counted for segment in each.segments[dimension.name]], dtype=np.int64)
    return called, np.concatenate([each.numbers[dimension.name] for each in counted])


def counted_in(rows: Rows, forecasts: Sequence[Forecasts]) -> list[Forecasts]:
    """The forecasts whose cut-offs `rows` has; their customers are its rows, in order."""
    moments = set(np.unique(rows.as_of).tolist())
    return [each for each in forecasts if each.as_of in moments]


def _segment_of(dimension: Dimension, value: FloatArray) -> NDArray[np.int64]:
    """(n,): the segment that each value lies in, without margins."""
    bounds = [segment.bound for segment in dimension.segments if segment.bound is not None]
    offset = len(dimension.segments) - len(bounds)
    place = np.searchsorted(np.array(bounds), value, side="right") - 1 + offset
    found: NDArray[np.int64] = np.maximum(place, 0)
    return found


def _rates(called: NDArray[np.bool_], came: NDArray[np.bool_], w: FloatArray) -> tuple[float, float, float]:
    """Precision, recall and F1; NaN where nobody was called, nobody came, or both."""
    both, of_called, of_came = float(w[called & came].sum()), float(w[called].sum()), float(w[came].sum())
    precision = both / of_called if of_called else float("nan")
    recall = both / of_came if of_came else float("nan")
    f1 = 2 * both / (of_called + of_came) if of_called + of_came else float("nan")
    return precision, recall, f1


def _segment_quality(
    place: int, name: str, called: NDArray[np.int64], came: NDArray[np.int64], bootstrap: Bootstrap
) -> SegmentQuality:
    of_called, of_came = called == place, came == place
    precision, recall, f1 = bootstrap.intervals(lambda w: _rates(of_called, of_came, w))
    return SegmentQuality(name, int(of_called.sum()), int(of_came.sum()), precision, recall, f1)


def _boundary(
    place: int,
    dimension: Dimension,
    called: NDArray[np.int64],
    came: NDArray[np.bool_],
    number: FloatArray,
    as_of: FloatArray,
    bootstrap: Bootstrap,
) -> Boundary:
    segment = dimension.segments[place]
    assert segment.bound is not None
    at_least = called >= place
    precision, recall, f1 = bootstrap.intervals(lambda w: _rates(at_least, came, w))
    early, late = earlier_and_later(as_of)
    chosen = _best_threshold(came[early], number[early])
    return Boundary(
        segment.name,
        segment.bound,
        float(came.mean()),
        precision,
        recall,
        f1,
        roc_area(came, number, bootstrap),
        precision_area(came, number, bootstrap),
        *curves(came, number),
        {"threshold": chosen, **_named(number[late] >= chosen, came[late])},
        {"threshold": segment.bound, **_named(at_least[late], came[late])},
    )


def roc_area(came: NDArray[np.bool_], number: FloatArray, bootstrap: Bootstrap) -> Interval:
    """Area under the ROC curve of `number`."""
    return bootstrap.interval(
        lambda w: float(roc_auc_score(came, number, sample_weight=w)) if both_classes(came, w) else float("nan")
    )


def precision_area(came: NDArray[np.bool_], number: FloatArray, bootstrap: Bootstrap) -> Interval:
    """Area under the precision-recall curve of `number`, as average precision."""
    return bootstrap.interval(
        lambda w: (
            float(average_precision_score(came, number, sample_weight=w)) if both_classes(came, w) else float("nan")
        )
    )


def curves(came: NDArray[np.bool_], number: FloatArray) -> tuple[Curve, Curve]:
    """The ROC curve and the precision-recall curve of `number`; empty where all or none came."""
    if not both_classes(came):
        return [], []
    precision, recall, thresholds = precision_recall_curve(came, number)
    return _thinned(*roc_curve(came, number)), _thinned(
        recall[: len(thresholds)], precision[: len(thresholds)], thresholds
    )


def both_classes(came: NDArray[np.bool_], w: FloatArray | None = None) -> bool:
    """Whether some came and some did not, among rows of weight above 0."""
    share = float(came.mean() if w is None else w[came].sum() / w.sum())
    return 0.0 < share < 1.0


def _named(called: NDArray[np.bool_], came: NDArray[np.bool_]) -> dict[str, float]:
    return dict(zip(("precision", "recall", "f1"), _rates(called, came, np.ones(len(came))), strict=True))


def earlier_and_later(as_of: FloatArray) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Rows of the earlier and of the later half of the cut-offs; with one cut-off all rows are both."""
    moments = np.unique(as_of)
    if len(moments) < 2:
        return np.ones(len(as_of), dtype=np.bool_), np.ones(len(as_of), dtype=np.bool_)
    middle = moments[len(moments) // 2]
    return as_of < middle, as_of >= middle


def _best_threshold(came: NDArray[np.bool_], number: FloatArray) -> float:
    """The threshold with the best F1; NaN where all or none came."""
    if not both_classes(came):
        return float("nan")
    precision, recall, thresholds = precision_recall_curve(came, number)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    return float(thresholds[int(np.argmax(f1[: len(thresholds)]))])


def _thinned(x: FloatArray, y: FloatArray, thresholds: FloatArray) -> Curve:
    """A curve of at most `CURVE_POINTS` points (x, y, threshold), those with an infinite threshold left out."""
    kept = np.unique(np.linspace(0, len(x) - 1, min(CURVE_POINTS, len(x))).astype(int))
    points = [(float(x[i]), float(y[i]), float(thresholds[i])) for i in kept]
    return [point for point in points if np.isfinite(point).all()]
