"""Laws of reading labelled texts."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.sources.labelled import OneSided, held_out, read_labelled
from streams.sources.tables import FileRefused


def _file(path: Path, **columns: list[object]) -> Path:
    pd.DataFrame(columns).to_parquet(path)
    return path


def test_recommended_is_the_label_where_there_is_one(tmp_path: Path) -> None:
    """The writer's own word comes before the stars; rows without a text are left out and counted."""
    path = _file(
        tmp_path / "a.parquet",
        title=["Nice", None, "Bad", ""],
        text=["Fits well.", "Poor zip.", "Broke.", None],
        recommended=[1, 0, 0, 1],
        rating=[1, 5, 5, 5],
    )

    labelled = read_labelled(path)

    assert labelled.texts == ["Nice. Fits well.", "Poor zip.", "Bad. Broke."]
    assert labelled.positive.tolist() == [1, 0, 0]
    assert labelled.left_out == 1


def test_three_of_five_stars_are_no_label(tmp_path: Path) -> None:
    """Without a recommendation the stars decide, the middle says neither."""
    path = tmp_path / "a.csv"
    pd.DataFrame({"text": ["a", "b", "c", "d"], "rating": [5, 3, 1, None]}).to_csv(path)

    labelled = read_labelled(path)

    assert (labelled.texts, labelled.positive.tolist(), labelled.left_out) == (["a", "c"], [1, 0], 2)


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({"text": ["a", "b"]}, "needs a column recommended or rating"),
        ({"text": ["a", "b"], "rating": [5, 4]}, "all the same"),
        ({"rating": [5, 1]}, "no column Review Text / text"),
    ],
)
def test_a_file_that_teaches_nothing_says_why(tmp_path: Path, columns: dict[str, list[object]], why: str) -> None:
    """What is missing is named."""
    with pytest.raises((FileRefused, OneSided), match=why):
        read_labelled(_file(tmp_path / "a.parquet", **columns))


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize(
    "words", [["yes", "No", None], ["true", "FALSE", None], ["1", "0", "NA"], [1.0, 0.0, None], [True, False, None]]
)
def test_yes_and_no_are_labels_in_every_spelling(tmp_path: Path, suffix: str, words: list[object]) -> None:
    """Whatever a program wrote for them; what is missing is left out."""
    path, frame = tmp_path / f"a.{suffix}", pd.DataFrame({"text": ["a", "b", "c"], "recommended": words})
    frame.to_parquet(path) if suffix == "parquet" else frame.to_csv(path, index=False)

    labelled = read_labelled(path)

    assert (labelled.texts, labelled.positive.tolist(), labelled.left_out) == (["a", "b"], [1, 0], 1)


@pytest.mark.parametrize(
    ("column", "cells", "says"),
    [
        ("rating", ["1", "5 stars"], "column rating, row 2: no number from 1 to 5"),
        ("rating", [1, 5, 10], "column rating, row 3: no number from 1 to 5"),
        ("rating", [5, 0], "column rating, row 2: no number from 1 to 5"),
        ("rating", [5.0, float("inf")], "column rating, row 2: no number from 1 to 5"),
        ("recommended", ["yes", "perhaps"], "column recommended, row 2: no number from 0 to 1, yes or no"),
        ("recommended", [1, 2], "column recommended, row 2: no number from 0 to 1, yes or no"),
    ],
)
def test_a_label_that_is_none_is_told_by_row(tmp_path: Path, column: str, cells: list[object], says: str) -> None:
    """Stars of ten are not taken for stars of five; a cell is never shown, as it may be a text."""
    with pytest.raises(FileRefused) as refused:
        read_labelled(_file(tmp_path / "a.parquet", **{"text": ["a", "b", "c"][: len(cells)], column: cells}))

    assert str(refused.value) == f"{tmp_path / 'a.parquet'}: {says}"


@given(st.lists(st.text(max_size=20), max_size=50), st.floats(0.01, 0.5))
def test_copies_of_a_text_are_held_out_together(texts: list[str], share: float) -> None:
    """No text is learnt and judged by; which side it is on depends on nothing but the text."""
    apart = held_out([*texts, *texts], share)

    assert np.array_equal(apart[: len(texts)], apart[len(texts) :])
