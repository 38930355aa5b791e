"""Visits with their outcome, from the files of `regulars evaluate clicks`: pages in order, or a row per visit."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from streams.sources.tables import FileRefused, Table, read_columns

PAGE_COLUMNS = {"pages": ("pages",), "seconds": ("cum_seconds",), "bought": ("purchase",)}

_PAGE_KINDS = ("administrative", "informational", "product_related")
_AMOUNTS = (*_PAGE_KINDS, *(f"{kind}_s" for kind in _PAGE_KINDS), "bounce_rate", "exit_rate", "special_day")
_CATEGORIES = ("month", "operating_system", "browser", "region", "traffic_type", "visitor_type")
# Our name, and that of the data set's first publication.
ROW_COLUMNS = {
    "administrative": ("administrative", "Administrative"),
    "administrative_s": ("administrative_s", "Administrative_Duration"),
    "informational": ("informational", "Informational"),
    "informational_s": ("informational_s", "Informational_Duration"),
    "product_related": ("product_related", "ProductRelated"),
    "product_related_s": ("product_related_s", "ProductRelated_Duration"),
    "bounce_rate": ("bounce_rate", "BounceRates"),
    "exit_rate": ("exit_rate", "ExitRates"),
    "page_value": ("page_value", "PageValues"),
    "special_day": ("special_day", "SpecialDay"),
    "month": ("month", "Month"),
    "operating_system": ("operating_system", "OperatingSystems"),
    "browser": ("browser", "Browser"),
    "region": ("region", "Region"),
    "traffic_type": ("traffic_type", "TrafficType"),
    "visitor_type": ("visitor_type", "VisitorType"),
    "weekend": ("weekend", "Weekend"),
    "bought": ("revenue", "Revenue"),
}


class Visit(NamedTuple):
    """One visit: type of each page, seconds from the first page to it, and whether it ended with a purchase."""

    pages: tuple[str, ...]
    seconds: tuple[float, ...]
    bought: bool


class Visits(NamedTuple):
    """Visits in the order of the file, and how many rows had no pages."""

    visits: list[Visit]
    left_out: int


class VisitRows(NamedTuple):
    """A row per visit in the order of the file; `bought` is (n,) bool."""

    rows: list[dict[str, Any]]
    bought: NDArray[np.bool_]


def read_visits(path: Path) -> Visits:
    """The visits of a parquet file with `pages` and `cum_seconds` (lists of equal length) and `purchase`.

    Raises:
        FileRefused: no such columns, lists of different lengths, times that go back, or only one outcome.
    """
    table = read_columns(path, PAGE_COLUMNS)
    bought = _outcomes(table)
    visits, left_out = [], 0
    for number, (pages, seconds, came) in enumerate(
        zip(table.rows["pages"], table.rows["seconds"], bought.tolist(), strict=True), start=1
    ):
        if _is_nothing(pages) or (isinstance(pages, np.ndarray | list) and not len(pages)):
            left_out += 1
            continue
        if not isinstance(pages, np.ndarray | list) or not isinstance(seconds, np.ndarray | list):
            raise FileRefused(f"{path}, row {number}: pages and cum_seconds must be lists")
        times = np.asarray(seconds, dtype=np.float64)
        if len(times) != len(pages):
            raise FileRefused(f"{path}, row {number}: pages has {len(pages)} entries and cum_seconds {len(times)}")
        if not np.isfinite(times).all() or (np.diff(times) < 0).any() or times[0] < 0:
            raise FileRefused(f"{path}, row {number}: cum_seconds must rise from 0 on")
        if any(_is_nothing(page) for page in pages):
            raise FileRefused(f"{path}, row {number}: pages has an empty entry")
        visits.append(Visit(tuple(str(page) for page in pages), tuple(times.tolist()), came))
    return Visits(visits, left_out)


def read_visit_rows(path: Path) -> VisitRows:
    """The rows of a parquet or csv file with the columns of online_shoppers, under either of their names.

    Raises:
        FileRefused: no such columns, a cell that is no number where one is needed, or only one outcome.
    """
    table = read_columns(path, ROW_COLUMNS, optional=("page_value", *_CATEGORIES))
    columns: dict[str, Sequence[Any]] = {}
    for name in _AMOUNTS:
        numbers = table.numbers(name, 0)
        if np.isnan(numbers).any():
            row = int(np.flatnonzero(np.isnan(numbers))[0]) + 1
            raise FileRefused(f"{path}, row {row}: {table.names[name]} is empty")
        columns[name] = numbers.tolist()
    weekend = table.numbers("weekend", 0, 1, yes_no=True)
    columns["weekend"] = np.where(np.isnan(weekend), 0.0, weekend).tolist()  # not known: not said to be one
    worth = table.numbers("page_value", 0)
    columns["page_value"] = [None if np.isnan(value) else value for value in worth.tolist()]
    for name in _CATEGORIES:
        columns[name] = [None if _is_nothing(value) else value for value in table.rows[name]]
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return VisitRows(rows, _outcomes(table))


def _outcomes(table: Table) -> NDArray[np.bool_]:
    numbers = table.numbers("bought", 0, 1, yes_no=True)
    if np.isnan(numbers).any():
        row = int(np.flatnonzero(np.isnan(numbers))[0]) + 1
        raise FileRefused(f"{table.path}, row {row}: {table.names['bought']} is empty")
    if not 0 < numbers.sum() < len(numbers):
        needed = "visits with and without a purchase are needed"
        raise FileRefused(f"{table.path}: {needed}, and all {len(numbers):,} are of one kind")
    return numbers > 0


def _is_nothing(value: object) -> bool:
    return value is None or (isinstance(value, float) and np.isnan(value)) or value is pd.NA
