"""A shadow policy judges the same customers as the served policy, on live traffic. It is compared with it and moves nobody.

It places a customer whenever the served policy has judged them, by the same scores. In silence it places them at each bound
on the days since a purchase. At first it takes a customer's segment under the served policy, as a sweep would if the shadow
were published; then it goes on with its own margins and dwells.

Its places are in memory alone, by partition: after a restart or a rebalance it starts again.
"""

import heapq
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from models.features import counted, rows
from models.policy import Rules
from models.state import PURCHASE
from models.step import Outcome, anew_at
from schemas.states import NEVER, CustomerState, Held

# At most so many places change by silence at one call: the worker calls four times a second, and so many take 5 ms.
AT_ONCE = 500

Pair = tuple[str, str, str]  # dimension, segment in the served policy ("": it has no such dimension), in the shadow


class Comparison(NamedTuple):
    """Segments of the customers that a shadow has seen, under the served policy and under the shadow."""

    policy: str
    customers: int  # seen since the shadow was set
    elsewhere: int  # of them, who would stand elsewhere in one dimension or more that the served policy has too
    pairs: dict[Pair, int]  # customers, also of those who stand alike


class _Place(NamedTuple):
    """A customer's segments under the served policy and under the shadow, in the order of the shadow's dimensions."""

    live: tuple[str, ...]
    own: tuple[Held, ...]
    bought_at: float | None
    crosses_at: float

    @property
    def differs(self) -> bool:
        return any(live and held.segment != live for held, live in zip(self.own, self.live, strict=True))


class _Part:
    """The customers of one partition."""

    def __init__(self) -> None:
        self.places: dict[str, _Place] = {}
        self.due: list[tuple[float, str]] = []
        self.pairs: Counter[Pair] = Counter()
        self.elsewhere = 0


class Shadow:
    """See the module. Without a shadow it costs nothing: the job asks once per chunk whether there is one."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self._parts: dict[int, _Part] = {}

    def see(self, partition: int, outcomes: Sequence[Outcome]) -> None:
        """Places the customers whom the served policy has just judged."""
        for outcome in outcomes:
            if outcome.erased and partition in self._parts:
                self._leave(self._parts[partition], outcome.customer.customer_id)
        changed = [
            (outcome, outcome.state)
            for outcome in outcomes
            if outcome.state is not None and not outcome.state.is_erased
        ]
        if not changed:
            return
        part = self._parts.setdefault(partition, _Part())
        moments = [anew_at(state, state.as_of) for _, state in changed]
        numbers = self._numbers([state for _, state in changed], [at for _, at in moments])
        for (outcome, state), (timed_at, at), own in zip(changed, moments, numbers, strict=True):
            looked = self._is_look(outcome, state, at)
            # As in the step: a purchase is news, and no dwell holds it back.
            bought = any(heard.topic == PURCHASE for heard in outcome.customer.heard)
            self._place(part, outcome.customer.customer_id, state, timed_at, at, own, looked, bought)

    def reach(self, partition: int, now: float) -> None:
        """Partition time is `now`: silence moves the customers who crossed a bound before it, at most `AT_ONCE`."""
        part = self._parts.get(partition)
        if part is None:
            return
        for _ in range(AT_ONCE):
            if not part.due or part.due[0][0] >= now:
                return
            at, customer_id = heapq.heappop(part.due)
            place = part.places.get(customer_id)
            if place is None or place.crosses_at != at or place.bought_at is None:
                continue  # placed anew since, or erased
            days = self.rules.days_since(place.bought_at, at)
            own = tuple(
                _held(ruling.place(days, held, at), held, at) if ruling.score is None else held
                for ruling, held in zip(self.rules.rulings, place.own, strict=True)
            )
            crosses_at = self.rules.crossing_after(place.bought_at, at)
            self._put(part, customer_id, place._replace(own=own, crosses_at=crosses_at))

    def forget(self, partition: int) -> None:
        """Another worker owns the partition now."""
        self._parts.pop(partition, None)

    def comparison(self) -> Comparison:
        """The comparison as of now, over all partitions."""
        pairs: Counter[Pair] = Counter()
        for part in self._parts.values():
            pairs.update(part.pairs)
        parts = self._parts.values()
        customers, elsewhere = sum(len(part.places) for part in parts), sum(part.elsewhere for part in parts)
        return Comparison(self.rules.label, customers, elsewhere, {pair: n for pair, n in sorted(pairs.items()) if n})

    def _is_look(self, outcome: Outcome, state: CustomerState, at: float) -> bool:
        """Whether `at` is a moment at which scores are judged: an event, a review, or a move."""
        quiet_s = at - state.last_event_at
        if quiet_s < 0.001 or any(abs(quiet_s - s) < 0.001 for s in self.rules.review_s):
            return True
        # A late event is judged as of the time that had been reached.
        return any(move.at == at for move in outcome.moves) or any(
            heard.at < state.last_event_at for heard in outcome.customer.heard
        )

    def _numbers(self, states: Sequence[CustomerState], at: Sequence[float]) -> list[list[float]]:
        """The numbers that dimensions are cut on: the scores that were served, then the policy's features."""
        scores = [list(state.scores) for state in states]
        if not self.rules.features:
            return scores
        features = counted(rows(states, at, self.rules.shop), self.rules.features).tolist()
        return [own + more for own, more in zip(scores, features, strict=True)]

    def _place(
        self,
        part: _Part,
        customer_id: str,
        state: CustomerState,
        timed_at: float,
        at: float,
        numbers: list[float],
        looked: bool,
        bought: bool,
    ) -> None:
        """Places a customer.

        Without `looked`, dimensions on scores keep the place that they have. `bought`: no dwell holds the customer back.
        """
        before, bought_at = part.places.get(customer_id), state.last_purchase_at
        days = None if bought_at is None else self.rules.days_since(bought_at, timed_at)
        live, own = [], []
        for i, ruling in enumerate(self.rules.rulings):
            stands = state.segments.get(ruling.name)
            live.append("" if stands is None else stands.segment)
            held = stands if before is None else before.own[i]
            if ruling.score is not None and not looked and held is not None and ruling.index(held.segment) >= 0:
                own.append(held)
                continue
            number, moment = (days, timed_at) if ruling.score is None else (numbers[ruling.score], at)
            # A customer who is seen for the first time is judged as by a sweep: no dwell holds them back.
            judged = held if held is None or (before is not None and not bought) else Held(held.segment, -NEVER)
            own.append(_held(ruling.place(number, judged, moment), held, moment))
        crosses_at = NEVER if bought_at is None else self.rules.crossing_after(bought_at, timed_at)
        self._put(part, customer_id, _Place(tuple(live), tuple(own), bought_at, crosses_at))

    def _put(self, part: _Part, customer_id: str, place: _Place) -> None:
        before = part.places.get(customer_id)
        if before is not None:
            self._count(part, before, -1)
        self._count(part, place, 1)
        part.places[customer_id] = place
        if place.crosses_at != NEVER and (before is None or before.crosses_at != place.crosses_at):
            heapq.heappush(part.due, (place.crosses_at, customer_id))
        if len(part.due) > 2 * len(part.places) + 10_000:
            part.due = [(kept.crosses_at, name) for name, kept in part.places.items() if kept.crosses_at != NEVER]
            heapq.heapify(part.due)

    def _leave(self, part: _Part, customer_id: str) -> None:
        place = part.places.pop(customer_id, None)
        if place is not None:
            self._count(part, place, -1)

    def _count(self, part: _Part, place: _Place, sign: int) -> None:
        part.elsewhere += sign * place.differs
        for ruling, live, held in zip(self.rules.rulings, place.live, place.own, strict=True):
            part.pairs[ruling.name, live, held.segment] += sign


def _held(segment: str, held: Held | None, at: float) -> Held:
    return held if held is not None and held.segment == segment else Held(segment, at)
