"""Customers of one partition under campaigns, stepped without Kafka."""

from collections.abc import Mapping, Sequence

from histories import START_S, purchase
from models.deciding import after_decisions
from models.decisions.board import Board, CampaignTerms
from models.decisions.campaign import parse
from models.decisions.ledger import Ledger
from models.dispatch import advance_stored
from models.policy import Rules, load
from models.scores import PriorScorer
from models.state import Erasure
from models.step import Customer, Heard, Outcome, Terms
from schemas.actions import encode_action
from schemas.campaigns import encode_reward
from schemas.states import NEVER
from schemas.stored import due_of
from schemas.times import DAY_S

RULES = Rules(load())
CONSENT = {"email": True}


def document(
    name: str = "win-back", to: str = "at_risk", limits: str = "{}", holdout: float = 0.0, shares: str = ""
) -> str:
    """A campaign with one coupon."""
    choose = f"{{by: fixed, shares: {shares}}}" if shares else "{by: bandit, floor: 0.05}"
    return (
        f"campaign: {name}\nversion: '1'\nwhen: {{dimension: lifecycle, to: {to}}}\n"
        "arms: [{name: coupon, channel: email, cost: 3.00}]\nreward: {target: spend, days: 14}\n"
        f"choose: {choose}\nlimits: {limits}\nholdout: {holdout}\nconsent: email\n"
    )


ALWAYS = "{coupon: 1.0}"


class Shelf:
    """Stored states of one partition, stepped under campaigns."""

    def __init__(self, *documents: str, least: int = 10**9) -> None:
        self.terms = CampaignTerms(Board(map(parse, documents)), Ledger(), CONSENT)
        self.values: dict[str, bytes] = {}
        self.least, self.rules, self.ruled_at = least, RULES, -NEVER
        self.actions: list[bytes] = []
        self.rewards: list[bytes] = []

    def step(
        self, heard: Mapping[str, Sequence[Heard]], horizon: float, erasures: dict[str, Erasure] | None = None
    ) -> list[Outcome]:
        """The outcomes of some customers; their states, and the ledger, are kept."""
        customers = [
            Customer(name, None, NEVER, events, (erasures or {}).get(name), self.values.get(name))
            for name, events in heard.items()
        ]
        terms = Terms(self.rules, PriorScorer(), horizon, ruled_at=self.ruled_at, campaigns=self.terms)
        (outcomes,) = advance_stored([(customers, terms)], self.least)
        for outcome in outcomes:
            if outcome.value is not None:
                self.values[outcome.customer.customer_id] = outcome.value
                assert due_of(outcome.value) == outcome.due
            self.actions += [encode_action(each.action) for each in outcome.decisions]
            self.rewards += map(encode_reward, outcome.rewards)
        self.terms = after_decisions(self.terms, outcomes)
        return outcomes


def bought_and_gone(shelf: Shelf, name: str = "c1", at: float = START_S) -> Outcome:
    """A customer who bought once, and whom silence made at risk, with what became of them then."""
    shelf.step({name: [purchase(int(at), at)]}, at)
    (outcome,) = shelf.step({name: []}, at + 31 * DAY_S)
    return outcome
