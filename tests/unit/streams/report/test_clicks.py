"""`regulars evaluate clicks`, by what it prints and writes."""

import json
import random
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner, Result
from sklearn.metrics import roc_auc_score

from streams.cli import main
from streams.report.clicks import quality
from tests.unit.models.intent.test_stack import _row


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["evaluate", "clicks", *(str(each) for each in arguments)], catch_exceptions=False)


def _visits(number: int, seed: int = 0) -> pd.DataFrame:
    """Visits in which page 5 is bought after, most times."""
    rnd, rows = random.Random(seed), []
    for _ in range(number):
        pages = [rnd.randrange(6) for _ in range(rnd.randint(2, 12))]
        seconds = [0.0]
        for _ in pages[1:]:
            seconds.append(seconds[-1] + rnd.randrange(60))
        rows.append({"pages": pages, "cum_seconds": seconds, "purchase": (5 in pages) == (rnd.random() < 0.9)})
    return pd.DataFrame(rows)


def test_visits_are_scored_at_each_depth_in_one_pass(tmp_path: Path) -> None:
    """The more pages are known, the better; a visit without pages is left out and counted."""
    visits = _visits(160)
    visits.loc[7, ["pages", "cum_seconds"]] = None
    visits.to_parquet(tmp_path / "visits.parquet")
    out = tmp_path / "out.json"
    run = _run("session_purchase", tmp_path / "visits.parquet", "--json", out)
    assert run.exit_code == 0, run.output
    assert "159 visits" in run.output
    figures = json.loads(out.read_text())
    assert list(figures["auroc"]) == list(figures["ece"]) == ["3", "5", "10", "all"]
    assert figures["auroc"]["all"] > figures["auroc"]["3"] > 0.5
    assert figures["left_out"] == 1
    again = tmp_path / "again.json"
    _run("session_purchase", tmp_path / "visits.parquet", "--json", again)
    assert again.read_bytes() == out.read_bytes()


def test_pages_are_names_and_a_visit_without_any_is_left_out(tmp_path: Path) -> None:
    """Text is as good as a number; an empty list is no visit."""
    pages, seconds = [["p5", "cart"], ["p5"], []] * 20, [[0.0, 2.0], [0.0], []] * 20
    table = {"pages": pages, "cum_seconds": seconds, "purchase": [True, False, False] * 20}
    pd.DataFrame(table).to_parquet(tmp_path / "named.parquet")
    run = _run("session_purchase", tmp_path / "named.parquet", "--json", tmp_path / "out.json")
    assert run.exit_code == 0, run.output
    figures = json.loads((tmp_path / "out.json").read_text())
    assert figures["left_out"] == 20
    assert figures["auroc"]["all"] > 0.9


def test_rows_are_scored_with_page_value_and_without(tmp_path: Path) -> None:
    """What page_value gives away is shown apart; a file under the published names is read too."""
    rnd = random.Random(5)
    rows: list[dict[str, Any]] = []
    for _ in range(150):
        bought = rnd.random() < 0.3
        rows.append(_row(page_value=20.0 * bought, product_related=float(rnd.randrange(20))) | {"revenue": bought})
    pd.DataFrame(rows).rename(columns={"page_value": "PageValues", "revenue": "Revenue"}).to_csv(tmp_path / "rows.csv")
    out = tmp_path / "out.json"
    run = _run("online_shoppers", tmp_path / "rows.csv", "--json", out)
    assert run.exit_code == 0, run.output
    figures = json.loads(out.read_text())
    assert figures["auroc"] > 0.95 > 0.7 > figures["without_page_value"]["auroc"]
    assert figures["average_precision"] > figures["without_page_value"]["average_precision"]


ONE, TWO = [True], [True, False]


@pytest.mark.parametrize(
    ("dataset", "table", "says"),
    [
        ("session_purchase", {"pages": [[1]], "purchase": ONE}, "has no column cum_seconds"),
        ("session_purchase", {"pages": [[1, 2], [1]], "cum_seconds": [[0.0], [0.0]], "purchase": TWO}, "has 2 entries"),
        ("session_purchase", {"pages": [[1, 2], [1]], "cum_seconds": [[5.0, 1.0], [0.0]], "purchase": TWO}, "must rise"),
        ("session_purchase", {"pages": [[1]], "cum_seconds": [[0.0]], "purchase": ONE}, "all 1 are of one kind"),
        ("session_purchase", {"pages": [["a", None]], "cum_seconds": [[0.0, 1.0]], "purchase": ONE}, "of one kind"),
        ("session_purchase", {"pages": [["a", None]] * 2, "cum_seconds": [[0.0, 1.0]] * 2, "purchase": TWO}, "empty entry"),
        ("online_shoppers", {"revenue": TWO}, "has no column administrative"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_refused_in_one_line(
    dataset: str, table: dict[str, list[Any]], says: str, tmp_path: Path
) -> None:
    """With the row, and what is wrong."""
    pd.DataFrame(table).to_parquet(tmp_path / "wrong.parquet")
    run = _run(dataset, tmp_path / "wrong.parquet")
    assert run.exit_code == 1
    assert says in run.output.replace("\n", " ")


def test_the_measures_are_those_of_scikit_learn() -> None:
    """And a forecast of the base rate is calibrated and ranks nobody."""
    rnd = random.Random(6)
    truth = pd.Series([rnd.random() < 0.3 for _ in range(500)]).to_numpy()
    forecasts = pd.Series([rnd.random() for _ in range(500)]).to_numpy()
    assert quality(forecasts, truth).auroc == pytest.approx(roc_auc_score(truth, forecasts))
    flat = quality(forecasts * 0 + truth.mean(), truth)
    assert flat.auroc == pytest.approx(0.5)
    assert flat.ece < 0.1
