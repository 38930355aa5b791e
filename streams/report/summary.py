"""Figures of the page's head: who was forecast, how right the forecasts were, and where a rival was better."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from models.learning.measures import bins
from models.learning.scoreboard import RFM, SERVED
from streams.report.evaluation import Difference, Rows, by_cutoff, coverage, customers_in
from streams.report.legend import P_30, SHORT_NAMES, SPEND_90
from streams.report.pieces import gain_at, is_enough


@dataclass(frozen=True)
class ChanceSummary:
    """Mean chance of a purchase and share of buyers, over all rows and in the tenth with the highest chance.

    The tenth is None where it is too small.
    """

    forecast: float
    bought: float
    top_forecast: float | None
    top_bought: float | None


@dataclass(frozen=True)
class SpendSummary:
    """What was spent beside what was forecast; None where too few customers stand behind a figure.

    Attributes:
        is_any: whether anything was spent.
        per_100: spent per 100 that were forecast.
        per_100_range: the least and the most of it over the cut-offs.
        tenth: share of the spend that the tenth forecast highest made.
        tenth_by_rfm: the same, chosen by RFM.
        tenth_at_best: the same, chosen with hindsight.
        inside: share of customers who ended up within their interval.
    """

    is_any: bool
    per_100: float | None = None
    per_100_range: tuple[float, float] | None = None
    tenth: float | None = None
    tenth_by_rfm: float | None = None
    tenth_at_best: float | None = None
    inside: float | None = None


@dataclass(frozen=True)
class RivalSummary:
    """A rival, and the measures in which it was better than the served forecasts by more than two standard errors."""

    name: str
    better_in: Sequence[Difference]


@dataclass(frozen=True)
class Summary:
    """The head of the page.

    Attributes:
        customers: forecast at least once.
        cutoffs: how many moments they were forecast at.
        first_at: the first of them, epoch seconds.
        last_at: the last of them.
        checked: forecasts for 30 days whose outcome is known.
        chances: None where these are too few.
        spend: None where the data cover no 90 days after a cut-off.
        rivals: compared with what is served.
    """

    customers: int
    cutoffs: int
    first_at: float
    last_at: float
    checked: int
    chances: ChanceSummary | None
    spend: SpendSummary | None
    rivals: Sequence[RivalSummary]


def summary(by_score: Mapping[str, Rows], differences: Sequence[Difference]) -> Summary:
    """The figures of the head."""
    rows, spend = by_score[P_30], by_score.get(SPEND_90)
    moments = np.unique(rows.as_of)
    return Summary(
        customers_in(rows),
        len(moments),
        float(moments[0]),
        float(moments[-1]),
        len(rows.truth),
        _chances(rows) if is_enough(rows) else None,
        None if spend is None else _spend(spend),
        [
            RivalSummary(SHORT_NAMES[name], [each for each in differences if each.than == name and each.worse])
            for name in dict.fromkeys(each.than for each in differences)
        ],
    )


def _chances(rows: Rows) -> ChanceSummary:
    forecast = rows.forecasts[SERVED]
    top = bins(rows.truth, forecast)[-1] if is_enough(rows, 0.1) else (None, None)
    return ChanceSummary(float(forecast.mean()), float(rows.truth.mean()), top[0], top[1])


def _spend(rows: Rows) -> SpendSummary:
    inside = coverage(rows) if is_enough(rows) else None
    if not rows.truth.any():
        return SpendSummary(is_any=False, inside=inside)
    if not is_enough(rows):
        return SpendSummary(is_any=True)
    each = [_per_100(own) for _, own in by_cutoff(rows) if is_enough(own)]
    tenth = by_rfm = at_best = None
    if is_enough(rows, 0.1):
        tenth = gain_at(rows, rows.forecasts[SERVED], 0.1)
        at_best = gain_at(rows, rows.truth, 0.1)
        by_rfm = gain_at(rows, rows.forecasts[RFM], 0.1) if RFM in rows.forecasts else None
    per_100_range = (min(each), max(each)) if each else None
    return SpendSummary(True, _per_100(rows), per_100_range, tenth, by_rfm, at_best, inside)


def _per_100(rows: Rows) -> float:
    return float(100 * rows.truth.sum() / rows.forecasts[SERVED].sum())
