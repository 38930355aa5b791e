"""Fine-tuning of a BERT directory on labelled texts, all its weights; resumable. Importing this file imports torch.

    logit(text) = sharpness * (direction . z(text)) + level,   z as `models.text.encoder` serves it: masked mean, length 1

so the vector that the worker keeps holds what was learnt. AdamW (Loshchilov and Hutter, 2019), the rate rising over the
first tenth of the steps and falling to zero after it.

A step depends on the recipe, the texts and the steps before it, and on nothing else: dropout is drawn from (seed, step).
So a run that was stopped and continued from its checkpoint ends with the same weights as a run that was not (on one device).

A checkpoint is one safetensors file: weights, AdamW's two moments of each, and as metadata the step and a digest of model,
recipe and texts. It is written to another name first and then moved into place.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from models.text.directory import ModelDirectory
from models.text.encoder import Device, load_model, load_tokenizer, torch_device

CHECKPOINT = "checkpoint.safetensors"

_SHARPNESS = 10.0
"""Vectors have length 1: without this factor, a direction must grow tenfold before a text gets a clear probability."""

_WARM_UP = 0.1
_WEIGHT_DECAY = 0.01
_MAX_NORM = 1.0
_SORTED_BATCHES = 16
"""The texts of this many batches are sorted by length before the cut, for little padding; then the batches are shuffled."""


class CheckpointRefused(Exception):
    """The checkpoint is of another recipe, other texts or another model: remove it, or use what it was made with."""


@dataclass(frozen=True)
class Recipe:
    """How to fine-tune.

    Attributes:
        epochs: passes over the texts.
        batch: texts of a step.
        rate: largest learning rate of the BERT; of direction and level `head_rate`.
        max_tokens: where training texts are cut.
        seed: orders texts and draws dropout.
    """

    epochs: int = 2
    batch: int = 32
    rate: float = 5e-5
    head_rate: float = 2e-3
    max_tokens: int = 256
    seed: int = 0


class FineTuning:
    """One run over `texts` with their `labels` (0 or 1); `run` yields after each step."""

    def __init__(
        self, directory: ModelDirectory, texts: Sequence[str], labels: NDArray[np.int64], recipe: Recipe, device: Device
    ) -> None:
        """Texts without a token of their own are left out. Raises EncoderUnavailable, or ValueError without texts."""
        self.recipe, self.directory = recipe, directory
        self.device = torch_device(device)
        torch.manual_seed(recipe.seed)
        tokenizer = load_tokenizer(directory)
        tokenizer.enable_truncation(max_length=min(recipe.max_tokens, directory.max_tokens))
        special = tokenizer.num_special_tokens_to_add(False)
        rows = [encoding.ids for encoding in tokenizer.encode_batch_fast(list(texts))]
        kept = [index for index, row in enumerate(rows) if len(row) > special]
        if not kept:
            raise ValueError("no text to learn from: all are empty")
        self._tokens = [rows[index] for index in kept]
        self._labels = np.asarray(labels, dtype=np.float32)[kept]
        self._model = load_model(directory).to(self.device).train()
        share = float(np.clip(self._labels.mean(), 1e-3, 1 - 1e-3))
        self._direction = torch.nn.Parameter(torch.randn(directory.dim, device=self.device) / directory.dim**0.5)
        self._level = torch.nn.Parameter(torch.tensor(float(np.log(share / (1 - share))), device=self.device))
        self._named = dict(self._model.named_parameters()) | {"direction": self._direction, "level": self._level}
        self._optimizer = torch.optim.AdamW(
            [
                {"params": [p for p in self._model.parameters() if p.ndim > 1], "weight_decay": _WEIGHT_DECAY},
                {"params": [p for p in self._model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
                {"params": [self._direction, self._level], "weight_decay": 0.0},
            ]
        )
        self._peaks = (recipe.rate, recipe.rate, recipe.head_rate)
        self._digest = _digest(directory.version, self._tokens, self._labels, recipe)
        self._an_epoch = -(-len(self._tokens) // recipe.batch)
        self.steps = recipe.epochs * self._an_epoch
        self.step = 0

    @property
    def texts(self) -> int:
        """Texts that are learnt from."""
        return len(self._tokens)

    def run(self) -> Iterator[float]:
        """Takes the remaining steps; yields the loss of each (the mean log loss of its texts)."""
        while self.step < self.steps:
            epoch, place = divmod(self.step, self._an_epoch)
            order = self._order(epoch)
            for batch in order[place:]:
                yield self._take(batch)

    def weights(self) -> tuple[NDArray[np.float64], float]:
        """(dim,) weights and constant of the logit over a text's vector."""
        direction = self._direction.detach().cpu().double().numpy() * _SHARPNESS
        return direction, float(self._level.detach())

    def save(self, folder: Path) -> None:
        """Writes the checkpoint of `folder`, over the one that is there."""
        tensors: dict[str, torch.Tensor] = {}
        for name, parameter in self._named.items():
            tensors[f"weight {name}"] = parameter.detach().contiguous()
            state = self._optimizer.state.get(parameter)
            if state:
                tensors[f"first {name}"], tensors[f"second {name}"] = state["exp_avg"], state["exp_avg_sq"]
        folder.mkdir(parents=True, exist_ok=True)
        written = folder / f".{CHECKPOINT}"
        save_file(tensors, written, metadata={"step": str(self.step), "digest": self._digest})
        written.replace(folder / CHECKPOINT)

    def resume(self, folder: Path) -> bool:
        """Continues from the checkpoint of `folder`; False if there is none.

        Raises:
            CheckpointRefused: it can't be read, or was made with something else.
        """
        path = folder / CHECKPOINT
        if not path.is_file():
            return False
        try:
            with safe_open(path, "pt", device=str(self.device)) as opened:
                metadata = opened.metadata()
                if metadata.get("digest") != self._digest:
                    raise CheckpointRefused(
                        f"{path} was made with other texts, another model or other options: give the same, or remove it"
                    )
                self._load(opened, int(metadata["step"]))
        except SafetensorError as damaged:
            raise CheckpointRefused(f"{path} can't be read ({damaged}): remove it to begin again") from damaged
        return True

    def publish(self, folder: Path) -> None:
        """Writes the model into `folder` as a directory that `models.text.directory` opens; its tokenizer goes along."""
        folder.mkdir(parents=True, exist_ok=True)
        self._model.save_pretrained(folder, safe_serialization=True)
        tokenizer = (self.directory.path / "tokenizer.json").read_bytes()
        (folder / "tokenizer.json").write_bytes(tokenizer)
        cut = {"max_seq_length": self.directory.max_tokens}
        (folder / "sentence_bert_config.json").write_text(json.dumps(cut))

    def _take(self, batch: list[int]) -> float:
        torch.manual_seed(int.from_bytes(hashlib.blake2b(f"{self.recipe.seed} {self.step}".encode()).digest()[:7]))
        pace = self._pace()
        for group, peak in zip(self._optimizer.param_groups, self._peaks, strict=True):
            group["lr"] = peak * pace
        labels = torch.from_numpy(self._labels[batch]).to(self.device)
        with self._precision():
            logits = self._logits([self._tokens[index] for index in batch])
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits.float(), labels)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._named.values(), _MAX_NORM)
        self._optimizer.step()
        self.step += 1
        return float(loss.detach())

    def _logits(self, rows: list[list[int]]) -> torch.Tensor:
        lengths = np.array([len(row) for row in rows])
        mask = np.arange(lengths.max()) < lengths[:, None]
        ids = np.zeros(mask.shape, dtype=np.int64)
        ids[mask] = np.concatenate([np.asarray(row) for row in rows])
        attention = torch.from_numpy(mask.astype(np.int64)).to(self.device)
        states = self._model(input_ids=torch.from_numpy(ids).to(self.device), attention_mask=attention)
        weights = attention.unsqueeze(-1).float()
        mean = (states.last_hidden_state.float() * weights).sum(1) / weights.sum(1)
        unit = torch.nn.functional.normalize(mean, dim=1)
        logits: torch.Tensor = _SHARPNESS * (unit @ self._direction) + self._level
        return logits

    def _order(self, epoch: int) -> list[list[int]]:
        """The batches of an epoch, each text once."""
        random = np.random.default_rng([self.recipe.seed, epoch])
        shuffled = random.permutation(len(self._tokens)).tolist()
        size, cut = self.recipe.batch, []
        for start in range(0, len(shuffled), size * _SORTED_BATCHES):
            some = sorted(shuffled[start : start + size * _SORTED_BATCHES], key=lambda index: len(self._tokens[index]))
            cut += [some[at : at + size] for at in range(0, len(some), size)]
        return [cut[index] for index in random.permutation(len(cut))]

    def _pace(self) -> float:
        """Share of the largest rate at this step."""
        warm = max(1, round(_WARM_UP * self.steps))
        return min((self.step + 1) / warm, (self.steps - self.step) / max(1, self.steps - warm))

    def _precision(self) -> AbstractContextManager[object]:
        if self.device.type == "cuda" and torch.cuda.is_bf16_supported():
            return torch.autocast("cuda", dtype=torch.bfloat16)
        return nullcontext()

    def _load(self, opened: safe_open, step: int) -> None:
        with torch.no_grad():
            for name, parameter in self._named.items():
                parameter.copy_(opened.get_tensor(f"weight {name}"))
                if step:
                    self._optimizer.state[parameter] = {
                        "step": torch.tensor(float(step)),
                        "exp_avg": opened.get_tensor(f"first {name}"),
                        "exp_avg_sq": opened.get_tensor(f"second {name}"),
                    }
        self.step = step


def _digest(version: str, tokens: Sequence[Sequence[int]], labels: NDArray[np.float32], recipe: Recipe) -> str:
    """A digest of everything that a step depends on."""
    digest = hashlib.blake2b(json.dumps([version, asdict(recipe)]).encode(), digest_size=8)
    for row in tokens:
        digest.update(np.asarray(row, dtype=np.int64).tobytes())
    digest.update(labels.tobytes())
    return digest.hexdigest()
