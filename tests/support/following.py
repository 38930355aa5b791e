"""One customer followed through the pure step, as the worker would take them."""

from histories import START_S
from models.policy import Rules, load
from models.scores import PriorScorer
from models.state import Erasure
from models.step import Customer, Heard, Move, Outcome, Terms, step
from schemas.learning import Label
from schemas.states import NEVER, CustomerState
from schemas.times import DAY_S

RULES = Rules(load())
TERMS = Terms(RULES, PriorScorer(), horizon=-NEVER)
LONG_AFTER = START_S + 2000 * DAY_S


class Follower:
    """One customer, taken step by step as the worker would."""

    def __init__(self, terms: Terms = TERMS) -> None:
        self.terms = terms
        self.state: CustomerState | None = None
        self.due = NEVER
        self.moves: list[Move] = []
        self.labels: list[Label] = []

    def take(self, heard: list[Heard], horizon: float = -NEVER, erasure: Erasure | None = None) -> Outcome:
        """Applies what was heard, and an erasure; then silence until `horizon`."""
        customer = Customer("someone", self.state, self.due, heard, erasure)
        outcome = step(customer, self.terms._replace(horizon=horizon))
        if outcome.state is not None:
            self.state, self.due = outcome.state, outcome.due
        self.moves += outcome.moves
        self.labels += outcome.labels
        return outcome


def followed(parts: list[list[Heard]], horizon: float = LONG_AFTER, terms: Terms = TERMS) -> Follower:
    """The customer after each part in turn and silence until `horizon`."""
    follower = Follower(terms)
    for part in parts:
        follower.take(part)
    follower.take([], horizon)
    return follower
