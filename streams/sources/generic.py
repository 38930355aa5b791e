"""Any table of purchases: customer_id, purchased_at, amount."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from schemas.events import Purchase
from streams.sources.dataset import Dataset, in_blocks
from streams.sources.events import EventRecord, event_record, instant
from streams.sources.positions import file_digest
from streams.sources.tables import FileRefused, minor_units, read_columns

COLUMNS = {"customer": ("customer_id",), "at": ("purchased_at",), "amount": ("amount",)}


def open_generic(path: Path, currency: str, unit_minor: int) -> Dataset:
    """Each row of `path` as a purchase, or as a refund where its amount (in whole currency units) is below 0.

    Raises:
        FileRefused: a column is missing, or no row has a customer and an amount.
    """
    table = read_columns(path, COLUMNS)
    rows = table.rows.assign(customer=table.identifiers("customer"), at_s=table.epoch_seconds("at"))
    rows["minor"] = [minor_units(amount, unit_minor) for amount in rows["amount"]]
    last_s = float(rows["at_s"].max())
    named = rows["customer"].notna()
    worth = rows["minor"].notna() & (rows["minor"] != 0)
    kept = rows[named & worth].sort_values("at_s", kind="stable")
    if kept.empty:
        raise FileRefused(f"{path}: no row has a customer_id and an amount other than 0")
    prefix = f"generic-{file_digest(path)[:8]}"

    def items(start: int, stop: int) -> Iterator[EventRecord]:
        for begin, end in in_blocks(start, stop):
            block = kept.iloc[begin:end]
            cells = (block[name].tolist() for name in ("at_s", "customer", "minor"))
            for row, at_s, customer, minor in zip(block.index.tolist(), *cells, strict=True):
                event = Purchase(
                    event_id=f"{prefix}-{row}",
                    customer_id=customer,
                    event_time=instant(at_s),
                    type="purchase" if minor > 0 else "refund",
                    order_id=f"{prefix}-{row}",
                    amount_minor=abs(int(minor)),
                    currency=currency,
                )
                yield event_record(at_s, event)

    notes = (
        f"left out: {int((~named).sum()):,} rows without a customer, {int((named & ~worth).sum()):,} without an amount",
        *table.repeated(),
    )
    return Dataset(kept["at_s"].to_numpy(dtype=np.float64), items, last_s, notes)
