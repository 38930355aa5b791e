"""Who is lost: the forecast beside the customer's own rhythm, BG/NBD and plain recency, with thresholds chosen by cost.

A buyer at a cut-off is lost when no purchase comes in the 90 days after it. A threshold is chosen on the earlier half of the
cut-offs and judged on the later half, so it has not seen what it is judged by.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.decisions.confidence import Interval
from models.features import FloatArray
from models.learning.backtest import Forecasts
from models.learning.scoreboard import SERVED
from streams.report.evaluation import Rows
from streams.report.segments import (
    DRAWS,
    Bootstrap,
    Curve,
    counted_in,
    curves,
    earlier_and_later,
    precision_area,
    roc_area,
)

FORECAST = "1 - p_purchase_90d"


@dataclass(frozen=True)
class Costs:
    """What a wrong decision costs, in any unit.

    Attributes:
        missed: a lost customer whom nobody approached.
        alarm: approaching a customer who would have come back anyway.
    """

    missed: float = 5.0
    alarm: float = 1.0

    def of(self, called: NDArray[np.bool_], lost: NDArray[np.bool_]) -> float:
        """Cost per customer of approaching those `called`."""
        missed, alarms = (lost & ~called).sum(), (called & ~lost).sum()
        return float((self.missed * missed + self.alarm * alarms) / len(lost))


@dataclass(frozen=True)
class WayToTell:
    """One way to tell who is lost.

    Attributes:
        auc: that a lost customer ranks above one who came back.
        average_precision: area under the precision-recall curve.
        threshold: the cheapest one on the earlier cut-offs; approach whoever is at or above it.
        cost: per customer with that threshold, on the later cut-offs.
        roc: (false positive rate, true positive rate, threshold).
        precision_recall: (recall, precision, threshold).
    """

    auc: Interval
    average_precision: Interval
    threshold: float
    cost: float
    roc: Curve
    precision_recall: Curve


@dataclass(frozen=True)
class ChurnQuality:
    """All ways on the same rows; the costs of approaching everybody and nobody are those of the later cut-offs."""

    horizon_days: int
    rows: int
    base_rate: float
    costs: Costs
    cost_of_everybody: float
    cost_of_nobody: float
    ways: Mapping[str, WayToTell]


def judge_churn(
    forecasts: Sequence[Forecasts], rows: Rows, costs: Costs | None = None, draws: int = DRAWS
) -> ChurnQuality:
    """Args: rows: of `p_purchase_90d` (`evaluation.rows_by_score`), of cut-offs that `forecasts` has."""
    costs = costs or Costs()
    lost = rows.truth <= 0
    counted = counted_in(rows, forecasts)
    ways = {FORECAST: 1.0 - rows.forecasts[SERVED]} | {
        name: np.concatenate([each.lapsing[name] for each in counted]) for name in counted[0].lapsing
    }
    bootstrap = Bootstrap(rows.customers, draws)
    early, late = earlier_and_later(rows.as_of)
    everybody = np.ones(int(late.sum()), dtype=np.bool_)
    return ChurnQuality(
        90,
        len(lost),
        float(lost.mean()),
        costs,
        costs.of(everybody, lost[late]),
        costs.of(~everybody, lost[late]),
        {name: _way(signal, lost, (early, late), costs, bootstrap) for name, signal in ways.items()},
    )


def _way(
    signal: FloatArray,
    lost: NDArray[np.bool_],
    halves: tuple[NDArray[np.bool_], NDArray[np.bool_]],
    costs: Costs,
    bootstrap: Bootstrap,
) -> WayToTell:
    early, late = halves
    threshold = cheapest_threshold(signal[early], lost[early], costs)
    return WayToTell(
        roc_area(lost, signal, bootstrap),
        precision_area(lost, signal, bootstrap),
        threshold,
        costs.of(signal[late] >= threshold, lost[late]),
        *curves(lost, signal),
    )


def cheapest_threshold(signal: FloatArray, lost: NDArray[np.bool_], costs: Costs) -> float:
    """The threshold of the lowest cost; infinite where it is cheapest to approach nobody.

    >>> cheapest_threshold(np.array([0.1, 0.4, 0.8]), np.array([False, True, True]), Costs())
    0.4
    """
    order = np.argsort(-signal, kind="stable")
    values = signal[order]
    alarms, hits = np.cumsum(~lost[order]), np.cumsum(lost[order])
    cost = costs.missed * (lost.sum() - hits) + costs.alarm * alarms
    ends = np.r_[values[1:] != values[:-1], True]  # equal signals are approached together
    best = int(np.argmin(np.where(ends, cost, np.inf)))
    return float(values[best]) if cost[best] <= costs.missed * lost.sum() else float("inf")
