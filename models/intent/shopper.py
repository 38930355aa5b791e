"""One customer over many visits, in bounded memory: what they did with brands, as numbers that foretell a purchase.

Each feature belongs to a group, the part of its name before the colon: `purchases` (and how long the customer has been
known), `clicks`, `marks` (favourites and carts) and `brands` (which brands the events were for). Counts are decayed: an
event counts half after its half-life.
"""

from math import log, log1p

import numpy as np
from numpy.typing import NDArray

from models.affinities import KINDS, WEIGHTS, Affinities

GROUPS = ("purchases", "clicks", "marks", "brands")

HALF_LIVES_DAYS = (1.0, 4.0, 14.0, 45.0)
"""The days give no hour, so the shortest is a day."""

_CLICK, _FAVOURITE, _CART, _PURCHASE = range(len(KINDS))
# Decayed counts: events by kind; days with any event; days with a purchase; events for brands that were not held then;
# clicks for brands bought before.
_DAYS, _PURCHASE_DAYS, _NEW, _AGAIN = range(len(KINDS), len(KINDS) + 4)
_COUNTS = len(KINDS) + 4
_LONG_HALF_LIFE_DAYS = 90.0
# A count of somebody known for a week is not that of somebody known for months: it is divided by the share of decayed days
# seen. Without more days the first click of all would count as a habit.
_PRIOR_DAYS = 7
# Days since something that never was count as so many; more days count as so many too.
_LONGEST_DAYS = 400


class Shopper:
    """What is kept of one customer. Days are whole numbers that never go back.

    Attributes:
        affinities: the brands that the customer is drawn to.
        first_day: of any event.
        purchase_days: days with a purchase.
        first_purchase_day: None before the first.
        last_purchase_day: None before the first.
    """

    def __init__(self, first_day: int) -> None:
        self.first_day = first_day
        self.affinities = Affinities()
        self.purchase_days = 0
        self.first_purchase_day: int | None = None
        self.last_purchase_day: int | None = None
        self._bought = Affinities(half_life_days=_LONG_HALF_LIFE_DAYS)
        self._counts = np.zeros((_COUNTS, len(HALF_LIVES_DAYS)))
        self._as_of = first_day
        self._last: list[int | None] = [None] * len(KINDS)
        self._since_purchase = 0
        self._active_day: int | None = None

    def observe(self, day: int, kind: int, brand: int) -> None:
        """Takes one event; `kind` is a place in `KINDS`."""
        self._counts *= self._left(day - self._as_of)[None, :]
        self._as_of = day
        counts = self._counts
        counts[kind] += 1.0
        if self._active_day != day:
            counts[_DAYS] += 1.0
            self._active_day = day
        if brand not in self.affinities.items:
            counts[_NEW] += 1.0
        if kind == _CLICK and brand in self._bought.items:
            counts[_AGAIN] += 1.0
        if kind == _PURCHASE:
            if self.last_purchase_day != day:
                self.purchase_days += 1
                counts[_PURCHASE_DAYS] += 1.0
            if self.first_purchase_day is None:
                self.first_purchase_day = day
            self.last_purchase_day, self._since_purchase = day, 0
            self._bought = self._bought.added(brand, 1.0, day)
        else:
            self._since_purchase += 1
        self._last[kind] = day
        self.affinities = self.affinities.added(brand, WEIGHTS[KINDS[kind]], day)

    def features(self, day: int) -> dict[str, float]:
        """As of the beginning of `day`, which is after every event taken; all are finite, and about 1 in size."""
        counts = self._counts * (self._left(day - self._as_of) / self._seen(day))[None, :]
        found = {"purchases: known": log1p(day - self.first_day)}
        for place, group, name in (
            (_PURCHASE, "purchases", "purchases"), (_PURCHASE_DAYS, "purchases", "purchase days"),
            (_CLICK, "clicks", "clicks"), (_DAYS, "clicks", "days"),
            (_FAVOURITE, "marks", "favourites"), (_CART, "marks", "carts"),
            (_NEW, "brands", "new"), (_AGAIN, "brands", "bought before"),
        ):  # fmt: skip
            for half_life_days, count in zip(HALF_LIVES_DAYS, counts[place].tolist(), strict=True):
                found[f"{group}: {name}, {half_life_days:g} d"] = log1p(count)
        for kind, group in enumerate(("clicks", "marks", "marks", "purchases")):
            found[f"{group}: since {KINDS[kind]}"] = _since(day, self._last[kind])
        known_days = day - self.first_day
        found["purchases: rate"] = log((self.purchase_days + 0.5) / (known_days + 14.0))
        # The silence against the mean time between purchases.
        silent_days = 0 if self.last_purchase_day is None else day - self.last_purchase_day
        found["purchases: overdue"] = log1p(silent_days * self.purchase_days / max(known_days, 1))
        found["purchases: any"] = float(self.purchase_days > 0)
        found["clicks: since purchase"] = log1p(self._since_purchase)
        return found | self._of_brands(day)

    def _of_brands(self, day: int) -> dict[str, float]:
        now, bought = self.affinities.decayed(day), self._bought.items
        weights = {brand: drawn.weight for brand, drawn in now.items.items()}
        total = max(now.total, 1e-9)
        open_weights = [weight for brand, weight in weights.items() if brand not in bought]
        return {
            "brands: heaviest": log1p(max(weights.values(), default=0.0)),
            "brands: heaviest not bought": log1p(max(open_weights, default=0.0)),
            "brands: share of the heaviest": max(weights.values(), default=0.0) / total,
            "brands: breadth": log1p(sum(weight > 1.0 for weight in weights.values())),
            "brands: share bought": 1.0 - sum(open_weights) / max(sum(weights.values()), 1e-9),
        }

    def _seen(self, day: int) -> NDArray[np.float64]:
        """Share of the decayed days that the customer has been known for, as if for a week more than that."""
        seen: NDArray[np.float64] = 1.0 - self._left(day - self.first_day + _PRIOR_DAYS)
        return seen

    @staticmethod
    def _left(days: int) -> NDArray[np.float64]:
        left: NDArray[np.float64] = 0.5 ** (days / np.array(HALF_LIVES_DAYS))
        return left


def _since(day: int, last: int | None) -> float:
    return log1p(_LONGEST_DAYS if last is None else min(day - last, _LONGEST_DAYS))
