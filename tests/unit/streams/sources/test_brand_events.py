"""What customers did with brands, read from a file."""

from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from models.affinities import KINDS
from streams.sources.brand_events import read_brand_events
from streams.sources.tables import FileRefused

ROWS: dict[str, list[Any]] = {
    "row": [0, 1, 2, 3],
    "user_id": [20, 3, 20, 20],
    "brand_id": [7, 7, 8, 7],
    "event": ["purchase", "click", "cart", "click"],
    "day": [date(2013, 4, 16), date(2013, 4, 15), date(2013, 4, 15), date(2013, 4, 16)],
}


def _write(tmp_path: Path, suffix: str, **cells: list[Any]) -> Path:
    path, frame = tmp_path / f"events{suffix}", pd.DataFrame(ROWS | cells)
    if suffix == ".csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path)
    return path


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_events_come_by_day_and_in_the_order_of_the_file_within_one(suffix: str, tmp_path: Path) -> None:
    """Whatever the order of rows; both kinds of file say the same."""
    events = read_brand_events(_write(tmp_path, suffix))
    assert [events.customer_ids[place] for place in events.customers] == ["3", "20", "20", "20"]
    assert [KINDS[place] for place in events.kinds] == ["click", "cart", "purchase", "click"]
    first = date(2013, 4, 15).toordinal() - date(1970, 1, 1).toordinal()
    assert events.days.tolist() == [first, first, first + 1, first + 1]
    assert events.brands[0] == events.brands[2] == events.brands[3] != events.brands[1]


def test_a_repeated_row_is_a_further_event(tmp_path: Path) -> None:
    """The file has no time of day, so two clicks of a day look the same."""
    path = tmp_path / "twice.parquet"
    pd.concat([pd.DataFrame(ROWS)] * 2).to_parquet(path)
    assert len(read_brand_events(path).days) == 8


@pytest.mark.parametrize(
    ("column", "cell", "says"),
    [
        ("event", "buy", "column event, row 3: none of click, favourite, cart, purchase"),
        ("event", None, "column event, row 3: empty"),
        ("day", "yesterday", "column day, row 3: no time such as"),
        ("day", "2103-04-15", "column day, row 3: more than 3,660 days away"),
        ("day", None, "column day, row 3: empty"),
        ("user_id", None, "column user_id, row 3: empty"),
        ("brand_id", "", "column brand_id, row 3: empty"),
    ],
)
@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_a_damaged_row_is_named_by_row_and_column(
    suffix: str, column: str, cell: str | None, says: str, tmp_path: Path
) -> None:
    """And the cell is not quoted, except to say what may stand there."""
    cells = [str(value) for value in ROWS[column]]
    path = _write(tmp_path, suffix, **{column: [*cells[:2], cell, cells[3]]})
    with pytest.raises(FileRefused, match=says):
        read_brand_events(path)


def test_a_file_without_the_columns_or_without_rows_is_refused(tmp_path: Path) -> None:
    """With the name of what is missing."""
    frame = pd.DataFrame(ROWS)
    frame.drop(columns="day").to_parquet(tmp_path / "no_day.parquet")
    with pytest.raises(FileRefused, match="has no column day"):
        read_brand_events(tmp_path / "no_day.parquet")
    frame.iloc[:0].to_parquet(tmp_path / "empty.parquet")
    with pytest.raises(FileRefused, match="has no rows"):
        read_brand_events(tmp_path / "empty.parquet")
