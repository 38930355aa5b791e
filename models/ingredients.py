"""What formulas are made of: a customer's numbers as of a moment, and what several features share, computed once."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from models.columns import HALF_LIFE, HALF_LIVES, LANDMARK, LAST, RATES, ROW, TEXT_AT, FloatArray
from models.season import USUAL, Season
from schemas.times import DAY_S


class Shop(NamedTuple):
    """What features know of the shop.

    Attributes:
        unit_minor: minor units in a unit of the currency (100 pence a pound).
        season: its year.
    """

    unit_minor: int = 100
    season: Season = USUAL


class Numbers:
    """Customers' numbers at moments, as formulas read them; what several formulas share is computed once.

    Args:
        c: `models.columns.columns`, (WIDTH, n) or (WIDTH, n, 1).
        now: epoch seconds, (n,) or (n, g).
        shop: of which they are customers.
    """

    def __init__(self, c: FloatArray, now: FloatArray, shop: Shop) -> None:
        self._c, self._now, self._season = c, now, shop.season
        self.money = 1.0 / shop.unit_minor
        self._kept: dict[str, FloatArray] = {}
        self._factors: dict[float, FloatArray] = {}

    def __getitem__(self, name: str) -> FloatArray:
        """A number of the state."""
        row: FloatArray = self._c[ROW[name]]
        return row

    def once(self, formula: Callable[["Numbers"], FloatArray]) -> FloatArray:
        """What `formula` gives, kept under its name."""
        name = formula.__name__
        if name not in self._kept:
            self._kept[name] = formula(self)
        return self._kept[name]

    def decayed(self, name: str) -> FloatArray:
        """A decayed sum as of now."""
        row: FloatArray = self._c[ROW[name]] * self._factor(HALF_LIFE[name])
        return row

    def text(self, component: int) -> FloatArray:
        """A component of the decayed mean of text vectors."""
        row: FloatArray = self._c[TEXT_AT + component] * self.once(text_scale)
        return row

    def texts(self) -> FloatArray:
        """All of them, (TEXT_DIM, ...)."""
        rows: FloatArray = self._c[TEXT_AT:] * self.once(text_scale)
        return rows

    def text_factor(self) -> FloatArray:
        """How much of the sums over texts is left."""
        return self._factor(HALF_LIFE["text_60d"])

    def season(self, horizon: int) -> FloatArray:
        """Logs of the season's index over the next 30 (0) or 90 (1) days."""
        if "season" not in self._kept:
            self._kept["season"] = self._season.ahead(self._now)
        ahead: FloatArray = self._kept["season"][horizon]
        return ahead

    def since(self, name: str) -> FloatArray:
        """Seconds since a moment that the state holds; 0 before it."""
        return np.maximum(self._now - self[name], 0.0)

    def _factor(self, days: float) -> FloatArray:
        if days not in self._factors:
            if "elapsed" not in self._kept:
                # A moment of silence that is judged late lies before clicks that are known by now. They count as they
                # stand: further back they would grow without bound.
                self._kept["elapsed"] = self._c[LANDMARK] - np.maximum(self._now, self._c[LAST])
            factor: FloatArray = np.exp2(self._kept["elapsed"] * RATES[HALF_LIVES.index(days)])
            self._factors[days] = factor
        return self._factors[days]


def has_bought(n: Numbers) -> FloatArray:
    """1 who has bought, else 0."""
    return np.minimum(n["purchases"], 1.0)


def purchases_or_one(n: Numbers) -> FloatArray:
    """Purchases, at least 1: to divide by."""
    return np.maximum(n["purchases"], 1.0)


def gaps_or_one(n: Numbers) -> FloatArray:
    """Gaps between purchases, at least 1: to divide by."""
    return np.maximum(n["purchases"] - 1.0, 1.0)


def span_days(n: Numbers) -> FloatArray:
    """Days from the first to the last purchase."""
    span: FloatArray = (n["last_purchase_at"] - n["first_purchase_at"]) * n.once(has_bought) / DAY_S
    return span


def gap_days(n: Numbers) -> FloatArray:
    """Mean days between purchases."""
    return n.once(span_days) / n.once(gaps_or_one)


def recency_days(n: Numbers) -> FloatArray:
    """Days since the last purchase; 0 of who never bought."""
    return n.since("last_purchase_at") * n.once(has_bought) / DAY_S


def gross_spend(n: Numbers) -> FloatArray:
    """Gross spend, units of currency."""
    return n["spend_minor"] * n.money


def weight_of_texts(n: Numbers) -> FloatArray:
    """Decayed number of texts read."""
    return n.decayed("weight_60d")


def share_of_texts(n: Numbers) -> FloatArray:
    """How much texts count: w / (1 + w)."""
    weight = n.once(weight_of_texts)
    return weight / (1.0 + weight)


def mean_of_texts(n: Numbers) -> FloatArray:
    """What makes of a decayed sum over texts their shrunk mean."""
    # A weight that has decayed away leaves nothing to divide by; its mean is then as good as none.
    weight = n.once(weight_of_texts)
    return np.where(weight > 1e-12, n.once(share_of_texts) / np.maximum(weight, 1e-12), 0.0)


def text_scale(n: Numbers) -> FloatArray:
    """The same, of a sum as of the landmark."""
    return n.text_factor() * n.once(mean_of_texts)
