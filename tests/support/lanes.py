"""Text lanes with a fake encoder."""

import asyncio
import hashlib
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from models.text.directory import ModelDirectory
from models.text.sentiment import ANCHORS
from streams.worker.text_lane import BatchDone, TextLane

T = TypeVar("T")

DIM = 32
DEADLINE_S = 20


class FakeEncoder:
    """One token per character; a vector that depends on the characters alone. `gate` holds batches while it is clear."""

    version, dim = "fake", DIM

    def __init__(self, budget: int = 64) -> None:
        self.budget = budget
        self.batches: list[list[str]] = []
        self.tokenized: list[list[str]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.failure: Exception | None = None

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """A token per character."""
        self.tokenized.append(list(texts))
        return [[ord(character) for character in text] for text in texts]

    def forward(self, tokens: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Waits at the gate, then fails or gives each text's vector."""
        self.entered.set()
        assert self.gate.wait(DEADLINE_S)
        if self.failure is not None:
            raise self.failure
        texts = ["".join(map(chr, row)) for row in tokens]
        if texts[0] not in ANCHORS:
            self.batches.append(texts)
        return np.stack([self.vector(text) for text in texts])

    def vector(self, text: str) -> NDArray[np.float32]:
        """Length 1, from a digest of the text; zeros for the empty one."""
        if not text:
            return np.zeros(DIM, dtype=np.float32)
        digest = hashlib.shake_256(text.encode()).digest(DIM)
        vector = np.frombuffer(digest, dtype=np.uint8).astype(np.float32) - 127.5
        unit: NDArray[np.float32] = vector / np.linalg.norm(vector)
        return unit

    @property
    def encoded(self) -> list[str]:
        """Every text that went through a batch, anchors apart."""
        return [text for batch in self.batches for text in batch]


def lane_of(path: Path, encoder: FakeEncoder, on_batch: Callable[[BatchDone], None] = lambda _: None) -> TextLane:
    """A lane with `encoder`, whose cache is in the folder `path`."""
    return TextLane(
        find=lambda: ModelDirectory(path, DIM, 256, encoder.version),
        load=lambda _: encoder,
        cache_path=path / "vectors.sqlite",
        cache_bytes=1 << 20,
        on_batch=on_batch,
    )


def lane_that_loads_later(tmp_path: Path) -> tuple[TextLane, threading.Event]:
    """A lane whose encoder is loaded once the event is set."""
    may_load = threading.Event()

    def load(_: ModelDirectory) -> FakeEncoder:
        assert may_load.wait(DEADLINE_S)
        return FakeEncoder()

    lane = TextLane(lambda: ModelDirectory(tmp_path, DIM, 256, "fake"), load, tmp_path / "vectors.sqlite", 1 << 20)
    return lane, may_load


async def until(condition: Callable[[], bool]) -> None:
    """Returns once `condition` holds; fails after the deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        await asyncio.sleep(0.001)


async def soon(awaitable: Awaitable[T]) -> T:
    """The result of `awaitable`; fails after the deadline."""
    return await asyncio.wait_for(awaitable, DEADLINE_S)
