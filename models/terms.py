"""What goes into the step and what comes out: customers with what was heard of them, terms; outcomes with their moves."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from models.decisions.board import CampaignTerms
from models.policy import Rules
from models.scores import Scorer
from models.state import Erasure, Reading
from schemas.actions import Action
from schemas.campaigns import MaturedReward
from schemas.changes import Cause, Contribution, Counterfactual
from schemas.events import Event
from schemas.learning import Label
from schemas.states import NEVER, CustomerState, Promise
from schemas.stored import decode_state, encode_state


class Heard(NamedTuple):
    """One event of a customer."""

    topic: int  # models.state.CLICK, PURCHASE, REVIEW
    topic_name: str
    partition: int
    offset: int  # a position (schemas.positions): the offset, counted on where the topic was made anew
    at: float  # event time, epoch seconds
    event: Event
    reading: Reading | None = None


class Customer(NamedTuple):
    """A customer's state and what was heard since.

    An erasure beside events takes those along that come before it in its topic or aren't later than its moment; the
    others come after it. `value` is the state as it is stored, where it hasn't been decoded: `state` is None then.
    """

    customer_id: str
    state: CustomerState | None
    due: float  # as stored with the state
    heard: Sequence[Heard]
    erasure: Erasure | None = None
    value: bytes | None = None  # `due` is read from it, too


class Terms(NamedTuple):
    """What customers are judged by, and until when."""

    rules: Rules
    scorer: Scorer
    horizon: float  # silence counts up to here: partition time, epoch seconds
    purchases_known: float = NEVER  # event time up to which purchases have been read; `NEVER`: all there are
    ruled_at: float = -NEVER  # since when the rules count; whoever was judged later, by others, is judged anew then
    pseudonym: Callable[[str], str] = str  # names the customer in labels
    latest: float = NEVER  # nobody can have been judged later, unless by a clock that was wrong
    campaigns: CampaignTerms | None = None  # None: no campaign decides, and no reward matures


class Move(NamedTuple):
    """One change of segment."""

    sequence: int
    dimension: str
    previous: str | None
    current: str
    at: float
    cause: Cause
    scores: tuple[float, ...]
    reasons: tuple[Contribution, ...] = ()
    counterfactual: Counterfactual | None = None
    promise: Promise | None = None  # what happens next, as of this move
    baseline: float | None = None  # where the reasons start from
    features: bytes = b""  # as of this move, as `models.features.halved` stores them; only where a campaign decides


class Decision(NamedTuple):
    """What a campaign decided about a customer at `at`; `cost_minor` is spent of its budget."""

    action: Action
    at: float
    cost_minor: int


class Outcome:
    """What became of one customer.

    Attributes:
        customer: as it was given.
        due: when the state must be looked at again.
        moves, labels: in their order.
        decisions, rewards: of campaigns, in their order.
        repeated: events whose id was seen before.
        replayed: events that the state holds already.
        void: events from before an erasure.
        erased: everything of before is gone, and `state` begins anew.
        was_there, is_there: whether somebody was known before, and is now; nobody is in a remainder.
        shows: a standing is due: they moved, something other than clicks was heard, or something else comes next. A
            click that only delays what comes next is no reason: the standing says as of when it was promised.
    """

    # Most customers have none of these: what isn't set costs nothing.
    moves: tuple[Move, ...] = ()
    labels: tuple[Label, ...] = ()
    decisions: tuple[Decision, ...] = ()
    rewards: tuple[MaturedReward, ...] = ()
    repeated: tuple[Heard, ...] = ()
    replayed: tuple[Heard, ...] = ()
    void: tuple[Heard, ...] = ()
    erased = False
    was_there = is_there = shows = True

    def __init__(self, customer: Customer, due: float, state: CustomerState | None, value: bytes | None = None) -> None:
        """Args: state, value: as they are now, one or the other; both None: nothing changed."""
        self.customer, self.due = customer, due
        self._state, self._value = state, value

    @property
    def state(self) -> CustomerState | None:
        """The state now; None: nothing changed."""
        if self._state is None and self._value is not None:
            self._state = decode_state(self._value)
        return self._state

    def set_value(self, value: bytes) -> None:
        """The state is as `value` stores it."""
        self._state, self._value = None, value

    @property
    def value(self) -> bytes | None:
        """The state now, as it is stored."""
        if self._value is None and self._state is not None:
            self._value = encode_state(self._state, self.due)
        return self._value
