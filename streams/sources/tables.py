"""Reads columns of a parquet or csv file, and interprets their cells.

A csv has no types: its cells stay text, and only an empty cell is null. The caller decides what a column holds:
`Table.identifiers`, `Table.epoch_seconds` or `Table.numbers`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

# A date, or a date and a time of day, with or without fractions and an offset.
_TIME = r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?: ?(?:Z|UTC|[+-]\d{2}(?::?\d{2})?))?)?"
_WHOLE_WITH_FRACTION = r"-?\d+\.0"
# What spreadsheets, R and pandas write for a missing number.
_NO_NUMBER = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None")
_YES_NO = {"yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}


class FileRefused(Exception):
    """The file can't be read as the named data set. The message says what to change, and never quotes a cell."""


@dataclass(frozen=True)
class Table:
    """Columns of a file. Messages count rows from 1, without the header.

    Attributes:
        path: of the file.
        rows: the columns under our names, numbered from 0.
        names: our name of a column -> its name in the file; those that are absent are left out.
    """

    path: Path
    rows: pd.DataFrame
    names: Mapping[str, str]

    def identifiers(self, ours: str) -> "pd.Series[str]":
        """Ids as strings, as they stand; an empty one is null.

        If all ids end in `.0`, that is removed: a program took them for numbers. No two ids become one otherwise.

        Raises:
            FileRefused: the ids are floats so large that two neighbouring ids may be the same float.
        """
        ids = _plain(self.rows[ours])
        if pd.api.types.is_float_dtype(ids.dtype):
            ids = self._whole(ids, ours)
        texts = ids.astype("string")
        texts = texts.mask(texts == "")
        known = texts.dropna()
        if len(known) and known.str.fullmatch(_WHOLE_WITH_FRACTION).all():
            texts = texts.str.removesuffix(".0")
        return texts

    def epoch_seconds(self, ours: str) -> NDArray[np.float64]:
        """Times as epoch seconds (float64); those without an offset are taken as UTC.

        Raises:
            FileRefused: a cell is empty, or no time such as `2024-05-31T18:30:00Z`.
        """
        times = _plain(self.rows[ours])
        if times.isna().any():
            raise FileRefused(f"{self._at(ours)} is empty in {int(times.isna().sum()):,} rows")
        if not pd.api.types.is_datetime64_any_dtype(times.dtype):
            texts = times.astype("string").str.strip()
            wrong = ~texts.str.fullmatch(_TIME).to_numpy(dtype=bool)
            parsed = pd.to_datetime(
                texts.mask(wrong).str.replace(" ?UTC$", "Z", regex=True), format="ISO8601", utc=True, errors="coerce"
            )
            self._refuse(ours, parsed.isna().to_numpy(), "no time such as 2024-05-31, 2024-05-31T18:30:00Z or +02:00")
            times = parsed
        moments = pd.to_datetime(times, utc=True).to_numpy(dtype="datetime64[us]")
        seconds: NDArray[np.float64] = moments.astype(np.int64) / 1e6
        return seconds

    def numbers(
        self, ours: str, low: float = -np.inf, high: float = np.inf, *, yes_no: bool = False
    ) -> NDArray[np.float64]:
        """Numbers (float64), nan where a cell is empty.

        Args:
            ours: name of the column.
            low: least that is allowed.
            high: most that is allowed.
            yes_no: take yes and true for 1, no and false for 0, in any case.

        Raises:
            FileRefused: a cell is no number, or lies outside low to high.
        """
        cells = _plain(self.rows[ours])
        if not pd.api.types.is_numeric_dtype(cells.dtype):
            texts = cells.astype("string").str.strip()
            texts = texts.mask(texts.isin(_NO_NUMBER))
            if yes_no:
                texts = texts.where(
                    ~texts.str.lower().isin(list(_YES_NO)), texts.str.lower().map(_YES_NO).astype("string")
                )
            empty, cells = texts.isna().to_numpy(), pd.to_numeric(texts, errors="coerce")
        else:
            empty = cells.isna().to_numpy()
        numbers = np.asarray(cells.astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan), np.float64)
        with np.errstate(invalid="ignore"):
            wrong = ~empty & ~(np.isfinite(numbers) & (numbers >= low) & (numbers <= high))
        span = f" from {low:g} to {high:g}" if np.isfinite([low, high]).all() else ""
        self._refuse(ours, wrong, f"no number{span}" + (", yes or no" if yes_no else ""))
        return numbers

    def repeated(self) -> tuple[str, ...]:
        """A note on rows that repeat an earlier one in every column that was read; empty: none does."""
        repeats = int(self.rows.duplicated().sum())
        if not repeats:
            return ()
        return (f"kept: {repeats:,} rows that repeat an earlier one in {', '.join(self.names.values())}",)

    def _whole(self, ids: "pd.Series[Any]", ours: str) -> "pd.Series[Any]":
        values = ids.to_numpy(dtype=np.float64)
        # Whole numbers below it are exact in a float of this width; from it on, two ids may be one float.
        exact = 2.0 ** (np.finfo(ids.to_numpy().dtype).nmant + 1)
        self._refuse(ours, np.abs(values) >= exact, "an id too large for the file's floats; write ids as text")
        known = values[~np.isnan(values)]
        return ids.astype("Int64") if (known == np.floor(known)).all() else ids

    def _refuse(self, ours: str, wrong: NDArray[np.bool_], holds: str) -> None:
        if wrong.any():
            raise FileRefused(f"{self._at(ours)}, row {int(wrong.argmax()) + 1:,}: {holds}")

    def _at(self, ours: str) -> str:
        return f"{self.path}: column {self.names[ours]}"


def read_columns(path: Path, wanted: Mapping[str, Sequence[str]], optional: Sequence[str] = ()) -> Table:
    """The wanted columns of a parquet or csv (also .csv.gz) file, only those, under the names of `wanted`.

    Args:
        path: read by its suffix.
        wanted: our name of a column -> the names it may have in the file.
        optional: those of our names that may be absent; they are then all null.

    Raises:
        FileRefused: not readable as such a file, or a column is missing.
    """
    unreadable = f"{path} is not a readable parquet or csv file"
    try:
        present = _column_names(path)
    except Exception as exc:
        raise FileRefused(f"{unreadable} ({type(exc).__name__})") from exc
    chosen = {ours: next((name for name in names if name in present), None) for ours, names in wanted.items()}
    missing = [ours for ours, name in chosen.items() if name is None and ours not in optional]
    if missing:
        raise FileRefused(f"{path} has no column {' / '.join(wanted[missing[0]])}; its columns: {', '.join(present)}")
    names = {ours: name for ours, name in chosen.items() if name is not None}
    try:
        frame = _read(path, list(dict.fromkeys(names.values())))
    except Exception as exc:
        raise FileRefused(f"{unreadable} ({type(exc).__name__})") from exc
    nothing = pd.Series([None] * len(frame), dtype=object)
    rows = pd.DataFrame({ours: frame[names[ours]] if ours in names else nothing for ours in wanted})
    return Table(path, rows, names)


def read_everything(path: Path) -> Table:
    """All columns of a parquet or csv file under their own names. Raises as `read_columns`."""
    try:
        names = _column_names(path)
    except Exception as exc:
        raise FileRefused(f"{path} is not a readable parquet or csv file ({type(exc).__name__})") from exc
    return read_columns(path, {name: (name,) for name in names})


def minor_units(amount: object, unit_minor: int = 100) -> int | None:
    """A decimal amount of a currency in its minor units, halves away from zero; None where it is no number.

    Args:
        amount: in units of the currency, as the file shows it.
        unit_minor: minor units in a unit.

    >>> minor_units(29.33), minor_units("-0.125"), minor_units(0.001), minor_units(float("nan")), minor_units(1500, 1)
    (2933, -13, 0, None, 1500)
    """
    try:
        exact = Decimal(str(amount)) * unit_minor
        return int(exact.quantize(Decimal(1), rounding=ROUND_HALF_UP))
    except (InvalidOperation, ValueError):
        return None


def _plain(cells: "pd.Series[Any]") -> "pd.Series[Any]":
    """Without categories."""
    return cells.astype(cells.cat.categories.dtype) if isinstance(cells.dtype, pd.CategoricalDtype) else cells


def _is_csv(path: Path) -> bool:
    return re.search(r"\.csv(\.gz|\.bz2|\.zip|\.xz)?$", path.name.lower()) is not None


def _column_names(path: Path) -> list[str]:
    if _is_csv(path):
        return list(pd.read_csv(path, nrows=0).columns)
    import pyarrow.parquet

    return list(pyarrow.parquet.read_schema(path).names)


def _read(path: Path, columns: list[str]) -> pd.DataFrame:
    if _is_csv(path):
        return pd.read_csv(path, usecols=columns, dtype=str, keep_default_na=False, na_values=[""], index_col=False)
    import pyarrow.parquet

    # Whole numbers with nulls among them stay whole: as floats, ids beyond 2^53 would become each other.
    table = pyarrow.parquet.read_table(path, columns=columns)
    frame: pd.DataFrame = table.to_pandas(integer_object_nulls=True, date_as_object=False, ignore_metadata=True)
    return frame
