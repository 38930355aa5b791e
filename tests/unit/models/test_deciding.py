"""Laws of campaigns in the step: who is decided about, how often, and what comes of it."""

import pytest

from campaign_shelf import ALWAYS, Shelf, bought_and_gone, document
from equality import Shop
from histories import START_S, click, purchase
from models.deciding import MOST_OPEN
from models.decisions.board import Board
from models.decisions.campaign import parse
from models.policy import Rules
from models.policy import parse as parse_policy
from models.policy import read as read_policy
from models.state import Erasure
from schemas.stored import campaigns_of, decode_state, due_of, encode_state
from schemas.times import DAY_S


def test_silence_that_brings_a_customer_into_the_segment_is_decided_at_its_second() -> None:
    """One decision, with the cause of the change and its moment; its memory says when its reward is due."""
    shelf = Shelf(document(shares=ALWAYS))
    outcome = bought_and_gone(shelf)
    (decision,) = outcome.decisions
    assert decision.at == START_S + 30 * DAY_S
    assert (decision.action.action_id, decision.action.arm) == ("c1:win-back:1", "coupon")
    (move,) = (move for move in outcome.moves if move.current == "at_risk")
    assert decision.action.cause == move.cause
    assert outcome.due <= decision.at + 14 * DAY_S
    assert outcome.state is not None
    assert outcome.state.campaigns is not None
    (memory,) = outcome.state.campaigns.memories
    assert (memory.decisions, memory.contacts) == (1, (decision.at,))


def test_an_event_that_brings_a_customer_into_the_segment_is_decided_once() -> None:
    """Staying there brings no other decision."""
    shelf = Shelf(document(to="prospect"))
    (outcome,) = shelf.step({"c1": [click(1, START_S)]}, START_S)
    assert [each.action.cause for each in outcome.decisions] == [outcome.moves[0].cause]
    (outcome,) = shelf.step({"c1": [click(2, START_S + 5)]}, START_S + 5)
    assert outcome.decisions == ()


def test_another_policy_is_no_reason_to_act() -> None:
    """Customers whom a new policy moves into the segment are not decided about."""
    shelf = Shelf(document(shares=ALWAYS))
    shelf.step({"c1": [purchase(1, START_S)]}, START_S)
    earlier = read_policy().replace('version: "1"', 'version: "2"').replace("at_risk, from: 30", "at_risk, from: 5")
    shelf.rules, shelf.ruled_at = Rules(parse_policy(earlier)), START_S + 10 * DAY_S
    (outcome,) = shelf.step({"c1": []}, START_S + 11 * DAY_S)
    assert [move.current for move in outcome.moves if move.dimension == "lifecycle"] == ["at_risk"]
    assert outcome.decisions == ()


def test_a_reward_counts_purchases_by_their_own_time() -> None:
    """After the decision and up to the last second of its days: late ones too, less refunds; then it is closed."""
    shelf = Shelf(document(shares=ALWAYS))
    at = bought_and_gone(shelf).decisions[0].at
    shelf.step({"c1": [purchase(10**10, at + 14 * DAY_S, 5000)]}, at + 14 * DAY_S)
    assert shelf.rewards == []
    late = [
        purchase(10**10 + 1, at, 70),  # with the decision: not after it
        purchase(10**10 + 2, at + 1, 200),
        purchase(10**10 + 3, at + 2, 100, "refund"),
        purchase(10**10 + 4, at + 14 * DAY_S + 1, 9000),
    ]
    (outcome,) = shelf.step({"c1": late}, at + 14 * DAY_S + 2)
    (reward,) = outcome.rewards
    assert (reward.purchases, reward.spend_minor, reward.arm, reward.cost_minor) == (2, 5100, "coupon", 300)
    assert (reward.decided_at % DAY_S, reward.matured_at - reward.decided_at) == (0.0, 14 * DAY_S)
    assert 0 <= at - reward.decided_at < DAY_S
    assert len(reward.features) > 50
    assert max(reward.features) > 0
    assert outcome.state is not None
    assert outcome.state.campaigns is not None
    assert outcome.state.campaigns.memories[0].open == ()


def test_a_reward_matures_in_silence_too() -> None:
    """Who does not come back gives a reward of nothing, as soon as the days are over, and is not looked at for ever."""
    shelf = Shelf(document(shares=ALWAYS))
    at = bought_and_gone(shelf).decisions[0].at
    assert due_of(shelf.values["c1"]) <= at + 14 * DAY_S
    (outcome,) = shelf.step({"c1": []}, at + 14 * DAY_S + 1)
    assert [(each.purchases, each.spend_minor) for each in outcome.rewards] == [(0, 0)]
    assert outcome.due > at + 14 * DAY_S + 1
    assert shelf.step({"c1": []}, at + 14 * DAY_S + 1)[0].rewards == ()


def test_a_cap_holds_over_decisions_and_the_decision_is_recorded_all_the_same() -> None:
    """Who was contacted within the days before gets nothing, and the action says why."""
    shelf = Shelf(document(shares=ALWAYS, limits="{per_customer: {actions: 1, days: 60}}"))
    bought_and_gone(shelf)
    (second,) = bought_and_gone(shelf, at=START_S + 32 * DAY_S).decisions
    assert (second.action.action_id, second.action.arm) == ("c1:win-back:2", "none")
    assert second.action.suppressed == {"coupon": "cap"}
    (third,) = bought_and_gone(shelf, at=START_S + 64 * DAY_S).decisions
    assert third.action.arm == "coupon"


def test_a_budget_ends_with_the_customer_who_used_it_up() -> None:
    """Customers of one chunk share the partition's budget, in their order."""
    shelf = Shelf(document(shares=ALWAYS, limits="{budget: {amount: 7.00, days: 365}}"))
    names = [f"c{i}" for i in range(4)]
    shelf.step({name: [purchase(1, START_S)] for name in names}, START_S)
    outcomes = shelf.step({name: [] for name in names}, START_S + 31 * DAY_S)
    assert [outcome.decisions[0].action.arm for outcome in outcomes] == ["coupon", "coupon", "none", "none"]
    assert outcomes[3].decisions[0].action.suppressed == {"coupon": "budget"}


def test_who_enters_first_is_paid_for_first() -> None:
    """The budget does not depend on the order in which a chunk holds its customers."""
    shelf = Shelf(document(shares=ALWAYS, limits="{budget: {amount: 3.00, days: 3650}}"))
    shelf.step({"late": [purchase(1, START_S + DAY_S)], "early": [purchase(2, START_S)]}, START_S + DAY_S)
    outcomes = shelf.step({"late": [], "early": []}, START_S + 40 * DAY_S)
    assert [outcome.decisions[0].action.arm for outcome in outcomes] == ["none", "coupon"]


def test_windows_that_end_within_a_chunk_are_counted_in_their_order() -> None:
    """Customers of one chunk may enter in different windows, in any order of the chunk: the money of each is its own."""
    shelf = Shelf(document(shares=ALWAYS, limits="{budget: {amount: 3.00, days: 30}}"))
    starts = {"late": START_S + 33 * DAY_S, "early": START_S, "latest": START_S + 66 * DAY_S}
    for i, (name, at) in enumerate(starts.items()):
        shelf.step({name: [purchase(i, at)]}, START_S)
    outcomes = shelf.step(dict.fromkeys(starts, ()), START_S + 120 * DAY_S)
    assert [[each.action.arm for each in outcome.decisions] for outcome in outcomes] == [["coupon"]] * 3
    assert [each.minor for each in shelf.terms.ledger.spends] == [300]


def test_without_consent_nobody_is_contacted() -> None:
    """Nothing is known of customers' consent: it is refused unless the shop answers for it."""
    shelf = Shelf(document(shares=ALWAYS))
    shelf.terms = shelf.terms._replace(consent={})
    assert bought_and_gone(shelf).decisions[0].action.suppressed == {"coupon": "consent"}


def test_a_holdout_is_decided_about_and_compared_with_whom_it_stands_for() -> None:
    """Its reward says which arms could have been drawn but for the holdout."""
    shelf = Shelf(document(holdout=0.5))
    names = [f"c{i}" for i in range(40)]
    shelf.step({name: [purchase(1, START_S)] for name in names}, START_S)
    shelf.step({name: [] for name in names}, START_S + 31 * DAY_S)
    outcomes = shelf.step({name: [] for name in names}, START_S + 60 * DAY_S)
    rewards = [reward for outcome in outcomes for reward in outcome.rewards]
    held = [reward for reward in rewards if reward.holdout]
    assert 8 < len(held) < 32
    assert {(reward.arm, reward.reachable) for reward in held} == {("none", ("none", "coupon"))}
    assert all(reward.propensities == {"none": 1.0} for reward in held)


def test_two_campaigns_decide_apart_about_one_customer() -> None:
    """Each counts its own decisions; one that is taken off the board keeps its count."""
    shelf = Shelf(document("a", shares=ALWAYS), document("b", shares=ALWAYS))
    assert [each.action.action_id for each in bought_and_gone(shelf).decisions] == ["c1:a:1", "c1:b:1"]
    shelf.terms = shelf.terms._replace(board=Board([parse(document("b", shares=ALWAYS))]))
    assert [each.action.action_id for each in bought_and_gone(shelf, at=START_S + 40 * DAY_S).decisions] == ["c1:b:2"]
    shelf.terms = shelf.terms._replace(board=Board([parse(document("a", shares=ALWAYS))]))
    assert [each.action.action_id for each in bought_and_gone(shelf, at=START_S + 80 * DAY_S).decisions] == ["c1:a:2"]


def test_rewards_mature_when_the_campaign_is_over() -> None:
    """Without any campaign on the board, what was decided still becomes a reward."""
    shelf = Shelf(document(shares=ALWAYS))
    bought_and_gone(shelf)
    shelf.terms = shelf.terms._replace(board=Board())
    (outcome,) = shelf.step({"c1": []}, START_S + 60 * DAY_S)
    assert len(outcome.rewards) == 1


def test_an_erasure_leaves_only_how_often_was_decided() -> None:
    """No contact and no open decision outlives it, and no action's id comes twice."""
    shelf = Shelf(document(shares=ALWAYS))
    bought_and_gone(shelf)
    shelf.step({"c1": []}, START_S + 31 * DAY_S, {"c1": Erasure(START_S + 31 * DAY_S)})
    kept = campaigns_of(shelf.values["c1"])
    assert kept is not None
    assert [(m.decisions, m.contacts, m.open) for m in kept.memories] == [(1, (), ())]
    shelf.step({"c1": [purchase(10**11 + 1, START_S + 40 * DAY_S)]}, START_S + 40 * DAY_S)
    (outcome,) = shelf.step({"c1": []}, START_S + 80 * DAY_S)
    assert [each.action.action_id for each in outcome.decisions] == ["c1:win-back:2"]
    assert shelf.rewards == []


def test_a_state_stays_small_however_often_a_customer_comes_back() -> None:
    """Open decisions are bounded: nothing is decided until one has matured."""
    long = document("a", to="active", shares=ALWAYS).replace("days: 14", "days: 3650")
    shelf = Shelf(long)
    for i in range(MOST_OPEN + 5):
        bought_and_gone(shelf, at=START_S + 40 * DAY_S * i)
    kept = campaigns_of(shelf.values["c1"])
    assert kept is not None
    assert len(kept.memories[0].open) == kept.memories[0].decisions == MOST_OPEN


@pytest.mark.parametrize("seed", range(3))
def test_arrays_and_one_by_one_decide_the_same(seed: int) -> None:
    """Random histories, late, repeated and erased: the same actions, rewards and stored bytes either way."""
    documents = (
        document("a", holdout=0.2),
        document("b", to="active", shares="{none: 0.3, coupon: 0.7}", limits="{budget: {amount: 60.00, days: 90}}"),
        document("c", to="lapsed", limits="{per_customer: {actions: 1, days: 30}, quiet_hours: '21:00-08:00'}"),
    )
    shop, shelves = Shop(seed, 30), [Shelf(*documents, least=1), Shelf(*documents)]
    for _ in range(6):
        heard = {name: shop.events(name, 3) for name in shop.customers}
        erasures = {name: each for name in heard if (each := shop.erasure(name)) is not None}
        horizon = max(shop.at.values()) - 5 * DAY_S
        for shelf in shelves:
            shelf.step(heard, horizon, erasures)
    assert len(shelves[0].actions) > 30
    assert shelves[0].actions == shelves[1].actions
    assert shelves[0].rewards == shelves[1].rewards
    assert shelves[0].values == shelves[1].values
    assert shelves[0].terms.ledger == shelves[1].terms.ledger
    for value in shelves[0].values.values():
        assert encode_state(decode_state(value), due_of(value)) == value


def test_the_same_chunk_again_gives_the_same_bytes() -> None:
    """What was not durable is stepped again after a crash; whoever follows `actions` sees no difference."""
    first, again = Shelf(document()), Shelf(document())
    bought_and_gone(first)
    bought_and_gone(again)
    assert first.actions == again.actions
    assert len(set(first.actions)) == 1
