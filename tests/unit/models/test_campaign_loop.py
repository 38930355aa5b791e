"""The loop closes: customers enter a segment, are decided about, react, and what was learnt decides about the next ones."""

import random

from campaign_shelf import Shelf, document
from histories import START_S, purchase
from models.bandits.live import LearntCampaign, learn
from models.decisions.board import Board
from models.decisions.campaign import Campaign, parse
from schemas.actions import decode_action
from schemas.campaigns import decode_reward
from schemas.times import DAY_S

# Synthetic: half of the shop buys for two pounds and comes back if there is a coupon; the other half buys for two hundred,
# would have come back, and is put off by it.
SMALL, LARGE = 200, 20_000
COMES_BACK = {(SMALL, "none"): 0.1, (SMALL, "coupon"): 0.6, (LARGE, "none"): 0.6, (LARGE, "coupon"): 0.1}
ALIKE = {(SMALL, "none"): 0.2, (SMALL, "coupon"): 0.5, (LARGE, "none"): 0.2, (LARGE, "coupon"): 0.5}
COHORT = 1500


class ReactingShop:
    """A shop whose customers react to coupons by known probabilities."""

    def __init__(self, campaign: Campaign, reacts: dict[tuple[int, str], float]) -> None:
        self.campaign, self._reacts = campaign, reacts
        self.shelf = Shelf(least=48)
        self.shelf.terms = self.shelf.terms._replace(board=Board([campaign]))
        self._rnd = random.Random(1)
        self.learnt: LearntCampaign | None = None

    def live(self, cohort: int) -> dict[int, float]:
        """One cohort's life, what is learnt of it, and the share of coupons by what they bought first."""
        shelf, at = self.shelf, START_S + cohort * 60 * DAY_S
        first = {f"c{cohort}-{i}": self._rnd.choice((SMALL, LARGE)) for i in range(COHORT)}
        shelf.step({name: [purchase(1, at, amount)] for name, amount in first.items()}, at)
        outcomes = shelf.step({name: [] for name in first}, at + 31 * DAY_S)
        arms = {each.customer.customer_id: each.decisions[0].action.arm for each in outcomes}
        back = [name for name, arm in arms.items() if self._rnd.random() < self._reacts[first[name], arm]]
        shelf.step({name: [purchase(2, at + 33 * DAY_S, 500)] for name in back}, at + 33 * DAY_S)
        shelf.step({name: [] for name in first}, at + 50 * DAY_S)
        rewards = [decode_reward(body) for body in shelf.rewards]
        self.learnt = learn(sorted(rewards, key=lambda each: each.decided_at), self.campaign)
        assert self.learnt is not None
        shelf.terms = shelf.terms._replace(board=Board([self.campaign], [self.learnt.weights]))
        of = {amount: [arms[name] == "coupon" for name in first if first[name] == amount] for amount in (SMALL, LARGE)}
        return {amount: sum(given) / len(given) for amount, given in of.items()}


def campaign() -> Campaign:
    """Chosen by bandit, for purchases."""
    return parse(document().replace("target: spend", "target: purchase"))


def test_who_is_won_by_a_coupon_gets_it_and_who_is_put_off_does_not() -> None:
    """From as likely as not, by what came back alone; then deciding by customer is served."""
    shop = ReactingShop(campaign(), COMES_BACK)
    shares = [shop.live(cohort) for cohort in range(4)]
    assert all(0.45 < share < 0.55 for share in shares[0].values())
    assert shop.learnt is not None
    assert shop.learnt.personal
    assert shares[-1][SMALL] > 0.8
    assert shares[-1][LARGE] < 0.2


def test_where_a_coupon_works_for_everybody_it_is_what_everybody_gets() -> None:
    """One arm for all is kept; no action carries a reason to single anybody out beyond the trial's share."""
    shop = ReactingShop(campaign(), ALIKE)
    shares = [shop.live(cohort) for cohort in range(3)]
    assert shop.learnt is not None
    assert not shop.learnt.personal
    assert min(shares[-1].values()) > 0.8
    last = decode_action(shop.shelf.actions[-1])
    assert last.model is not None
    assert min(last.propensities.values()) >= 0.05
