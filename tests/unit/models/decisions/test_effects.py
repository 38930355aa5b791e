"""Laws of a campaign's report: known effects are found, nothing is found where there is none, bias is kept out."""

import numpy as np
import pytest

from models.decisions.campaign import Campaign, parse
from models.decisions.effects import effects, value_of
from schemas.campaigns import MaturedReward

DOCUMENT = """campaign: win-back
version: "1"
when: {dimension: lifecycle, to: at_risk}
arms: [{name: small, cost: 1.00}, {name: large, cost: 2.00}]
reward: {target: spend, days: 14, less_cost: true}
choose: {by: fixed, shares: {none: 0.4, small: 0.4, large: 0.2}}
holdout: 0.2
"""
CAMPAIGN = parse(DOCUMENT)
SHARES = {"none": 0.4, "small": 0.4, "large": 0.2}
COSTS = {"none": 0, "small": 100, "large": 200}


def reward(
    i: int, arm: str, spend: int, held: bool = False, n: int = 1, shares: dict[str, float] = SHARES
) -> MaturedReward:
    """One decision's reward."""
    return MaturedReward(
        f"{i:016x}:win-back:{n}", "win-back", "1", 1e9, 1e9 + 1, arm, {"none": 1.0} if held else shares,
        tuple(SHARES), held, 0 if held else COSTS[arm], int(spend > 0), spend, "", (),
    )  # fmt: skip


def shop(gain: dict[str, float], customers: int = 6000, seed: int = 1) -> list[MaturedReward]:
    """Customers who buy for ten pounds with a probability of .2, and more often after some arms."""
    rng = np.random.default_rng(seed)
    rewards = []
    for i in range(customers):
        held = rng.random() < CAMPAIGN.holdout
        arm = "none" if held else str(rng.choice(list(SHARES), p=list(SHARES.values())))
        bought = rng.random() < 0.2 + gain.get(arm, 0.0)
        rewards.append(reward(i, arm, 1000 * bought, held))
    return rewards


def test_what_an_arm_adds_is_found_and_costs_are_taken_off() -> None:
    """A large coupon that brings two pounds more and costs two is worth nothing; a small one is worth one."""
    found = effects(shop({"small": 0.2, "large": 0.2}), CAMPAIGN)
    small, large = found.arms["small"].against_holdout, found.arms["large"].against_holdout
    assert small is not None
    assert large is not None
    assert small.covers(1.0)
    assert small.low > 0
    assert large.covers(0.0)
    assert found.best == "small"
    assert found.difference.high < 0  # a fixed test is worth less than its best arm
    assert found.arms["small"].cost == pytest.approx(found.arms["small"].decisions * 1.0)
    assert not found.ratio.mismatch
    assert not found.holdout_ratio.mismatch


def test_nothing_is_found_where_there_is_nothing() -> None:
    """Every interval contains the truth in nearly every shop; costs are left on."""
    free = Campaign(CAMPAIGN.name, "1", CAMPAIGN.arms, parse(DOCUMENT.replace(", less_cost: true", "")).reward,
                    CAMPAIGN.choose, CAMPAIGN.when, holdout=CAMPAIGN.holdout)  # fmt: skip
    wrong = 0
    for seed in range(40):
        found = effects(shop({}, 1500, seed), free)
        spans = [arm.against_holdout for arm in found.arms.values()] + [found.against_holdout]
        wrong += not all(span is not None and span.covers(0.0) for span in spans)
    assert wrong <= 4


def test_only_first_decisions_are_compared_with_the_holdout() -> None:
    """Whoever was won comes back and buys again; that would flatter the arm that won them."""
    rewards = shop({"small": 0.2})
    again = [reward(10**6 + i, "none", 5000, n=2) for i in range(3000)]
    plain, more = effects(rewards, CAMPAIGN), effects([*rewards, *again], CAMPAIGN)
    assert {name: arm.against_holdout for name, arm in more.arms.items()} == {
        name: arm.against_holdout for name, arm in plain.arms.items()
    }
    assert more.against_holdout == plain.against_holdout
    assert more.decisions == plain.decisions + 3000


def test_a_broken_draw_is_noticed() -> None:
    """An arm that somebody filters out makes a mismatch of the ratio; so does a holdout that is reached."""
    rewards = [each for i, each in enumerate(shop({})) if each.arm != "small" or i % 3]
    assert effects(rewards, CAMPAIGN).ratio.mismatch
    lost = [each for i, each in enumerate(shop({})) if not each.holdout or i % 2]
    assert effects(lost, CAMPAIGN).holdout_ratio.mismatch


def test_without_a_reward_nothing_can_be_said() -> None:
    """A campaign that has just begun has a report all the same."""
    found = effects([], CAMPAIGN)
    assert (found.decisions, found.best, found.holdout, found.exploring) == (0, None, None, 0.0)
    assert found.policy.low == -np.inf


def test_a_reward_is_what_the_document_says() -> None:
    """Spend or a purchase, with the arm's cost taken off where it asks for it; refunds count."""
    bought = parse(DOCUMENT.replace("target: spend", "target: purchase").replace(", less_cost: true", ""))
    assert value_of(reward(1, "large", 700), CAMPAIGN) == 5.0
    assert value_of(reward(1, "none", -700), CAMPAIGN) == -7.0
    assert value_of(reward(1, "large", 700), bought) == 1.0
