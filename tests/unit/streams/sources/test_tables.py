"""Laws of reading columns: what a cell is, whatever the file's other cells are."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.sources.groups import customer_groups
from streams.sources.registry import open_dataset
from streams.sources.tables import FileRefused, Table, read_columns

DIGITS = st.text("0123456789", min_size=1, max_size=19)
NUMBERED = st.one_of(
    DIGITS, DIGITS.map("{}.0".format), st.sampled_from(["7", "07", "007", "7.0", "NA", "nan", "1e3", "-0"])
)
IDS = st.lists(NUMBERED, min_size=1, max_size=12)


def read(path: Path, frame: pd.DataFrame) -> Table:
    """`frame`, written to `path` and read again."""
    frame.to_parquet(path) if path.suffix == ".parquet" else frame.to_csv(path, index=False)
    return read_columns(path, {name: (name,) for name in frame.columns})


def at_time(path: Path, times: list[object]) -> list[float]:
    """Epoch seconds of `times` in a file at `path`."""
    found: list[float] = read(path, pd.DataFrame({"when": times})).epoch_seconds("when").tolist()
    return found


@settings(max_examples=50)
@given(IDS, st.sampled_from([".csv", ".parquet"]))
def test_no_two_ids_become_one(tmp_path_factory: pytest.TempPathFactory, ids: list[str], suffix: str) -> None:
    """Zeros, 19 digits and words for nothing stay as they are; `.0` goes only where every id has it."""
    path = tmp_path_factory.getbasetemp() / f"ids{suffix}"

    found = read(path, pd.DataFrame({"id": ids, "of": "x"})).identifiers("id").tolist()

    all_floats = all(each.endswith(".0") for each in ids)
    assert found == [each.removesuffix(".0") if all_floats else each for each in ids]
    assert len(set(found)) == len(set(ids))


@settings(max_examples=50)
@given(st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)), min_size=1, max_size=8))
def test_whole_numbers_with_nulls_among_them_keep_every_digit(
    tmp_path_factory: pytest.TempPathFactory, ids: list[int | None]
) -> None:
    """A null makes no float of a parquet file's 64-bit ids."""
    path = tmp_path_factory.getbasetemp() / "ints.parquet"
    pq.write_table(pa.table({"id": pa.array(ids, pa.int64())}), path)

    found = read_columns(path, {"id": ("id",)}).identifiers("id")

    assert [None if pd.isna(each) else each for each in found] == [None if each is None else str(each) for each in ids]


@pytest.mark.parametrize(("kind", "first_lost"), [("float64", 2.0**53), ("float32", 2.0**24)])
def test_floats_too_large_to_be_ids_are_refused(tmp_path: Path, kind: str, first_lost: float) -> None:
    """Below, each float is one whole number; from there on it may stand for two."""
    path = tmp_path / "f.parquet"

    assert read(path, pd.DataFrame({"id": np.array([7, first_lost - 1], kind)})).identifiers("id").tolist() == [
        "7",
        f"{first_lost - 1:.0f}",
    ]
    table = read(path, pd.DataFrame({"id": np.array([7, np.nan, first_lost], kind)}))
    with pytest.raises(FileRefused, match=r"f\.parquet: column id, row 3: an id too large .*write ids as text$"):
        table.identifiers("id")


def test_an_empty_cell_is_no_customer_and_every_word_is(tmp_path: Path) -> None:
    """`NA` is somebody's id in a csv, and the empty text nobody's in a parquet file."""
    for suffix in ("csv", "parquet"):
        table = read(tmp_path / f"f.{suffix}", pd.DataFrame({"id": ["NA", "", "null"], "of": "x"}))
        assert [None if pd.isna(each) else each for each in table.identifiers("id")] == ["NA", None, "null"]


def test_groups_and_events_have_the_same_customers(tmp_path: Path) -> None:
    """Rows without a group don't decide what an id is."""
    path = tmp_path / "f.csv"
    path.write_text(
        "customer_id,purchased_at,amount,land\n007.0,2020-01-01,1,FR\n7,2020-01-01,1,\n7.0,2020-01-01,1,NA\n"
    )
    dataset = open_dataset("generic", path)

    assert customer_groups(path, "land") == {"007.0": "FR", "7.0": "NA"}
    assert {item.key.decode() for item in dataset.items(0, 3)} == {"007.0", "7", "7.0"}
    assert customer_groups(path, "customer_id")["7"] == "7"


@settings(max_examples=50)
@given(
    st.lists(st.datetimes(pd.Timestamp("1990-01-01"), pd.Timestamp("2200-01-01")), min_size=1, max_size=8), st.data()
)
def test_times_mean_the_same_with_and_without_fractions(
    tmp_path_factory: pytest.TempPathFactory, moments: list[pd.Timestamp], data: st.DataObject
) -> None:
    """Each cell is read by itself: a whole second among fractions, T or a blank, Z, UTC, an offset or none."""
    path = tmp_path_factory.getbasetemp() / "times.csv"
    cells, expected = [], []
    for drawn in moments:
        moment = drawn.replace(microsecond=data.draw(st.sampled_from([0, drawn.microsecond])))
        text = moment.isoformat(sep=data.draw(st.sampled_from("T ")))
        zone, ahead_s = data.draw(st.sampled_from([("", 0), ("Z", 0), (" UTC", 0), ("+02:00", 7200), ("-0130", -5400)]))
        cells.append(text + zone)
        expected.append((moment - pd.Timestamp(0)).total_seconds() - ahead_s)

    assert at_time(path, cells) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize(
    "wrong", ["03/04/2020", "31.12.2020", "1577836800", "20200131", "2020-02-30", "2020-1-5", "Jane"]
)
def test_what_is_no_time_is_told_by_column_and_row(tmp_path: Path, suffix: str, wrong: str) -> None:
    """One line with the file's own name, the row and what is right; never the cell, which may be a text."""
    with pytest.raises(FileRefused) as refused:
        at_time(tmp_path / f"f.{suffix}", ["2020-01-01T00:00:00Z", wrong])

    said = str(refused.value)
    assert f"f.{suffix}: column when, row 2: no time such as 2024-05-31," in said
    assert "\n" not in said
    assert wrong not in said


@pytest.mark.parametrize("times", [[1577836800, 1577836801], [1577836800.5, 1.0], [True, False]])
def test_numbers_are_no_times(tmp_path: Path, times: list[object]) -> None:
    """Seconds, milliseconds or days: a number doesn't say which."""
    with pytest.raises(FileRefused, match="column when, row 1: no time such as"):
        at_time(tmp_path / "f.parquet", times)


def test_dates_and_timestamps_of_parquet_are_times(tmp_path: Path) -> None:
    """With a zone and without one (UTC), and days as their midnight."""
    moment = pd.Timestamp("2020-01-02T00:00:00Z")

    for times in ([moment], [moment.tz_localize(None)], [moment.date()], [moment.tz_convert("Asia/Tokyo")]):
        assert at_time(tmp_path / "f.parquet", times) == [moment.timestamp()]


def test_an_empty_time_is_told_under_the_files_own_name(tmp_path: Path) -> None:
    """How many rows have none."""
    with pytest.raises(FileRefused, match="column when is empty in 1 rows"):
        at_time(tmp_path / "f.parquet", ["2020-01-01", None])


def test_a_last_event_years_after_all_others_is_told(tmp_path: Path) -> None:
    """One mistyped year makes everybody silent; a year without events does so too, and less is no news."""
    path, days = tmp_path / "f.csv", ["2020-01-01", "2020-03-01"]
    for last, told in (("2020-12-31", False), ("2026-03-01", True)):
        pd.DataFrame({"customer_id": "a", "purchased_at": [*days, last], "amount": 1}).to_csv(path, index=False)
        notes = open_dataset("generic", path).notes
        assert any("the last event, of 2026-03-01, comes 6.0 years after the one before it" in n for n in notes) == told


def test_rows_that_repeat_an_earlier_one_are_counted(tmp_path: Path) -> None:
    """They are kept, as the file doesn't say that they are mistakes."""
    path = tmp_path / "f.csv"
    row = {"customer_id": "a", "purchased_at": "2020-01-01", "amount": 1}
    pd.DataFrame([row, row, row | {"amount": 2}, row]).to_csv(path, index=False)

    dataset = open_dataset("generic", path)

    assert len(dataset.times_s) == 4
    assert "kept: 2 rows that repeat an earlier one in customer_id, purchased_at, amount" in dataset.notes
