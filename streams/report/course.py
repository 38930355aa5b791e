"""Quality over time: week by week while it learns, cut-off by cut-off, and the alarms of the drift detectors."""

from collections.abc import Mapping, Sequence

from models.learning.measures import level, log_loss
from models.learning.scoreboard import BG_NBD, PREVIOUS, RFM, SERVED
from streams.report.charts import Axis, Line, line_chart
from streams.report.evaluation import Rows, by_cutoff
from streams.report.formats import day, months
from streams.report.legend import COLORS, NAMES, NO_FIGURE, P_30, P_90, QUESTIONS, REFERENCE_COLOR, SPEND_90
from streams.report.pieces import FEW_AT_CUTOFFS, ChartPanel, PageTable, is_enough
from streams.report.timeline import FEWEST_LABELS, Alarm, Timeline

_WEEKLY_NAMES = NAMES | {PREVIOUS: "Regulars, the version before"}
_ALARMS = {"drift": "outcomes moved away from the forecasts", "version taken back": "version taken back"}
# More rows than these are counted, not listed.
_MOST_ALARMS = 40


def weekly_losses(by_score: Mapping[str, Rows], timeline: Timeline) -> list[ChartPanel]:
    """Log loss of each contestant by the week in which outcomes became known, at 30 and at 90 days."""
    return [_weekly(score, timeline) for score in (P_30, P_90) if score in by_score]


def _weekly(score: str, timeline: Timeline) -> ChartPanel:
    losses = timeline.losses(score)
    # A line takes two weeks.
    lines = [
        Line(_WEEKLY_NAMES[name], losses[name], COLORS[name])
        for name in (RFM, BG_NBD, PREVIOUS, SERVED)
        if len(losses[name]) > 1
    ]
    if not lines:
        reason = f"it takes two weeks with {FEWEST_LABELS} known outcomes each"
        return ChartPanel(QUESTIONS[score], reason=reason)
    ticks = months([at for line in lines for at, _ in line.points])
    x = Axis("week in which the outcome was known", ticks=ticks)
    return ChartPanel(QUESTIONS[score], line_chart(lines, x, Axis("log loss, lower is better", _settled(lines))))


def _settled(lines: Sequence[Line]) -> tuple[float, float]:
    """The span of the losses without each line's first month: a model that has learnt nothing yet may be off the chart."""
    settled = [loss for line in lines for _, loss in line.points[4:]]
    losses = settled or [loss for line in lines for _, loss in line.points]
    room = (max(losses) - min(losses)) * 0.1 or 0.1
    return max(min(losses) - room, 0.0), max(losses) + room


def losses_by_cutoff(rows: Rows) -> PageTable:
    """Log loss of the 30-day forecasts of each contestant at each cut-off."""
    heads = ["as of", "customers", "Regulars", "a month behind", "BG/NBD", "RFM"]
    table = [
        [day(moment), f"{len(own.truth):,}", *(_loss(own, name) for name in (SERVED, PREVIOUS, BG_NBD, RFM))]
        for moment, own in by_cutoff(rows)
    ]
    return PageTable(heads, table)


def _loss(rows: Rows, name: str) -> str:
    forecast = rows.forecasts.get(name)
    if forecast is None:
        return ""
    return f"{log_loss(rows.truth, forecast):.4f}" if is_enough(rows) else NO_FIGURE


def levels(by_score: Mapping[str, Rows]) -> list[ChartPanel]:
    """Forecast total over actual total at each cut-off, of purchases in 30 days and of spend in 90."""
    return [_levels(score, by_score[score]) for score in (P_30, SPEND_90) if score in by_score]


def _levels(score: str, rows: Rows) -> ChartPanel:
    pieces = by_cutoff(rows)
    # Where no outcome came there is no such ratio, and the line passes over the cut-off.
    sound = [(at, own) for at, own in pieces if own.truth.any() and is_enough(own)]
    if not sound:
        return ChartPanel(QUESTIONS[score], reason=FEW_AT_CUTOFFS)
    ends = [pieces[0][0], pieces[-1][0]]
    lines = [Line("forecast equals outcome", [(at, 1.0) for at in ends], REFERENCE_COLOR, dashed=True)]
    lines += [
        Line(
            NAMES[name],
            [(at, level(own.truth, own.forecasts[name])) for at, own in sound],
            COLORS[name],
            dots=name == SERVED,
        )
        for name in (BG_NBD, PREVIOUS, SERVED)
        if name in rows.forecasts
    ]
    x = Axis("cut-off", ticks=months([moment for moment, _ in pieces]))
    return ChartPanel(QUESTIONS[score], line_chart(lines, x, Axis("forecast / outcome")))


def alarm_table(alarms: Sequence[Alarm]) -> tuple[PageTable | None, int]:
    """The first alarms, None where there is none; and how many more there are."""
    if not alarms:
        return None, 0
    rows = [[day(alarm.at), QUESTIONS[alarm.score], _ALARMS[alarm.kind]] for alarm in alarms[:_MOST_ALARMS]]
    return PageTable(["when", "forecast", "what"], rows), max(len(alarms) - _MOST_ALARMS, 0)
