"""What customers did with brands, by day, from the file of `regulars evaluate clicks taobao2013`."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.affinities import KINDS
from streams.sources.tables import FileRefused, Table, read_columns

COLUMNS = {"customer": ("user_id",), "brand": ("brand_id",), "kind": ("event",), "day": ("day",)}

LONGEST_DAYS = 3_660
"""Ten years. A day that is farther from the middle one is a slip, such as 2103 for 2013."""


class BrandEvents(NamedTuple):
    """Events by rising day, in the order of the file within one day; 16 bytes an event.

    Attributes:
        customers: (n,) int32, places in `customer_ids`.
        brands: (n,) int32; equal numbers are the same brand.
        kinds: (n,) int32, places in `models.affinities.KINDS`.
        days: (n,) int32, days since 1970-01-01.
        customer_ids: every customer's id, in the order of text.
    """

    customers: NDArray[np.int32]
    brands: NDArray[np.int32]
    kinds: NDArray[np.int32]
    days: NDArray[np.int32]
    customer_ids: tuple[str, ...]


def read_brand_events(path: Path) -> BrandEvents:
    """The events of a parquet or csv file with `user_id`, `brand_id`, `event` (click, favourite, cart, purchase) and `day`.

    Rows may stand in any order. A row that repeats another one is a further event: the file has no time of day. A time of
    day that a file has all the same is dropped.

    Raises:
        FileRefused: no such columns, no row, an empty cell, an event of another kind, a day that is no date or ten years
            away from the others.
    """
    table = read_columns(path, COLUMNS)
    if table.rows.empty:
        raise FileRefused(f"{path} has no rows")
    for ours in COLUMNS:
        _refuse(table, ours, (table.rows[ours].isna() | (table.rows[ours].astype(str) == "")).to_numpy(), "empty")
    kinds = table.identifiers("kind").map({kind: place for place, kind in enumerate(KINDS)})
    _refuse(table, "kind", kinds.isna().to_numpy(), f"none of {', '.join(KINDS)}")
    days = np.floor_divide(table.epoch_seconds("day"), 86_400).astype(np.int32)
    far = np.abs(days - np.median(days)) > LONGEST_DAYS
    _refuse(table, "day", far, f"more than {LONGEST_DAYS:,} days away from the median day of the file")
    order = np.argsort(days, kind="stable")
    customer_ids, customers = np.unique(table.identifiers("customer").to_numpy(dtype=str), return_inverse=True)
    _, brands = np.unique(table.identifiers("brand").to_numpy(dtype=str), return_inverse=True)
    return BrandEvents(
        customers[order].astype(np.int32),
        brands[order].astype(np.int32),
        np.asarray(kinds.to_numpy(), dtype=np.int32)[order],
        days[order],
        tuple(customer_ids.tolist()),
    )


def _refuse(table: Table, ours: str, wrong: NDArray[np.bool_], holds: str) -> None:
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0]) + 1
        raise FileRefused(f"{table.path}: column {table.names[ours]}, row {row:,}: {holds}")
