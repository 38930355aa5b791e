"""All dimensions of a policy, and who is lost, judged over one backtest."""

from dataclasses import dataclass

from streams.report.backtest import Backtest
from streams.report.churn import ChurnQuality, Costs, judge_churn
from streams.report.evaluation import customers_in, rows_by_score
from streams.report.segments import DRAWS, PURCHASE_90, DimensionQuality, judge_dimension


class NoWholeHorizon(Exception):
    """No cut-off has its whole horizon in the file."""


@dataclass(frozen=True)
class SegmentEvaluation:
    """How right a policy was on one file.

    Attributes:
        cutoffs: first day of each month that counts, epoch seconds.
    """

    dataset: str
    policy: str
    customers: int
    cutoffs: tuple[float, ...]
    dimensions: tuple[DimensionQuality, ...]
    churn: ChurnQuality


def evaluate(run: Backtest, costs: Costs, draws: int = DRAWS) -> SegmentEvaluation:
    """Compares the segments of a finished backtest with what came.

    Raises:
        NoWholeHorizon: the file ends within 90 days after the first cut-off.
    """
    history = run.history
    by_score = rows_by_score(run.forecasts, history.sales, history.last_purchase_at)
    rows = by_score.get(PURCHASE_90)
    if rows is None:
        raise NoWholeHorizon(
            "no cut-off has 90 days after it: segments are judged from three months after the first purchase on, by the 90"
            " days that follow"
        )
    policy = run.policy
    return SegmentEvaluation(
        run.dataset,
        policy.label,
        customers_in(rows),
        tuple(sorted(set(rows.as_of.tolist()))),
        tuple(judge_dimension(each, run.forecasts, by_score, draws) for each in policy.dimensions),
        judge_churn(run.forecasts, rows, costs, draws),
    )
