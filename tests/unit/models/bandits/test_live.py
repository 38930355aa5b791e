"""Laws of learning a live campaign: where there is something to gain it is found, else a constant is kept."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from models.bandits.live import BLOCK, LearntCampaign, learn
from models.decisions.board import Board
from models.decisions.campaign import parse
from models.decisions.decide import Cell, Decider, Recipient
from models.decisions.weights import LearntWeights, WeightsRefused
from models.features import COLUMN, FEATURE_SET, NAMES, halved
from schemas.campaigns import MaturedReward
from schemas.changes import SilenceCause

DOCUMENT = """campaign: win-back
version: "1"
when: {dimension: lifecycle, to: at_risk}
arms: [{name: coupon, cost: 0.00}]
reward: {target: purchase, days: 14}
choose: {by: bandit, floor: 0.05}
"""
CAMPAIGN = parse(DOCUMENT)
# The coupon wins back who bought often, and puts off who did not.
TELLS = COLUMN["purchases"]
CAUSE = SilenceCause("2024-05-01T12:00:00Z")


def customer(rng: np.random.Generator) -> np.ndarray:
    """Features, of which one tells for whom the coupon works."""
    x = np.zeros(len(NAMES))
    x[TELLS], x[COLUMN["recency_days"]] = rng.normal(2.0, 1.0), rng.normal(3.0, 0.3)
    return x


def rewards(count: int, *, differ: bool, seed: int = 3) -> list[MaturedReward]:
    """Decisions in which both arms were as likely, with what came of them."""
    rng = np.random.default_rng(seed)
    made = []
    for i in range(count):
        x = customer(rng)
        arm = "coupon" if rng.random() < 0.5 else "none"
        effect = (0.25 * np.sign(x[TELLS] - 2.0) if differ else 0.1) if arm == "coupon" else 0.0
        bought = int(rng.random() < 0.35 + effect)
        made.append(MaturedReward(
            f"{i:016x}:win-back:1", "win-back", "1", 86_400.0 * (i // 500), 86_400.0 * (i // 500 + 14), arm,
            {"none": 0.5, "coupon": 0.5}, ("none", "coupon"), False, 0, bought, bought, FEATURE_SET, tuple(x.tolist()),
        ))  # fmt: skip
    return made


def learnt(count: int, *, differ: bool) -> LearntCampaign:
    """What is learnt of so many decisions."""
    found = learn(rewards(count, differ=differ), CAMPAIGN)
    assert found is not None
    return found


def chance_of_coupon(weights: LearntWeights, purchases: float) -> float:
    """The probability of the coupon for a customer, as a worker draws it."""
    x = np.zeros(len(NAMES))
    x[TELLS], x[COLUMN["recency_days"]] = purchases, 3.0
    values = Board([CAMPAIGN], [weights]).values("win-back", halved(x))
    assert values is not None
    action = Decider(CAMPAIGN).decide(Cell(Recipient("c1"), 1.7e9, CAUSE), values=values)
    assert action.model == weights.model
    if action.arm == "coupon":
        assert "purchases" in [reason.feature for reason in action.reasons]
    return action.propensities["coupon"]


def test_who_is_won_back_gets_the_coupon_and_who_is_put_off_does_not() -> None:
    """Where customers differ, the policy by customer takes over, and workers draw by it."""
    found = learnt(8000, differ=True)
    assert found.personal
    assert found.judgement.difference.low > 0
    assert chance_of_coupon(found.weights, 4.0) > 0.85
    assert chance_of_coupon(found.weights, 0.0) < 0.2


def test_where_customers_do_not_differ_one_arm_for_all_is_kept() -> None:
    """The better arm is drawn most, for everybody; half of the decisions still try to find a difference."""
    found = learnt(8000, differ=False)
    assert not found.personal
    assert found.weights.share == 0.5
    assert min(chance_of_coupon(found.weights, purchases) for purchases in (1.0, 2.0, 3.0)) > 0.6


def test_the_same_rewards_give_the_same_weights() -> None:
    """Whoever learns them, and however they came: learning keeps nothing."""
    assert learnt(1000, differ=True).weights.encode() == learnt(1000, differ=True).weights.encode()


def test_too_few_decisions_teach_nothing() -> None:
    """And neither do those of whom nothing is known about some arm."""
    some = rewards(BLOCK - 1, differ=True)
    assert learn(some, CAMPAIGN) is None
    limited = replace(some[0], propensities={"none": 1.0}, arm="none")
    assert learn([*some, limited, replace(some[0], holdout=True)], CAMPAIGN) is None


def test_weights_come_back_as_they_were_sent() -> None:
    """To the precision of float32."""
    weights = learnt(500, differ=True).weights
    again = LearntWeights.decode(weights.encode())
    assert again.encode() == weights.encode()
    assert again.heads == pytest.approx(weights.heads, abs=1e-5)


def test_weights_of_other_arms_do_not_count() -> None:
    """After a version with another arm all arms are alike again until it was learnt."""
    weights = learnt(500, differ=True).weights
    other = parse(DOCUMENT.replace("name: coupon", "name: gift"))
    assert Board([other], [weights]).values("win-back", b"") is None
    fixed = parse(DOCUMENT.replace("{by: bandit, floor: 0.05}", "{by: fixed, shares: {coupon: 1.0}}"))
    assert Board([fixed], [weights]).values("win-back", b"") is None


@given(st.binary(max_size=200), st.integers(0, 2**32))
def test_damaged_weights_are_refused(noise: bytes, place: int) -> None:
    """Whatever bytes there are: refused in a sentence, or read as numbers."""
    value = bytearray(ENCODED)
    value[place % len(value)] ^= 0xFF
    for damaged in (noise, bytes(value), ENCODED[: place % len(ENCODED)]):
        try:
            weights = LearntWeights.decode(damaged)
        except WeightsRefused:
            continue
        assert np.isfinite(weights.heads).all()


ENCODED = learnt(BLOCK, differ=True).weights.encode()
