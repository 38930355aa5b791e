"""The numbers of a customer, in groups: each declared once, with what an event adds to it (`schemas.numbers`).

Another number goes to the end of its group, with a default; a number's meaning never changes. Times are epoch seconds; where
`0.0` means "never", the count beside it is 0.
"""

from typing import Annotated

from msgspec import Struct

from schemas.numbers import (
    BOUGHT,
    CLICKED,
    READ,
    RETURNED,
    WIDE,
    WROTE,
    Adds,
    Apart,
    Decays,
    Earliest,
    Flow,
    Largest,
    Latest,
    Number,
    OfLatest,
    Session,
    SquaredGaps,
    Streak,
    numbers_of,
)

TEXT_DIM = 16

# What decayed sums sum. Another half-life is one more line in a group below.
_PURCHASES = Flow(BOUGHT, "one", "number of purchases", "purchases")
_SPEND = Flow(BOUGHT, "amount", "spend", "spend", money=True)
_REFUNDED = Flow(RETURNED, "amount", "refunds, in units of currency", "refunds", money=True)
_VIEWS = Flow(("view",), "one", "product views", "product views")
_SEARCHES = Flow(("search",), "one", "searches", "searches")
_CARTS = Flow(("add_to_cart",), "one", "additions to the cart", "cart additions", actionable=True)
_REMOVALS = Flow(("remove_from_cart",), "one", "removals from the cart", "cart removals")
_WISHES = Flow(("wishlist",), "one", "additions to the wish list", "wishes", actionable=True)
_CHECKOUTS = Flow(("checkout",), "one", "checkouts begun", "checkouts begun", actionable=True)
_SESSIONS = Flow(CLICKED, "new_session", "sessions", "sessions")
_TEXTS, _SENTIMENT, _VECTORS = Flow(READ), Flow(READ, "sentiment"), Flow(READ, "vector")


_REFUNDS, _BASKETS, _SEEKING, _FUNNEL = Apart("refunds"), Apart("baskets"), Apart("seeking"), Apart("funnel")


class Spending(Struct, frozen=True, array_like=True, gc=False):
    """What a customer bought."""

    purchases: Annotated[int, Adds(BOUGHT)] = 0
    refunds: Annotated[int, Adds(RETURNED), _REFUNDS] = 0
    spend_minor: Annotated[int, Adds(BOUGHT, "amount"), WIDE] = 0
    refunded_minor: Annotated[int, Adds(RETURNED, "amount"), WIDE, _REFUNDS] = 0
    first_purchase_at: Annotated[float, Earliest(BOUGHT)] = 0.0
    last_purchase_at: Annotated[float, Latest(BOUGHT)] = 0.0
    last_amount_minor: Annotated[int, OfLatest(BOUGHT, "amount", "last_purchase_at"), WIDE] = 0
    largest_amount_minor: Annotated[int, Largest(BOUGHT, "amount"), WIDE] = 0
    gap_days_squared: Annotated[float, SquaredGaps(BOUGHT, "last_purchase_at")] = 0.0
    units: Annotated[int, Adds(BOUGHT, "units"), WIDE, _BASKETS] = 0
    lines: Annotated[int, Adds(BOUGHT, "lines"), _BASKETS] = 0
    coupons: Annotated[int, Adds(BOUGHT, "coupon"), _BASKETS] = 0
    count_14d: Annotated[float, Decays(14, _PURCHASES)] = 0.0
    count_60d: Annotated[float, Decays(60, _PURCHASES)] = 0.0
    count_180d: Annotated[float, Decays(180, _PURCHASES)] = 0.0
    spend_60d: Annotated[float, Decays(60, _SPEND)] = 0.0
    spend_180d: Annotated[float, Decays(180, _SPEND)] = 0.0
    spend_365d: Annotated[float, Decays(365, _SPEND)] = 0.0
    refunded_180d: Annotated[float, Decays(180, _REFUNDED), _REFUNDS] = 0.0


class Browsing(Struct, frozen=True, array_like=True, gc=False):
    """What a customer did in the shop."""

    clicks: Annotated[int, Adds(CLICKED)] = 0
    sessions: Annotated[int, Adds(CLICKED, "new_session")] = 0
    session: Annotated[int, Session(CLICKED), WIDE] = 0  # 48 bits of a hash of its id
    session_clicks: Annotated[int, Streak(CLICKED)] = 0
    last_click_at: Annotated[float, Latest(CLICKED)] = 0.0
    views_1d: Annotated[float, Decays(1, _VIEWS)] = 0.0
    views_14d: Annotated[float, Decays(14, _VIEWS)] = 0.0
    searches_1d: Annotated[float, Decays(1, _SEARCHES), _SEEKING] = 0.0
    searches_14d: Annotated[float, Decays(14, _SEARCHES), _SEEKING] = 0.0
    carts_1d: Annotated[float, Decays(1, _CARTS), _FUNNEL] = 0.0
    carts_14d: Annotated[float, Decays(14, _CARTS), _FUNNEL] = 0.0
    removals_14d: Annotated[float, Decays(14, _REMOVALS), _FUNNEL] = 0.0
    wishes_14d: Annotated[float, Decays(14, _WISHES), _SEEKING] = 0.0
    checkouts_1d: Annotated[float, Decays(1, _CHECKOUTS), _FUNNEL] = 0.0
    checkouts_14d: Annotated[float, Decays(14, _CHECKOUTS), _FUNNEL] = 0.0
    sessions_14d: Annotated[float, Decays(14, _SESSIONS)] = 0.0


class Voice(Struct, frozen=True, array_like=True, gc=False):
    """What a customer wrote, as numbers; the text itself is never stored.

    The decayed sums are over reviews, support texts and searches whose text was read.
    """

    reviews: Annotated[int, Adds(("review",))] = 0
    supports: Annotated[int, Adds(("support",))] = 0
    ratings: Annotated[int, Adds(WROTE, "rated")] = 0
    rating_sum: Annotated[int, Adds(WROTE, "rating")] = 0
    last_text_at: Annotated[float, Latest(WROTE)] = 0.0
    weight_60d: Annotated[float, Decays(60, _TEXTS)] = 0.0
    sentiment_60d: Annotated[float, Decays(60, _SENTIMENT)] = 0.0
    text_60d: Annotated[tuple[float, ...], Decays(60, _VECTORS)] = (0.0,) * TEXT_DIM


#: The groups of a state's numbers, by its field that holds each.
GROUPS: dict[str, tuple[Number, ...]] = {
    "spending": numbers_of(Spending),
    "browsing": numbers_of(Browsing),
    "voice": numbers_of(Voice),
}
