"""What a customer is drawn to now: decayed weights of the brands (or categories) met, in a sketch of bounded size.

Space-saving (Metwally, Agrawal and El Abbadi 2005) over weights that decay exponentially. Let `total` be the decayed weight
of all that was added, and `capacity` the most items held. For every item held, at any moment,

    true weight <= weight <= true weight + error,   error <= total / capacity

and an item whose true weight is above total / capacity is held. An event that is older than the sketch's moment joins with
the weight that is left of it, so items that were never put out do not depend on the order of events.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import NamedTuple

KINDS = ("click", "favourite", "cart", "purchase")
"""What a customer does with a brand, from the least telling to the most."""

WEIGHTS: Mapping[str, float] = {"click": 1.0, "favourite": 4.0, "cart": 4.0, "purchase": 4.0}
"""What one event of a kind adds. Set beforehand and in round numbers, not fitted to any data set."""

HALF_LIFE_DAYS = 14.0
CAPACITY = 32


class Drawn(NamedTuple):
    """How much a customer is drawn to one item: `weight` exceeds the truth by at most `error`."""

    weight: float
    error: float


@dataclass(frozen=True)
class Affinities:
    """The sketch of one customer at the moment `as_of_days`, in days since any fixed moment.

    Attributes:
        items: at most `capacity` items with their weights at that moment, in no order.
        total: decayed weight of all that was added, of the items put out too.
        as_of_days: of the latest event, or of a later decay; None before the first.
    """

    capacity: int = CAPACITY
    half_life_days: float = HALF_LIFE_DAYS
    items: Mapping[Hashable, Drawn] = field(default_factory=dict)
    total: float = 0.0
    as_of_days: float | None = None

    def __post_init__(self) -> None:
        if self.capacity < 1 or not self.half_life_days > 0:
            raise ValueError(
                f"capacity must be at least 1 and half_life_days above 0, not {self.capacity} and {self.half_life_days}"
            )

    def decayed(self, at_days: float) -> "Affinities":
        """The same sketch at a later moment; at an earlier one it stays as it is."""
        if self.as_of_days is None or at_days <= self.as_of_days:
            return self
        left = self._left(at_days - self.as_of_days)
        items = {item: Drawn(drawn.weight * left, drawn.error * left) for item, drawn in self.items.items()}
        return replace(self, items=items, total=self.total * left, as_of_days=at_days)

    def added(self, item: Hashable, weight: float, at_days: float) -> "Affinities":
        """The sketch after one more event of this weight.

        Raises:
            ValueError: a weight below 0, or a number that is not finite.
        """
        if not (isfinite(weight) and isfinite(at_days) and weight >= 0):
            raise ValueError(f"weight must be finite and at least 0 and at_days finite, not {weight} and {at_days}")
        now = self.decayed(at_days)
        moment = at_days if now.as_of_days is None else now.as_of_days
        weight *= self._left(moment - at_days)
        items = dict(now.items)
        if item in items or len(items) < self.capacity:
            before = items.get(item, Drawn(0.0, 0.0))
            items[item] = Drawn(before.weight + weight, before.error)
        else:
            least = min(items, key=lambda each: items[each].weight)
            floor = items.pop(least).weight
            items[item] = Drawn(floor + weight, floor)
        return replace(now, items=items, total=now.total + weight, as_of_days=moment)

    def top(self, count: int) -> list[Hashable]:
        """At most `count` items, the heaviest first; of equal weights, the one with the smaller error."""
        return sorted(self.items, key=lambda item: (-self.items[item].weight, self.items[item].error))[:count]

    def weight_of(self, item: Hashable) -> float:
        """Of an item that is not held: 0."""
        drawn = self.items.get(item)
        return 0.0 if drawn is None else drawn.weight

    def _left(self, days: float) -> float:
        return float(0.5 ** (days / self.half_life_days))
