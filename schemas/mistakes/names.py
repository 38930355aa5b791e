"""Names and words that producers use for ours: which field or value was probably meant."""

import re
from collections.abc import Collection, Iterable

# What is called otherwise elsewhere. Names are compared without case, hyphens and underscores.
_ALIASES = {
    "event_id": "id uuid message_id event_uuid",
    "customer_id": "user_id customer client_id uid user account_id cust_id shopper_id",
    "event_time": "timestamp time ts date created_at occurred_at event_timestamp datetime event_date",
    "type": "event event_type action kind event_name",
    "session_id": "session sid visit_id",
    "order_id": "order order_number transaction_id invoice_id",
    "amount_minor": "amount total price value amount_cents total_amount revenue amount_pence grand_total",
    "currency": "currency_code cur iso_currency",
    "text": "body comment content message review review_text",
    "product_id": "sku item_id product variant_id",
    "quantity": "qty count units",
    "unit_price_minor": "unit_price price price_minor item_price",
}
_WORDS = {
    "view": "page_view pageview product_view viewed impression",
    "search": "searched query",
    "add_to_cart": "cart_add added_to_cart add_cart add_to_basket",
    "remove_from_cart": "cart_remove removed_from_cart remove_from_basket",
    "wishlist": "add_to_wishlist wish",
    "checkout": "begin_checkout checkout_started",
    "purchase": "order order_created buy sale payment transaction purchased order_completed",
    "refund": "return refunded chargeback order_refunded",
    "review": "rating product_review",
    "support": "ticket support_ticket complaint",
}
_TOKEN = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[._-][A-Za-z0-9]+){0,4}")
TOKEN_LIMIT_CHARS = 32


def meant(field: str, names: Iterable[str]) -> str | None:
    """Which of `names` was probably written for `field`; None: none of them.

    >>> meant("customer_id", ["orderId", "customerID"])
    'customerID'
    """
    wanted = {_plain(field), *map(_plain, _ALIASES.get(field, "").split())}
    return next((name for name in names if _plain(name) in wanted and len(name) <= TOKEN_LIMIT_CHARS), None)


def meant_word(text: str, allowed: Collection[str]) -> str | None:
    """Which allowed value was probably meant by `text`; None: none."""
    plain = _plain(text)
    return next(
        (word for word in allowed if plain == _plain(word) or plain in map(_plain, _WORDS.get(word, "").split())), None
    )


def is_token(text: str) -> bool:
    """Whether `text` looks like a value that a program wrote, and not like a customer's words."""
    return len(text) <= TOKEN_LIMIT_CHARS and _TOKEN.fullmatch(text) is not None


def _plain(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name.casefold())
