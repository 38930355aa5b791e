"""Laws of finding and naming a model without loading it."""

import json
from pathlib import Path

import pytest

from models.text.directory import EncoderUnavailable, open_directory, packaged

CONFIG = {"model_type": "bert", "hidden_size": 32, "max_position_embeddings": 512}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory that looks like a BERT model; nothing in it is ever loaded."""
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    return tmp_path


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model.bin.index.json"])
def test_a_pickle_is_refused_with_the_way_out(folder: Path, name: str) -> None:
    """It is not even opened."""
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(b"\x80\x04")

    with pytest.raises(EncoderUnavailable, match="safe_serialization=True"):
        open_directory(folder)


def test_the_packaged_model_is_the_default() -> None:
    """Without a setting the packaged MiniLM is served: 384 numbers, cut at its own 256 tokens."""
    directory = open_directory()

    assert directory.path == packaged()
    assert (directory.dim, directory.max_tokens) == (384, 256)


def test_the_version_is_stable_and_independent_of_the_place(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The same files elsewhere, or opened again, are the same model: cached vectors stay valid."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for file in folder.iterdir():
        (elsewhere / file.name).write_bytes(file.read_bytes())

    assert open_directory(folder).version == open_directory(folder).version == open_directory(elsewhere).version


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors", "sentence_bert_config.json"])
def test_whatever_shapes_a_vector_changes_the_version(folder: Path, name: str) -> None:
    """Config, tokenizer, weights and truncation are all in the version, so that no cache serves a stale vector."""
    before = open_directory(folder).version
    changed = {
        "config.json": json.dumps(CONFIG | {"layer_norm_eps": 1e-5}),
        "sentence_bert_config.json": '{"max_seq_length": 128}',
    }
    (folder / name).write_text(changed.get(name, "changed"))

    assert open_directory(folder).version != before


def test_texts_are_cut_at_the_models_own_length_or_its_positions(folder: Path) -> None:
    """sentence-transformers' length where the model states one it can hold, else the model's positions."""
    assert open_directory(folder).max_tokens == 512
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 256}')
    assert open_directory(folder).max_tokens == 256
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 1000}')
    assert open_directory(folder).max_tokens == 512
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": null}')
    assert open_directory(folder).max_tokens == 512


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("config.json", None, "config.json is missing"),
        ("config.json", "{", "config.json is not JSON"),
        ("config.json", "[]", "config.json is not a JSON object"),
        ("config.json", '{"model_type": "roberta"}', "'roberta', not 'bert'"),
        ("config.json", '{"model_type": "bert"}', "lacks max_position_embeddings or hidden_size"),
        ("tokenizer.json", None, "tokenizer.json is missing"),
        ("model.safetensors", None, "none of model.safetensors"),
    ],
)
def test_an_unusable_directory_says_why_and_what_to_set(folder: Path, name: str, content: str | None, why: str) -> None:
    """The one error names the directory, the reason and the setting."""
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(content)

    with pytest.raises(EncoderUnavailable, match="REGULARS_ENCODER") as raised:
        open_directory(folder)

    assert why in str(raised.value)
    assert str(folder) in str(raised.value)


def test_a_directory_that_is_not_there_says_so(tmp_path: Path) -> None:
    """A mistyped path is named."""
    with pytest.raises(EncoderUnavailable, match="nowhere: no such directory"):
        open_directory(tmp_path / "nowhere")
