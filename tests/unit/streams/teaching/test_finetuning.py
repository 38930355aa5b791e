"""Laws of fine-tuning, on a tiny BERT made here. Importing torch takes seconds."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from models.text.directory import open_directory
from models.text.encoder import Encoder
from models.text.finetuning import CHECKPOINT, CheckpointRefused, FineTuning, Recipe
from models.text.head import head_of
from streams.commands.encoder import command
from streams.settings import Settings
from streams.teaching.finetuning import Stopped, finetune

RECIPE = Recipe(epochs=2, batch=8, rate=2e-3, head_rate=2e-2)


def _texts(number: int) -> tuple[list[str], NDArray[np.int64]]:
    random = np.random.default_rng(0)
    labels = (random.random(number) < 0.6).astype(np.int64)
    words = ("dress", "top", "coat", "shop", "size", "blue", "long", "short", "I", "the", "ordered", "wore")
    opinions = (("thin", "returned"), ("lovely", "perfect"))
    texts = [
        " ".join([*random.choice(words, 5), str(random.choice(opinions[label])), str(index)])
        for index, label in enumerate(labels.tolist())
    ]
    return texts, labels


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """240 labelled texts."""
    texts, labels = _texts(240)
    path = tmp_path_factory.mktemp("data") / "texts.parquet"
    pd.DataFrame({"text": texts, "recommended": labels}).to_parquet(path)
    return path


def test_a_run_that_was_stopped_ends_with_the_weights_of_one_that_was_not(tiny: Path, tmp_path: Path) -> None:
    """To the bit: a step depends on the steps before it and on nothing else, dropout included."""
    texts, labels = _texts(48)
    directory = open_directory(tiny)
    whole = FineTuning(directory, texts, labels, RECIPE, "cpu")
    losses = list(whole.run())

    first = FineTuning(directory, texts, labels, RECIPE, "cpu")
    steps = first.run()
    before = [next(steps) for _ in range(5)]
    first.save(tmp_path)
    second = FineTuning(directory, texts, labels, RECIPE, "cpu")

    assert second.resume(tmp_path)
    assert second.step == 5
    assert before + list(second.run()) == losses
    assert np.array_equal(second.weights()[0], whole.weights()[0])


def test_it_learns_and_the_encoder_it_publishes_gives_what_it_learnt(tiny: Path, tmp_path: Path) -> None:
    """The loss falls, and the published directory's vectors under the learnt weights tell the labels apart."""
    texts, labels = _texts(96)
    tuning = FineTuning(
        open_directory(tiny), texts, labels, Recipe(epochs=8, batch=8, rate=2e-3, head_rate=2e-2), "cpu"
    )

    losses = list(tuning.run())
    tuning.publish(tmp_path / "out")
    direction, level = tuning.weights()
    raw = Encoder.open(str(tmp_path / "out"), "cpu").encode(texts) @ direction + level

    assert np.mean(losses[-12:]) < np.mean(losses[:12])
    assert ((raw > 0) == labels).mean() > 0.9


def test_a_checkpoint_of_something_else_is_refused(tiny: Path, tmp_path: Path) -> None:
    """Other texts, another recipe or a torn file: the way out is named, nothing is mixed."""
    texts, labels = _texts(16)
    directory = open_directory(tiny)
    FineTuning(directory, texts, labels, RECIPE, "cpu").save(tmp_path)

    for other in (
        FineTuning(directory, texts[1:], labels[1:], RECIPE, "cpu"),
        FineTuning(directory, texts, labels, Recipe(batch=4), "cpu"),
    ):
        with pytest.raises(CheckpointRefused, match="remove it"):
            other.resume(tmp_path)
    (tmp_path / CHECKPOINT).write_bytes((tmp_path / CHECKPOINT).read_bytes()[:-1])
    with pytest.raises(CheckpointRefused, match="can't be read"):
        FineTuning(directory, texts, labels, RECIPE, "cpu").resume(tmp_path)


def test_empty_texts_are_left_out_and_none_at_all_is_said(tiny: Path) -> None:
    """A batch of nothing has no mean."""
    assert FineTuning(open_directory(tiny), ["a", "", " "], np.array([1, 0, 1]), RECIPE, "cpu").texts == 1
    with pytest.raises(ValueError, match="all are empty"):
        FineTuning(open_directory(tiny), ["", " "], np.array([1, 0]), RECIPE, "cpu")


def test_stopping_leaves_a_checkpoint_that_the_next_call_goes_on_from(tiny: Path, data: Path, tmp_path: Path) -> None:
    """Ctrl-C costs at most the step that runs."""
    settings = Settings(encoder=str(tiny), cache_dir=tmp_path / "cache", device="cpu")
    asked = iter([False, False, True])

    with pytest.raises(Stopped, match="after step 3 of 5"):
        finetune(data, tmp_path / "out", settings, RECIPE, stopping=lambda: next(asked))

    seen: list[int] = []
    finetune(data, tmp_path / "out", settings, RECIPE, force=True, progress=lambda progress: seen.append(progress.done))
    assert seen[0] == 3


def test_what_is_not_better_is_not_published_unless_forced(tiny: Path, data: Path, tmp_path: Path) -> None:
    """A rate so small that nothing is learnt: exit code 1 and the way out; with --force a directory that serves."""
    out, cache = tmp_path / "out", tmp_path / "cache"
    given = [
        "finetune", str(data), "--out", str(out), "--epochs", "1", "--rate", "1e-9",
        "--encoder", str(tiny), "--cache-dir", str(cache), "--device", "cpu",
    ]  # fmt: skip

    refused = CliRunner().invoke(command, given)

    assert refused.exit_code == 1
    assert "Nothing was published; --force publishes" in refused.output
    assert not list(out.glob("encoder-*"))

    forced = CliRunner().invoke(command, [*given, "--force"])

    assert forced.exit_code == 0, forced.output
    (folder,) = out.glob("encoder-*")
    directory = open_directory(folder)
    assert folder.name == f"encoder-{directory.version}"
    assert str(folder) in forced.output
    assert head_of(directory) is not None
    assert json.loads((folder / "training.json").read_text())["learnt"] > 150


def test_a_head_is_taught_from_a_file_and_served_with_its_encoder(tiny: Path, data: Path, tmp_path: Path) -> None:
    """`encoder head train` writes what REGULARS_SENTIMENT serves, and prints its folds."""
    out = tmp_path / "head.safetensors"

    taught = CliRunner().invoke(
        command,
        ["head", "train", str(data), "--out", str(out), "--encoder", str(tiny), "--cache-dir", str(tmp_path / "cache")],
    )

    assert taught.exit_code == 0, taught.output
    assert "blended" in taught.output
    assert head_of(open_directory(tiny), str(out)) is not None
