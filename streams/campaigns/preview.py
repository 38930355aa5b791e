"""What a campaign would decide in the days ahead, from every customer's present state, if nothing more is heard.

Of each customer the state says what happens next in silence. Whoever that brings into the campaign's segment is decided
about as a worker would: at that second, by the same draw, with the contacts, the budget and the holdout as they are.
"""

from collections import Counter
from typing import NamedTuple

from models.clock import UNKNOWN
from models.decisions.campaign import Campaign
from models.decisions.decide import Cell, Decider, Recipient
from models.decisions.ledger import Ledger
from schemas.actions import Action
from schemas.campaigns import memory_of
from schemas.changes import SilenceCause
from schemas.times import DAY_S, to_rfc3339
from streams.policy.preview import population
from streams.settings import Settings


class CampaignPreview(NamedTuple):
    """What would be decided.

    Attributes:
        customers: how many there are.
        standing: who is in the segment already: they are not decided about before they enter it again.
        entering: who would enter it in silence; one decision each.
        arms: decisions by arm.
        cost_minor: what they would cost.
        held_out: decisions about customers of the holdout.
        suppressed: by arm and reason.
        sample: some of the decisions, earliest first.
    """

    customers: int
    standing: int
    entering: int
    arms: Counter[str]
    cost_minor: int
    held_out: int
    suppressed: Counter[tuple[str, str]]
    sample: tuple[Action, ...]


async def preview(settings: Settings, campaign: Campaign, days: float, sample: int = 20) -> CampaignPreview:
    """What `campaign`, which waits for a change (`when`), would decide within `days`, were it published now.

    Raises:
        BrokerLost: no broker answers.
        TopicsNotReady: there is no changelog: no worker has run.
    """
    when, decider = campaign.when, Decider(campaign)
    assert when is not None
    customers = standing = cost_minor = 0
    actions: list[Action] = []
    coming: list[tuple[int, float, Recipient]] = []
    ledgers: dict[int, Ledger] = {}
    async for block in population(settings):
        customers += len(block.keys)
        ledgers.setdefault(block.partition, Ledger(block.partition, settings.partitions, block.spends))
        for key, state in zip(block.keys, block.states, strict=True):
            held, promise = state.segments.get(when.dimension), state.promise
            standing += held is not None and held.segment == when.to
            if promise is None or promise[1:] != (when.dimension, when.to) or block.at == UNKNOWN:
                continue
            if promise.at < block.at + days * DAY_S:
                memory = memory_of(state.campaigns, campaign.name)
                recipient = Recipient(key.decode(), memory.decisions, memory.contacts, settings.consent)
                coming.append((block.partition, promise.at, recipient))
    for partition, at, recipient in sorted(coming, key=lambda each: (*each[:2], each[2].customer_id)):
        ledger = ledgers[partition]
        left = ledger.left_minor(campaign, at)
        action = decider.decide(Cell(recipient, at, SilenceCause(to_rfc3339(at))), lease_minor=left)
        ledgers[partition] = ledger.after(campaign, at, decider.cost_minor(action.arm))
        cost_minor += decider.cost_minor(action.arm)
        actions.append(action)
    return CampaignPreview(
        customers,
        standing,
        len(actions),
        Counter(action.arm for action in actions),
        cost_minor,
        sum(action.holdout for action in actions),
        Counter(each for action in actions for each in action.suppressed.items()),
        tuple(sorted(actions, key=lambda action: (action.decided_at, action.action_id))[:sample]),
    )
