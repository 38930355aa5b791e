"""The worker's text lane: texts are encoded beside the stream, so that clicks and purchases never wait for them.

    submit -> wanted (each text once) -> window: drawn, tokenised, cut by token budget -> forward -> cache -> futures

One thread loads the encoder and runs it. A second one tokenises the next window while the last batch of this one runs.
Everything else happens on the event loop. A text that nobody waits for any more is dropped before its batch.

The encoder is loaded when the cache lacks a text for the first time. Loading takes ten seconds of a core, and 500 MB: a
worker that restarts in the middle of a backlog, or sees no new texts, is spared both.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import structlog
from numpy.typing import NDArray

from models.state import Reading
from models.text.batching import batches
from models.text.cache import VectorCache
from models.text.directory import ModelDirectory
from models.text.reading import SentimentHead, TextEncoder, TextReader, version_of
from models.text.sentiment import ANCHORS, AnchorSentiment
from models.text.sentiment import version_of as head_version
from streams.worker.text_requests import WantedText, WantedTexts

log = structlog.get_logger(__name__)

# A window holds budget / 8 texts: some ten batches of reviews (80 tokens each), so that texts of similar length share a
# batch. Under a backlog on a CPU that is about 2 s of work: so long a text may wait for others of its window.
TOKENS_A_TEXT = 8


class BatchDone(NamedTuple):
    """What one batch took: texts, tokens with padding, seconds in the encoder's thread."""

    texts: int
    tokens: int
    seconds: float


class LaneStopped(Exception):
    """The lane takes no more texts: it was stopped, or its encoder failed (the cause)."""


class TextLane:
    """Readings of texts: at once from the cache, or later from the encoder. Belongs to one event loop.

    Attributes:
        encoded: texts that were encoded.
        given: texts that were encoded, or found in the cache when their turn came.
        cache_hits: texts that were found in the cache.
        tokens: of all batches, padding included.
        seconds: that the encoder took.
    """

    def __init__(
        self,
        find: Callable[[], ModelDirectory],
        load: Callable[[ModelDirectory], TextEncoder],
        cache_path: Path,
        cache_bytes: int,
        head: Callable[[ModelDirectory], SentimentHead | None] = lambda _: None,
        on_batch: Callable[[BatchDone], None] = lambda _: None,
        cache_key: Callable[[], bytes] = bytes,
    ) -> None:
        """A lane that is not started. `find`, `load` and `head` run in its own thread.

        Args:
            find: names the model, quickly.
            load: loads it, which may take long.
            cache_path: the file of the cache.
            cache_bytes: its largest size.
            head: gives the model's trained sentiment head; None: sentiment comes from anchor texts.
            on_batch: called on the event loop after each batch.
            cache_key: the secret of the cache's digests.
        """
        self.encoded = self.given = self.cache_hits = self.tokens = 0
        self.seconds = 0.0
        self._find, self._load, self._head, self._on_batch = find, load, head, on_batch
        self._cache_path, self._cache_bytes, self._cache_key = cache_path, cache_bytes, cache_key
        self._cache: VectorCache | None = None
        self._reader: TextReader | None = None
        self._version: str | None = None
        self._wanted = WantedTexts(self._count_given)
        self._needed = asyncio.Event()
        self._loaded = asyncio.Event()
        self._loading_since: float | None = None  # monotonic
        self._task: asyncio.Task[None] | None = None
        self._stopped: LaneStopped | None = None
        self._forward_thread = ThreadPoolExecutor(1, thread_name_prefix="encoder")
        self._tokenizer_thread = ThreadPoolExecutor(1, thread_name_prefix="tokenizer")

    def start(self) -> "asyncio.Task[None]":
        """Opens the cache, loads the encoder when it is needed, and serves until it is stopped.

        Await the task to learn of a failure: it raises what `find`, `load` or the encoder raised. Every future then fails
        with LaneStopped.
        """
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="text-lane")
        return self._task

    @property
    def ready(self) -> bool:
        """Whether the encoder is loaded."""
        return self._loaded.is_set()

    @property
    def loading_s(self) -> float | None:
        """For how many seconds the encoder has been loading; None: it isn't needed yet, or is loaded."""
        return None if self._loading_since is None else time.monotonic() - self._loading_since

    @property
    def waiting(self) -> int:
        """Texts that somebody waits for."""
        return len(self._wanted)

    @property
    def version(self) -> str | None:
        """Names encoder, projection and sentiment; None until the model's files have been found."""
        return self._version

    @property
    def cache_failures(self) -> int:
        """Lookups and writes that the disk refused to the cache."""
        return 0 if self._cache is None else self._cache.failures

    async def loaded(self) -> None:
        """Loads the encoder and returns once it is loaded. Raises LaneStopped when that fails."""
        self._needed.set()
        loaded = asyncio.ensure_future(self._loaded.wait())
        await asyncio.wait({loaded, self.start()}, return_when=asyncio.FIRST_COMPLETED)
        loaded.cancel()
        if self._stopped is not None:
            raise self._stopped

    def cached(self, texts: Sequence[str]) -> list[Reading | None]:
        """The readings that the cache has, without waiting; None for the others. Takes about 0.15 ms per text."""
        if self._cache is None or self._reader is None:
            return [None] * len(texts)
        vectors = self._cache.get(texts)
        hits = [(text, vector) for text, vector in zip(texts, vectors, strict=True) if vector is not None]
        self.cache_hits += len(hits)
        if not hits:
            return [None] * len(texts)
        cached = np.stack([vector for _, vector in hits]).astype(np.float32)
        readings = iter(self._reader.read([text for text, _ in hits], cached))
        return [None if vector is None else next(readings) for vector in vectors]

    def submit(self, texts: Sequence[str]) -> "asyncio.Future[list[Reading]]":
        """A future of the readings of `texts`, in order. Cancel it to drop the texts that nobody else waits for.

        Until the encoder is loaded, texts wait for it. Raises LaneStopped after a failure or a stop.
        """
        if self._stopped is not None:
            raise self._stopped
        future = self._wanted.ask(texts)
        if self._wanted.has_queue:
            self._needed.set()
        return future

    async def encode(self, texts: Sequence[str]) -> list[Reading]:
        """The readings of `texts`, in order, from the cache where it has them."""
        return await self.submit(texts)

    async def stop(self) -> None:
        """Drops what waits, ends the threads after the batch that runs, and closes the cache."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        self._end(LaneStopped("the text lane was stopped"))
        await asyncio.to_thread(self._forward_thread.shutdown, cancel_futures=True)
        await asyncio.to_thread(self._tokenizer_thread.shutdown, cancel_futures=True)
        if self._cache is not None:
            self._cache.close()

    # --- loading

    async def _run(self) -> None:
        try:
            directory = await self._in_thread(self._find)
            head: SentimentHead | None = await self._in_thread(self._head, directory)
            self._version = version_of(directory.version, head_version() if head is None else head.version)
            self._cache = VectorCache(
                self._cache_path, directory.version, directory.dim, self._cache_bytes, key=self._cache_key()
            )
            if head is not None:
                self._reader = TextReader(directory.version, head)
            else:
                anchors = self._cache.get(ANCHORS)
                known = [vector for vector in anchors if vector is not None]
                if len(known) == len(anchors):
                    self._reader = _reader(directory, np.stack(known))
            await self._needed.wait()
            await self._serve(await self._load_now(directory))
        except asyncio.CancelledError:
            self._end(LaneStopped("the text lane was stopped"))
            raise
        except Exception as failure:
            stopped = LaneStopped(f"the text encoder failed: {failure}")
            stopped.__cause__ = failure
            self._end(stopped)
            raise

    async def _load_now(self, directory: ModelDirectory) -> TextEncoder:
        began = self._loading_since = time.monotonic()
        log.info("loading the encoder", version=directory.version, texts_waiting=self.waiting)
        encoder: TextEncoder = await self._in_thread(self._load, directory)
        if self._reader is None:
            self._reader = _reader(directory, await self._in_thread(self._encode_anchors, encoder))
        self._loading_since = None
        self._loaded.set()
        log.info("encoder loaded", seconds=round(time.monotonic() - began, 1))
        return encoder

    def _encode_anchors(self, encoder: TextEncoder) -> NDArray[np.float16]:
        vectors = [encoder.forward([row]) for row in encoder.tokenize(ANCHORS)]
        return self._keep(ANCHORS, np.concatenate(vectors))

    def _keep(self, texts: Sequence[str], vectors: NDArray[np.float32]) -> NDArray[np.float16]:
        """Puts vectors into the cache; gives them as the cache has them, so that a text always has the same reading."""
        assert self._cache is not None
        rounded = vectors.astype(np.float16)
        self._cache.put(texts, rounded)
        return rounded

    # --- serving

    async def _serve(self, encoder: TextEncoder) -> None:
        window = await self._window(encoder)
        while True:
            following: asyncio.Task[list[list[WantedText]]] | None = None
            try:
                for number, batch in enumerate(window, start=1):
                    if number == len(window):
                        following = asyncio.create_task(self._window(encoder))
                    await self._batch(encoder, batch)
                window = await (self._window(encoder) if following is None else following)
            finally:
                if following is not None:
                    following.cancel()

    async def _window(self, encoder: TextEncoder) -> list[list[WantedText]]:
        """The next texts, tokenised and cut into batches; waits until there are any."""
        drawn = self._draw(encoder.budget // TOKENS_A_TEXT)
        while not drawn:  # none waits, or the cache had all that were drawn
            await self._wanted.arrival()
            drawn = self._draw(encoder.budget // TOKENS_A_TEXT)
        texts = [wanted.text for wanted in drawn]
        tokens = await asyncio.get_running_loop().run_in_executor(self._tokenizer_thread, encoder.tokenize, texts)
        for wanted, row in zip(drawn, tokens, strict=True):
            wanted.tokens = row
        return [[drawn[index] for index in cut] for cut in batches([len(row) for row in tokens], encoder.budget)]

    def _draw(self, limit: int) -> list[WantedText]:
        """Up to `limit` wanted texts in order of arrival, without those that the cache has by now: they are given."""
        drawn = self._wanted.draw(limit)
        readings = self.cached([wanted.text for wanted in drawn])
        for wanted, reading in zip(drawn, readings, strict=True):
            if reading is not None:
                self._wanted.give(wanted, reading)
        return [wanted for wanted, reading in zip(drawn, readings, strict=True) if reading is None]

    async def _batch(self, encoder: TextEncoder, batch: list[WantedText]) -> None:
        assert self._reader is not None
        batch = self._wanted.still_wanted(batch)
        if not batch:
            return
        began = time.perf_counter()
        vectors = await self._in_thread(self._forward, encoder, batch)
        done = BatchDone(len(batch), len(batch) * max(len(w.tokens) for w in batch), time.perf_counter() - began)
        readings = self._reader.read([wanted.text for wanted in batch], vectors.astype(np.float32))
        for wanted, reading in zip(batch, readings, strict=True):
            self._wanted.give(wanted, reading)
        self.encoded += done.texts
        self.tokens += done.tokens
        self.seconds += done.seconds
        self._on_batch(done)

    def _forward(self, encoder: TextEncoder, batch: list[WantedText]) -> NDArray[np.float16]:
        vectors = encoder.forward([wanted.tokens for wanted in batch])
        return self._keep([wanted.text for wanted in batch], vectors)

    def _count_given(self) -> None:
        self.given += 1

    def _end(self, stopped: LaneStopped) -> None:
        """Fails everybody who waits."""
        if self._stopped is None:
            self._stopped = stopped
        self._wanted.fail(self._stopped)

    async def _in_thread(self, work: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._forward_thread, work, *arguments)


def _reader(directory: ModelDirectory, anchors: NDArray[np.float16]) -> TextReader:
    return TextReader(directory.version, AnchorSentiment(anchors.astype(np.float32)))
