"""Laws of campaign documents: what is taken, and that a mistake is named with its place."""

import pytest

from models.decisions.campaign import CampaignError, parse
from models.decisions.conditions import Facts
from models.policy import load

WIN_BACK = """campaign: win-back
version: "3"
when: {dimension: lifecycle, to: at_risk}
arms:
  - {name: coupon-10, channel: email, cost: 3.00}
  - {name: coupon-20, channel: email, cost: 6.00}
reward: {target: spend, days: 14, less_cost: true}
choose: {by: bandit, floor: 0.05}
holdout: 0.10
limits: {per_customer: {actions: 1, days: 14}, budget: {amount: 5000.00, days: 30}, quiet_hours: "21:00-08:00"}
consent: email
"""
WHEN = "when: {dimension: lifecycle, to: at_risk}"
WHILE = "while: {all: [{value: [high]}, {any: [{over: sentiment, below: -0.4}, {attribute.plan: [gold]}]}]}"


def test_the_contracts_example_is_read() -> None:
    """The document of the contract, word for word."""
    campaign = parse(WIN_BACK, load())
    assert campaign.label == "win-back-3"
    assert campaign.arm_names == ("none", "coupon-10", "coupon-20")
    assert campaign.condition is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("to: at_risk", "to: ~asleep"), "'lifecycle' has no segment 'asleep', only prospect, active, at_risk, lapsed"),
        (("dimension: lifecycle", "dimension: ~mood"), "has no dimension 'mood'"),
        (("{name: coupon-10", "{name: ~none"), "`none` is always an arm"),
        (("name: coupon-20", "name: ~coupon-10"), "'coupon-10' stands twice"),
        (("name: coupon-10", "name: ~coupon:10"), "matching regex"),
        (("cost: 6.00", "cost: ~6.005"), "no whole number of minor units of GBP"),
        (("cost: 6.00", "cost: ~-1"), "$.arms[1].cost"),
        (("floor: 0.05", "floor: ~0.4"), "at most 0.333"),
        (("{by: bandit, floor: 0.05}", "~{by: bandit}"), "a bandit needs a `floor`"),
        (("floor: 0.05", "floor: 0.05, ~shares: {none: 1}"), "`shares` belong to `by: fixed`"),
        (("{by: bandit, floor: 0.05}", "~{by: fixed}"), "needs `shares`, one for each of none, coupon-10, coupon-20"),
        (("{by: bandit, floor: 0.05}", "{by: fixed, shares: ~{none: 0.5, coupon-10: 0.4}}"), "sum to 0.9, not to 1"),
        (("{by: bandit, floor: 0.05}", "{by: fixed, shares: {~coupon: 1}}"), "'coupon' is no arm"),
        (("holdout: 0.10", "holdout: ~0.9"), "at most 0.5"),
        (("holdout: 0.10", "holdout: ~10"), "$.holdout"),
        (("21:00-08:00", "9pm"), "no span of hours"),
        (("amount: 5000.00", "amount: ~2"), "does not pay for any arm"),
        (("consent: email", "consent: ~pigeon"), "$.consent"),
        (("consent: email", "consent: email\ntime_zone: ~Europe/Lundon"), "no time zone"),
        (("consent: email", "~consnt: email"), "unknown field `consnt`"),
        (("consent: email", "consent: email\n~every_days: 3"), "`every_days` belongs to `while`"),
        ((WHEN + "\n", ""), "a campaign needs `when`"),
        ((WHEN, WHEN + "\n~while: {value: [high]}"), "a campaign needs `when`"),
        ((WHEN, "while: ~[1]"), "a condition is a mapping"),
        ((WHEN, "while: {over: ~sentimnt, below: 0}"), "did you mean sentiment?"),
        ((WHEN, "while: {over: sentiment, ~above: 0}"), "`above` is none of over, from, below"),
        ((WHEN, "while: {all: [~{over: sentiment}]}"), "a number needs `from`"),
        ((WHEN, "while: {all: [{value: [high]}, {over: sentiment, below: ~low}]}"), "Expected a number"),
        ((WHEN, "while: ~{value: [high], lifecycle: [lapsed]}"), "join several with `all` or `any`"),
        ((WHEN, "while: {value: ~[3]}"), "segments of `value` are names"),
    ],
)
def test_a_mistake_is_named_with_its_place(change: tuple[str, str], says: str) -> None:
    """A marketer is told what is wrong, and its line and column (here where ~ stands)."""
    assert change[0] in WIN_BACK
    document = WIN_BACK.replace(change[0], change[1])
    place = document.find("~")
    document = document.replace("~", "")
    with pytest.raises(CampaignError) as refused:
        parse(document, load())
    assert says in str(refused.value)
    if place >= 0:
        line, column = document[:place].count("\n") + 1, place - document.rfind("\n", 0, place)
        assert refused.value.mark == (line, column)


@pytest.mark.parametrize(
    ("segments", "sentiment", "plan", "holds"),
    [
        ({"value": "high"}, -0.5, "basic", True),
        ({"value": "high"}, -0.4, "basic", False),
        ({"value": "high"}, None, "gold", True),
        ({"value": "high"}, None, None, False),
        ({"value": "low"}, -0.5, "gold", False),
        ({}, -0.5, "gold", False),
    ],
)
def test_a_condition_holds_by_segments_numbers_and_attributes(
    segments: dict[str, str], sentiment: float | None, plan: str | None, holds: bool
) -> None:
    """All and any join; what is not known makes no condition true; `below` excludes its bound."""
    condition = parse(WIN_BACK.replace(WHEN, WHILE), load()).condition
    assert condition is not None
    numbers = {} if sentiment is None else {"sentiment": sentiment}
    attributes = {} if plan is None else {"plan": plan}
    assert condition.holds(Facts(segments, numbers, attributes)) is holds
