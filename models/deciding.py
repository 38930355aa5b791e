"""The step's last pass: campaigns decide about customers who entered a segment, and rewards mature.

It works on what the step gives (`models.terms.Outcome`), so that customers stepped one by one and over arrays are decided
about by the same code. Customers share their partition's budget: whoever enters a segment first is decided about first. For
each customer:

1. Each move that a campaign waits for is decided (`models.decisions.decide`), in the order of the moves.
2. What was bought after an open decision and within its days, by the purchase's own time, counts for it.
3. A decision whose days are over at the horizon becomes a reward.
4. The state is due at the first of what the step says and the next reward.

Whoever has no decision, old or new, keeps the bytes of their state.
"""

from collections.abc import Sequence

from msgspec.structs import replace

from models.decisions.board import Board, CampaignTerms
from models.decisions.decide import Cell, Decider, Recipient
from models.features import FEATURE_SET, features_in
from models.state import PURCHASE
from models.terms import Decision, Move, Outcome, Terms
from schemas.actions import NONE
from schemas.campaigns import CampaignMemory, CampaignState, MaturedReward, OpenDecision, memory_of, reward_id
from schemas.events import Purchase
from schemas.states import NEVER
from schemas.stored import campaigns_of, may_have_campaigns, moved_due, with_campaigns
from schemas.times import DAY_S

# Decisions of one campaign about one customer whose rewards are still open. Whoever enters its segment more often within
# the reward's days is not decided about again until one has matured: a state must stay small.
MOST_OPEN = 16
# Contacts that are remembered even where the campaign's cap needs fewer: a later version may have another cap.
_LEAST_CONTACTS = 16


def decide_campaigns(outcomes: Sequence[Outcome], terms: Terms) -> None:
    """Adds decisions and rewards to the outcomes of one partition's customers; see the module."""
    campaigns = terms.campaigns
    if campaigns is None:
        return
    entering: list[tuple[float, int]] = []
    for i, outcome in enumerate(outcomes):
        value = outcome.value or outcome.customer.value
        if value is None:
            continue
        at = _enters_at(outcome, campaigns.board) if outcome.moves else None
        if at is not None:
            entering.append((at, i))
        elif may_have_campaigns(value) and not _only_due(outcome, value, terms.horizon):
            state = campaigns_of(value)
            if state is not None:
                _decide(outcome, value, state, terms)
    for _, i in sorted(entering):
        outcome = outcomes[i]
        value = outcome.value
        assert value is not None
        campaigns = _decide(outcome, value, campaigns_of(value), terms._replace(campaigns=campaigns))


def after_decisions(terms: CampaignTerms, outcomes: Sequence[Outcome]) -> CampaignTerms:
    """The terms after what was decided about a partition's customers: what it cost is spent."""
    # By time, so that no window is closed before what was spent in it is counted.
    decisions = sorted((each for outcome in outcomes for each in outcome.decisions), key=lambda each: each.at)
    ledger = terms.ledger
    for action, at, cost_minor in decisions:
        ledger = ledger.after(terms.board.deciders[action.campaign].campaign, at, cost_minor)
    return terms._replace(ledger=ledger)


def _enters_at(outcome: Outcome, board: Board) -> float | None:
    """When a customer first enters a segment that a campaign waits for; None: they do not."""
    entries = (move.at for move in outcome.moves if board.entered(move.dimension, move.current, move.cause))
    return min(entries, default=None)


def _only_due(outcome: Outcome, value: bytes, horizon: float) -> bool:
    """Whether nothing changes but when the state is due; it is set then. Most events of most customers are so."""
    if any(heard.topic == PURCHASE for heard in outcome.customer.heard):
        return False
    moved = moved_due(value, None if outcome.value is None else outcome.due, horizon)
    if moved is None:
        return False
    if outcome.value is not None:
        outcome.set_value(moved[0])
    outcome.due = moved[1]
    return True


def _decide(outcome: Outcome, value: bytes, state: CampaignState | None, terms: Terms) -> CampaignTerms:
    """The terms that are left to the next customer."""
    campaigns, known = terms.campaigns, state
    assert campaigns is not None
    customer_id = outcome.customer.customer_id
    for move in outcome.moves:
        for decider in campaigns.board.entered(move.dimension, move.current, move.cause):
            memory = memory_of(known, decider.campaign.name)
            if len(memory.open) >= MOST_OPEN:
                continue
            decision, memory = _decision(customer_id, move, decider, memory, campaigns)
            known = _with_memory(known, memory)
            spent = campaigns.ledger.after(decider.campaign, decision.at, decision.cost_minor)
            campaigns = campaigns._replace(ledger=spent)
            outcome.decisions = (*outcome.decisions, decision)
    if known is None:
        return campaigns
    known = _with_purchases(known, outcome)
    known, outcome.rewards = _matured(known, customer_id, terms)
    # A value of this step says when the rest is due; else what was kept of an earlier step does.
    rest = outcome.due if outcome.value is not None or state is None else state.due
    if known.due != rest:
        known = replace(known, due=rest)
    outcome.due = min(rest, known.reward_due)
    if known != state or outcome.value is not None:
        outcome.set_value(with_campaigns(value, known, outcome.due))
    return campaigns


def _decision(
    customer_id: str, move: Move, decider: Decider, memory: CampaignMemory, terms: CampaignTerms
) -> tuple[Decision, CampaignMemory]:
    campaign = decider.campaign
    recipient = Recipient(customer_id, memory.decisions, memory.contacts, terms.consent)
    left = terms.ledger.left_minor(campaign, move.at)
    values = terms.board.values(campaign.name, move.features)
    action = decider.decide(Cell(recipient, move.at, move.cause), lease_minor=left, values=values)
    cost_minor = decider.cost_minor(action.arm)
    n = memory.decisions + 1
    pending = OpenDecision(
        n,
        move.at,
        move.at + campaign.reward.days * DAY_S,
        campaign.version,
        action.arm,
        action.propensities,
        decider.reachable(recipient, move.at, left) if action.holdout else action.eligible,
        action.holdout,
        cost_minor,
        move.features,
        FEATURE_SET,
    )
    contacts = memory.contacts
    if action.arm != NONE:
        limit = campaign.limits.per_customer
        most = max(_LEAST_CONTACTS, 0 if limit is None else limit.actions)
        contacts = tuple(sorted((*contacts, move.at)))[-most:]
    return Decision(action, move.at, cost_minor), CampaignMemory(memory.campaign, n, contacts, (*memory.open, pending))


def _with_memory(state: CampaignState | None, memory: CampaignMemory) -> CampaignState:
    if state is None:
        return CampaignState(NEVER, (memory,))
    others = [each for each in state.memories if each.campaign != memory.campaign]
    memories = sorted((*others, memory), key=lambda each: each.campaign)
    return CampaignState(state.due, tuple(memories))


def _with_purchases(state: CampaignState, outcome: Outcome) -> CampaignState:
    """Open decisions with what was bought, and given back, within their days."""
    passed_over = {id(heard) for heard in (*outcome.repeated, *outcome.replayed, *outcome.void)}
    bought = [
        (heard.at, heard.event)
        for heard in outcome.customer.heard
        if heard.topic == PURCHASE and isinstance(heard.event, Purchase) and id(heard) not in passed_over
    ]
    if not bought:
        return state
    memories = tuple(
        replace(memory, open=tuple(_after_purchases(each, bought) for each in memory.open)) for memory in state.memories
    )
    return CampaignState(state.due, memories)


def _after_purchases(decision: OpenDecision, bought: Sequence[tuple[float, Purchase]]) -> OpenDecision:
    purchases, spend_minor = decision.purchases, decision.spend_minor
    for at, event in bought:
        if decision.at < at <= decision.until:
            is_refund = event.type == "refund"
            purchases += not is_refund
            spend_minor += -event.amount_minor if is_refund else event.amount_minor
    return replace(decision, purchases=purchases, spend_minor=spend_minor)


def _matured(state: CampaignState, customer_id: str, terms: Terms) -> tuple[CampaignState, tuple[MaturedReward, ...]]:
    """What is left open, and the rewards of what is over at the horizon."""
    if not any(each.until < terms.horizon for memory in state.memories for each in memory.open):
        return state, ()
    memories, rewards = [], []
    for memory in state.memories:
        over = [each for each in memory.open if each.until < terms.horizon]
        rewards += [
            _reward(reward_id(terms.pseudonym, customer_id, memory.campaign, each.n), memory.campaign, each)
            for each in over
        ]
        memories.append(replace(memory, open=tuple(each for each in memory.open if each.until >= terms.horizon)))
    return CampaignState(state.due, tuple(memories)), tuple(rewards)


def _reward(name: str, campaign: str, decision: OpenDecision) -> MaturedReward:
    day = decision.at // DAY_S * DAY_S
    return MaturedReward(
        name,
        campaign,
        decision.version,
        day,
        day + decision.until - decision.at,
        decision.arm,
        decision.propensities,
        decision.reachable,
        decision.holdout,
        decision.cost_minor,
        decision.purchases,
        decision.spend_minor,
        decision.feature_set,
        features_in(decision.features),
    )
