"""The features: each declared once, with the formula that computes it from a customer's numbers.

docs/features.md, the matrix (`models.features`), the words of a change and the export follow from `FEATURES`. Heavy tails
are taken as log(1 + x); "days" are event time. A decayed sum needs no line here: it has a feature by its declaration in
`schemas.states`.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from models.columns import HALF_LIFE, HALF_LIVES, LANDMARK, RATES, ROW, TEXT_AT, FloatArray
from models.season import USUAL, Season
from schemas.numbers import Decays
from schemas.states import GROUPS, TEXT_DIM
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
        row: FloatArray = self._c[TEXT_AT + component] * self.once(_text_scale)
        return row

    def texts(self) -> FloatArray:
        """All of them, (TEXT_DIM, ...)."""
        rows: FloatArray = self._c[TEXT_AT:] * self.once(_text_scale)
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
                self._kept["elapsed"] = self._c[LANDMARK] - self._now
            factor: FloatArray = np.exp2(self._kept["elapsed"] * RATES[HALF_LIVES.index(days)])
            self._factors[days] = factor
        return self._factors[days]


Formula = Callable[[Numbers], FloatArray]


class Feature(NamedTuple):
    """One column.

    Attributes:
        name: of the column.
        meaning: what it is; part of `FEATURE_SET`, so another meaning is another list.
        formula: computes it, the logarithm apart.
        words: what a person calls it.
        passes: time alone changes it.
        actionable: something a shop or a customer can change.
        note: what the meaning leaves to be asked; no part of `FEATURE_SET`.
        log: log(1 + x) is taken of what the formula gives.
        most: no more than this, after the logarithm.
        decayed: a decayed sum, whose name ends with its half-life.
    """

    name: str
    meaning: str
    formula: Formula
    words: str
    passes: bool = False
    actionable: bool = False
    note: str = ""
    log: bool = True
    most: float | None = None
    decayed: bool = False


# --- what several features share


def _bought(n: Numbers) -> FloatArray:
    return np.minimum(n["purchases"], 1.0)


def _purchases(n: Numbers) -> FloatArray:
    return np.maximum(n["purchases"], 1.0)


def _gaps(n: Numbers) -> FloatArray:
    return np.maximum(n["purchases"] - 1.0, 1.0)


def _span_days(n: Numbers) -> FloatArray:
    span: FloatArray = (n["last_purchase_at"] - n["first_purchase_at"]) * n.once(_bought) / DAY_S
    return span


def _gap_days(n: Numbers) -> FloatArray:
    return n.once(_span_days) / n.once(_gaps)


def _recency_days(n: Numbers) -> FloatArray:
    return n.since("last_purchase_at") * n.once(_bought) / DAY_S


def _spend(n: Numbers) -> FloatArray:
    return n["spend_minor"] * n.money


def _weight(n: Numbers) -> FloatArray:
    return n.decayed("weight_60d")


def _text_weight(n: Numbers) -> FloatArray:
    weight = n.once(_weight)
    return weight / (1.0 + weight)


def _mean_of_texts(n: Numbers) -> FloatArray:
    # A weight that has decayed away leaves nothing to divide by; its mean is then as good as none.
    weight = n.once(_weight)
    return np.where(weight > 1e-12, n.once(_text_weight) / np.maximum(weight, 1e-12), 0.0)


def _text_scale(n: Numbers) -> FloatArray:
    return n.text_factor() * n.once(_mean_of_texts)


# --- formulas that are no single expression


def _gap_variation(n: Numbers) -> FloatArray:
    gap = n.once(_gap_days)
    variance = np.maximum(n["gap_days_squared"] / n.once(_gaps) - gap * gap, 0.0)
    varied: FloatArray = np.minimum(np.sqrt(variance) / np.maximum(gap, 1e-9), 3.0) * (n["purchases"] >= 3)
    return varied


def _refunded_share(n: Numbers) -> FloatArray:
    share = np.minimum(n["refunded_minor"] / np.maximum(n["spend_minor"], 1.0), 1.0)
    return share * n.once(_bought)


def _overdue(n: Numbers) -> FloatArray:
    return np.where(n["purchases"] >= 2, n.once(_recency_days) / np.maximum(n.once(_gap_days), 1.0), 0.0)


def _rating(n: Numbers) -> FloatArray:
    ratings = n["ratings"]
    return (n["rating_sum"] - 3.0 * ratings) / (ratings + 1.0)


def _cart_rate(n: Numbers) -> FloatArray:
    return np.minimum(n.decayed("carts_14d") / (1.0 + n.decayed("views_14d")), 10.0)


def _text_days(n: Numbers) -> FloatArray:
    return n.since("last_text_at") * np.minimum(n["reviews"] + n["supports"], 1.0) / DAY_S


def _decayed(group: str) -> tuple[Feature, ...]:
    """The features of a group's decayed sums, by their declarations."""
    flows = [(n.name, n.rule.flow) for n in GROUPS[group] if isinstance(n.rule, Decays) and n.rule.flow.meaning]
    return tuple(
        Feature(
            name,
            f"log(1 + decayed {flow.meaning})",
            _of_sum(name, flow.money),
            flow.words,
            passes=True,
            actionable=flow.actionable,
            decayed=True,
        )
        for name, flow in flows
    )


def _of_sum(name: str, money: bool) -> Formula:
    if money:
        return lambda n: n.decayed(name) * n.money
    return lambda n: n.decayed(name)


def _of_text(component: int) -> Formula:
    return lambda n: n.text(component)


FEATURES: tuple[Feature, ...] = (
    # --- recency, frequency, monetary
    Feature(
        "known_days",
        "log(1 + days since the first event)",
        lambda n: n.since("first") / DAY_S,
        "days since first seen",
        passes=True,
    ),
    Feature(
        "quiet_days",
        "log(1 + days since the latest event of any kind)",
        lambda n: n.since("last") / DAY_S,
        "days since last heard of",
        passes=True,
    ),
    Feature("bought", "1 if there was a purchase, else 0", lambda n: n.once(_bought), "has bought", log=False),
    Feature("purchases", "log(1 + number of purchases)", lambda n: n["purchases"], "purchases", actionable=True),
    Feature(
        "recency_days",
        "log(1 + days since the last purchase); 0 if there was none",
        lambda n: n.once(_recency_days),
        "days since the last purchase",
        passes=True,
    ),
    Feature(
        "customer_days",
        "log(1 + days since the first purchase); 0 if there was none",
        lambda n: n.since("first_purchase_at") * n.once(_bought) / DAY_S,
        "days since the first purchase",
        passes=True,
    ),
    Feature(
        "repeat_span_days",
        "log(1 + days from the first to the last purchase)",
        lambda n: n.once(_span_days),
        "days from first to last purchase",
    ),
    Feature(
        "monetary",
        "log(1 + mean purchase, in units of currency)",
        lambda n: n.once(_spend) / n.once(_purchases),
        "mean purchase",
        actionable=True,
    ),
    Feature("spend", "log(1 + gross spend)", lambda n: n.once(_spend), "spend so far", actionable=True),
    Feature(
        "last_amount",
        "log(1 + amount of the last purchase)",
        lambda n: n["last_amount_minor"] * n.money,
        "last purchase",
    ),
    Feature(
        "largest_amount",
        "log(1 + largest purchase)",
        lambda n: n["largest_amount_minor"] * n.money,
        "largest purchase",
    ),
    # --- rhythm
    Feature(
        "gap_days",
        "log(1 + mean days between purchases); 0 below two purchases",
        lambda n: n.once(_gap_days) * (n["purchases"] >= 2),
        "days between purchases",
    ),
    Feature(
        "gap_variation",
        "coefficient of variation of the days between purchases, at most 3; 0 below three purchases",
        _gap_variation,
        "irregularity of purchases",
        note="the gap before a purchase that came late, after newer ones, is left out of the variation",
        log=False,
    ),
    Feature(
        "overdue",
        "log(1 + days since the last purchase / mean gap), at most 5; 0 below two purchases",
        _overdue,
        "overdue (times the usual gap)",
        passes=True,
        note="a mean gap below one day counts as one day",
        most=5.0,
    ),
    # --- refunds, basket, discounts
    Feature("refunds", "log(1 + number of refunds)", lambda n: n["refunds"], "refunds", actionable=True),
    Feature(
        "refunded_share",
        "refunded / gross spend, at most 1; 0 without spend",
        _refunded_share,
        "share refunded",
        actionable=True,
        log=False,
    ),
    Feature(
        "basket_units",
        "log(1 + units a purchase); 0 where baskets are not sent",
        lambda n: n["units"] / n.once(_purchases),
        "units a purchase",
    ),
    Feature(
        "basket_lines",
        "log(1 + lines a purchase); 0 where baskets are not sent",
        lambda n: n["lines"] / n.once(_purchases),
        "lines a purchase",
    ),
    Feature(
        "coupon_share",
        "share of purchases with a coupon",
        lambda n: n["coupons"] / n.once(_purchases),
        "share bought with a coupon",
        log=False,
    ),
    # --- decayed purchases; the number is the half-life in days
    *_decayed("spending"),
    # --- sessions and funnel
    Feature("clicks", "log(1 + number of clickstream events)", lambda n: n["clicks"], "clicks"),
    Feature("sessions", "log(1 + number of sessions)", lambda n: n["sessions"], "sessions"),
    Feature(
        "session_clicks",
        "log(1 + events in the latest session)",
        lambda n: n["session_clicks"],
        "clicks in the latest session",
    ),
    Feature(
        "click_days",
        "log(1 + days since the latest click); 0 if there was none",
        lambda n: n.since("last_click_at") * np.minimum(n["clicks"], 1.0) / DAY_S,
        "days since the latest click",
        passes=True,
    ),
    *_decayed("browsing"),
    Feature(
        "cart_rate",
        "decayed (14 days) additions to the cart / (1 + decayed views), at most 10",
        _cart_rate,
        "cart additions a view",
        passes=True,
        log=False,
    ),
    # --- the year
    Feature(
        "season_30d",
        "log(1 + by what share the next 30 days bring more than average ones, by the policy's season)",
        lambda n: n.season(0),
        "season of the next 30 days",
        passes=True,
        log=False,
    ),
    Feature(
        "season_90d",
        "log(1 + by what share the next 90 days bring more than average ones, by the policy's season)",
        lambda n: n.season(1),
        "season of the next 90 days",
        passes=True,
        log=False,
    ),
    # --- what they write
    Feature("reviews", "log(1 + number of reviews)", lambda n: n["reviews"], "reviews"),
    Feature(
        "supports",
        "log(1 + number of support texts)",
        lambda n: n["supports"],
        "messages to support",
        actionable=True,
    ),
    Feature(
        "rating",
        "mean rating less 3, shrunk: (sum - 3 n) / (n + 1); 0 without ratings",
        _rating,
        "mean rating (against 3)",
        actionable=True,
        log=False,
    ),
    Feature(
        "text_days",
        "log(1 + days since the latest review or support text); 0 if there was none",
        _text_days,
        "days since the latest text",
        passes=True,
    ),
    Feature(
        "text_weight",
        "decayed (60 days) number of texts read, w / (1 + w)",
        lambda n: n.once(_text_weight),
        "weight of texts read",
        passes=True,
        log=False,
    ),
    Feature(
        "sentiment",
        "decayed mean sentiment in [-1, 1], shrunk by w / (1 + w) of the texts read",
        lambda n: n.decayed("sentiment_60d") * n.once(_mean_of_texts),
        "sentiment of texts",
        passes=True,
        actionable=True,
        log=False,
    ),
    *(
        Feature(
            f"text_{i}",
            f"component {i} of the decayed mean of projected text vectors, shrunk by w / (1 + w)",
            _of_text(i),
            "",
            passes=True,
            log=False,
        )
        for i in range(TEXT_DIM)
    ),
)
