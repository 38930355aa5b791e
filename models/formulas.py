"""The features: each declared once, with the formula that computes it from a customer's numbers.

docs/features.md, the matrix (`models.features`), the words of a change and the export follow from `FEATURES`. Heavy tails
are taken as log(1 + x); "days" are event time. A decayed sum needs no line here: it has a feature by its declaration in
`schemas.states`.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from models.columns import FloatArray
from models.ingredients import (
    Numbers,
    gap_days,
    gaps_or_one,
    gross_spend,
    has_bought,
    mean_of_texts,
    purchases_or_one,
    recency_days,
    share_of_texts,
    span_days,
)
from schemas.groups import GROUPS, TEXT_DIM
from schemas.numbers import Decays
from schemas.times import DAY_S

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


# --- formulas that are no single expression


def _gap_variation(n: Numbers) -> FloatArray:
    gap = n.once(gap_days)
    variance = np.maximum(n["gap_days_squared"] / n.once(gaps_or_one) - gap * gap, 0.0)
    varied: FloatArray = np.minimum(np.sqrt(variance) / np.maximum(gap, 1e-9), 3.0) * (n["purchases"] >= 3)
    return varied


def _refunded_share(n: Numbers) -> FloatArray:
    share = np.minimum(n["refunded_minor"] / np.maximum(n["spend_minor"], 1.0), 1.0)
    return share * n.once(has_bought)


def _overdue(n: Numbers) -> FloatArray:
    return np.where(n["purchases"] >= 2, n.once(recency_days) / np.maximum(n.once(gap_days), 1.0), 0.0)


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
    Feature("bought", "1 if there was a purchase, else 0", lambda n: n.once(has_bought), "has bought", log=False),
    Feature("purchases", "log(1 + number of purchases)", lambda n: n["purchases"], "purchases", actionable=True),
    Feature(
        "recency_days",
        "log(1 + days since the last purchase); 0 if there was none",
        lambda n: n.once(recency_days),
        "days since the last purchase",
        passes=True,
    ),
    Feature(
        "customer_days",
        "log(1 + days since the first purchase); 0 if there was none",
        lambda n: n.since("first_purchase_at") * n.once(has_bought) / DAY_S,
        "days since the first purchase",
        passes=True,
    ),
    Feature(
        "repeat_span_days",
        "log(1 + days from the first to the last purchase)",
        lambda n: n.once(span_days),
        "days from first to last purchase",
    ),
    Feature(
        "monetary",
        "log(1 + mean purchase, in units of currency)",
        lambda n: n.once(gross_spend) / n.once(purchases_or_one),
        "mean purchase",
        actionable=True,
    ),
    Feature("spend", "log(1 + gross spend)", lambda n: n.once(gross_spend), "spend so far", actionable=True),
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
        lambda n: n.once(gap_days) * (n["purchases"] >= 2),
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
        lambda n: n["units"] / n.once(purchases_or_one),
        "units a purchase",
    ),
    Feature(
        "basket_lines",
        "log(1 + lines a purchase); 0 where baskets are not sent",
        lambda n: n["lines"] / n.once(purchases_or_one),
        "lines a purchase",
    ),
    Feature(
        "coupon_share",
        "share of purchases with a coupon",
        lambda n: n["coupons"] / n.once(purchases_or_one),
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
        lambda n: n.once(share_of_texts),
        "weight of texts read",
        passes=True,
        log=False,
    ),
    Feature(
        "sentiment",
        "decayed mean sentiment in [-1, 1], shrunk by w / (1 + w) of the texts read",
        lambda n: n.decayed("sentiment_60d") * n.once(mean_of_texts),
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
