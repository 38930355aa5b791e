"""CDNOW: each line of the file is a purchase of CDs on a day."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from schemas.events import Item, Purchase
from streams.sources.dataset import Dataset
from streams.sources.events import EventRecord, event_record, instant
from streams.sources.positions import file_digest
from streams.sources.tables import FileRefused, minor_units


def open_cdnow(path: Path, currency: str, unit_minor: int) -> Dataset:
    """The purchases of the sample (`master sample date cds dollars`) or the master file (`id date cds dollars`).

    Raises:
        FileRefused: the file has other columns.
    """
    rows = _read(path)
    repeats = int(rows.duplicated().sum())
    minor = rows["amount"].map(lambda amount: minor_units(amount, unit_minor))
    worth = minor.notna() & (minor > 0)
    last_s = float(rows["at_s"].max())
    rows = rows.assign(minor=minor)[worth].sort_values("at_s", kind="stable")
    prefix = f"cdnow-{file_digest(path)[:8]}"
    columns = [rows.index.tolist(), *(rows[name].tolist() for name in ("at_s", "customer", "cds", "minor"))]

    def items(start: int, stop: int) -> Iterator[EventRecord]:
        for row, at_s, customer, cds, amount in zip(*(column[start:stop] for column in columns), strict=True):
            disc = Item(product_id="cd", quantity=cds, unit_price_minor=round(amount / cds)) if cds > 0 else None
            event = Purchase(
                event_id=f"{prefix}-{row}",
                customer_id=customer,
                event_time=instant(at_s),
                type="purchase",
                order_id=f"{prefix}-{row}",
                amount_minor=int(amount),
                currency=currency,
                items=() if disc is None else (disc,),
            )
            yield event_record(at_s, event)

    notes = (
        f"left out: {int((~worth).sum()):,} purchases of 0.00 (an event's amount is above 0)",
        "assumed: each day's purchases at 00:00 UTC",
        *((f"kept: {repeats:,} lines that repeat an earlier one",) if repeats else ()),
    )
    return Dataset(rows["at_s"].to_numpy(dtype=np.float64), items, last_s, notes)


def _read(path: Path) -> pd.DataFrame:
    try:
        rows = pd.read_csv(path, sep=r"\s+", header=None, dtype=str)
        if rows.shape[1] not in (4, 5):
            raise ValueError(f"{rows.shape[1]} columns")
        days = pd.to_datetime(rows.iloc[:, -3], format="%Y%m%d", utc=True)
        return pd.DataFrame(
            {
                "customer": rows.iloc[:, 0],
                "at_s": days.to_numpy(dtype="datetime64[s]").astype(np.int64).astype(np.float64),
                "cds": rows.iloc[:, -2].astype(int),
                "amount": rows.iloc[:, -1],
            }
        )
    except (ValueError, UnicodeDecodeError) as exc:
        raise FileRefused(f"{path} is not CDNOW's `id [sample] yyyymmdd cds dollars`: {exc}") from exc
