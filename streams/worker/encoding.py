"""The worker's text lane: texts are encoded beside the stream, so that clicks and purchases never wait behind them.

    submit -> wanted (each text once) -> window drawn, tokenised, cut by token budget -> forward -> cache -> futures

One thread loads the encoder and runs it; a second one tokenises the next window while the last batch of this one runs.
All else happens on the event loop. A text that nobody waits for any more is dropped before its batch.

The encoder is loaded for the first text that the cache lacks: ten seconds of a core and 500 MB, for which a worker that
restarts in the middle of a backlog, or sees no new texts, has a better use.
"""

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import structlog
from numpy.typing import NDArray

from models.state import Reading
from models.text.batching import batches
from models.text.cache import VectorCache
from models.text.directory import ModelDirectory, open_directory
from models.text.head import head_of
from models.text.reading import Reader, SentimentHead, TextEncoder, version_of
from models.text.sentiment import ANCHORS, AnchorSentiment
from models.text.sentiment import version_of as head_version
from streams.settings import Settings

log = structlog.get_logger(__name__)

TOKENS_A_TEXT = 8
"""A window holds budget / 8 texts: some ten batches of reviews (80 tokens), among which texts of like length meet.
Under backlog on a CPU that is about 2 s of work: what a text may wait for others of its own window."""


class BatchDone(NamedTuple):
    """What one batch cost: texts, tokens with padding, seconds in the encoder's thread."""

    texts: int
    tokens: int
    seconds: float


class LaneStopped(Exception):
    """The lane takes no texts any more: it was stopped, or its encoder failed (the cause)."""


class _Request:
    """One caller's texts, and the future that all their readings complete."""

    def __init__(self, texts: int, future: "asyncio.Future[list[Reading]]") -> None:
        self.future = future
        self.readings: list[Reading | None] = [None] * texts
        self.missing = texts

    def give(self, place: int, reading: Reading) -> None:
        self.readings[place] = reading
        self.missing -= 1
        if self.missing == 0 and not self.future.done():
            self.future.set_result([reading for reading in self.readings if reading is not None])


class _Wanted:
    """One text and everyone who waits for it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[int] = []
        self.places: list[tuple[_Request, int]] = []

    @property
    def alive(self) -> bool:
        return any(not request.future.done() for request, _ in self.places)


class TextLane:
    """Readings of texts: at once from the cache, or later from the encoder. Belongs to one event loop.

    Counters: `encoded` texts, `given` ones (encoded, or found in the cache when their turn came), `cache_hits`, `tokens`
    (padding included), `seconds` in the encoder.
    """

    def __init__(
        self,
        find: Callable[[], ModelDirectory],
        load: Callable[[ModelDirectory], TextEncoder],
        cache_path: Path,
        cache_bytes: int,
        head: Callable[[ModelDirectory], SentimentHead | None] = lambda _: None,
        on_batch: Callable[[BatchDone], None] = lambda _: None,
    ) -> None:
        """`find` names the model, quickly; `load` loads it, which may take long. Both run in the lane's own thread.

        `head`, there too, gives the model's trained sentiment head, or None for the anchors. `on_batch` is called on the
        event loop after each batch.
        """
        self.encoded = self.given = self.cache_hits = self.tokens = 0
        self.seconds = 0.0
        self._find, self._load, self._head, self._on_batch = find, load, head, on_batch
        self._cache_path, self._cache_bytes = cache_path, cache_bytes
        self._cache: VectorCache | None = None
        self._reader: Reader | None = None
        self._version: str | None = None
        self._wanted: dict[str, _Wanted] = {}
        self._queue: dict[str, _Wanted] = {}
        self._arrived = asyncio.Event()
        self._needed = asyncio.Event()
        self._loaded = asyncio.Event()
        self._loading_since: float | None = None  # monotonic
        self._task: asyncio.Task[None] | None = None
        self._stopped: LaneStopped | None = None
        self._forward_thread = ThreadPoolExecutor(1, thread_name_prefix="encoder")
        self._tokenizer_thread = ThreadPoolExecutor(1, thread_name_prefix="tokenizer")

    def start(self) -> "asyncio.Task[None]":
        """Opens the cache, loads the encoder when it is needed, serves. Await the task to learn of a failure.

        It never ends well. It raises what `find`, `load` or the encoder raised; then every future fails (LaneStopped).
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
        """For how many seconds the encoder has been loading; None: it isn't asked for yet, or there."""
        return None if self._loading_since is None else time.monotonic() - self._loading_since

    @property
    def waiting(self) -> int:
        """Texts that someone waits for."""
        return len(self._wanted)

    @property
    def version(self) -> str | None:
        """Names encoder, projection and sentiment; None until the model's files have been looked at."""
        return self._version

    @property
    def cache_failures(self) -> int:
        """Lookups and writes that the disk refused to the cache."""
        return 0 if self._cache is None else self._cache.failures

    async def loaded(self) -> None:
        """Has the encoder loaded and returns once it is. Raises LaneStopped where it can't be."""
        self._needed.set()
        loaded = asyncio.ensure_future(self._loaded.wait())
        await asyncio.wait({loaded, self.start()}, return_when=asyncio.FIRST_COMPLETED)
        loaded.cancel()
        if self._stopped is not None:
            raise self._stopped

    def cached(self, texts: Sequence[str]) -> list[Reading | None]:
        """The readings that the cache holds, without waiting; None for the others. About 0.15 ms a text."""
        if self._cache is None or self._reader is None:
            return [None] * len(texts)
        vectors = self._cache.get(texts)
        hits = [(text, vector) for text, vector in zip(texts, vectors, strict=True) if vector is not None]
        self.cache_hits += len(hits)
        if not hits:
            return [None] * len(texts)
        found = np.stack([vector for _, vector in hits]).astype(np.float32)
        readings = iter(self._reader.read([text for text, _ in hits], found))
        return [None if vector is None else next(readings) for vector in vectors]

    def submit(self, texts: Sequence[str]) -> "asyncio.Future[list[Reading]]":
        """A future of the readings of `texts`, in order. Cancel it to drop those that nobody else waits for.

        Before the encoder is loaded they wait for it. Raises LaneStopped after a failure or a stop.
        """
        if self._stopped is not None:
            raise self._stopped
        future: asyncio.Future[list[Reading]] = asyncio.get_running_loop().create_future()
        request = _Request(len(texts), future)
        if not texts:
            future.set_result([])
        for place, text in enumerate(texts):
            wanted = self._wanted.get(text)
            if wanted is None:
                wanted = self._wanted[text] = self._queue[text] = _Wanted(text)
            wanted.places.append((request, place))
        if self._queue:
            self._arrived.set()
            self._needed.set()
        return future

    async def encode(self, texts: Sequence[str]) -> list[Reading]:
        """The readings of `texts`, in order, from the cache where it has them."""
        return await self.submit(texts)

    async def stop(self) -> None:
        """Drops what waits, ends the threads (a batch that runs is waited for) and closes the cache."""
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
            self._cache = VectorCache(self._cache_path, directory.version, directory.dim, self._cache_bytes)
            if head is not None:
                self._reader = Reader(directory.version, head)
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
        """The vectors as the cache holds them, so that a text reads the same now and when it comes again."""
        assert self._cache is not None
        rounded = vectors.astype(np.float16)
        self._cache.put(texts, rounded)
        return rounded

    # --- serving

    async def _serve(self, encoder: TextEncoder) -> None:
        window = await self._window(encoder)
        while True:
            following: asyncio.Task[list[list[_Wanted]]] | None = None
            try:
                for number, batch in enumerate(window, start=1):
                    if number == len(window):
                        following = asyncio.create_task(self._window(encoder))
                    await self._batch(encoder, batch)
                window = await (self._window(encoder) if following is None else following)
            finally:
                if following is not None:
                    following.cancel()

    async def _window(self, encoder: TextEncoder) -> list[list[_Wanted]]:
        """The next texts, tokenised and cut into batches; waits until there are any."""
        drawn = self._draw(encoder.budget // TOKENS_A_TEXT)
        while not drawn:
            if not self._queue:  # a draw that the cache served whole leaves others waiting
                self._arrived.clear()
                await self._arrived.wait()
            drawn = self._draw(encoder.budget // TOKENS_A_TEXT)
        texts = [wanted.text for wanted in drawn]
        tokens = await asyncio.get_running_loop().run_in_executor(self._tokenizer_thread, encoder.tokenize, texts)
        for wanted, row in zip(drawn, tokens, strict=True):
            wanted.tokens = row
        return [[drawn[index] for index in cut] for cut in batches([len(row) for row in tokens], encoder.budget)]

    def _draw(self, limit: int) -> list[_Wanted]:
        """Up to `limit` wanted texts in order of arrival; what the cache has by now is given at once."""
        drawn = [self._queue.pop(text) for text in list(islice(self._queue, max(1, limit)))]
        drawn = [wanted for wanted in drawn if self._still_wanted(wanted)]
        readings = self.cached([wanted.text for wanted in drawn])
        for wanted, reading in zip(drawn, readings, strict=True):
            if reading is not None:
                self._give(wanted, reading)
        return [wanted for wanted, reading in zip(drawn, readings, strict=True) if reading is None]

    def _still_wanted(self, wanted: _Wanted) -> bool:
        if not wanted.alive:
            del self._wanted[wanted.text]
            return False
        return True

    async def _batch(self, encoder: TextEncoder, batch: list[_Wanted]) -> None:
        assert self._reader is not None
        batch = [wanted for wanted in batch if self._still_wanted(wanted)]
        if not batch:
            return
        began = time.perf_counter()
        vectors = await self._in_thread(self._forward, encoder, batch)
        done = BatchDone(len(batch), len(batch) * max(len(w.tokens) for w in batch), time.perf_counter() - began)
        readings = self._reader.read([wanted.text for wanted in batch], vectors.astype(np.float32))
        for wanted, reading in zip(batch, readings, strict=True):
            self._give(wanted, reading)
        self.encoded += done.texts
        self.tokens += done.tokens
        self.seconds += done.seconds
        self._on_batch(done)

    def _forward(self, encoder: TextEncoder, batch: list[_Wanted]) -> NDArray[np.float16]:
        vectors = encoder.forward([wanted.tokens for wanted in batch])
        return self._keep([wanted.text for wanted in batch], vectors)

    def _give(self, wanted: _Wanted, reading: Reading) -> None:
        del self._wanted[wanted.text]
        self.given += 1
        for request, place in wanted.places:
            request.give(place, reading)

    def _end(self, stopped: LaneStopped) -> None:
        """Fails everyone who waits; those who never look at their future hear it from the task."""
        if self._stopped is None:
            self._stopped = stopped
        waiting = {request for wanted in self._wanted.values() for request, _ in wanted.places}
        self._wanted.clear()
        self._queue.clear()
        for request in waiting:
            if not request.future.done():
                request.future.set_exception(self._stopped)
                request.future.exception()

    async def _in_thread(self, work: Callable[..., Any], *given: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._forward_thread, work, *given)


def open_lane(settings: Settings, on_batch: Callable[[BatchDone], None]) -> TextLane:
    """The lane that the settings ask for; nothing is read or imported before `start`."""

    def load(directory: ModelDirectory) -> TextEncoder:
        import torch

        from models.text.encoder import Encoder

        torch.set_num_threads(encoder_threads(len(os.sched_getaffinity(0))))
        return Encoder(directory, settings.device)

    return TextLane(
        find=lambda: open_directory(settings.encoder),
        load=load,
        cache_path=settings.cache_dir / "text-vectors.sqlite",
        cache_bytes=settings.text_cache_mb << 20,
        head=lambda directory: head_of(directory, settings.sentiment),
        on_batch=on_batch,
    )


def encoder_threads(cores: int) -> int:
    """Threads of the encoder on a machine with `cores`: all but the one that the stream needs, at least 1."""
    return max(1, cores - 1)


def _reader(directory: ModelDirectory, anchors: NDArray[np.float16]) -> Reader:
    return Reader(directory.version, AnchorSentiment(anchors.astype(np.float32)))
