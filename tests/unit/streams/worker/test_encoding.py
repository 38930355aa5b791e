"""Laws of the lane that the settings name: its model, its sentiment head, its threads."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from lanes import DIM, FakeEncoder, soon
from models.text.directory import ModelDirectory
from models.text.head import HeadRefused
from models.text.sentiment import ANCHORS
from schemas.groups import TEXT_DIM
from streams.settings import Settings
from streams.worker.encoding import encoder_threads, open_lane
from streams.worker.text_lane import TextLane


@pytest.fixture
def encoder() -> FakeEncoder:
    """An encoder that is fast and never fails."""
    return FakeEncoder()


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
    fresh = await soon(lane.encode(["aaaa", "b", "cc"]))
    again = lane.cached(["cc", "unknown", "aaaa"])
    await soon(lane.stop())

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
        await soon(lane.start())
    await lane.stop()


async def test_the_settings_lane_serves_the_packaged_model(tmp_path: Path) -> None:
    """Wired as in a worker, with nothing set: praise scores above complaint, and a text above nothing at all."""
    lane = open_lane(Settings(cache_dir=tmp_path, device="cpu", encoder=""), lambda _: None)
    lane.start()
    await asyncio.wait_for(lane.loaded(), 240)

    praise, nothing, complaint = await soon(lane.encode(["I love it!", "", "It broke, I want my money back."]))
    await lane.stop()

    assert praise.sentiment > 0.5
    assert complaint.sentiment < -0.3
    assert nothing == ((0.0,) * TEXT_DIM, 0.0)
    assert len(praise.vector) == TEXT_DIM


async def test_the_settings_lane_keys_its_cache_with_the_secret(tmp_path: Path) -> None:
    """Another secret finds nothing in the same file."""
    keys = []
    for secret in ("a" * 32, "b" * 32):
        lane = open_lane(Settings(cache_dir=tmp_path, pseudonym_key=secret), lambda _: None)  # type: ignore[arg-type]
        keys.append(lane._cache_key())
        await lane.stop()

    assert len({b"", *keys}) == 3


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 1), (4, 3), (16, 15)])
def test_the_encoder_leaves_the_stream_a_core(cores: int, threads: int) -> None:
    """On two cores the encoder takes one."""
    assert encoder_threads(cores) == threads
