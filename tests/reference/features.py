"""The features of a customer at a moment, as a row of numbers; many customers at once, as a matrix.

`rows(states, at)` is what every scorer reads. A feature depends on the state and on `at` alone, so the same function
serves a live event, a moment of silence in the future and a backtest. Each is documented in `FEATURES`; docs/features.md
is generated from it. Heavy tails are taken as log(1 + x); "days" are event time.
"""

from collections.abc import Sequence
from hashlib import blake2b
from itertools import chain
from typing import NamedTuple

import numpy as np
from msgspec.structs import astuple
from numpy.typing import NDArray

from models.season import USUAL, Season
from schemas.times import DAY_S
from tests.reference.states import TEXT_DIM, Browsing, CustomerState, Exposure, Spending, Voice

FloatArray = NDArray[np.float64]


class Shop(NamedTuple):
    """What features know of the shop.

    Attributes:
        unit_minor: minor units in a unit of the currency (100 pence a pound).
        season: its year.
    """

    unit_minor: int = 100
    season: Season = USUAL


class Feature(NamedTuple):
    """One column.

    Attributes:
        name: of the column.
        meaning: what it is; part of `FEATURE_SET`, so another meaning is another list.
        actionable: something a shop or a customer can change.
        note: what the meaning leaves to be asked; no part of `FEATURE_SET`.
    """

    name: str
    meaning: str
    actionable: bool = False
    note: str = ""


FEATURES: tuple[Feature, ...] = (
    # --- recency, frequency, monetary
    Feature("known_days", "log(1 + days since the first event)"),
    Feature("quiet_days", "log(1 + days since the latest event of any kind)"),
    Feature("bought", "1 if there was a purchase, else 0"),
    Feature("purchases", "log(1 + number of purchases)", True),
    Feature("recency_days", "log(1 + days since the last purchase); 0 if there was none"),
    Feature("customer_days", "log(1 + days since the first purchase); 0 if there was none"),
    Feature("repeat_span_days", "log(1 + days from the first to the last purchase)"),
    Feature("monetary", "log(1 + mean purchase, in units of currency)", True),
    Feature("spend", "log(1 + gross spend)", True),
    Feature("last_amount", "log(1 + amount of the last purchase)"),
    Feature("largest_amount", "log(1 + largest purchase)"),
    # --- rhythm
    Feature("gap_days", "log(1 + mean days between purchases); 0 below two purchases"),
    Feature(
        "gap_variation",
        "coefficient of variation of the days between purchases, at most 3; 0 below three purchases",
        note="the gap before a purchase that came late, after newer ones, is left out of the variation",
    ),
    Feature(
        "overdue",
        "log(1 + days since the last purchase / mean gap), at most 5; 0 below two purchases",
        note="a mean gap below one day counts as one day",
    ),
    # --- refunds, basket, discounts
    Feature("refunds", "log(1 + number of refunds)", True),
    Feature("refunded_share", "refunded / gross spend, at most 1; 0 without spend", True),
    Feature("basket_units", "log(1 + units a purchase); 0 where baskets are not sent"),
    Feature("basket_lines", "log(1 + lines a purchase); 0 where baskets are not sent"),
    Feature("coupon_share", "share of purchases with a coupon"),
    # --- decayed purchases; the number is the half-life in days
    Feature("count_14d", "log(1 + decayed number of purchases)"),
    Feature("count_60d", "log(1 + decayed number of purchases)"),
    Feature("count_180d", "log(1 + decayed number of purchases)"),
    Feature("spend_60d", "log(1 + decayed spend)"),
    Feature("spend_180d", "log(1 + decayed spend)"),
    Feature("spend_365d", "log(1 + decayed spend)"),
    Feature("refunded_180d", "log(1 + decayed refunds, in units of currency)"),
    # --- sessions and funnel
    Feature("clicks", "log(1 + number of clickstream events)"),
    Feature("sessions", "log(1 + number of sessions)"),
    Feature("session_clicks", "log(1 + events in the latest session)"),
    Feature("click_days", "log(1 + days since the latest click); 0 if there was none"),
    Feature("views_1d", "log(1 + decayed product views)"),
    Feature("views_14d", "log(1 + decayed product views)"),
    Feature("searches_1d", "log(1 + decayed searches)"),
    Feature("searches_14d", "log(1 + decayed searches)"),
    Feature("carts_1d", "log(1 + decayed additions to the cart)", True),
    Feature("carts_14d", "log(1 + decayed additions to the cart)", True),
    Feature("removals_14d", "log(1 + decayed removals from the cart)"),
    Feature("wishes_14d", "log(1 + decayed additions to the wish list)", True),
    Feature("checkouts_1d", "log(1 + decayed checkouts begun)", True),
    Feature("checkouts_14d", "log(1 + decayed checkouts begun)", True),
    Feature("sessions_14d", "log(1 + decayed sessions)"),
    Feature("cart_rate", "decayed (14 days) additions to the cart / (1 + decayed views), at most 10"),
    # --- the year
    Feature(
        "season_30d", "log(1 + by what share the next 30 days bring more than average ones, by the policy's season)"
    ),
    Feature(
        "season_90d", "log(1 + by what share the next 90 days bring more than average ones, by the policy's season)"
    ),
    # --- what they write
    Feature("reviews", "log(1 + number of reviews)"),
    Feature("supports", "log(1 + number of support texts)", True),
    Feature("rating", "mean rating less 3, shrunk: (sum - 3 n) / (n + 1); 0 without ratings", True),
    Feature("text_days", "log(1 + days since the latest review or support text); 0 if there was none"),
    Feature("text_weight", "decayed (60 days) number of texts read, w / (1 + w)"),
    Feature("sentiment", "decayed mean sentiment in [-1, 1], shrunk by w / (1 + w) of the texts read", True),
    *(
        Feature(f"text_{i}", f"component {i} of the decayed mean of projected text vectors, shrunk by w / (1 + w)")
        for i in range(TEXT_DIM)
    ),
)

NAMES: tuple[str, ...] = tuple(feature.name for feature in FEATURES)
COLUMN: dict[str, int] = {name: i for i, name in enumerate(NAMES)}

# Columns that are the logarithm of 1 + what a person counts.
LOGGED = np.array([feature.meaning.startswith("log(1") for feature in FEATURES])

# A learner and a scorer must agree on the columns: labels and snapshots carry this digest.
FEATURE_SET = blake2b("\n".join(f"{f.name}: {f.meaning}" for f in FEATURES).encode(), digest_size=6).hexdigest()

_SEASONS = slice(COLUMN["season_30d"], COLUMN["season_90d"] + 1)

_at = {name: i for i, name in enumerate(("at", "first", "last", "landmark"))}
for _group, _names in (
    ("s", Spending.__struct_fields__),
    ("b", Browsing.__struct_fields__),
    ("v", Voice.__struct_fields__[:-1]),
):
    for _name in _names:
        _at[f"{_group}.{_name}"] = len(_at)
_TEXT_AT = len(_at)
_RAW_WIDTH = _TEXT_AT + TEXT_DIM
_SPENDING_AT, _BROWSING_AT, _VOICE_AT = _at["s.purchases"], _at["b.clicks"], _at["v.reviews"]

# The decayed sums by half-life in days, so that each factor is computed once: where each stands in the columns.
_HALF_LIFE: dict[str, float] = {
    name: float(name.rsplit("_", 1)[1][:-1])
    for name in _at
    if name.rsplit("_", 1)[-1].endswith("d") and name.rsplit("_", 1)[-1][:-1].isdigit()
}
_HALF_LIVES = sorted({60.0, *_HALF_LIFE.values()})  # 60: of the pooled text
_RATES = np.array([1.0 / (days * DAY_S) for days in _HALF_LIVES])
_FACTOR = {name: _HALF_LIVES.index(days) for name, days in _HALF_LIFE.items()}
_TEXT_FACTOR = _HALF_LIVES.index(60.0)

USUAL_SHOP = Shop()

# One customer at one moment (epoch seconds); a row of the matrix to come.
Row = tuple[float, CustomerState]


def matrix(rows: Sequence[Row], shop: Shop = USUAL_SHOP) -> FloatArray:
    """Features of `rows`, one a customer and moment: (n, len(NAMES)) float64, all finite."""
    return from_columns(columns(rows), shop)


def rows(states: Sequence[CustomerState], at: Sequence[float], shop: Shop = USUAL_SHOP) -> FloatArray:
    """Features of each state at its moment: (n, len(NAMES)) float64."""
    return matrix(list(zip(at, states, strict=True)), shop)


def columns(rows: Sequence[Row]) -> FloatArray:
    """`rows` as (width, n) float64: one contiguous array a number of the state, which is how features are computed."""
    table: FloatArray = np.zeros((_RAW_WIDTH, len(rows)))
    table[0] = [at for at, _ in rows]
    table[1] = [state.first_event_at for _, state in rows]
    table[2] = [state.last_event_at for _, state in rows]
    table[3] = [state.landmark for _, state in rows]
    spending = [(i, s) for i, (_, state) in enumerate(rows) if (s := state.spending) is not None]
    browsing = [(i, b) for i, (_, state) in enumerate(rows) if (b := state.browsing) is not None]
    voice = [(i, v) for i, (_, state) in enumerate(rows) if (v := state.voice) is not None]
    _fill(table[_SPENDING_AT:_BROWSING_AT], [i for i, _ in spending], [astuple(s) for _, s in spending])
    _fill(table[_BROWSING_AT:_VOICE_AT], [i for i, _ in browsing], [astuple(b) for _, b in browsing])
    if voice:
        _fill(table[_VOICE_AT:_TEXT_AT], [i for i, _ in voice], [astuple(v)[:-1] for _, v in voice])
        _fill(table[_TEXT_AT:], [i for i, _ in voice], [v.text_60d for _, v in voice])
    return table


def _fill(table: FloatArray, at: list[int], numbers: list[tuple[float, ...]]) -> None:
    """Puts each tuple into its column of `table`."""
    if numbers:
        width = len(table)
        flat = np.fromiter(chain.from_iterable(numbers), np.float64, width * len(numbers))
        table[:, slice(None) if len(at) == table.shape[1] else at] = flat.reshape(-1, width).T


def from_columns(c: FloatArray, shop: Shop = USUAL_SHOP) -> FloatArray:
    """As `matrix`, from `columns`; `c` is left as it is. Memory order of the result: feature by feature."""
    x: FloatArray = np.empty((len(NAMES), c.shape[1]))
    for start in range(0, c.shape[1], _BLOCK):
        here = slice(start, start + _BLOCK)
        _lasting(c[:, here], x[:, here], 1.0 / shop.unit_minor)
        _passing(c[:, here], c[0, here], x[:, here], shop)
    return x.T


def in_silence(c: FloatArray, x: FloatArray, at: FloatArray, shop: Shop = USUAL_SHOP) -> FloatArray:
    """Features of each customer at later moments, if nothing more is heard: (n * g, len(NAMES)), customer by customer.

    Args:
        c: `columns` of n customers.
        x: (n, len(NAMES)), their features at any moment: what time doesn't touch is taken from there.
        at: (n, g), moments, epoch seconds.
    """
    n, g = at.shape
    later: FloatArray = np.empty((len(NAMES), n, g))
    block = max(_BLOCK // g, 1)
    for start in range(0, n, block):
        here = slice(start, start + block)
        later[_LASTING, here] = x.T[_LASTING, here, None]
        _passing(c[:, here, None], at[here], later[:, here], shop)
    return later.reshape(len(NAMES), n * g).T


# Rows a block: the numbers of 512 customers stay within a core's second-level cache.
_BLOCK = 512


def _lasting(c: FloatArray, x: FloatArray, money: float) -> None:
    """Fills those features of `x` (features, n) that time alone does not change, from `c` (width, n)."""

    def raw(name: str) -> FloatArray:
        values: FloatArray = c[_at[name]]
        return values

    n = raw("s.purchases")
    bought = np.minimum(n, 1.0)
    count = np.maximum(n, 1.0)
    gaps = np.maximum(n - 1.0, 1.0)
    span = (raw("s.last_purchase_at") - raw("s.first_purchase_at")) * bought / DAY_S
    gap = span / gaps
    spend = raw("s.spend_minor") * money
    variance = np.maximum(raw("s.gap_days_squared") / gaps - gap * gap, 0.0)
    ratings = raw("v.ratings")
    for name, value in (
        ("purchases", n),
        ("repeat_span_days", span),
        ("monetary", spend / count),
        ("spend", spend),
        ("last_amount", raw("s.last_amount_minor") * money),
        ("largest_amount", raw("s.largest_amount_minor") * money),
        ("gap_days", gap * (n >= 2)),
        ("refunds", raw("s.refunds")),
        ("basket_units", raw("s.units") / count),
        ("basket_lines", raw("s.lines") / count),
        ("clicks", raw("b.clicks")),
        ("sessions", raw("b.sessions")),
        ("session_clicks", raw("b.session_clicks")),
        ("reviews", raw("v.reviews")),
        ("supports", raw("v.supports")),
    ):
        np.log1p(value, out=x[COLUMN[name]])
    x[COLUMN["bought"]] = bought
    x[COLUMN["gap_variation"]] = np.minimum(np.sqrt(variance) / np.maximum(gap, 1e-9), 3.0) * (n >= 3)
    x[COLUMN["refunded_share"]] = (
        np.minimum(raw("s.refunded_minor") / np.maximum(raw("s.spend_minor"), 1.0), 1.0) * bought
    )
    x[COLUMN["coupon_share"]] = raw("s.coupons") / count
    x[COLUMN["rating"]] = (raw("v.rating_sum") - 3.0 * ratings) / (ratings + 1.0)


def _passing(c: FloatArray, now: FloatArray, x: FloatArray, shop: Shop) -> None:
    """Fills the features of `x` that change with time, at `now`; shapes broadcast, `c`'s and `x`'s first axis apart."""
    money = 1.0 / shop.unit_minor
    elapsed = c[3] - np.maximum(now, c[2])
    factors = [np.exp2(elapsed * rate) for rate in _RATES]

    def raw(name: str) -> FloatArray:
        values: FloatArray = c[_at[name]]
        return values

    def sum_of(name: str) -> FloatArray:
        values: FloatArray = c[_at[name]] * factors[_FACTOR[name]]
        return values

    n = raw("s.purchases")
    bought = np.minimum(n, 1.0)
    gap = (raw("s.last_purchase_at") - raw("s.first_purchase_at")) * bought / DAY_S / np.maximum(n - 1.0, 1.0)
    recency = np.maximum(now - raw("s.last_purchase_at"), 0.0) * bought / DAY_S
    texts = np.minimum(raw("v.reviews") + raw("v.supports"), 1.0)
    w = sum_of("v.weight_60d")
    known = w / (1.0 + w)
    # A weight that has decayed away leaves nothing to divide by; its mean is then as good as none.
    mean_of_texts = np.where(w > 1e-12, known / np.maximum(w, 1e-12), 0.0)
    views, carts = sum_of("b.views_14d"), sum_of("b.carts_14d")
    for name, value in (
        ("known_days", np.maximum(now - raw("first"), 0.0) / DAY_S),
        ("quiet_days", np.maximum(now - raw("last"), 0.0) / DAY_S),
        ("recency_days", recency),
        ("customer_days", np.maximum(now - raw("s.first_purchase_at"), 0.0) * bought / DAY_S),
        ("overdue", np.where(n >= 2, recency / np.maximum(gap, 1.0), 0.0)),
        ("count_14d", sum_of("s.count_14d")),
        ("count_60d", sum_of("s.count_60d")),
        ("count_180d", sum_of("s.count_180d")),
        ("spend_60d", sum_of("s.spend_60d") * money),
        ("spend_180d", sum_of("s.spend_180d") * money),
        ("spend_365d", sum_of("s.spend_365d") * money),
        ("refunded_180d", sum_of("s.refunded_180d") * money),
        ("click_days", np.maximum(now - raw("b.last_click_at"), 0.0) * np.minimum(raw("b.clicks"), 1.0) / DAY_S),
        ("views_1d", sum_of("b.views_1d")),
        ("views_14d", views),
        ("searches_1d", sum_of("b.searches_1d")),
        ("searches_14d", sum_of("b.searches_14d")),
        ("carts_1d", sum_of("b.carts_1d")),
        ("carts_14d", carts),
        ("removals_14d", sum_of("b.removals_14d")),
        ("wishes_14d", sum_of("b.wishes_14d")),
        ("checkouts_1d", sum_of("b.checkouts_1d")),
        ("checkouts_14d", sum_of("b.checkouts_14d")),
        ("sessions_14d", sum_of("b.sessions_14d")),
        ("text_days", np.maximum(now - raw("v.last_text_at"), 0.0) * texts / DAY_S),
    ):
        np.log1p(value, out=x[COLUMN[name]])
    x[COLUMN["overdue"]] = np.minimum(x[COLUMN["overdue"]], 5.0)
    x[_SEASONS] = shop.season.ahead(now)
    x[COLUMN["cart_rate"]] = np.minimum(carts / (1.0 + views), 10.0)
    x[COLUMN["text_weight"]] = known
    x[COLUMN["sentiment"]] = sum_of("v.sentiment_60d") * mean_of_texts
    x[COLUMN["text_0"] :] = c[_TEXT_AT:] * (factors[_TEXT_FACTOR] * mean_of_texts)


# What `_lasting` fills.
_LASTING = [
    COLUMN[name]
    for name in (
        "purchases",
        "repeat_span_days",
        "monetary",
        "spend",
        "last_amount",
        "largest_amount",
        "gap_days",
        "refunds",
        "basket_units",
        "basket_lines",
        "clicks",
        "sessions",
        "session_clicks",
        "reviews",
        "supports",
        "bought",
        "gap_variation",
        "refunded_share",
        "coupon_share",
        "rating",
    )
]


def counted(x: FloatArray, which: Sequence[int]) -> FloatArray:
    """The columns `which` of `x` as a person counts them, (n, len(which)): days, amounts and numbers, no logarithms."""
    chosen = x[:, which]
    return np.where(LOGGED[list(which)], np.expm1(chosen), chosen)


def exposure(state: CustomerState, at: float, row: FloatArray) -> Exposure:
    """The features of `state` at `at`, kept as float16 until their label matures."""
    # Whoever writes nothing has no text features, and these stand last: zeros at the end aren't stored.
    kept = row.astype(np.float16).tobytes().rstrip(b"\0")
    return Exposure(at, kept, state.purchases, state.spend_minor, False, FEATURE_SET)


def exposed(kept: Exposure) -> tuple[float, ...]:
    """The features that `exposure` kept, in the order of `NAMES`."""
    whole = kept.features.ljust(2 * len(NAMES), b"\0")
    return tuple(np.frombuffer(whole, dtype=np.float16).astype(np.float64).tolist())
