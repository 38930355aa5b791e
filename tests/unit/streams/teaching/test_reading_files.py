"""A shop teaches its intents from a file, and reads a file's texts."""

import json
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from models.text.directory import open_directory
from models.text.intents import intents_of
from streams.cli import main

ASKED = ["where is my parcel", "my parcel is late", "give me my money back", "a refund of my money please"]
WANTED = ["delivery", "delivery", "refund", "refund"]


@pytest.fixture
def shop(tiny: Path, tmp_path: Path) -> list[str]:
    """Options that name the small encoder and a cache of its own."""
    return ["--encoder", str(tiny), "--cache-dir", str(tmp_path / "cache")]


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(each) for each in arguments], catch_exceptions=False)


def _file(path: Path, **columns: list[object]) -> Path:
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def test_what_texts_want_is_learnt_from_a_file_and_read_from_another(
    shop: list[str], tmp_path: Path, tiny: Path
) -> None:
    """Row for row, in the file's order; a row without a text is null; an urgent intent makes a text urgent."""
    asked = [f"{text} {number}" for number in range(15) for text in ASKED]
    data = _file(tmp_path / "asked.csv", text=asked, intent=WANTED * 15, urgency=[0.1, 0.3, 0.9, 0.9] * 15)
    taught = _run("intents", "train", data, "--out", tmp_path / "heads", *shop)
    assert taught.exit_code == 0, taught.output
    (folder,) = (tmp_path / "heads").iterdir()
    assert f"REGULARS_INTENTS={folder}" in taught.output.replace("\n", "")
    assert json.loads((folder / "training.json").read_text())["accuracy"] > 0.9
    head = intents_of(open_directory(tiny), str(folder))
    assert head is not None
    assert head.card.urgency == pytest.approx((0.2, 0.9))

    texts = _file(tmp_path / "texts.csv", text=["my parcel please", None, "money back"], title=[None, None, "Refund"])
    out = tmp_path / "read.parquet"
    read = _run("encoder", "read", texts, "--out", out, "--intents", folder, *shop)
    assert read.exit_code == 0, read.output
    table = pd.read_parquet(out)
    columns = ["sentiment", "intent", "p_intent", "urgency"]  # no head of sentiment fits: the anchors
    assert list(table.columns) == columns
    assert table["intent"].dropna().tolist() == ["delivery", "refund"]
    assert table.iloc[1].isna().all()
    assert table["urgency"][2] > 0.5
    assert "parcel" not in out.read_bytes().decode("latin-1")


def test_without_an_intent_head_a_text_has_its_sentiment_alone(shop: list[str], tmp_path: Path) -> None:
    """A complaint is urgent by itself."""
    texts, out = _file(tmp_path / "texts.csv", text=["I love it.", "I hate it."]), tmp_path / "read.parquet"
    assert _run("encoder", "read", texts, "--out", out, *shop).exit_code == 0
    table = pd.read_parquet(out)
    assert list(table.columns) == ["sentiment", "urgency"]
    assert table["urgency"].tolist() == pytest.approx((-table["sentiment"]).clip(lower=0).tolist())


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"text": ["a", "b"]}, "has no column intent"),
        ({"text": ["a", "b"], "intent": ["x", "x"]}, "names 1 intents"),
        ({"text": ["a", "b"], "intent": ["x", "y"], "urgency": [0.5, 7]}, "no number from 0 to 1"),
    ],
)
def test_a_file_that_teaches_nothing_is_refused_with_what_is_missing(
    columns: dict[str, list[object]], says: str, shop: list[str], tmp_path: Path
) -> None:
    """In one line, without a traceback."""
    refused = _run("intents", "train", _file(tmp_path / "wrong.csv", **columns), "--out", tmp_path / "heads", *shop)
    assert refused.exit_code == 1
    assert says in refused.output.replace("\n", " ")
    assert not (tmp_path / "heads").exists()


def test_a_head_that_cannot_be_used_says_what_to_do(shop: list[str], tmp_path: Path) -> None:
    """Named by the setting, it is no reason for a traceback."""
    texts = _file(tmp_path / "texts.csv", text=["hello"])
    refused = _run("encoder", "read", texts, "--out", tmp_path / "o.parquet", "--intents", tmp_path / "none", *shop)
    assert refused.exit_code == 1
    assert "regulars intents train" in refused.output.replace("\n", " ")
