"""The served forecasts beside their rivals, how sure the gain is, and whether each group of customers is served as well."""

from collections.abc import Mapping, Sequence

import numpy as np

from models.learning.scoreboard import BG_NBD, PREVIOUS, RFM, SERVED
from streams.report.evaluation import PRIOR, Difference, Group, Rows, table
from streams.report.formats import figure, percent
from streams.report.legend import BETTER, NAMES, NO_FIGURE, QUESTIONS, SHORT_NAMES
from streams.report.pieces import PageTable, is_enough


def side_by_side(by_score: Mapping[str, Rows]) -> list[PageTable]:
    """One table per forecast: a row per contestant, a column per measure."""
    return [_contestants(score, rows) for score, rows in by_score.items()]


def _contestants(score: str, rows: Rows) -> PageTable:
    measured = table(rows, score)
    heads = [QUESTIONS[score], *(f"{measure} ({BETTER[measure]})" for measure in measured[SERVED])]
    cells = [
        [
            NAMES[name],
            *(figure(measure, value) if is_enough(rows) else NO_FIGURE for measure, value in measured[name].items()),
        ]
        for name in (SERVED, PREVIOUS, BG_NBD, RFM, PRIOR)
        if name in measured
    ]
    return PageTable(heads, cells, ours=True)


def difference_table(differences: Sequence[Difference]) -> PageTable | None:
    """Each difference with its standard error; None where there is none."""
    if not differences:
        return None
    heads = ["Regulars, same customers", "less", "measure", "difference", "standard error", "standard errors"]
    cells = [
        [
            QUESTIONS[each.score],
            SHORT_NAMES[each.than],
            each.measure,
            f"{each.value:+.4f}",
            f"{each.error:.4f}",
            f"{each.errors:.1f}",
        ]
        for each in differences
    ]
    return PageTable(heads, cells)


def group_table(groups: Sequence[Group], grouped_by: str) -> PageTable | None:
    """How well each group was forecast; None where the customers are not grouped."""
    if not groups:
        return None
    heads = [grouped_by, "customers", "share of spend", "AUC, 90 days", "spend: forecast / outcome", "inside interval"]
    cells = [
        [
            group.name,
            f"{group.customers:,}",
            percent(group.share_of_spend, 1),
            NO_FIGURE if np.isnan(group.auc_90) else f"{group.auc_90:.3f}",
            NO_FIGURE if np.isnan(group.spend_level) else f"{group.spend_level:.2f}",
            NO_FIGURE if np.isnan(group.inside) else percent(group.inside),
        ]
        for group in groups
    ]
    return PageTable(heads, cells)
