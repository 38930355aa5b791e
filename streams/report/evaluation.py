"""Forecasts of a backtest beside the outcomes: rows by score, measures, and how certain a difference is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.features import FloatArray
from models.learning.backtest import Forecasts, Sale
from models.learning.measures import (
    OF_AMOUNT,
    OF_PROBABILITY,
    Measure,
    auc,
    level,
    log_loss,
    normalized_gini,
    paired_difference,
    spearman,
)
from models.learning.scoreboard import BG_NBD, HORIZON_OF, RFM, SERVED
from models.scores import P_30, P_90, SPEND_90
from schemas.learning import SCORES
from schemas.times import DAY_S

PRIOR = "published prior"
# Fewer customers than this say nothing about a group; fewer rows say nothing about a share.
SMALLEST_GROUP = 25
# A standard error below this is rounding: every sample of the customers gave the same value.
_LEAST_ERROR = 1e-9


class Rows(NamedTuple):
    """One score at every cut-off whose horizon the data cover, n rows."""

    as_of: FloatArray  # (n,), epoch seconds
    customers: NDArray[np.str_]  # (n,)
    truth: FloatArray  # (n,)
    forecasts: Mapping[str, FloatArray]  # contestant -> (n,)
    intervals: FloatArray  # (n, 2), of the spend; of other scores zeros

    def at(self, which: NDArray[np.bool_]) -> "Rows":
        """The rows that `which` selects."""
        chosen = {name: forecast[which] for name, forecast in self.forecasts.items()}
        return Rows(self.as_of[which], self.customers[which], self.truth[which], chosen, self.intervals[which])


@dataclass(frozen=True)
class Difference:
    """A measure of the served forecasts less that of `than`, and its standard error over customers, above 0."""

    score: str
    measure: str
    value: float
    error: float
    than: str = BG_NBD

    @property
    def errors(self) -> float:
        """How many standard errors the difference is, 0 or more."""
        return abs(self.value) / self.error

    @property
    def worse(self) -> bool:
        """Whether `than` is better by more than two standard errors."""
        lost = self.value if self.measure == "log loss" else -self.value
        return lost > 2.0 * self.error


def rows_by_score(forecasts: Sequence[Forecasts], sales: Sequence[Sale], until: float) -> dict[str, Rows]:
    """Forecasts and outcomes, by score.

    Args:
        forecasts: of each cut-off.
        sales: all purchases, in any order.
        until: event time up to which purchases are known; a cut-off counts for a score whose horizon ends by then.
    """
    ids, place = np.unique(np.array([sale.customer_id for sale in sales]), return_inverse=True)
    at = np.array([sale.at for sale in sales])
    amount = np.array([sale.amount for sale in sales])
    pieces: dict[str, list[Rows]] = {}
    for each in forecasts:
        known = np.searchsorted(ids, np.array(each.customer_ids))
        for score, name in enumerate(SCORES):
            end = each.as_of + HORIZON_OF[score] * DAY_S
            if end > until:
                continue
            within = (at >= each.as_of) & (at < end)
            worth = amount[within] if score == SPEND_90 else None
            came = np.bincount(place[within], weights=worth, minlength=len(ids)).astype(np.float64)[known]
            truth = np.minimum(came, 1.0) if score in (P_30, P_90) else came
            by = {SERVED: each.scores, PRIOR: each.prior, **each.rivals}
            pieces.setdefault(name, []).append(
                Rows(
                    np.full(len(known), each.as_of),
                    ids[known],
                    truth,
                    {contestant: scores[:, score] for contestant, scores in by.items()},
                    each.intervals if score == SPEND_90 else np.zeros((len(known), 2)),
                )
            )
    return {name: _joined(each) for name, each in pieces.items()}


def _joined(pieces: Sequence[Rows]) -> Rows:
    names = set.intersection(*(set(piece.forecasts) for piece in pieces))
    whole = {name: np.concatenate([piece.forecasts[name] for piece in pieces]) for name in pieces[0].forecasts}
    return Rows(
        np.concatenate([piece.as_of for piece in pieces]),
        np.concatenate([piece.customers for piece in pieces]),
        np.concatenate([piece.truth for piece in pieces]),
        {name: values for name, values in whole.items() if name in names},
        np.concatenate([piece.intervals for piece in pieces]),
    )


def measures_of(score: str) -> Mapping[str, Measure]:
    """Name of a measure -> the measure, for this score."""
    return OF_PROBABILITY if score.startswith("p_") else OF_AMOUNT


def table(rows: Rows, score: str) -> dict[str, dict[str, float]]:
    """Contestant -> measure -> value over all rows."""
    return {
        name: {measure: compute(rows.truth, forecast) for measure, compute in measures_of(score).items()}
        for name, forecast in rows.forecasts.items()
    }


def customers_in(rows: Rows) -> int:
    """How many customers the rows belong to."""
    return len(np.unique(rows.customers))


def differences(
    by_score: Mapping[str, Rows], draws: int = 200, than: Sequence[str] = (BG_NBD, RFM)
) -> list[Difference]:
    """Served less each of `than` on the same rows, bootstrap over customers, for the measures that decide.

    Three kinds are left out: a difference of fewer than `SMALLEST_GROUP` customers, whose samples say little about chance;
    one whose measure is not defined for the rows or for some sample of them (an order is not, where nobody bought); and one
    that is the same for every sample.
    """
    chosen: tuple[tuple[str, str, Measure], ...] = (
        (SCORES[P_30], "log loss", log_loss),
        (SCORES[P_90], "log loss", log_loss),
        (SCORES[2], "Spearman", spearman),
        (SCORES[SPEND_90], "Spearman", spearman),
        (SCORES[SPEND_90], "normalized Gini", normalized_gini),
    )
    compared = []
    for rival in than:
        for score, name, measure in chosen:
            rows = by_score.get(score)
            if rows is None or rival not in rows.forecasts or customers_in(rows) < SMALLEST_GROUP:
                continue
            pair = rows.forecasts[SERVED], rows.forecasts[rival]
            value, error = paired_difference(measure, rows.truth, pair, rows.customers, draws)
            compared.append(Difference(score, name, value, error, rival))
    return [each for each in compared if np.isfinite(each.error) and each.error > _LEAST_ERROR]


def by_cutoff(rows: Rows) -> list[tuple[float, Rows]]:
    """Cut-off -> its rows, by time."""
    moments = np.unique(rows.as_of)
    return [(float(moment), rows.at(rows.as_of == moment)) for moment in moments]


@dataclass(frozen=True)
class Group:
    """One group of customers in the 90-day scores, and how good its forecasts are; NaN where that is not known."""

    name: str
    customers: int
    share_of_spend: float
    auc_90: float
    spend_level: float
    inside: float  # share of spends within their interval


def groups(by_score: Mapping[str, Rows], group_of: Mapping[str, str]) -> list[Group]:
    """Groups by falling spend; groups of fewer than `SMALLEST_GROUP` customers are merged.

    The measures are NaN where even these are fewer.
    """
    bought, spend = by_score[SCORES[P_90]], by_score[SCORES[SPEND_90]]
    names = np.array([group_of.get(customer, "unknown") for customer in spend.customers.tolist()])
    counts = {name: len(np.unique(spend.customers[names == name])) for name in np.unique(names).tolist()}
    small = [name for name, count in counts.items() if count < SMALLEST_GROUP]
    if small:
        names = np.where(
            np.isin(names, small), "1 smaller one" if len(small) == 1 else f"{len(small)} smaller ones", names
        )
    total = max(float(spend.truth.sum()), 1e-9)
    measured = []
    for name in np.unique(names).tolist():
        of = names == name
        own, probability = spend.at(of), bought.at(of)
        customers = len(np.unique(own.customers))
        quality = (
            auc(probability.truth, probability.forecasts[SERVED]),
            level(own.truth, own.forecasts[SERVED]),
            coverage(own),
        )
        share = float(own.truth.sum()) / total
        measured.append(Group(name, customers, share, *(quality if customers >= SMALLEST_GROUP else (np.nan,) * 3)))
    return sorted(measured, key=lambda group: -group.share_of_spend)


def coverage(rows: Rows) -> float:
    """Share of rows whose truth lies within its interval."""
    return float(np.mean((rows.truth >= rows.intervals[:, 0] - 1e-9) & (rows.truth <= rows.intervals[:, 1] + 1e-9)))


def coverage_by_fifth(rows: Rows) -> list[tuple[float, float, float]]:
    """Per fifth by expected spend: mean expected spend, coverage, median width of the interval. Needs five rows."""
    order = np.argsort(rows.forecasts[SERVED], kind="stable")
    edges = np.linspace(0, len(order), 6).astype(int)
    fifths = []
    for start, end in pairwise(edges.tolist()):
        which = np.zeros(len(order), dtype=bool)
        which[order[start:end]] = True
        own = rows.at(which)
        width = float(np.median(own.intervals[:, 1] - own.intervals[:, 0])) if len(own.truth) else 0.0
        fifths.append((float(own.forecasts[SERVED].mean()), coverage(own), width))
    return fifths
