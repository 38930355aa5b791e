"""REES46 multi-category store: views, carts and purchases with their sessions."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from schemas.events import Click, ClickType, Item, Purchase
from streams.sources.dataset import Dataset, in_blocks
from streams.sources.events import EventRecord, event_record, instant
from streams.sources.positions import file_digest
from streams.sources.tables import FileRefused, minor_units, read_columns

COLUMNS = {
    "at": ("event_time",),
    "type": ("event_type",),
    "product": ("product_id",),
    "category": ("category_code",),
    "price": ("price",),
    "customer": ("user_id",),
    "session": ("user_session",),
}
CLICKS: dict[str, ClickType] = {"view": "view", "cart": "add_to_cart", "remove_from_cart": "remove_from_cart"}


def open_rees46(path: Path, currency: str, unit_minor: int) -> Dataset:
    """The clicks and purchases of `path`; one purchase per row, because the file has no orders.

    Raises:
        FileRefused: the file is of another kind.
    """
    table = read_columns(path, COLUMNS, optional=("category", "session"))
    rows = table.rows.assign(customer=table.identifiers("customer"), at_s=table.epoch_seconds("at"))
    rows["minor"] = rows["price"].map(lambda price: minor_units(price, unit_minor))
    known = rows["type"].isin([*CLICKS, "purchase"]) & rows["customer"].notna()
    free = (rows["type"] == "purchase") & ~(rows["minor"] > 0)
    last_s = float(rows["at_s"].max())
    kept = rows[known & ~free].sort_values("at_s", kind="stable")
    if kept.empty:
        raise FileRefused(f"{path}: no row is a view, cart or purchase of a user")
    prefix = f"rees46-{file_digest(path)[:8]}"
    names = ["at_s", "type", "product", "category", "minor", "customer", "session"]

    def items(start: int, stop: int) -> Iterator[EventRecord]:
        for begin, end in in_blocks(start, stop):
            block = kept.iloc[begin:end]
            for row, *cells in zip(block.index.tolist(), *(block[name].tolist() for name in names), strict=True):
                yield _item(f"{prefix}-{row}", currency, *cells)

    notes = (
        (
            f"left out: {int((~known).sum()):,} rows of other types or without a user, "
            f"{int((known & free).sum()):,} purchases without a price"
        ),
        *table.repeated(),
    )
    return Dataset(kept["at_s"].to_numpy(dtype=np.float64), items, last_s, notes)


def _item(
    event_id: str,
    currency: str,
    at_s: float,
    kind: str,
    product: object,
    category: object,
    minor: float,
    customer: str,
    session: object,
) -> EventRecord:
    price_minor = None if minor != minor else int(minor)  # NaN is not itself
    shelf = category[:256] if isinstance(category, str) else None
    visit = str(session)[:256]
    if kind == "purchase":
        assert price_minor is not None, "purchases without a price are left out"
        bought = Item(product_id=str(product), quantity=1, unit_price_minor=price_minor, category=shelf)
        order = Purchase(
            event_id=event_id,
            customer_id=customer,
            event_time=instant(at_s),
            type="purchase",
            order_id=event_id,
            amount_minor=price_minor,
            currency=currency,
            items=(bought,),
        )
        return event_record(at_s, order)
    click = Click(
        event_id=event_id,
        customer_id=customer,
        event_time=instant(at_s),
        type=CLICKS[kind],
        session_id=visit,
        product_id=str(product),
        category=shelf,
        price_minor=price_minor,
        currency=currency,
    )
    return event_record(at_s, click)
