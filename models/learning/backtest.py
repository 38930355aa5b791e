"""History through the live code, honest about time: the same events, step, labels and learner, without Kafka.

    events before T -> models.step (in batches of a day) -> matured labels -> Learner -> snapshot -> forecasts as of T

A forecast as of T is made before anything at or after T is heard: nothing later can change it. Labels are learnt in the
order of the days in which they matured; a label that matures at T or later isn't learnt by T.
"""

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple, Protocol

import numpy as np

from models.features import FloatArray, rows
from models.learning.contest import Contest, Promotion, WithChallengers
from models.learning.inputs import links
from models.learning.lapsing import lapsing
from models.learning.learner import Judged, Learner
from models.learning.published import published
from models.learning.scoreboard import PREVIOUS
from models.learning.scorer import SnapshotScorer
from models.learning.snapshots import DEFAULT, Snapshot
from models.policy import Rules
from models.scores import Scorer
from models.state import Reading
from models.step import Customer, Heard, Outcome, Terms, advance
from schemas.events import EVENT_OF_TOPIC, INPUT_TOPICS, Event, decode
from schemas.learning import SCORES, Label
from schemas.states import NEVER, CustomerState
from schemas.times import DAY_S

# Customers taken at once; their features stay in the processor's cache.
_WAVE = 1_024
_TOPIC = {name: i for i, name in enumerate(INPUT_TOPICS)}

assert tuple(EVENT_OF_TOPIC) == INPUT_TOPICS


class Record(Protocol):
    """One event as a source gives it (`streams.sources.events.EventRecord`)."""

    @property
    def at_s(self) -> float:
        """Event time, epoch seconds."""
        ...

    @property
    def topic(self) -> str:
        """A name of `INPUT_TOPICS`."""
        ...

    @property
    def key(self) -> bytes:
        """The customer id."""
        ...

    @property
    def value(self) -> bytes:
        """The event, encoded."""
        ...


class Forecasts(NamedTuple):
    """What was expected of every buyer known as of a moment."""

    as_of: float  # epoch seconds
    customer_ids: list[str]  # sorted
    scores: FloatArray  # (n, 4), in the order of schemas.learning.SCORES
    prior: FloatArray  # (n, 4): the same without anything learnt
    intervals: FloatArray  # (n, 2): bounds of the spend in 90 days, see models.learning.intervals
    rivals: Mapping[str, FloatArray]  # (n, 4) each: RFM, BG/NBD, and the version of a month before
    challengers: Mapping[tuple[str, str], FloatArray] = MappingProxyType({})  # (target, name) -> (n,)
    segments: Mapping[str, Sequence[str]] = MappingProxyType({})  # dimension -> (n,) segment held as of the moment
    numbers: Mapping[str, FloatArray] = MappingProxyType({})  # dimension -> (n,) the number that it is cut over
    lapsing: Mapping[str, FloatArray] = MappingProxyType({})  # way to tell -> (n,), `models.learning.lapsing`


class Sale(NamedTuple):
    """One purchase: what a forecast is about."""

    at: float
    customer_id: str
    amount: float  # units of currency


class History:
    """Customers and a learner on their way through history; `hear` and `reach` in event-time order.

    Args:
        rules: what customers are judged by.
        learner: one that has seen nothing.
        prior: what the learner corrects.
        seed: orders the labels that mature between two calls of `reach`: live, they come from several partitions.
        read: what an event's text says; by default no text is read.
        contest: challengers that are judged by, and learn, the same labels; those that it serves take part.
        on_outcome: called with every outcome, a customer's in their order.
        on_judged: called with every block of labels that was judged, and with what is served differently since.

    Attributes:
        sales: every purchase heard, in order.
    """

    def __init__(
        self,
        rules: Rules,
        learner: Learner,
        prior: Scorer,
        seed: int = 0,
        read: Callable[[Event], Reading | None] = lambda _: None,
        contest: Contest | None = None,
        on_outcome: Callable[[Outcome], None] = lambda outcome: None,
        on_judged: Callable[[Judged, Sequence[Promotion]], None] = lambda judged, promotions: None,
    ) -> None:
        self._read, self._on_outcome, self._on_judged = read, on_outcome, on_judged
        self.learner = learner
        self.events = 0
        self.now = -NEVER
        self.first_purchase_at = NEVER
        self.last_purchase_at = -NEVER
        self.sales: list[Sale] = []
        self._random = np.random.default_rng(seed)
        self._rules, self._prior = rules, prior
        self._contest = contest
        self._learnt: SnapshotScorer | None = None
        self._scorer: Scorer = prior
        self._earlier: Scorer = prior
        self._states: dict[str, tuple[CustomerState, float]] = {}
        self._heard: defaultdict[str, list[Heard]] = defaultdict(list)
        self._due: list[tuple[float, str]] = []

    def hear(self, at: float, topic: str, key: bytes, value: bytes) -> None:
        """One record of an input topic, at its event time; never before what was reached.

        Raises:
            Rejected: it is no event.
            ValueError: it lies before the moment reached.
        """
        if at < self.now:
            raise ValueError(f"an event at {at} after {self.now} was reached; history is read in event-time order")
        event = decode(topic, key, value, NEVER)
        heard = Heard(_TOPIC[topic], topic, 0, self.events, at, event, self._read(event))
        self._heard[event.customer_id].append(heard)
        self.events += 1
        if event.type == "purchase":
            self.first_purchase_at = min(self.first_purchase_at, at)
            self.last_purchase_at = max(self.last_purchase_at, at)
            self.sales.append(Sale(at, event.customer_id, event.amount_minor / self._rules.shop.unit_minor))

    def reach(self, at: float) -> None:
        """Time passes up to `at`: events and silence before it are applied, labels that matured are learnt."""
        ids = dict.fromkeys(self._heard)
        while self._due and self._due[0][0] < at:
            due, customer_id = heapq.heappop(self._due)
            if self._states[customer_id][1] == due:
                ids[customer_id] = None
        labels: list[Label] = []
        order = sorted(ids)
        for start in range(0, len(order), _WAVE):
            labels += self._advance(order[start : start + _WAVE], at)
        self._heard.clear()
        self.now = at
        if labels:
            labels.sort(key=lambda label: (label.matured_at, label.label_id))
            for judged in self.learner.learn_many([labels[i] for i in self._random.permutation(len(labels))]):
                self._on_judged(judged, () if self._contest is None else self._contest.take(judged))
            self._learnt = SnapshotScorer(self._snapshot(), self._prior)
            served = () if self._contest is None else self._contest.overriding()
            self._scorer = WithChallengers(self._learnt, served) if served else self._learnt

    def _advance(self, ids: Sequence[str], at: float) -> Iterator[Label]:
        customers = []
        for each in ids:
            state, due = self._states.get(each, (None, NEVER))
            customers.append(Customer(each, state, due, self._heard.get(each, ())))
        for outcome in advance(customers, Terms(self._rules, self._scorer, horizon=at)):
            self._keep(outcome)
            self._on_outcome(outcome)
            yield from map(published, outcome.labels)

    def _keep(self, outcome: Outcome) -> None:
        state = outcome.customer.state if outcome.state is None else outcome.state
        if state is None:
            return
        customer_id = outcome.customer.customer_id
        self._states[customer_id] = (state, outcome.due)
        if outcome.due < NEVER:
            heapq.heappush(self._due, (outcome.due, customer_id))

    def forecasts(self) -> Forecasts:
        """Of everybody who has bought, as of the moment reached."""
        known = sorted(each for each, (state, _) in self._states.items() if state.purchases)
        states = [self._states[each][0] for each in known]
        x = rows(states, [self.now] * len(states), self._rules.shop)
        default = SnapshotScorer(self._snapshot(), self._prior) if self._learnt is None else self._learnt
        # Scores, and behind them the features that dimensions are cut over.
        numbers = self._rules.numbers(default if self._learnt is None else self._scorer).score(x)
        scores = numbers[:, : len(SCORES)]
        rivals = self.learner.rivals(x) | {PREVIOUS: self._earlier.score(x)}
        challengers = {}
        if self._contest is not None and self._contest.challengers:
            prior = links(default.prior(x))
            own = {
                (each.target, each.name): each.forecast(x, prior[:, each.score], default.unit)
                for each in self._contest.challengers
            }
            usual = SnapshotScorer(self.learner.snapshot(), self._prior).score(x)
            challengers = {(target, DEFAULT): usual[:, i] for i, target in enumerate(SCORES)} | own
        return Forecasts(
            self.now, known, scores, self._prior.score(x), default.intervals(scores), rivals, challengers,
            segments={
                ruling.name: [state.segments[ruling.name].segment for state in states] for ruling in self._rules.rulings
            },
            numbers=self._numbers(states, numbers),
            lapsing=lapsing(x, self.learner.habits(x).alive),
        )  # fmt: skip

    def _numbers(self, states: Sequence[CustomerState], numbers: FloatArray) -> dict[str, FloatArray]:
        """Of each dimension, the numbers (n,) that it is cut over, as of the moment reached."""
        rules = self._rules
        days = np.array([rules.days_since(state.last_purchase_at or 0.0, self.now) for state in states])
        return {ruling.name: days if ruling.score is None else numbers[:, ruling.score] for ruling in rules.rulings}

    def _snapshot(self) -> Snapshot:
        snapshot = self.learner.snapshot()
        return snapshot if self._contest is None else replace(snapshot, contest=self._contest.state())

    def turn_month(self) -> None:
        """Remembers what is served now, as the previous version of the forecasts to come."""
        self._earlier = self._prior if self._learnt is None else self._learnt


def forecasts_over(records: Iterable[Record], history: History) -> Iterator[Forecasts]:
    """Drives `history` through records in event-time order, a day at a time; forecasts at each cut-off.

    Cut-offs are the first of each month, 00:00 UTC, from three months after the day of the first purchase.
    """
    tick: float | None = None
    for record in records:
        while tick is not None and tick <= record.at_s:
            history.reach(tick)
            if is_first_of_month(tick):
                if tick >= first_cutoff(history.first_purchase_at):
                    yield history.forecasts()
                history.turn_month()
            tick += DAY_S
        history.hear(record.at_s, record.topic, record.key, record.value)
        if tick is None:
            tick = (record.at_s // DAY_S + 1) * DAY_S


def is_first_of_month(at: float) -> bool:
    """Whether `at` (epoch seconds) is 00:00 UTC of the first day of a month.

    >>> is_first_of_month(31 * DAY_S), is_first_of_month(32 * DAY_S)
    (True, False)
    """
    moment = np.datetime64(int(at), "s")
    return bool(moment == moment.astype("datetime64[M]"))


def first_cutoff(first_purchase_at: float) -> float:
    """Three calendar months after the day of the first purchase, epoch seconds; the month's last day where it is shorter.

    >>> int((first_cutoff(30 * DAY_S + 5) - 30 * DAY_S) // DAY_S)
    89
    """
    if first_purchase_at == NEVER:
        return NEVER
    day = np.datetime64(int(first_purchase_at), "s").astype("datetime64[D]")
    month = day.astype("datetime64[M]")
    start, end = ((month + np.timedelta64(n, "M")).astype("datetime64[D]") for n in (3, 4))
    moment = start + min(day - month.astype("datetime64[D]"), end - start - np.timedelta64(1, "D"))
    return float(moment.astype("datetime64[s]").astype(np.int64))
