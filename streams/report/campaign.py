"""The report of a campaign as one HTML page that fetches nothing."""

import math
from typing import Any

from markupsafe import Markup, escape

from models.decisions.confidence import Interval
from streams.campaigns.reporting import CampaignReport
from streams.report.pieces import PageTable
from streams.report.rendering import templates

_WIDTH, _ROW, _LEFT, _RIGHT = 680, 34, 200, 20


def campaign_page(report: CampaignReport) -> str:
    """The page."""
    return templates().get_template("campaign.html.j2").render(_figures(report))


def _figures(report: CampaignReport) -> dict[str, Any]:
    found, campaign = report.effects, report.campaign
    unit = campaign.currency if campaign.reward.target == "spend" else "buyers"
    spans = [] if found.against_holdout is None else [("everybody who is not held out", found.against_holdout)]
    spans += [(name, arm.against_holdout) for name, arm in found.arms.items() if arm.against_holdout is not None]
    return {
        "campaign": campaign,
        "paused": report.paused,
        "lead": lead_words(found.against_holdout),
        "cards": [
            (f"{found.decisions:,}", "decisions whose days are over"),
            (f"{found.customers:,}", "customers, about"),
            (f"{sum(arm.cost for arm in found.arms.values()):,.2f} {campaign.currency}", "spent on them"),
            (f"{found.exploring:.0%}", "of the probability is not on the likeliest arm"),
        ],
        "warnings": _warnings(report),
        "unit": f"{unit}{', less cost,' if campaign.reward.less_cost else ''} within {campaign.reward.days:g} days,",
        "chart": intervals_chart([each for each in spans if math.isfinite(each[1].low)]),
        "arms": _arms(report),
        "best": _best(report),
        "recent": f"{report.recent.decisions:,}",
        "suppressed": PageTable(
            ("arm", "could not be drawn because of", "decisions"),
            [(arm, reason, f"{count:,}") for (arm, reason), count in sorted(report.recent.suppressed.items())],
        ),
        "outcomes": PageTable(
            ("arm", "became", "decisions", "of all with the arm"),
            [
                (arm, kind, f"{count:,}", f"{count / report.recent.arms[arm]:.1%}")
                for (arm, kind), count in sorted(report.recent.outcomes.items())
            ],
        ),
        "budget": _budget(report),
    }


def intervals_chart(spans: list[tuple[str, Interval]]) -> Markup | None:
    """An `<svg>` with an interval per row, and a line at 0; None: there is no row."""
    if not spans:
        return None
    low, high = min(0.0, *(each.low for _, each in spans)), max(0.0, *(each.high for _, each in spans))
    scale = (_WIDTH - _LEFT - _RIGHT) / ((high - low) or 1.0)
    height = _ROW * len(spans) + 10

    def x(value: float) -> str:
        return f"{_LEFT + (value - low) * scale:.1f}"

    parts = [f'<line x1="{x(0)}" y1="0" x2="{x(0)}" y2="{height}" class="axis"/>']
    for i, (name, span) in enumerate(spans):
        y = _ROW * i + _ROW / 2 + 5
        color = "#2a7f4f" if span.low > 0 else "#b3402a" if span.high < 0 else "#6b7480"
        parts.append(
            f'<text x="{_LEFT - 10}" y="{y + 4:.0f}" text-anchor="end" class="label">{escape(name)}</text>'
            f'<line x1="{x(span.low)}" y1="{y}" x2="{x(span.high)}" y2="{y}" stroke="{color}" stroke-width="5"/>'
            f'<circle cx="{x(span.value)}" cy="{y}" r="6" fill="{color}">'
            f"<title>{escape(name)}: {span.words}</title></circle>"
        )
    drawn = "".join(parts)
    return Markup(f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="intervals">{drawn}</svg>')


def lead_words(against: Interval | None) -> str:
    """What a campaign adds over its holdout, in a sentence."""
    if against is None or not math.isfinite(against.low):
        return "Too few decisions are over, or nobody is held out: what the campaign adds is not known yet."
    if against.low > 0:
        return f"The campaign adds {against.words} per customer, beyond chance."
    if against.high < 0:
        return f"The campaign costs more than it brings: {against.words} per customer, beyond chance."
    return f"What the campaign adds, {against.words} per customer, cannot be told from nothing."


def _warnings(report: CampaignReport) -> list[str]:
    found = report.effects
    warnings = []
    if found.ratio.mismatch:
        warnings.append("Arms were not drawn as often as their probabilities say: do not trust the effects.")
    if found.holdout_ratio.mismatch:
        warnings.append("Not as many customers are held out as the document says; a changed share also does this.")
    if report.unreadable:
        warnings.append(f"{report.unreadable:,} records could not be read and are left out.")
    return warnings


def _arms(report: CampaignReport) -> PageTable:
    rows = [
        (
            name,
            f"{arm.decisions:,}",
            f"{arm.cost:,.2f}",
            arm.value.words,
            "-" if arm.against_holdout is None else arm.against_holdout.words,
        )
        for name, arm in report.effects.arms.items()
    ]
    return PageTable(("arm", "decisions", "cost", "reward, had all got it", "more than the holdout"), rows)


def _best(report: CampaignReport) -> str:
    found = report.effects
    if found.best is None:
        return "No decision that is over had all arms to draw from."
    compared = f"What was done is worth {found.difference.words} more than that."
    kept = (
        ""
        if found.difference.low > 0
        else " Deciding by customer is not better beyond noise: one arm for all is as good."
    )
    return f"The best arm for all is {found.best}: {found.best_value.words}. {compared}{kept}"


def _budget(report: CampaignReport) -> str:
    budget, campaign = report.budget, report.campaign
    if budget is None:
        return ""
    spent, amount = budget.spent_minor / campaign.unit_minor, budget.amount_minor / campaign.unit_minor
    return f"Of the budget, {spent:,.2f} of {amount:,.2f} {campaign.currency} are spent in this window."
