"""What a campaign did, from the rewards of its decisions.

Three comparisons, each with an interval that holds however often it is looked at (`models.decisions.confidence`):

- *An arm against the holdout*: each customer's first decision, if the arm could be drawn, or could have been but for the
  holdout: so both sides are the same kind of customers. Later decisions are left out, because what came of the first one
  decides who comes back, and whom a cap excludes. Being held out counts as one more arm, whose probability is the
  document's `holdout`, and the comparison is a mean of differences of doubly robust scores.
- *The policy against the holdout*: each customer's first decision, whatever could be drawn: what the campaign adds.
- *The policy against the best arm for all*: decisions in which every arm could be drawn, by doubly robust scores whose
  forecasts are the means of earlier decisions (`models.bandits.trial` judges by the same). Decisions about one customer are
  counted as if they were about different ones: where the same few come back often, the interval is too narrow.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.decisions.campaign import Campaign
from models.decisions.confidence import Interval, Moments, asymptotic
from models.decisions.draw import FloatArray
from models.decisions.ratio import RatioCheck, check_ratio
from schemas.campaigns import MaturedReward

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


class ArmEffect(NamedTuple):
    """One arm.

    Attributes:
        decisions: that drew it.
        value: mean reward of first decisions, had the arm been drawn in all in which it could be.
        against_holdout: that value less the holdout's of the same kind; None: there is no holdout.
        cost: what its decisions cost.
    """

    decisions: int
    value: Interval
    against_holdout: Interval | None
    cost: float


class CampaignEffects(NamedTuple):
    """What came of the decisions whose days are over. Values are rewards a decision, in units of the currency or purchases.

    Attributes:
        decisions: how many are over.
        customers: about how many customers.
        arms: by name, `none` first.
        holdout: mean reward of the holdout's first decisions; None: nobody is held out.
        policy: mean reward of everybody else's.
        against_holdout: of the two, the difference.
        best: the arm that is best for all; None: no decision had all arms to draw from.
        best_value: its value.
        difference: the policy's value less that, over the same decisions.
        ratio: whether arms were drawn as often as their probabilities say.
        holdout_ratio: whether as many customers are held out as the document says.
        exploring: mean probability of the arms that were not the likeliest.
    """

    decisions: int
    customers: int
    arms: dict[str, ArmEffect]
    holdout: Interval | None
    policy: Interval
    against_holdout: Interval | None
    best: str | None
    best_value: Interval
    difference: Interval
    ratio: RatioCheck
    holdout_ratio: RatioCheck
    exploring: float


_NOTHING = Interval(0.0, -np.inf, np.inf)


class _Table(NamedTuple):
    """Rewards as arrays: n decisions, the arms in the order of `Campaign.arm_names`."""

    reward: FloatArray
    cost: FloatArray
    drawn: IntArray
    chance: FloatArray  # (n, arms); 0: it could not be drawn
    reachable: BoolArray
    held: BoolArray
    first: BoolArray  # of its customer


def value_of(reward: MaturedReward, campaign: Campaign) -> float:
    """The reward that `campaign` makes of what came of a decision."""
    wanted = campaign.reward
    gained = reward.spend_minor / campaign.unit_minor if wanted.target == "spend" else float(reward.purchases > 0)
    return gained - (reward.cost_minor / campaign.unit_minor if wanted.less_cost else 0.0)


def effects(rewards: Sequence[MaturedReward], campaign: Campaign) -> CampaignEffects:
    """The effects of one campaign's decisions.

    Args:
        rewards: in the order in which they were decided. Those that drew an arm that the campaign no longer has are
            left out.
        campaign: the served version, which says what counts as a reward.
    """
    names = campaign.arm_names
    kept = [reward for reward in rewards if reward.arm in names]
    table = _table(kept, campaign)
    held = table.held
    own = Moments.of(table.reward[~held & table.first])
    of_holdout = Moments.of(table.reward[held & table.first])
    has_holdout = bool(held.any()) and campaign.holdout > 0
    arms = {}
    for k, name in enumerate(names):
        could = table.reachable[:, k] & table.first
        side = _arm_side(table, k, could & ~held)
        drawn = table.drawn == k
        arms[name] = ArmEffect(
            int((drawn & ~held).sum()),
            asymptotic(side),
            _against_holdout(table, could, campaign.holdout, k) if has_holdout else None,
            float(table.cost[drawn].sum()),
        )
    best, best_value, difference = _best(table, names)
    pseudonyms: Mapping[str, bool] = {each.reward_id.partition(":")[0]: each.holdout for each in kept}
    people = np.array([sum(pseudonyms.values()), len(pseudonyms) - sum(pseudonyms.values())], dtype=float)
    return CampaignEffects(
        len(kept),
        len(pseudonyms),
        arms,
        asymptotic(of_holdout) if has_holdout else None,
        asymptotic(own),
        _against_holdout(table, table.first, campaign.holdout) if has_holdout else None,
        best,
        best_value,
        difference,
        _ratio(table),
        check_ratio(people, np.array([campaign.holdout, 1.0 - campaign.holdout])),
        float((1.0 - table.chance[~held].max(axis=1)).mean()) if (~held).any() else 0.0,
    )


def _table(rewards: Sequence[MaturedReward], campaign: Campaign) -> _Table:
    names = campaign.arm_names
    n = len(rewards)
    chance, reachable = np.zeros((n, len(names))), np.zeros((n, len(names)), dtype=bool)
    for i, each in enumerate(rewards):
        for k, name in enumerate(names):
            chance[i, k] = each.propensities.get(name, 0.0)
            reachable[i, k] = name in each.reachable
    return _Table(
        np.array([value_of(each, campaign) for each in rewards], dtype=float),
        np.array([each.cost_minor / campaign.unit_minor for each in rewards], dtype=float),
        np.array([names.index(each.arm) for each in rewards], dtype=np.int64),
        chance,
        reachable,
        np.array([each.holdout for each in rewards], dtype=bool),
        np.array([each.reward_id.endswith(":1") for each in rewards], dtype=bool),
    )


def _arm_side(table: _Table, k: int, rows: BoolArray) -> Moments:
    """Doubly robust scores of arm k, of the decisions in which it could be drawn."""
    rows = rows & (table.chance[:, k] > 0)
    return Moments.of(_doubly_robust(table.reward[rows], table.drawn[rows], table.chance[rows])[:, k])


def _against_holdout(table: _Table, rows: BoolArray, share: float, k: int | None = None) -> Interval:
    """What arm k, or whatever was done (None), is worth more than to be held out.

    Held out, arm k and another arm are three arms here, of probability share, (1 - share) p and (1 - share) (1 - p).
    """
    held, chance = table.held[rows], np.ones(int(rows.sum())) if k is None else table.chance[rows, k]
    # Of who is held out no probability of the arm is known, and none is asked for.
    chance = np.where(held, 1.0, chance)
    drawn = np.ones(len(held), dtype=np.int64) if k is None else np.where(table.drawn[rows] == k, 1, 2)
    drawn[held] = 0
    all_chances = np.stack([np.full(len(held), share), (1.0 - share) * chance, (1.0 - share) * (1.0 - chance)], axis=1)
    scores = _doubly_robust(table.reward[rows], drawn, all_chances)
    return asymptotic(Moments.of(scores[:, 1] - scores[:, 0]))


def _best(table: _Table, names: Sequence[str]) -> tuple[str | None, Interval, Interval]:
    """The best arm for all, its value, and what the policy is worth more."""
    rows = ~table.held & (table.chance > 0).all(axis=1)
    if not rows.any():
        return None, _NOTHING, _NOTHING
    reward, drawn, chance = table.reward[rows], table.drawn[rows], table.chance[rows]
    scores = _doubly_robust(reward, drawn, chance)
    values = [Moments.of(scores[:, k]) for k in range(len(names))]
    best = int(np.argmax([moments.mean for moments in values]))
    own = (chance * scores).sum(axis=1)
    apart = [asymptotic(Moments.of(own - scores[:, k])) for k in range(len(names))]
    return names[best], asymptotic(values[best]), apart[best]


def _doubly_robust(reward: FloatArray, drawn: IntArray, chance: FloatArray) -> FloatArray:
    """(n, arms): scores whose forecast of an arm is the mean of its earlier rewards; 0 before the first."""
    n, arms = chance.shape
    at = np.arange(n)
    own = np.zeros((n, arms))
    own[at, drawn] = 1.0
    counts = np.cumsum(own, axis=0) - own
    sums = np.cumsum(own * reward[:, None], axis=0) - own * reward[:, None]
    scores: FloatArray = np.divide(sums, counts, out=np.zeros((n, arms)), where=counts > 0)
    scores[at, drawn] += (reward - scores[at, drawn]) / chance[at, drawn]
    return scores


def _ratio(table: _Table) -> RatioCheck:
    """Arms drawn against the mean of their probabilities, where there was more than one to draw from."""
    rows = ~table.held & ((table.chance > 0).sum(axis=1) > 1)
    if not rows.any():
        return RatioCheck(False, 0.0, 1.0)
    counts = np.bincount(table.drawn[rows], minlength=table.chance.shape[1]).astype(float)
    shares: FloatArray = table.chance[rows].mean(axis=0)
    return check_ratio(counts, shares / shares.sum())
