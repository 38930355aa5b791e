"""Learning a live campaign from the rewards in its topic: all of them, in their order, every time.

Nothing is kept between two runs, so the same rewards give the same weights, whoever learns them. Only decisions in which
every arm could be drawn teach: of the others nothing can be said about the arms that could not.
"""

import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from models.bandits.bandit import SERVED_SHARE, TRIAL_SHARE, Bandit
from models.bandits.trial import Judgement
from models.decisions.campaign import Campaign
from models.decisions.draw import FloatArray
from models.decisions.effects import value_of
from models.decisions.estimators import Logged
from models.decisions.scaling import Scaling
from models.decisions.weights import LearntWeights
from models.features import FEATURE_SET
from schemas.campaigns import MaturedReward
from schemas.times import DAY_S

BLOCK = 250


class LearntCampaign(NamedTuple):
    """What came of it.

    Attributes:
        decisions: that taught.
        weights: to be served.
        personal: the policy by customer is better than every arm alone, beyond noise.
        judgement: of that policy against each constant arm.
    """

    decisions: int
    weights: LearntWeights
    personal: bool
    judgement: Judgement


def learn(rewards: Sequence[MaturedReward], campaign: Campaign, size: float = 10_000.0) -> LearntCampaign | None:
    """The weights of a campaign that chooses by bandit; None: fewer than `BLOCK` decisions can teach.

    Args:
        rewards: in the order in which they were decided.
        campaign: its served version.
        size: decisions that are expected; the trial's bounds are narrowest there.
    """
    names = campaign.arm_names
    own = [each for each in rewards if _teaches(each, names)]
    if len(own) < BLOCK:
        return None
    raw = np.array([each.features for each in own])
    scaling = Scaling.of(raw[:BLOCK])
    x = scaling.scaled(raw)
    arm = np.array([names.index(each.arm) for each in own], dtype=np.int64)
    chance = np.array([each.propensities[each.arm] for each in own])
    reward = np.array([value_of(each, campaign) for each in own])
    day = np.array([each.decided_at / DAY_S for each in own])
    least = min(min(each.propensities.values()) for each in own)
    bandit = _taught(campaign, x, Logged(arm, chance, reward), day, least, size)
    share = SERVED_SHARE if bandit.is_personal else TRIAL_SHARE
    weights = LearntWeights(
        campaign.name, f"{campaign.name}-{len(own)}", names, share, bandit.steady_samples, bandit.sampled_heads, scaling
    )
    return LearntCampaign(len(own), weights, bandit.is_personal, bandit.judgement())


def _teaches(reward: MaturedReward, names: Sequence[str]) -> bool:
    return (
        not reward.holdout
        and reward.feature_set == FEATURE_SET
        and reward.arm in names
        and all(reward.propensities.get(name, 0.0) > 0 for name in names)
    )


def _taught(campaign: Campaign, x: FloatArray, logged: Logged, day: FloatArray, least: float, size: float) -> Bandit:
    floor = campaign.choose.floor or 0.0
    bandit = Bandit(len(campaign.arms) + 1, x.shape[1], floor, size, zlib.crc32(campaign.name.encode()))
    before = float(day[0])
    for start in range(0, len(x), BLOCK):
        block = slice(start, start + BLOCK)
        days = max(float(day[block][-1]) - before, 0.0)
        bandit.learn_block(x[block], logged.part(block), days, least)
        before += days
    return bandit
