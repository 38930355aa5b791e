"""Laws of the worker's text lane, with a fake encoder."""

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lanes import DIM, FakeEncoder, lane_of, lane_that_loads_later, soon, until
from models.text.directory import EncoderUnavailable, ModelDirectory
from streams.worker.text_lane import BatchDone, LaneStopped, TextLane


@pytest.fixture
def encoder() -> FakeEncoder:
    """An encoder that is fast and never fails, unless its test says otherwise."""
    return FakeEncoder()


@pytest.fixture
async def lane(tmp_path: Path, encoder: FakeEncoder) -> AsyncIterator[TextLane]:
    """A lane whose encoder is loaded."""
    lane = lane_of(tmp_path, encoder)
    lane.start()
    await soon(lane.loaded())
    yield lane
    encoder.gate.set()
    await soon(lane.stop())


async def test_readings_come_in_the_order_of_the_texts(lane: TextLane) -> None:
    """However batches are sorted and cut, and with doubles, each place gets its own text's reading."""
    texts = ["bb" * 20, "a", "", "ccc" * 9, "a", "dd"]

    together = await soon(lane.encode(texts))

    assert together == [(await soon(lane.encode([text])))[0] for text in texts]
    assert len({reading.vector for reading in together}) == 5


@settings(max_examples=20, deadline=None)
@given(st.lists(st.lists(st.text("abc", max_size=12), max_size=8), max_size=8))
def test_each_text_is_encoded_once_however_it_is_asked_for(
    tmp_path_factory: pytest.TempPathFactory, requests: list[list[str]]
) -> None:
    """Texts in flight, in the cache or asked for twice at once cost one place in one batch."""
    encoder = FakeEncoder()

    async def ask() -> None:
        lane = lane_of(tmp_path_factory.mktemp("lane"), encoder)
        lane.start()
        futures = [lane.submit(texts) for texts in requests]
        for texts, future in zip(requests, futures, strict=True):
            assert await soon(future) == await soon(lane.encode(texts))
        await lane.stop()

    asyncio.run(ask())

    assert sorted(encoder.encoded) == sorted({text for texts in requests for text in texts})


async def test_batches_stay_within_the_token_budget(tmp_path: Path, encoder: FakeEncoder) -> None:
    """Padding included, no batch holds more tokens than the encoder's budget; counters and callback agree."""
    done: list[BatchDone] = []
    lane = lane_of(tmp_path, encoder, done.append)
    lane.start()
    texts = [f"{number:02d}" + "x" * (number % 30) for number in range(60)]

    await soon(lane.encode(texts))

    assert all(len(batch) * max(map(len, batch)) <= encoder.budget for batch in encoder.batches)
    assert lane.encoded == sum(batch.texts for batch in done) == 60
    assert lane.tokens == sum(batch.tokens for batch in done) >= sum(map(len, texts))
    assert lane.seconds > 0
    assert lane.waiting == 0
    await lane.stop()


async def test_a_text_reads_the_same_to_the_bit_now_and_from_the_cache(tmp_path: Path, encoder: FakeEncoder) -> None:
    """A replay on a warm cache gives the numbers of the first run, also in another process."""
    texts = [f"text {number}" for number in range(20)]
    first = lane_of(tmp_path, encoder)
    first.start()
    fresh = await soon(first.encode(texts))
    kept = first.cached(texts)
    await first.stop()

    second = lane_of(tmp_path, FakeEncoder())
    second.start()
    await soon(second.loaded())
    restored = second.cached(texts)
    await second.stop()

    assert fresh == kept == restored
    assert first.cache_hits == second.cache_hits == 20


async def test_the_cache_answers_before_the_encoder_is_loaded(tmp_path: Path) -> None:
    """From the second run on, known texts are read while the model still loads; unknown ones wait for it."""
    first = lane_of(tmp_path, FakeEncoder())
    first.start()
    (known,) = await soon(first.encode(["known"]))
    await first.stop()
    lane, may_load = lane_that_loads_later(tmp_path)
    lane.start()
    unknown = lane.submit(["unknown"])
    await until(lambda: lane.version is not None)

    assert lane.cached(["known", "unknown"]) == [known, None]
    assert not lane.ready
    assert not unknown.done()
    may_load.set()
    assert len(await soon(unknown)) == 1
    await until(lambda: lane.ready)
    await lane.stop()


async def test_the_encoder_is_loaded_for_the_first_text_that_the_cache_lacks(tmp_path: Path) -> None:
    """A restarted worker that needs no new text loads nothing, though it can say its version and read known texts."""
    first = lane_of(tmp_path, FakeEncoder())
    first.start()
    (known,) = await soon(first.encode(["known"]))
    await first.stop()
    loads: list[ModelDirectory] = []

    def load(directory: ModelDirectory) -> FakeEncoder:
        loads.append(directory)
        return FakeEncoder()

    lane = TextLane(lambda: ModelDirectory(tmp_path, DIM, 256, "fake"), load, tmp_path / "vectors.sqlite", 1 << 20)
    lane.start()
    await until(lambda: lane.version is not None)
    assert lane.cached(["known"]) == [known]
    assert loads == []
    await soon(lane.encode(["unknown"]))
    assert len(loads) == 1
    await lane.stop()


async def test_the_lane_says_for_how_long_it_has_been_loading(tmp_path: Path) -> None:
    """From the first text that needs the encoder until it is there; `given` counts what callers got, cached or not."""
    lane, may_load = lane_that_loads_later(tmp_path)
    lane.start()
    await until(lambda: lane.version is not None)
    assert lane.loading_s is None
    future = lane.submit(["a", "b"])
    await until(lambda: lane.loading_s is not None)
    assert lane.given == 0

    may_load.set()
    await soon(future)

    assert lane.loading_s is None
    assert lane.given == 2
    await lane.stop()


async def test_nothing_is_known_before_the_lane_starts(tmp_path: Path, encoder: FakeEncoder) -> None:
    """Texts can be asked for at once: the cache knows none, and the futures wait for the encoder."""
    lane = lane_of(tmp_path, encoder)
    future = lane.submit(["early"])

    assert lane.cached(["early"]) == [None]
    assert lane.version is None
    lane.start()
    assert len(await soon(future)) == 1
    await lane.stop()


async def test_the_loop_runs_on_while_a_batch_runs(lane: TextLane, encoder: FakeEncoder) -> None:
    """The stream lives on the event loop: it gets its turns while the encoder is busy."""
    encoder.gate.clear()
    future = lane.submit(["slow"])
    await until(encoder.entered.is_set)

    turns = 0
    while turns < 100:
        await asyncio.sleep(0)
        turns += 1

    assert not future.done()
    encoder.gate.set()
    await soon(future)


async def test_the_next_window_is_tokenized_while_the_last_batch_runs(lane: TextLane, encoder: FakeEncoder) -> None:
    """The encoder's thread need not wait for the tokenizer between windows."""
    encoder.gate.clear()
    first = lane.submit(["first"])
    await until(lambda: ["first"] in encoder.tokenized)
    second = lane.submit(["second"])

    await until(lambda: ["second"] in encoder.tokenized)

    assert not first.done()
    encoder.gate.set()
    await soon(asyncio.gather(first, second))


async def test_a_cancelled_text_is_never_encoded(lane: TextLane, encoder: FakeEncoder) -> None:
    """A partition that was revoked cancels its futures: their texts cost nothing, unless another caller waits."""
    encoder.gate.clear()
    running = lane.submit(["running"])
    await until(lambda: ["running"] in encoder.tokenized)
    dropped, shared, kept = lane.submit(["gone", "shared"]), lane.submit(["shared"]), lane.submit(["kept"])
    dropped.cancel()
    encoder.gate.set()

    await soon(asyncio.gather(running, shared, kept))
    await until(lambda: lane.waiting == 0)

    assert sorted(encoder.encoded) == ["kept", "running", "shared"]


async def test_a_cancelled_text_may_be_asked_for_again(lane: TextLane, encoder: FakeEncoder) -> None:
    """After a partition came back its texts are encoded as if never dropped."""
    lane.submit(["text"]).cancel()

    assert len(await soon(lane.encode(["text"]))) == 1
    assert encoder.encoded == ["text"]


async def test_a_failing_encoder_fails_every_caller_and_the_task(tmp_path: Path, encoder: FakeEncoder) -> None:
    """Nothing waits for ever and nothing is read as zeros: the task raises, so that the process stops."""
    lane = lane_of(tmp_path, encoder)
    task = lane.start()
    await soon(lane.loaded())
    encoder.failure = RuntimeError("out of memory")
    one, other = lane.submit(["one"]), lane.submit(["other" * 20])

    with pytest.raises(RuntimeError, match="out of memory"):
        await soon(task)

    for future in (one, other):
        with pytest.raises(LaneStopped, match="out of memory"):
            await soon(future)
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
        await soon(lane.loaded())
    with pytest.raises(EncoderUnavailable, match="REGULARS_ENCODER"):
        await soon(task)
    with pytest.raises(LaneStopped):
        await soon(waiting)
    await lane.stop()


async def test_what_the_disk_refuses_to_the_cache_is_counted(tmp_path: Path, encoder: FakeEncoder) -> None:
    """Texts are read all the same; lookups and writes that failed can be asked for."""
    (tmp_path / "file").write_bytes(b"")
    lane = lane_of(tmp_path / "file" / "folder", encoder)
    before = lane.cache_failures
    lane.start()
    await soon(lane.submit(["one"]))
    await soon(lane.submit(["two"]))

    assert before == 0
    assert lane.cache_failures >= 4
    await soon(lane.stop())


async def test_stopping_drops_what_waits(tmp_path: Path, encoder: FakeEncoder) -> None:
    """After a stop no future hangs, no thread is left, and no text is taken."""
    lane = lane_of(tmp_path, encoder)
    lane.start()
    await soon(lane.loaded())
    encoder.gate.clear()
    future = lane.submit(["text"])
    await until(lambda: ["text"] in encoder.tokenized)
    stopping = asyncio.create_task(lane.stop())
    await until(future.done)
    encoder.gate.set()
    await soon(stopping)

    with pytest.raises(LaneStopped, match="stopped"):
        await future
    with pytest.raises(LaneStopped):
        lane.submit(["late"])
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("encoder", "tokenizer"))]


async def test_no_texts_are_read_at_once(lane: TextLane) -> None:
    """An empty request completes without the encoder."""
    assert await soon(lane.encode([])) == []
    assert lane.cached([]) == []
