"""The report of a backtest as one HTML page: what a marketer asks, answered with a chart and a sentence each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from models.learning.intervals import COVERAGE
from models.learning.measures import bins, gains, level, log_loss
from models.learning.scoreboard import BG_NBD, PREVIOUS, RFM, SERVED
from schemas.learning import SCORES
from streams.report.charts import Axis, Line, bar_chart, line_chart, number, short
from streams.report.evaluation import (
    PRIOR,
    SMALLEST_GROUP,
    Difference,
    Group,
    Rows,
    by_cutoff,
    coverage,
    coverage_by_fifth,
    customers_in,
    table,
)
from streams.report.pieces import STYLE, card, day, figure, grid, months, pair, percent, section, thinned
from streams.report.timeline import FEWEST_LABELS, Timeline

P_30, P_90, COUNT_90, SPEND_90 = SCORES
_NAMES = {
    SERVED: "Regulars, learning",
    PREVIOUS: "Regulars, a month behind",
    BG_NBD: "BG/NBD × Gamma-Gamma, refitted",
    RFM: "RFM cells",
    PRIOR: "before any learning",
}
# Okabe and Ito's palette: told apart by everybody, also in print.
_COLORS = {SERVED: "#0072B2", PREVIOUS: "#56B4E9", BG_NBD: "#D55E00", RFM: "#7A7A7A", PRIOR: "#CC79A7"}
_REAL = "#1B1B1B"
_ASKED = {
    P_30: "Will they buy in the next 30 days?",
    P_90: "Will they buy in the next 90 days?",
    COUNT_90: "How many purchases in 90 days?",
    SPEND_90: "How much will they spend in 90 days?",
}
_BETTER = {
    "AUC": "higher", "log loss": "lower", "ECE": "lower", "Spearman": "higher", "normalized Gini": "higher",
    "RMSE": "lower", "MAE": "lower", "total": "near 1",
}  # fmt: skip


@dataclass(frozen=True)
class Report:
    """All that the page shows.

    Attributes:
        title: the data set and file.
        made_with: one line on how to make this page again.
        currency: ISO 4217.
        events: heard.
        labels: learnt.
        by_score: forecasts beside what came; at least P_30.
        timeline: quality while learning.
        differences: served less BG/NBD, and less RFM.
        groups: by what `grouped_by` names; empty if the file names no groups.
        notes: what was left out of the file or assumed.
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
    """The HTML."""
    sections = [
        _summary(report),
        _calibration(report),
        _lift(report),
        _totals(report),
        _over_time(report),
        _drift(report),
        _side_by_side(report),
        _intervals(report),
        _groups(report),
        _method(report),
    ]
    body = "\n".join(section for section in sections if section)
    title = escape(f"Backtest of {report.title}")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>'
        f"<body><main><h1>{title}</h1>{body}</main></body></html>\n"
    )


# --- sections -----------------------------------------------------------------------------------------------------


def _summary(report: Report) -> str:
    first = report.by_score[P_30]
    moments = np.unique(first.as_of)
    customers = len(np.unique(first.customers))
    cards = [
        card(f"{customers:,}", "customers forecast"),
        card(f"{len(moments)}", f"cut-offs, {day(moments[0])} to {day(moments[-1])}"),
        card(f"{report.events:,}", "events read once, in order"),
        card(f"{report.labels:,}", "outcomes learnt as they became known"),
    ]
    points = [*_few(customers), _right(first)]
    spend = report.by_score.get(SPEND_90)
    if spend is not None:
        points += _money(spend, report.currency)
        if _enough(spend):
            points.append(
                f"{percent(coverage(spend))} of customers ended up within the interval that should hold"
                f" {percent(COVERAGE)} of them."
            )
    points += _better(report.differences)
    items = "".join(f"<li>{point}</li>" for point in points)
    return (
        f'<p class="lead">At the first of each month everybody who had bought before was forecast from what had been heard'
        f" before that day, and nothing later. This page compares those forecasts with what the customers went on to do."
        f" A customer counts anew at each cut-off: a tenth of customers is a tenth of all these forecasts.</p>"
        f'<div class="cards">{"".join(cards)}</div><ul class="points">{items}</ul>'
    )


def _enough(rows: Rows, share: float = 1.0) -> bool:
    """Whether a share of the rows is large enough for something to be said of it."""
    return len(rows.truth) * share >= SMALLEST_GROUP


def _too_little(shown: str, why: str) -> str:
    return f"<p>Too little data for {shown}: {why}.</p>"


_CUTOFFS = f"no cut-off has {SMALLEST_GROUP} customers of whom some bought"
_TENTHS = f"a tenth of these forecasts is fewer than {SMALLEST_GROUP}"


def _few(customers: int) -> list[str]:
    if customers >= SMALLEST_GROUP:
        return []
    who = "Only <b>one customer was</b>" if customers == 1 else f"Only <b>{customers} customers were</b>"
    return [f"{who} forecast. So few tell nothing of others: what follows describes them, and may be chance."]


def _right(rows: Rows) -> str:
    if not _enough(rows):
        return f"Only {len(rows.truth)} forecasts can be checked: too few for a share of them to say anything."
    overall = f"{percent(rows.forecasts[SERVED].mean(), 1)} was forecast and {percent(rows.truth.mean(), 1)} came."
    if not _enough(rows, 0.1):
        return f"Over all customers, {overall} A tenth of them is too few to say anything of."
    stated, came, _ = bins(rows.truth, rows.forecasts[SERVED])[-1]
    return (
        "Of the tenth of customers that were given the highest chance to buy within 30 days"
        f" ({percent(stated)} on average), <b>{percent(came)}</b> did; over all customers {overall}"
    )


def _better(differences: Sequence[Difference]) -> list[str]:
    """Where a rival was better than what is served, beyond two standard errors."""
    if not differences:
        return []
    found = []
    for name in dict.fromkeys(each.than for each in differences):
        lost = [each for each in differences if each.than == name and each.worse]
        if lost:
            where = "; ".join(
                f"“{_ASKED[each.score]}” ({each.measure} by {abs(each.value):.4f}, {each.errors:.1f} standard errors)"
                for each in lost
            )
            found.append(f"<b>{_SHORT[name]} was better than Regulars</b>, beyond two standard errors, in: {where}.")
    names = " or ".join(dict.fromkeys(_SHORT[each.than] for each in differences))
    return found or [f"In what was compared, Regulars was nowhere worse than {names} by more than two standard errors."]


def _money(spend: Rows, currency: str) -> list[str]:
    if not spend.truth.any():
        return ["Nothing was spent in the 90 days after any cut-off."]
    if not _enough(spend):
        return []
    tenth = _top(spend, SERVED, 0.1)
    best = (
        f"The tenth of customers forecast to spend most made <b>{percent(tenth)}</b> of what was spent in the 90 days"
        f" after; picked by RFM it is {percent(_top(spend, RFM, 0.1))}, with hindsight {percent(_best(spend, 0.1))}."
        if RFM in spend.forecasts
        else f"The tenth of customers forecast to spend most made <b>{percent(tenth)}</b> of what was spent."
    )
    each = [_per_100(own) for _, own in by_cutoff(spend) if _enough(own)]
    by = f"; by cut-off that goes from {min(each):.0f} to {max(each):.0f}" if each else ""
    total = f"For every 100 {currency} that were forecast over all cut-offs, {_per_100(spend):.0f} were spent{by}."
    return [best, total] if _enough(spend, 0.1) else [total]


def _per_100(rows: Rows) -> float:
    return float(100 * rows.truth.sum() / rows.forecasts[SERVED].sum())


def _calibration(report: Report) -> str:
    charts = []
    for score in (P_30, P_90):
        rows = report.by_score.get(score)
        if rows is None:
            continue
        lines = [Line("perfectly right", [(0.0, 0.0), (1.0, 1.0)], "#9A9A9A", dashed=True)]
        for name in (RFM, BG_NBD, SERVED):
            if name in rows.forecasts:
                found = bins(rows.truth, rows.forecasts[name])
                notes = [f"{int(count):,} customers" for _, _, count in found.tolist()]
                points = [(stated, came) for stated, came, _ in found.tolist()]
                lines.append(Line(_NAMES[name], points, _COLORS[name], dots=name == SERVED, notes=notes))
        x = Axis("chance that was forecast", (0.0, 1.0), percent=True)
        y = Axis("share that did buy", (0.0, 1.0), percent=True)
        chart = line_chart(lines, x, y) if _enough(rows, 0.1) else _too_little("a chart", _TENTHS)
        charts.append(f"<div><h3>{_ASKED[score]}</h3>{chart}</div>")
    return section(
        "Can the percentages be taken at their word?",
        "Customers are sorted by the chance they were given and cut into ten groups of equal size. Where a dot lies on"
        " the dashed line, as many bought as was said. Above it more bought, below it fewer.",
        pair(charts),
    )


def _lift(report: Report) -> str:
    charts = []
    for score in (P_30, SPEND_90):
        rows = report.by_score.get(score)
        if rows is None:
            continue
        lines = [Line("at random", [(0.0, 0.0), (1.0, 1.0)], "#9A9A9A", dashed=True)]
        lines.append(Line("with hindsight", thinned(gains(rows.truth, rows.truth)), _REAL, dashed=True))
        for name in (RFM, BG_NBD, SERVED):
            if name in rows.forecasts:
                points = thinned(gains(rows.truth, rows.forecasts[name]))
                lines.append(Line(_NAMES[name], points, _COLORS[name]))
        what = "share of the buyers reached" if score == P_30 else "share of the spend reached"
        x = Axis("share of customers contacted, best first", (0.0, 1.0), percent=True)
        y = Axis(what, (0.0, 1.0), percent=True)
        chart = line_chart(lines, x, y) if _enough(rows, 0.1) else _too_little("a chart", _TENTHS)
        charts.append(f"<div><h3>{_ASKED[score]}</h3>{chart}</div>")
    rows_of = []
    for share in (0.05, 0.1, 0.2, 0.4):
        cells = [percent(share)]
        for score in (P_30, SPEND_90):
            rows = report.by_score.get(score)
            if rows is not None:
                cells += [
                    percent(_top(rows, name, share), 1) if _enough(rows, share) else _UNSAID
                    for name in (SERVED, BG_NBD, RFM)
                    if name in rows.forecasts
                ]
        rows_of.append(cells)
    heads = ["contacted"]
    for score, what in ((P_30, "buyers (30 days)"), (SPEND_90, "spend (90 days)")):
        rows = report.by_score.get(score)
        if rows is not None:
            heads += [f"{what}: {_SHORT[name]}" for name in (SERVED, BG_NBD, RFM) if name in rows.forecasts]
    return section(
        "Who should a campaign reach?",
        "Contact customers in the order of their forecast, best first: how much of what came do the first 10 % or 20 %"
        " account for? The higher the line, the fewer messages for the same result.",
        pair(charts) + grid(heads, rows_of),
    )


_UNSAID = "–"
_SHORT = {SERVED: "Regulars", BG_NBD: "BG/NBD", RFM: "RFM"}


def _totals(report: Report) -> str:
    rows = report.by_score.get(SPEND_90)
    if rows is None:
        return ""
    pieces = by_cutoff(rows)
    days = [day(moment) for moment, _ in pieces]
    bars = [("spent", _REAL, [float(own.truth.sum()) for _, own in pieces])]
    for name in (SERVED, BG_NBD):
        if name in rows.forecasts:
            sums = [float(own.forecasts[name].sum()) for _, own in pieces]
            bars.append((f"forecast: {_NAMES[name]}", _COLORS[name], sums))
    heads = ["as of", "customers", "spent", "Regulars (of spent)", "BG/NBD (of spent)"]
    cells = []
    for (_, own), as_of in zip(pieces, days, strict=True):
        row = [as_of, f"{len(own.truth):,}", short(float(own.truth.sum()))]
        for name in (SERVED, BG_NBD):
            forecast = own.forecasts[name]
            share = f" ({level(own.truth, forecast):.2f})" if own.truth.any() and _enough(own) else ""
            row.append(short(float(forecast.sum())) + share)
        cells.append(row)
    return section(
        "Does the total come out?",
        f"What all customers together spent in the 90 days after each cut-off, in {escape(report.currency)}, beside what"
        " was forecast. A season that the data have not shown before is the hardest part: outcomes of 90 days are known"
        " three months late.",
        pair(
            [bar_chart([as_of[:7] for as_of in days], bars, Axis(f"{report.currency} in 90 days")), grid(heads, cells)]
        ),
    )


def _over_time(report: Report) -> str:
    charts = []
    names = _NAMES | {PREVIOUS: "Regulars, the version before"}
    for score in (P_30, P_90):
        if score not in report.by_score:
            continue
        losses = report.timeline.losses(score)
        # A line takes two weeks.
        lines = [
            Line(names[name], losses[name], _COLORS[name])
            for name in (RFM, BG_NBD, PREVIOUS, SERVED)
            if len(losses[name]) > 1
        ]
        if lines:
            ends = months([at for line in lines for at, _ in line.points])
            axis = Axis("week in which the outcome was known", ticks=ends)
            chart = line_chart(lines, axis, Axis("log loss, lower is better", _settled(lines)))
        else:
            chart = _too_little("a chart", f"it takes two weeks in which {FEWEST_LABELS} outcomes each were known")
        charts.append(f"<div><h3>{_ASKED[score]}</h3>{chart}</div>")
    monthly = []
    rows = report.by_score[P_30]
    for moment, own in by_cutoff(rows):
        cells = [day(moment), f"{len(own.truth):,}"]
        for name in (SERVED, PREVIOUS, BG_NBD, RFM):
            forecast = own.forecasts.get(name)
            if forecast is None:
                cells.append("")
            else:
                cells.append(f"{log_loss(own.truth, forecast):.4f}" if _enough(own) else _UNSAID)
        monthly.append(cells)
    heads = ["as of", "customers", "Regulars", "a month behind", "BG/NBD", "RFM"]
    return section(
        "Does it get better while it learns?",
        "Every outcome is forecast before it is learnt. The lines are the mean error of those forecasts, week by week,"
        " for models that learn from the same outcomes. The table gives the same for the 30-day forecasts of each cut-off.",
        pair(charts) + grid(heads, monthly),
    )


def _drift(report: Report) -> str:
    charts = []
    for score in (P_30, SPEND_90):
        rows = report.by_score.get(score)
        if rows is None:
            continue
        pieces = by_cutoff(rows)
        lines = []
        for name in (BG_NBD, PREVIOUS, SERVED):
            if name in rows.forecasts:
                # Where nothing came there is no such share, and the line passes over the cut-off.
                points = [
                    (at, level(own.truth, own.forecasts[name]))
                    for at, own in pieces
                    if own.truth.any() and _enough(own)
                ]
                lines.append(Line(_NAMES[name], points, _COLORS[name], dots=name == SERVED))
        drawn = any(line.points for line in lines)
        ends = [pieces[0][0], pieces[-1][0]]
        lines.insert(0, Line("as much came as was forecast", [(at, 1.0) for at in ends], "#9A9A9A", dashed=True))
        axis = Axis("cut-off", ticks=months([moment for moment, _ in pieces]))
        chart = line_chart(lines, axis, Axis("forecast / came")) if drawn else _too_little("a chart", _CUTOFFS)
        charts.append(f"<div><h3>{_ASKED[score]}</h3>{chart}</div>")
    alarms = report.timeline.alarms
    if alarms:
        heads = ["when", "forecast", "what"]
        words = {"drift": "outcomes moved away from the forecasts", "version taken back": "version taken back"}
        cells = [[day(alarm.at), _ASKED[alarm.score], words[alarm.says]] for alarm in alarms]
        shown = grid(heads, cells[:40]) + (f"<p>… and {len(cells) - 40} more.</p>" if len(cells) > 40 else "")
    else:
        shown = "<p>No alarm went off.</p>"
    return section(
        "Is the world moving away?",
        "A drift detector (ADWIN) watches the difference between what was forecast and what came, for each of the four"
        " forecasts. An alarm says that this difference has moved by more than chance.",
        pair(charts) + shown,
    )


def _side_by_side(report: Report) -> str:
    parts = []
    for score, rows in report.by_score.items():
        found = table(rows, score)
        heads = [_ASKED[score], *(f"{measure} ({_BETTER[measure]})" for measure in found[SERVED])]
        cells = []
        for name in (SERVED, PREVIOUS, BG_NBD, RFM, PRIOR):
            if name in found:
                values = found[name].items()
                told = [figure(measure, value) if _enough(rows) else _UNSAID for measure, value in values]
                cells.append([_NAMES[name], *told])
        parts.append(grid(heads, cells, ours=True))
    return section(
        "What does each part contribute?",
        "The same customers and cut-offs, forecast by what a shop would have without this learner: RFM cells; the closed"
        " form of the literature (BG/NBD × Gamma-Gamma), its parameters learnt from the same outcomes; the same with"
        " published parameters, before any learning; and the learner as it was one month earlier.",
        "".join(parts) + _sure(report),
    )


def _sure(report: Report) -> str:
    customers = customers_in(report.by_score[P_30])
    if report.differences:
        cells = [
            [
                _ASKED[each.score],
                _SHORT[each.than],
                each.measure,
                f"{each.value:+.4f}",
                f"{each.error:.4f}",
                f"{each.errors:.1f}",
            ]
            for each in report.differences
        ]
        heads = ["Regulars, same customers", "less", "measure", "difference", "standard error", "standard errors"]
        told = (
            "<p>Customers were drawn again at random, 200 times; beyond two standard errors chance is an unlikely reason. A"
            " log loss below 0 is a gain, of the others one above 0.</p>" + grid(heads, cells)
        )
    elif customers < SMALLEST_GROUP:
        told = (
            f"<p>That can't be said: it takes {SMALLEST_GROUP} customers to tell a difference from chance, and here"
            f" {'there is 1' if customers == 1 else f'there are {customers}'}.</p>"
        )
    else:
        told = "<p>That can't be said: no difference could be taken of every draw of customers, or none varied.</p>"
    return f"<h3>How sure is the gain?</h3>{told}"


def _intervals(report: Report) -> str:
    rows = report.by_score.get(SPEND_90)
    if rows is None:
        return ""
    moments = [moment for moment, _ in by_cutoff(rows)]
    pieces = [(moment, coverage(own)) for moment, own in by_cutoff(rows) if _enough(own)]
    lines = [
        Line("promised", [(at, COVERAGE) for at in (moments[0], moments[-1])], "#9A9A9A", dashed=True),
        Line("ended up inside", pieces, _COLORS[SERVED], dots=True),
    ]
    axis = Axis("cut-off", ticks=months(moments))
    chart = (
        line_chart(lines, axis, Axis("share of customers", (0.0, 1.0), percent=True))
        if pieces
        else _too_little("a chart", f"no cut-off has {SMALLEST_GROUP} customers")
    )
    heads = [
        "customers by expected spend",
        f"expected on average ({escape(report.currency)})",
        "inside",
        "median width",
    ]
    names = ("lowest fifth", "second", "third", "fourth", "highest fifth")
    if _enough(rows, 0.2):
        cells = [
            [name, number(expected), percent(inside), number(width)]
            for name, (expected, inside, width) in zip(names, coverage_by_fifth(rows), strict=True)
        ]
        fifths = grid(heads, cells)
    else:
        fifths = _too_little("a table by expected spend", f"a fifth of these forecasts is fewer than {SMALLEST_GROUP}")
    over_all = f" Over all cut-offs {percent(coverage(rows), 1)} ended up inside." if _enough(rows) else ""
    return section(
        "How far off can a single customer be?",
        f"Each forecast of spend comes with an interval that should hold what {percent(COVERAGE)} of such customers go on"
        f" to spend.{over_all}",
        pair([chart, fifths]),
    )


def _groups(report: Report) -> str:
    if not report.groups:
        return ""
    heads = [
        report.grouped_by,
        "customers",
        "share of spend",
        "AUC, 90 days",
        "spend: forecast / came",
        "inside interval",
    ]
    cells = [
        [
            group.name,
            f"{group.customers:,}",
            percent(group.share_of_spend, 1),
            "–" if np.isnan(group.auc_90) else f"{group.auc_90:.3f}",
            "–" if np.isnan(group.spend_level) else f"{group.spend_level:.2f}",
            "–" if np.isnan(group.inside) else percent(group.inside),
        ]
        for group in report.groups
    ]
    return section(
        f"Is it as good for everybody? By {escape(report.grouped_by.lower())}",
        "The model does not know these groups. A group forecast far from 1 is served worse than the others; with a few"
        " dozen customers, one large order is enough for that.",
        grid(heads, cells),
    )


def _method(report: Report) -> str:
    notes = "".join(f"<li>{escape(note)}</li>" for note in report.notes)
    return section(
        "How this page was made",
        "",
        f"<p><code>{escape(report.made_with)}</code></p>"
        "<p>The events went once, in order, through the code that serves customers live. A forecast as of a cut-off is"
        " made before anything of that day or later is heard; an outcome is learnt only when its 30 or 90 days have"
        " passed. Amounts are gross: refunds are left out of forecasts and outcomes alike. AUC: the chance that one who"
        " bought was ranked above one who did not. Log loss: punishes sure and wrong percentages. ECE: by how much"
        " percentages are off on average. Spearman and Gini: how well the order is right, 1 at best. RMSE and MAE: the"
        f" error of a single forecast. Total: all that was forecast over all that came. RFM: {escape(_RFM)}.</p>"
        + (f"<p>Of the file:</p><ul>{notes}</ul>" if notes else ""),
    )


_RFM = "125 cells of recency, frequency and mean purchase, each forecast by its own rate of late"


def _settled(lines: Sequence[Line]) -> tuple[float, float]:
    """The span of all but each line's first month: whoever has learnt nothing yet may be off the chart."""
    values = [value for line in lines for _, value in line.points[4:]] or [v for line in lines for _, v in line.points]
    room = (max(values) - min(values)) * 0.1 or 0.1
    return max(min(values) - room, 0.0), max(values) + room


def _top(rows: Rows, name: str, share: float) -> float:
    curve = gains(rows.truth, rows.forecasts[name])
    return float(curve[round(share * (len(curve) - 1))])


def _best(rows: Rows, share: float) -> float:
    curve = gains(rows.truth, rows.truth)
    return float(curve[round(share * (len(curve) - 1))])
