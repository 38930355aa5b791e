"""Laws of the encoder, on the packaged MiniLM and on a tiny BERT made here. Importing torch takes seconds."""

import json
import pickle
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.bert.configuration_bert import BertConfig
from transformers.models.bert.modeling_bert import BertForSequenceClassification, BertModel

from models.text.directory import EncoderUnavailable, open_directory, packaged
from models.text.encoder import Encoder, load_model

TEXTS = (
    "This dress is lovely.",
    "ok",
    "",
    " \n\t ",
    "Where is my order? It is a week late, nobody answers, and I want my money back.",
    "It runs small. " * 12,
    "Größe passt, schöner Stoff! 👗",
    "The zip broke after one day; the shop sent a new one within hours. " * 18,
    "a",
    "I wanted to love this, but the fabric is thin and it went back the same day.",
)

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture(scope="session")
def encoder() -> Encoder:
    """The packaged MiniLM on the CPU, with a budget so small that TEXTS make several batches."""
    return Encoder.open(device="cpu", budget=300)


@pytest.fixture(scope="session")
def alone(encoder: Encoder) -> dict[str, np.ndarray]:
    """Each text's vector when encoded alone."""
    return {text: encoder.encode([text])[0] for text in TEXTS}


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A directory with a one-layer BERT of 32 dimensions and MiniLM's tokenizer."""
    shutil.copy(packaged() / "tokenizer.json", tmp_path)
    BertModel(_tiny_config()).save_pretrained(tmp_path)
    return tmp_path


def _tiny_config() -> BertConfig:
    return BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64)


def _cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


@settings(max_examples=12, deadline=None)
@given(st.lists(st.sampled_from(TEXTS), min_size=1, max_size=8))
def test_a_text_alone_and_in_any_batch_gives_the_same_vector(
    encoder: Encoder, alone: dict[str, np.ndarray], texts: Sequence[str]
) -> None:
    """Whatever is beside a text, in whatever order, its vector keeps a cosine of at least 0.9999."""
    for text, vector in zip(texts, encoder.encode(texts), strict=True):
        assert not alone[text].any() or _cosine(vector, alone[text]) >= 0.9999
        assert alone[text].any() == vector.any()


def test_vectors_are_those_of_sentence_transformers(encoder: Encoder) -> None:
    """The first six of 384 numbers, as sentence-transformers 6.2 has them; the second text is cut at 256 tokens."""
    golden = [
        [-0.00639, 0.06967, 0.04978, 0.00306, -0.01852, 0.05424],
        [0.13752, -0.06184, 0.06282, -0.00748, 0.01428, 0.03883],
    ]

    vectors = encoder.encode(["This dress is lovely.", "Where is my order? It is late! " * 60])

    assert np.allclose(vectors[:, :6], golden, atol=2e-5)


def test_vectors_have_length_one_and_blank_texts_none(encoder: Encoder, alone: dict[str, np.ndarray]) -> None:
    """A text without a token of its own is all zeros; every other vector is float32 of length 1."""
    lengths = {text: float(np.linalg.norm(vector)) for text, vector in alone.items()}

    assert {text for text, length in lengths.items() if length == 0} == {"", " \n\t "}
    assert all(length == pytest.approx(1, abs=1e-5) for text, length in lengths.items() if text.strip())
    assert encoder.encode(TEXTS).dtype == np.float32
    assert encoder.encode([]).shape == (0, encoder.dim)


def test_a_long_text_is_cut_at_the_models_own_length(encoder: Encoder) -> None:
    """What comes after 256 tokens changes nothing."""
    long = "good " * 300

    (tokens,) = encoder.tokenize([long])
    one, other = encoder.encode([long, long + "and then it broke"])

    assert len(tokens) == encoder.max_tokens == 256
    assert _cosine(one, other) >= 0.9999


def test_weights_in_a_pickle_are_never_loaded(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Neither by the check of the directory nor by the loader itself, were it reached: the pickle's code does not run."""
    trace = tmp_path_factory.mktemp("trace") / "ran"
    directory = open_directory(tiny)
    (tiny / "model.safetensors").unlink()
    (tiny / "pytorch_model.bin").write_bytes(pickle.dumps(_Touch(trace)))

    with pytest.raises(EncoderUnavailable, match="safe_serialization=True"):
        Encoder.open(str(tiny), device="cpu")
    with pytest.raises(EncoderUnavailable, match="can't be loaded"):
        load_model(directory)
    assert not trace.exists()


class _Touch:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self._path,)


def test_any_local_bert_directory_is_served(tiny: Path) -> None:
    """Another model serves as well, cut at its positions."""
    encoder = Encoder.open(str(tiny), device="cpu")

    assert encoder.dim == 32
    assert encoder.max_tokens == 512
    assert np.linalg.norm(encoder.encode(["text"])) == pytest.approx(1, abs=1e-5)


def test_a_classifier_on_top_of_bert_is_served_by_its_bert(tiny: Path) -> None:
    """A fine-tuned model's directory, head and all, gives its BERT's vectors."""
    classifier = BertForSequenceClassification(_tiny_config())
    classifier.save_pretrained(tiny)
    from_classifier = Encoder.open(str(tiny), device="cpu").encode(["text"])
    classifier.bert.save_pretrained(tiny)

    assert np.allclose(from_classifier, Encoder.open(str(tiny), device="cpu").encode(["text"]), atol=1e-6)


def test_weights_that_do_not_fit_are_refused_with_the_way_out(tiny: Path) -> None:
    """A config of more layers than the weights hold must not serve random numbers."""
    config = json.loads((tiny / "config.json").read_text())
    (tiny / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 2}))

    with pytest.raises(EncoderUnavailable, match=r"16 weights are missing .* Set REGULARS_ENCODER"):
        Encoder.open(str(tiny), device="cpu")


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_file_that_cannot_be_read_is_refused_with_the_way_out(tiny: Path, name: str) -> None:
    """A half-copied file is named as such."""
    (tiny / name).write_bytes((tiny / name).read_bytes()[:1_000])

    with pytest.raises(EncoderUnavailable, match=r"can't be (read|loaded) .* Set REGULARS_ENCODER"):
        Encoder.open(str(tiny), device="cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_where_there_is_none_is_refused_with_the_way_out() -> None:
    """A worker told to use CUDA doesn't silently fall back to a CPU fifty times slower."""
    with pytest.raises(EncoderUnavailable, match="REGULARS_DEVICE"):
        Encoder.open(device="cuda")


@needs_cuda
@pytest.mark.gpu
def test_cuda_gives_the_vectors_of_the_cpu(encoder: Encoder, alone: dict[str, np.ndarray]) -> None:
    """In bfloat16 on the device: cosine to float32 on the CPU, and alone to in a batch, of at least 0.9999."""
    on_device = Encoder.open(device="cuda")
    texts = [text for text in TEXTS if text.strip()]

    for text, vector in zip(texts, on_device.encode(texts), strict=True):
        assert _cosine(vector, alone[text]) >= 0.9999
        assert _cosine(vector, on_device.encode([text])[0]) >= 0.9999
