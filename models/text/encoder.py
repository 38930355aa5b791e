"""Texts -> vectors with a local BERT: masked mean over tokens, L2-normalised. Importing this file imports torch.

That import takes seconds (torch 3 s, transformers' BertModel another 10), so a worker does it in its text lane's thread
(`streams.worker.text_lane`), never at its own start. Nothing is ever downloaded.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers.models.bert.modeling_bert import BertModel
from transformers.utils import logging as transformers_logging

from models.text.batching import batches
from models.text.directory import EncoderUnavailable, ModelDirectory, open_directory

CPU_BUDGET = 1_024
"""Tokens per batch on a CPU. This size gives the most texts per CPU second (62; 43 at 16,384; benchmarks/encoder.py), and a
batch takes 0.2 s, which bounds how long a new text waits for the batch before."""

CUDA_BUDGET = 16_384
"""Tokens per batch on CUDA: enough rows to fill the device; activations stay below 1 GB for a 12-layer model."""


Device = Literal["auto", "cpu", "cuda"]


class Encoder:
    """A loaded model. Only one thread may use it at a time, but `tokenize` and `forward` may run in parallel.

    `version` and `dim` are the directory's; `budget` is the padded tokens of one batch.
    """

    def __init__(self, directory: ModelDirectory, device: Device = "auto", budget: int | None = None) -> None:
        self.version = directory.version
        self.dim = directory.dim
        self.max_tokens = directory.max_tokens
        self.device = torch_device(device)
        self.budget = budget or (CUDA_BUDGET if self.device.type == "cuda" else CPU_BUDGET)
        self._tokenizer = load_tokenizer(directory)
        self._special = self._tokenizer.num_special_tokens_to_add(False)
        self._model = load_model(directory).to(self.device)

    @classmethod
    def open(cls, path: str = "", device: Device = "auto", budget: int | None = None) -> "Encoder":
        """The model in `path` (empty: the packaged MiniLM). Raises EncoderUnavailable, which says what to set."""
        return cls(open_directory(path), device, budget)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors (n, dim) float32 of length 1, in the order of `texts`; zeros for a text without a token.

        A text alone and in any batch gives the same vector (cosine >= 0.9999).
        """
        tokens = self.tokenize(texts)
        vectors = np.zeros((len(tokens), self.dim), dtype=np.float32)
        for batch in batches([len(row) for row in tokens], self.budget):
            vectors[batch] = self.forward([tokens[index] for index in batch])
        return vectors

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text with [CLS] and [SEP], cut at `max_tokens`; an empty list for a text without others."""
        encodings = self._tokenizer.encode_batch_fast(list(texts))
        return [ids if len(ids) > self._special else [] for ids in (encoding.ids for encoding in encodings)]

    def forward(self, tokens: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Vectors (n, dim) float32 of one batch of `tokenize`'s rows, whatever its size; an empty row gives zeros."""
        vectors = np.zeros((len(tokens), self.dim), dtype=np.float32)
        filled = [index for index, row in enumerate(tokens) if row]
        if filled:
            vectors[filled] = self._forward([tokens[index] for index in filled])
        return vectors

    def _forward(self, tokens: list[Sequence[int]]) -> NDArray[np.float32]:
        lengths = np.array([len(row) for row in tokens])
        mask = np.arange(lengths.max()) < lengths[:, None]
        ids = np.zeros(mask.shape, dtype=np.int64)
        ids[mask] = np.concatenate([np.asarray(row) for row in tokens])
        with torch.inference_mode(), self._precision():
            attention = torch.from_numpy(mask.astype(np.int64)).to(self.device)
            states = self._model(input_ids=torch.from_numpy(ids).to(self.device), attention_mask=attention)
            weights = attention.unsqueeze(-1).float()
            mean = (states.last_hidden_state.float() * weights).sum(1) / weights.sum(1)
            pooled: NDArray[np.float32] = torch.nn.functional.normalize(mean, dim=1).cpu().numpy()
        return pooled

    def _precision(self) -> AbstractContextManager[object]:
        """bfloat16 products with float32 sums and residuals where CUDA has it.

        Casting the whole model instead puts a text alone and in a batch at a cosine of 0.99990 (autocast: 0.99996; both
        emulated on a CPU, lowest of 120 reviews).
        """
        if self.device.type == "cuda" and torch.cuda.is_bf16_supported():
            return torch.autocast("cuda", dtype=torch.bfloat16)
        return nullcontext()


def torch_device(wanted: Device) -> torch.device:
    """The device for `wanted`. Raises EncoderUnavailable if CUDA is wanted and not available."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise EncoderUnavailable(None, "REGULARS_DEVICE is cuda and torch sees no CUDA device (auto or cpu would run)")
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(wanted)


def load_tokenizer(directory: ModelDirectory) -> Tokenizer:
    """The fast tokenizer itself, without transformers' wrapper. Padding and truncation of its file are replaced."""
    try:
        tokenizer = Tokenizer.from_file(str(directory.path / "tokenizer.json"))
    except Exception as failure:  # tokenizers raises bare Exception
        raise EncoderUnavailable(directory.path, f"tokenizer.json can't be read ({failure})") from failure
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length=directory.max_tokens)
    return tokenizer


def load_model(directory: ModelDirectory) -> BertModel:
    """The model, in float32, ready to infer. Raises EncoderUnavailable if weights are missing or have another shape."""
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        model, report = BertModel.from_pretrained(
            directory.path,
            add_pooling_layer=False,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            dtype=torch.float32,
        )
    except Exception as failure:  # from OSError to SafetensorError and bare RuntimeError
        raise EncoderUnavailable(directory.path, f"the weights can't be loaded ({failure})") from failure
    finally:
        transformers_logging.set_verbosity(verbosity)
    if report["missing_keys"] or report["mismatched_keys"]:
        wrong = sorted(str(key) for key in (*report["missing_keys"], *report["mismatched_keys"]))
        raise EncoderUnavailable(directory.path, f"{len(wrong)} weights are missing or misshapen, such as {wrong[0]}")
    return model.eval()
