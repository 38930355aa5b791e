"""Reads columns of a parquet or csv file, and what its cells mean."""

import re
from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray


class FileRefused(Exception):
    """The file can't be replayed as the data set it was named as. The message says what to change."""


def read_columns(path: Path, wanted: Mapping[str, Sequence[str]], optional: Sequence[str] = ()) -> pd.DataFrame:
    """The wanted columns of a parquet or csv (also .csv.gz) file, only those, under the names of `wanted`.

    Args:
        path: read by its suffix.
        wanted: our name of a column -> the names it may have in the file.
        optional: those of our names that may be absent; they are then all null.

    Raises:
        FileRefused: not readable as such a file, or a column is missing.
    """
    try:
        found = _column_names(path)
    except Exception as exc:
        raise FileRefused(f"{path} is not a readable parquet or csv file ({type(exc).__name__})") from exc
    chosen = {ours: next((name for name in names if name in found), None) for ours, names in wanted.items()}
    missing = [ours for ours, name in chosen.items() if name is None and ours not in optional]
    if missing:
        raise FileRefused(f"{path} has no column {' / '.join(wanted[missing[0]])}; its columns: {', '.join(found)}")
    present = {name: ours for ours, name in chosen.items() if name is not None}
    frame = (
        pd.read_csv(path, usecols=list(present), low_memory=False)
        if _is_csv(path)
        else pd.read_parquet(path, columns=list(present))
    )
    frame = frame.rename(columns=present)
    for ours, name in chosen.items():
        if name is None:
            frame[ours] = None
    return frame[list(wanted)]


def epoch_seconds(times: "pd.Series[Any]", path: Path) -> NDArray[np.float64]:
    """`times` as epoch seconds (float64); those without a zone are taken as UTC.

    Raises:
        FileRefused: a cell is no time, or is empty.
    """
    try:
        parsed = pd.to_datetime(times, utc=True)
    except (ValueError, TypeError) as exc:
        raise FileRefused(f"{path}: column {times.name} holds something that is no time: {exc}") from exc
    if parsed.isna().any():
        raise FileRefused(f"{path}: column {times.name} is empty in {int(parsed.isna().sum())} rows")
    micros = parsed.to_numpy(dtype="datetime64[us]").astype(np.int64)
    return micros / 1e6


def identifiers(ids: "pd.Series[Any]") -> "pd.Series[str]":
    """Ids as strings, whole numbers without a fraction; a null id stays null.

    >>> identifiers(pd.Series([17850.0, None])).tolist()[0], identifiers(pd.Series(["00004"])).tolist()
    ('17850', ['00004'])
    """
    if pd.api.types.is_float_dtype(ids.dtype):
        ids = ids.astype("Int64")
    return ids.astype("string")


def minor_units(amount: object) -> int | None:
    """A decimal amount of a currency with two places in minor units, halves away from zero; None where it is none.

    >>> minor_units(29.33), minor_units("-0.125"), minor_units(0.001), minor_units(float("nan"))
    (2933, -13, 0, None)
    """
    try:
        exact = Decimal(str(amount)) * 100
        return int(exact.quantize(Decimal(1), rounding=ROUND_HALF_UP))
    except (InvalidOperation, ValueError):
        return None


def _is_csv(path: Path) -> bool:
    return re.search(r"\.csv(\.gz|\.bz2|\.zip|\.xz)?$", path.name.lower()) is not None


def _column_names(path: Path) -> list[str]:
    if _is_csv(path):
        return list(pd.read_csv(path, nrows=0).columns)
    import pyarrow.parquet

    return list(pyarrow.parquet.read_schema(path).names)
