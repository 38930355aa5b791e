"""The report of a backtest as one HTML page: a marketer's questions, each answered by a chart and a sentence.

The prose is in `templates/`; the figures come from `summary`, `ranking`, `spending`, `course` and `comparison`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from models.learning.intervals import COVERAGE
from streams.report.comparison import difference_table, group_table, side_by_side
from streams.report.course import alarm_table, levels, losses_by_cutoff, weekly_losses
from streams.report.evaluation import SMALLEST_GROUP, Difference, Group, Rows, coverage, customers_in
from streams.report.formats import count, day, percent
from streams.report.legend import P_30, QUESTIONS, SPEND_90
from streams.report.pieces import is_enough
from streams.report.ranking import calibration, campaign
from streams.report.rendering import templates
from streams.report.spending import intervals, totals
from streams.report.summary import summary
from streams.report.timeline import Timeline


@dataclass(frozen=True)
class Report:
    """All that the page shows.

    Attributes:
        title: the data set and the file.
        made_with: the command that makes this page again.
        currency: ISO 4217.
        events: how many were read.
        labels: how many were learnt.
        by_score: forecasts beside outcomes, by score; at least P_30.
        timeline: quality while learning.
        differences: served less BG/NBD, and served less RFM.
        groups: by what `grouped_by` names; empty if the customers are not grouped.
        grouped_by: the column that the groups come from.
        notes: what was left out of the file, and what was assumed.
    """

    title: str
    made_with: str
    currency: str
    events: int
    labels: int
    by_score: Mapping[str, Rows]
    timeline: Timeline
    differences: Sequence[Difference]
    groups: Sequence[Group]
    grouped_by: str = ""
    notes: Sequence[str] = ()


def page(report: Report) -> str:
    """The HTML: one file that fetches nothing."""
    environment = templates()
    environment.filters.update(count=count, day=day, percent=percent)
    return environment.get_template("page.html.j2").render(_figures(report))


def _figures(report: Report) -> dict[str, Any]:
    """The values that the templates name."""
    by_score, spend = report.by_score, report.by_score.get(SPEND_90)
    alarms, more_alarms = alarm_table(report.timeline.alarms)
    gains, gains_table = campaign(by_score)
    return {
        "report": report,
        "questions": QUESTIONS,
        "smallest_group": SMALLEST_GROUP,
        "promised": COVERAGE,
        "summary": summary(by_score, report.differences),
        "calibration": calibration(by_score),
        "gains": gains,
        "gains_table": gains_table,
        "totals": None if spend is None else totals(spend, report.currency),
        "weekly_losses": weekly_losses(by_score, report.timeline),
        "losses_by_cutoff": losses_by_cutoff(by_score[P_30]),
        "levels": levels(by_score),
        "alarms": alarms,
        "more_alarms": more_alarms,
        "side_by_side": side_by_side(by_score),
        "differences": difference_table(report.differences),
        "compared_customers": customers_in(by_score[P_30]),
        "intervals": None if spend is None else intervals(spend, report.currency),
        "inside": None if spend is None or not is_enough(spend) else coverage(spend),
        "groups": group_table(report.groups, report.grouped_by),
    }
