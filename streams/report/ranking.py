"""Whether chances come true (calibration), and whom a campaign should reach first (gains)."""

from collections.abc import Mapping

from models.learning.measures import bins, gains
from models.learning.scoreboard import BG_NBD, RFM, SERVED
from streams.report.charts import Axis, Line, line_chart
from streams.report.evaluation import Rows
from streams.report.formats import percent
from streams.report.legend import (
    ACTUAL_COLOR,
    COLORS,
    NAMES,
    NO_FIGURE,
    P_30,
    P_90,
    QUESTIONS,
    REFERENCE_COLOR,
    SHORT_NAMES,
    SPEND_90,
)
from streams.report.pieces import FEW_IN_TENTH, ChartPanel, PageTable, gain_at, is_enough, thinned

# Drawn in this order: the served forecasts last, over the others.
_DRAWN = (RFM, BG_NBD, SERVED)
_SHARES = (0.05, 0.1, 0.2, 0.4)


def calibration(by_score: Mapping[str, Rows]) -> list[ChartPanel]:
    """Chance against share of buyers, for ten groups of equal size by rising chance, at 30 and at 90 days."""
    return [_calibration(score, by_score[score]) for score in (P_30, P_90) if score in by_score]


def _calibration(score: str, rows: Rows) -> ChartPanel:
    if not is_enough(rows, 0.1):
        return ChartPanel(QUESTIONS[score], reason=FEW_IN_TENTH)
    lines = [_diagonal("always right")]
    for name in _DRAWN:
        if name in rows.forecasts:
            tenths = bins(rows.truth, rows.forecasts[name]).tolist()
            notes = [f"{int(customers):,} customers" for _, _, customers in tenths]
            points = [(forecast, bought) for forecast, bought, _ in tenths]
            lines.append(Line(NAMES[name], points, COLORS[name], dots=name == SERVED, notes=notes))
    return ChartPanel(QUESTIONS[score], line_chart(lines, _shares("forecast chance"), _shares("share that bought")))


def campaign(by_score: Mapping[str, Rows]) -> tuple[list[ChartPanel], PageTable]:
    """Curves of gains of buyers and of spend, and a table of their heights at some shares of customers."""
    asked = {score: by_score[score] for score in (P_30, SPEND_90) if score in by_score}
    compared = [(score, rows, name) for score, rows in asked.items() for name in _DRAWN[::-1] if name in rows.forecasts]
    outcomes = {P_30: "buyers (30 days)", SPEND_90: "spend (90 days)"}
    heads = ["contacted", *(f"{outcomes[score]}: {SHORT_NAMES[name]}" for score, _, name in compared)]
    table = [[percent(share), *(_gain(rows, name, share) for _, rows, name in compared)] for share in _SHARES]
    return [_gains(score, rows) for score, rows in asked.items()], PageTable(heads, table)


def _gains(score: str, rows: Rows) -> ChartPanel:
    if not is_enough(rows, 0.1):
        return ChartPanel(QUESTIONS[score], reason=FEW_IN_TENTH)
    lines = [_diagonal("at random")]
    lines.append(Line("with hindsight", thinned(gains(rows.truth, rows.truth)), ACTUAL_COLOR, dashed=True))
    lines += [
        Line(NAMES[name], thinned(gains(rows.truth, rows.forecasts[name])), COLORS[name])
        for name in _DRAWN
        if name in rows.forecasts
    ]
    y = _shares("share of the buyers reached" if score == P_30 else "share of the spend reached")
    return ChartPanel(QUESTIONS[score], line_chart(lines, _shares("share of customers contacted, best first"), y))


def _gain(rows: Rows, name: str, share: float) -> str:
    return percent(gain_at(rows, rows.forecasts[name], share), 1) if is_enough(rows, share) else NO_FIGURE


def _diagonal(label: str) -> Line:
    return Line(label, [(0.0, 0.0), (1.0, 1.0)], REFERENCE_COLOR, dashed=True)


def _shares(label: str) -> Axis:
    return Axis(label, (0.0, 1.0), percent=True)
