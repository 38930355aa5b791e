"""Laws of the worker's text lane, with a fake encoder."""

import asyncio
import hashlib
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.text.directory import EncoderUnavailable, ModelDirectory
from models.text.head import HeadRefused
from models.text.sentiment import ANCHORS
from schemas.states import TEXT_DIM
from streams.settings import Settings
from streams.worker.encoding import BatchDone, LaneStopped, TextLane, encoder_threads, open_lane

T = TypeVar("T")

DIM = 32
DEADLINE_S = 20


class FakeEncoder:
    """One token a character; a vector that depends on the characters alone. `gate` holds batches while it is clear."""

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
        """A token a character."""
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


def _lane(path: Path, encoder: FakeEncoder, on_batch: Callable[[BatchDone], None] = lambda _: None) -> TextLane:
    return TextLane(
        find=lambda: ModelDirectory(path, DIM, 256, encoder.version),
        load=lambda _: encoder,
        cache_path=path / "vectors.sqlite",
        cache_bytes=1 << 20,
        on_batch=on_batch,
    )


def _loading_when_told(tmp_path: Path) -> tuple[TextLane, threading.Event]:
    """A lane whose encoder is loaded once the event is set."""
    may_load = threading.Event()

    def load(_: ModelDirectory) -> FakeEncoder:
        assert may_load.wait(DEADLINE_S)
        return FakeEncoder()

    lane = TextLane(lambda: ModelDirectory(tmp_path, DIM, 256, "fake"), load, tmp_path / "vectors.sqlite", 1 << 20)
    return lane, may_load


async def _until(condition: Callable[[], bool]) -> None:
    """Returns once `condition` holds; fails after the deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        await asyncio.sleep(0.001)


async def _soon(awaitable: Awaitable[T]) -> T:
    return await asyncio.wait_for(awaitable, DEADLINE_S)


@pytest.fixture
def encoder() -> FakeEncoder:
    """An encoder that is fast and never fails, until told otherwise."""
    return FakeEncoder()


@pytest.fixture
async def lane(tmp_path: Path, encoder: FakeEncoder) -> AsyncIterator[TextLane]:
    """A lane whose encoder is loaded."""
    lane = _lane(tmp_path, encoder)
    lane.start()
    await _soon(lane.loaded())
    yield lane
    encoder.gate.set()
    await _soon(lane.stop())


async def test_readings_come_in_the_order_of_the_texts(lane: TextLane) -> None:
    """However batches are sorted and cut, and with doubles, each place gets its own text's reading."""
    texts = ["bb" * 20, "a", "", "ccc" * 9, "a", "dd"]

    together = await _soon(lane.encode(texts))

    assert together == [(await _soon(lane.encode([text])))[0] for text in texts]
    assert len({reading.vector for reading in together}) == 5


@settings(max_examples=20, deadline=None)
@given(st.lists(st.lists(st.text("abc", max_size=12), max_size=8), max_size=8))
def test_each_text_is_encoded_once_however_it_is_asked_for(
    tmp_path_factory: pytest.TempPathFactory, requests: list[list[str]]
) -> None:
    """Texts in flight, in the cache or asked for twice at once cost one place in one batch."""
    encoder = FakeEncoder()

    async def ask() -> None:
        lane = _lane(tmp_path_factory.mktemp("lane"), encoder)
        lane.start()
        futures = [lane.submit(texts) for texts in requests]
        for texts, future in zip(requests, futures, strict=True):
            assert await _soon(future) == await _soon(lane.encode(texts))
        await lane.stop()

    asyncio.run(ask())

    assert sorted(encoder.encoded) == sorted({text for texts in requests for text in texts})


async def test_batches_stay_within_the_token_budget(tmp_path: Path, encoder: FakeEncoder) -> None:
    """Padding included, no batch holds more tokens than the encoder's budget; counters and callback agree."""
    done: list[BatchDone] = []
    lane = _lane(tmp_path, encoder, done.append)
    lane.start()
    texts = [f"{number:02d}" + "x" * (number % 30) for number in range(60)]

    await _soon(lane.encode(texts))

    assert all(len(batch) * max(map(len, batch)) <= encoder.budget for batch in encoder.batches)
    assert lane.encoded == sum(batch.texts for batch in done) == 60
    assert lane.tokens == sum(batch.tokens for batch in done) >= sum(map(len, texts))
    assert lane.seconds > 0
    assert lane.waiting == 0
    await lane.stop()


async def test_a_text_reads_the_same_to_the_bit_now_and_from_the_cache(tmp_path: Path, encoder: FakeEncoder) -> None:
    """A replay on a warm cache gives the numbers of the first run, also in another process."""
    texts = [f"text {number}" for number in range(20)]
    first = _lane(tmp_path, encoder)
    first.start()
    fresh = await _soon(first.encode(texts))
    kept = first.cached(texts)
    await first.stop()

    second = _lane(tmp_path, FakeEncoder())
    second.start()
    await _soon(second.loaded())
    restored = second.cached(texts)
    await second.stop()

    assert fresh == kept == restored
    assert first.cache_hits == second.cache_hits == 20


async def test_the_cache_answers_before_the_encoder_is_loaded(tmp_path: Path) -> None:
    """From the second run on, known texts are read while the model still loads; unknown ones wait for it."""
    first = _lane(tmp_path, FakeEncoder())
    first.start()
    (known,) = await _soon(first.encode(["known"]))
    await first.stop()
    lane, may_load = _loading_when_told(tmp_path)
    lane.start()
    unknown = lane.submit(["unknown"])
    await _until(lambda: lane.version is not None)

    assert lane.cached(["known", "unknown"]) == [known, None]
    assert not lane.ready
    assert not unknown.done()
    may_load.set()
    assert len(await _soon(unknown)) == 1
    await _until(lambda: lane.ready)
    await lane.stop()


async def test_the_encoder_is_loaded_for_the_first_text_that_the_cache_lacks(tmp_path: Path) -> None:
    """A restarted worker that needs no new text loads nothing, though it can say its version and read known texts."""
    first = _lane(tmp_path, FakeEncoder())
    first.start()
    (known,) = await _soon(first.encode(["known"]))
    await first.stop()
    loads: list[ModelDirectory] = []

    def load(directory: ModelDirectory) -> FakeEncoder:
        loads.append(directory)
        return FakeEncoder()

    lane = TextLane(lambda: ModelDirectory(tmp_path, DIM, 256, "fake"), load, tmp_path / "vectors.sqlite", 1 << 20)
    lane.start()
    await _until(lambda: lane.version is not None)
    assert lane.cached(["known"]) == [known]
    assert loads == []
    await _soon(lane.encode(["unknown"]))
    assert len(loads) == 1
    await lane.stop()


async def test_the_lane_says_for_how_long_it_has_been_loading(tmp_path: Path) -> None:
    """From the first text that needs the encoder until it is there; `given` counts what callers got, cached or not."""
    lane, may_load = _loading_when_told(tmp_path)
    lane.start()
    await _until(lambda: lane.version is not None)
    assert lane.loading_s is None
    future = lane.submit(["a", "b"])
    await _until(lambda: lane.loading_s is not None)
    assert lane.given == 0

    may_load.set()
    await _soon(future)

    assert lane.loading_s is None
    assert lane.given == 2
    await lane.stop()


async def test_nothing_is_known_before_the_lane_starts(tmp_path: Path, encoder: FakeEncoder) -> None:
    """Texts can be asked for at once: the cache knows none, and the futures wait for the encoder."""
    lane = _lane(tmp_path, encoder)
    future = lane.submit(["early"])

    assert lane.cached(["early"]) == [None]
    assert lane.version is None
    lane.start()
    assert len(await _soon(future)) == 1
    await lane.stop()


async def test_the_loop_runs_on_while_a_batch_runs(lane: TextLane, encoder: FakeEncoder) -> None:
    """The stream lives on the event loop: it gets its turns while the encoder is busy."""
    encoder.gate.clear()
    future = lane.submit(["slow"])
    await _until(encoder.entered.is_set)

    turns = 0
    while turns < 100:
        await asyncio.sleep(0)
        turns += 1

    assert not future.done()
    encoder.gate.set()
    await _soon(future)


async def test_the_next_window_is_tokenized_while_the_last_batch_runs(lane: TextLane, encoder: FakeEncoder) -> None:
    """The encoder's thread need not wait for the tokenizer between windows."""
    encoder.gate.clear()
    first = lane.submit(["first"])
    await _until(lambda: ["first"] in encoder.tokenized)
    second = lane.submit(["second"])

    await _until(lambda: ["second"] in encoder.tokenized)

    assert not first.done()
    encoder.gate.set()
    await _soon(asyncio.gather(first, second))


async def test_a_cancelled_text_is_never_encoded(lane: TextLane, encoder: FakeEncoder) -> None:
    """A partition that was revoked cancels its futures: their texts cost nothing, unless another caller waits."""
    encoder.gate.clear()
    running = lane.submit(["running"])
    await _until(lambda: ["running"] in encoder.tokenized)
    dropped, shared, kept = lane.submit(["gone", "shared"]), lane.submit(["shared"]), lane.submit(["kept"])
    dropped.cancel()
    encoder.gate.set()

    await _soon(asyncio.gather(running, shared, kept))
    await _until(lambda: lane.waiting == 0)

    assert sorted(encoder.encoded) == ["kept", "running", "shared"]


async def test_a_cancelled_text_may_be_asked_for_again(lane: TextLane, encoder: FakeEncoder) -> None:
    """After a partition came back its texts are encoded as if never dropped."""
    lane.submit(["text"]).cancel()

    assert len(await _soon(lane.encode(["text"]))) == 1
    assert encoder.encoded == ["text"]


async def test_a_failing_encoder_fails_every_caller_and_the_task(tmp_path: Path, encoder: FakeEncoder) -> None:
    """Nothing waits for ever and nothing is read as zeros: the task raises, so that the process stops."""
    lane = _lane(tmp_path, encoder)
    task = lane.start()
    await _soon(lane.loaded())
    encoder.failure = RuntimeError("out of memory")
    one, other = lane.submit(["one"]), lane.submit(["other" * 20])

    with pytest.raises(RuntimeError, match="out of memory"):
        await _soon(task)

    for future in (one, other):
        with pytest.raises(LaneStopped, match="out of memory"):
            await _soon(future)
    with pytest.raises(LaneStopped):
        lane.submit(["late"])
    await lane.stop()


async def test_a_model_that_is_not_there_fails_the_task_with_the_way_out(tmp_path: Path) -> None:
    """Who supervises the task learns what to set; who waits for the load learns it too."""

    def find() -> ModelDirectory:
        raise EncoderUnavailable(tmp_path, "no such directory")

    lane = TextLane(find, lambda _: FakeEncoder(), tmp_path / "vectors.sqlite", 1 << 20)
    task = lane.start()
    waiting = lane.submit(["text"])

    with pytest.raises(LaneStopped, match="REGULARS_ENCODER"):
        await _soon(lane.loaded())
    with pytest.raises(EncoderUnavailable, match="REGULARS_ENCODER"):
        await _soon(task)
    with pytest.raises(LaneStopped):
        await _soon(waiting)
    await lane.stop()


async def test_a_trained_head_reads_texts_and_vectors_now_and_from_the_cache(
    tmp_path: Path, encoder: FakeEncoder
) -> None:
    """What a head makes of a text is the same when it comes again; the anchors are then not encoded at all."""
    heard: list[str] = []

    class Head:
        version = "head-1"

        def score(self, texts: Sequence[str], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
            heard.extend(texts)
            assert len(texts) == len(vectors)
            return np.array([len(text) / 10 for text in texts], dtype=np.float32)

    lane = TextLane(
        lambda: ModelDirectory(tmp_path, DIM, 256, encoder.version),
        lambda _: encoder,
        tmp_path / "vectors.sqlite",
        1 << 20,
        lambda _: Head(),
    )
    lane.start()
    fresh = await _soon(lane.encode(["aaaa", "b", "cc"]))
    again = lane.cached(["cc", "unknown", "aaaa"])
    await _soon(lane.stop())

    assert [reading.sentiment for reading in fresh] == [np.float32(0.4), np.float32(0.1), np.float32(0.2)]
    assert again == [fresh[2], None, fresh[0]]
    assert lane.version is not None
    assert lane.version.endswith("+head-1")
    assert not any(text in ANCHORS for row in encoder.tokenized for text in row)
    assert sorted(heard) == ["aaaa", "aaaa", "b", "cc", "cc"]


async def test_a_head_that_can_t_be_served_fails_the_task_with_the_way_out(tmp_path: Path) -> None:
    """A mistyped REGULARS_SENTIMENT stops the worker at its start, before anything is encoded."""
    settings = Settings(cache_dir=tmp_path, device="cpu", encoder="", sentiment=str(tmp_path / "nowhere"))
    lane = open_lane(settings, lambda _: None)

    with pytest.raises(HeadRefused, match="REGULARS_SENTIMENT=anchors"):
        await _soon(lane.start())
    await lane.stop()


async def test_what_the_disk_refuses_to_the_cache_is_counted(tmp_path: Path, encoder: FakeEncoder) -> None:
    """Texts are read all the same; lookups and writes that failed can be asked for."""
    (tmp_path / "file").write_bytes(b"")
    lane = _lane(tmp_path / "file" / "folder", encoder)
    before = lane.cache_failures
    lane.start()
    await _soon(lane.submit(["one"]))
    await _soon(lane.submit(["two"]))

    assert before == 0
    assert lane.cache_failures >= 4
    await _soon(lane.stop())


async def test_stopping_drops_what_waits(tmp_path: Path, encoder: FakeEncoder) -> None:
    """After a stop no future hangs, no thread is left, and no text is taken."""
    lane = _lane(tmp_path, encoder)
    lane.start()
    await _soon(lane.loaded())
    encoder.gate.clear()
    future = lane.submit(["text"])
    await _until(lambda: ["text"] in encoder.tokenized)
    stopping = asyncio.create_task(lane.stop())
    await _until(future.done)
    encoder.gate.set()
    await _soon(stopping)

    with pytest.raises(LaneStopped, match="stopped"):
        await future
    with pytest.raises(LaneStopped):
        lane.submit(["late"])
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("encoder", "tokenizer"))]


async def test_no_texts_are_read_at_once(lane: TextLane) -> None:
    """An empty request completes without the encoder."""
    assert await _soon(lane.encode([])) == []
    assert lane.cached([]) == []


async def test_the_settings_lane_serves_the_packaged_model(tmp_path: Path) -> None:
    """Wired as in a worker, with nothing set: praise scores above complaint, and a text above nothing at all."""
    lane = open_lane(Settings(cache_dir=tmp_path, device="cpu", encoder=""), lambda _: None)
    lane.start()
    await asyncio.wait_for(lane.loaded(), 240)

    praise, nothing, complaint = await _soon(lane.encode(["I love it!", "", "It broke, I want my money back."]))
    await lane.stop()

    assert praise.sentiment > 0.5
    assert complaint.sentiment < -0.3
    assert nothing == ((0.0,) * TEXT_DIM, 0.0)
    assert len(praise.vector) == TEXT_DIM


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 1), (4, 3), (16, 15)])
def test_the_encoder_leaves_the_stream_a_core(cores: int, threads: int) -> None:
    """On two cores the encoder takes one."""
    assert encoder_threads(cores) == threads
