"""Spend of 90 days: its total at each cut-off, and how wide the interval around one customer's forecast is."""

from models.learning.intervals import COVERAGE
from models.learning.measures import level
from models.learning.scoreboard import BG_NBD, SERVED
from streams.report.charts import Axis, Line, bar_chart, line_chart, number, short
from streams.report.evaluation import SMALLEST_GROUP, Rows, by_cutoff, coverage, coverage_by_fifth
from streams.report.formats import day, months, percent
from streams.report.legend import ACTUAL_COLOR, COLORS, NAMES, REFERENCE_COLOR
from streams.report.pieces import ChartPanel, PageTable, is_enough

_FIFTHS = ("lowest fifth", "second", "third", "fourth", "highest fifth")


def totals(rows: Rows, currency: str) -> tuple[ChartPanel, PageTable]:
    """What all customers spent after each cut-off, and what was forecast, as bars and as a table."""
    pieces = by_cutoff(rows)
    days = [day(moment) for moment, _ in pieces]
    bars = [("spent", ACTUAL_COLOR, [float(own.truth.sum()) for _, own in pieces])]
    for name in (SERVED, BG_NBD):
        if name in rows.forecasts:
            sums = [float(own.forecasts[name].sum()) for _, own in pieces]
            bars.append((f"forecast: {NAMES[name]}", COLORS[name], sums))
    table = [
        [as_of, f"{len(own.truth):,}", short(float(own.truth.sum())), *(_total(own, name) for name in (SERVED, BG_NBD))]
        for (_, own), as_of in zip(pieces, days, strict=True)
    ]
    chart = bar_chart([as_of[:7] for as_of in days], bars, Axis(f"{currency} in 90 days"))
    heads = ["as of", "customers", "spent", "Regulars (of spent)", "BG/NBD (of spent)"]
    return ChartPanel(chart=chart), PageTable(heads, table)


def _total(rows: Rows, name: str) -> str:
    forecast = rows.forecasts[name]
    share = f" ({level(rows.truth, forecast):.2f})" if rows.truth.any() and is_enough(rows) else ""
    return short(float(forecast.sum())) + share


def intervals(rows: Rows, currency: str) -> tuple[ChartPanel, PageTable | None]:
    """Share of customers within their interval, by cut-off and by expected spend; no table where a fifth is too small."""
    table = None
    if is_enough(rows, 0.2):
        cells = [
            [name, number(expected), percent(inside), number(width)]
            for name, (expected, inside, width) in zip(_FIFTHS, coverage_by_fifth(rows), strict=True)
        ]
        heads = ["customers by expected spend", f"expected on average ({currency})", "inside", "median width"]
        table = PageTable(heads, cells)
    return _coverage(rows), table


def _coverage(rows: Rows) -> ChartPanel:
    pieces = by_cutoff(rows)
    moments = [moment for moment, _ in pieces]
    points = [(moment, coverage(own)) for moment, own in pieces if is_enough(own)]
    if not points:
        return ChartPanel(reason=f"no cut-off has {SMALLEST_GROUP} customers")
    lines = [
        Line("promised", [(at, COVERAGE) for at in (moments[0], moments[-1])], REFERENCE_COLOR, dashed=True),
        Line("inside the interval", points, COLORS[SERVED], dots=True),
    ]
    y = Axis("share of customers", (0.0, 1.0), percent=True)
    return ChartPanel(chart=line_chart(lines, Axis("cut-off", ticks=months(moments)), y))
