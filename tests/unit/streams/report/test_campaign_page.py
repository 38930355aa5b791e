"""The page of a campaign says what its figures say, and fetches nothing."""

from collections import Counter

import numpy as np
import pytest

from models.decisions.campaign import parse
from models.decisions.confidence import Interval
from models.decisions.effects import ArmEffect, CampaignEffects
from models.decisions.ratio import RatioCheck
from streams.campaigns.reporting import BudgetStand, CampaignReport, Recent
from streams.report.campaign import campaign_page, intervals_chart

CAMPAIGN = parse(
    "campaign: win-back\nversion: '1'\nwhen: {dimension: lifecycle, to: at_risk}\n"
    "arms: [{name: coupon, cost: 3.00}]\nreward: {target: spend, days: 14, less_cost: true}\n"
    "choose: {by: bandit, floor: 0.05}\nholdout: 0.1\n"
)
FINE = RatioCheck(False, 0.0, 1.0)
UNKNOWN = Interval(0.0, -np.inf, np.inf)


def report(against: Interval | None, ratio: RatioCheck = FINE) -> CampaignReport:
    """A report with this effect."""
    arms = {"none": ArmEffect(500, UNKNOWN, against, 0.0), "coupon": ArmEffect(700, UNKNOWN, against, 2100.0)}
    found = CampaignEffects(
        1300, 1200, arms, UNKNOWN, UNKNOWN, against, "coupon", UNKNOWN, Interval(-0.1, -0.2, 0.0), ratio, FINE, 0.4
    )
    suppressed, outcomes = Counter({("coupon", "budget"): 12}), Counter({("coupon", "unsubscribed"): 5})
    recent = Recent(40, Counter(coupon=20), suppressed, 0.0, outcomes)
    return CampaignReport(CAMPAIGN, False, found, recent, BudgetStand(500_000, 210_000, 0.0, 1.0), 0)


@pytest.mark.parametrize(
    ("against", "words"),
    [
        (Interval(1.5, 0.5, 2.5), "adds 1.5 (0.5 to 2.5) per customer, beyond chance"),
        (Interval(0.5, -0.5, 1.5), "cannot be told from nothing"),
        (Interval(-1.5, -2.5, -0.5), "costs more than it brings"),
        (UNKNOWN, "is not known yet"),
        (None, "is not known yet"),
    ],
)
def test_the_first_sentence_says_no_more_than_the_interval(against: Interval | None, words: str) -> None:
    """A marketer reads that sentence and nothing else."""
    assert words in campaign_page(report(against))


def test_the_page_has_every_figure_and_fetches_nothing() -> None:
    """Costs, suppressions, budget, the constant that is as good; no script and no address."""
    page = campaign_page(report(Interval(1.5, 0.5, 2.5)))
    for words in (
        "2,100.00 GBP",
        "budget",
        "12",
        "2,100.00 of 5,000.00 GBP",
        "one arm for all is as good",
        "40%",
        "unsubscribed",
        "25.0%",
    ):
        assert words in page
    assert "<script" not in page
    assert "http" not in page
    assert "do not trust" not in page


def test_a_broken_draw_stands_on_the_page() -> None:
    """CampaignEffects of a broken test are not shown without a word."""
    assert "do not trust the effects" in campaign_page(report(None, RatioCheck(True, 1e9, 0.0)))


def test_names_are_escaped_in_the_chart() -> None:
    """An arm's name is text, whatever it holds; no row, no chart."""
    chart = intervals_chart([("<b>", Interval(1.0, 0.0, 2.0))])
    assert chart is not None
    assert "<b>" not in chart
    assert intervals_chart([]) is None
