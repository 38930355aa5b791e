"""Laws of the text vector cache."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule
from numpy.typing import NDArray

from models.text.cache import VectorCache, count_rows

DIM = 384
MEGABYTE = 1 << 20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A cache file that isn't there yet, in a folder that isn't either."""
    return tmp_path / "cache" / "vectors.sqlite"


@pytest.fixture
def cache(path: Path) -> Iterator[VectorCache]:
    """A cache that keeps nothing in memory, so that the file is what is tested."""
    with closing(_cache(path)) as opened:
        yield opened


def _cache(path: Path, limit: int = 64 * MEGABYTE, memory_texts: int = 0, version: str = "v1") -> VectorCache:
    return VectorCache(path, version, DIM, limit, memory_texts)


def _vectors(rows: int, seed: int = 0) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).standard_normal((rows, DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def _texts(rows: int, prefix: str = "text") -> list[str]:
    return [f"{prefix} {row}" for row in range(rows)]


def _found(cache: VectorCache, texts: list[str]) -> int:
    return sum(vector is not None for vector in cache.get(texts))


def test_what_was_put_is_found_after_a_restart(path: Path, cache: VectorCache) -> None:
    """Another process with the same model finds the vectors, in the order asked, as float16."""
    texts, vectors = _texts(1_200), _vectors(1_200)
    cache.put(texts, vectors)

    with closing(_cache(path)) as again:
        found = again.get([*reversed(texts), "never seen"])

    assert found[-1] is None
    assert np.array_equal(np.stack([v for v in found if v is not None]), vectors[::-1].astype(np.float16))


def test_float16_keeps_the_direction_of_a_vector(cache: VectorCache) -> None:
    """The cosine between a vector and its stored form is 1 within 1e-6."""
    vectors = _vectors(500)
    cache.put(_texts(500), vectors)

    stored = np.stack([v for v in cache.get(_texts(500)) if v is not None]).astype(np.float64)

    cosines = (stored * vectors).sum(axis=1) / np.linalg.norm(stored, axis=1) / np.linalg.norm(vectors, axis=1)
    assert (1 - cosines < 1e-6).all()


def test_another_model_finds_nothing(path: Path, cache: VectorCache) -> None:
    """The model's version is part of the key: a new model never reads an old one's vectors."""
    cache.put(_texts(10), _vectors(10))

    with closing(_cache(path, version="v2")) as other:
        assert _found(other, _texts(10)) == 0


@settings(deadline=None)
@given(st.text(), st.text())
def test_only_equal_texts_share_a_vector(tmp_path_factory: pytest.TempPathFactory, one: str, other: str) -> None:
    """A text is found by its content alone, exactly."""
    with closing(_cache(tmp_path_factory.mktemp("cache") / "vectors.sqlite")) as cache:
        cache.put([one], _vectors(1))
        assert _found(cache, [one]) == 1
        assert _found(cache, [other]) == (one == other)


def test_two_workers_share_one_file(path: Path, cache: VectorCache) -> None:
    """What one worker encodes, the other finds, while both have the file open."""
    with closing(_cache(path)) as other:
        assert _found(other, _texts(10)) == 0
        cache.put(_texts(10), _vectors(10))
        other.put(_texts(10, "other"), _vectors(10))

        assert _found(other, _texts(10)) == 10
        assert _found(cache, _texts(10, "other")) == 10


def test_the_file_stays_within_its_bound(path: Path) -> None:
    """Twelve times what fits is put; file and log together stay below the bound plus the log's 8 MB."""
    limit = 4 * MEGABYTE
    with closing(_cache(path, limit)) as cache:
        for turn in range(60):
            cache.put(_texts(1_000, f"turn {turn}"), _vectors(1_000, turn))
            assert sum(file.stat().st_size for file in path.parent.iterdir()) < limit + 8 * MEGABYTE

        assert _found(cache, _texts(1_000, "turn 59")) == 1_000
        assert _found(cache, _texts(1_000, "turn 0")) == 0
        assert cache.failures == 0


def test_a_text_in_use_outlives_the_texts_around_it(path: Path) -> None:
    """A text that is looked up again and again stays, while those put before and after it are evicted."""
    with closing(_cache(path, 2 * MEGABYTE)) as cache:
        cache.put(["in use"], _vectors(1))
        for turn in range(30):
            cache.put(_texts(300, f"turn {turn}"), _vectors(300, turn))
            assert _found(cache, ["in use"]) == 1

        assert _found(cache, _texts(300, "turn 0")) == 0


def test_memory_holds_no_more_texts_than_allowed(path: Path) -> None:
    """The vectors in memory are the latest used; the others are still found, in the file."""
    with closing(_cache(path, memory_texts=5)) as cache:
        cache.put(_texts(20), _vectors(20))
        assert len(cache._memory) == 5
        assert _found(cache, _texts(20)) == 20
        assert len(cache._memory) == 5


@pytest.mark.parametrize("damage", [b"not a database at all" * 100, b"", b"SQLite format 3\x00" + b"\xff" * 40_000])
def test_a_damaged_file_is_begun_again(path: Path, damage: bytes) -> None:
    """Whatever lies in the file's place, lookups find nothing, nothing is raised, and later puts are kept."""
    path.parent.mkdir()
    path.write_bytes(damage)
    with closing(_cache(path)) as cache:
        assert _found(cache, _texts(10)) == 0
        cache.put(_texts(10), _vectors(10))
        cache.put(_texts(10), _vectors(10))
        assert _found(cache, _texts(10)) == 10


def test_a_file_damaged_while_open_is_begun_again(path: Path, cache: VectorCache) -> None:
    """Pages overwritten under a running worker cost the vectors, not the worker."""
    cache.put(_texts(2_000), _vectors(2_000))
    cache.close()
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(16_384)
        file.write(b"\xab" * (size - 16_384))

    _found(cache, _texts(2_000))
    cache.put(_texts(10), _vectors(10))
    cache.put(_texts(10), _vectors(10))

    assert _found(cache, _texts(10)) == 10


def test_a_damaged_row_counts_as_absent(path: Path, cache: VectorCache) -> None:
    """A vector whose checksum is wrong is not handed out, and can be put again."""
    cache.put(["text"], _vectors(1))
    with closing(sqlite3.connect(path)) as connection, connection:
        (blob,) = connection.execute("SELECT vector FROM vectors").fetchone()
        connection.execute("UPDATE vectors SET vector = ?", (blob[:-1] + bytes([blob[-1] ^ 1]),))

    assert cache.get(["text"]) == [None]
    cache.put(["text"], _vectors(1))
    assert _found(cache, ["text"]) == 1


def test_another_layout_is_begun_again(path: Path) -> None:
    """A file of an older or newer release is replaced, not misread."""
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
        connection.execute("CREATE TABLE vectors (something TEXT)")
    with closing(_cache(path)) as cache:
        cache.put(_texts(3), _vectors(3))
        assert _found(cache, _texts(3)) == 3


def test_a_file_removed_while_open_is_begun_again(path: Path, cache: VectorCache) -> None:
    """An operator may delete the cache under a running worker."""
    cache.put(_texts(3), _vectors(3))
    for file in path.parent.iterdir():
        file.unlink()

    assert _found(cache, _texts(3)) == 0
    cache.put(_texts(3), _vectors(3))
    assert count_rows(path) == 3


def test_a_folder_that_cannot_be_made_leaves_memory_only(tmp_path: Path) -> None:
    """Without a disk the cache forgets on restart, and says so in its counter; nothing is raised."""
    (tmp_path / "file").write_text("in the way")
    with closing(_cache(tmp_path / "file" / "vectors.sqlite", memory_texts=10)) as cache:
        cache.put(_texts(5), _vectors(5))
        assert _found(cache, _texts(5)) == 5
        assert _found(cache, ["unseen"]) == 0
        assert cache.failures == 2


def test_a_busy_file_costs_a_write_not_the_stream(path: Path, cache: VectorCache) -> None:
    """While another process holds the write lock, a put is given up and counted; lookups go on."""
    cache.put(_texts(3), _vectors(3))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        cache.put(["later"], _vectors(1))
        assert cache.failures == 1
        assert _found(cache, _texts(3)) == 3
        other.execute("ROLLBACK")
    cache.put(["later"], _vectors(1))

    assert _found(cache, ["later"]) == 1


def test_a_killed_writer_leaves_a_whole_file(path: Path) -> None:
    """After kill -9 in the middle of writing, every row that is found is right and the file takes more."""
    code = (
        "import sys, numpy as np; from pathlib import Path; from models.text.cache import VectorCache\n"
        f"cache = VectorCache(Path(sys.argv[1]), 'v1', {DIM}, 64 << 20, 0)\n"
        "turn = 0\n"
        "while True:\n"
        f"    vectors = np.full((50, {DIM}), turn % 100, dtype=np.float16)\n"
        "    cache.put([f'{turn}/{row}' for row in range(50)], vectors)\n"
        "    print(turn, flush=True)\n"
        "    turn += 1\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, cwd=Path.cwd())
    assert writer.stdout is not None
    written = [int(writer.stdout.readline()) for _ in range(20)][-1]
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait()
    writer.stdout.close()

    with closing(_cache(path)) as cache:
        for turn in range(written + 1):
            found = cache.get([f"{turn}/{row}" for row in range(50)])
            assert all(vector is not None and (vector == turn % 100).all() for vector in found)
        cache.put(["after"], _vectors(1))
        assert _found(cache, ["after"]) == 1


def test_a_reader_of_the_file_without_the_key_cannot_ask_for_a_text(path: Path) -> None:
    """The digests are keyed: neither another key nor none finds what was written, and the right one does."""
    with closing(VectorCache(path, "v1", DIM, 64 * MEGABYTE, 0, key=b"secret")) as cache:
        cache.put(_texts(3), _vectors(3))

    for key, hits in ((b"", 0), (b"guess", 0), (b"secret", 3)):
        with closing(VectorCache(path, "v1", DIM, 64 * MEGABYTE, 0, key=key)) as cache:
            assert _found(cache, _texts(3)) == hits


def test_only_its_owner_can_read_the_file(path: Path, cache: VectorCache) -> None:
    """The file, its log and its index, whatever the umask is."""
    mask = os.umask(0o022)
    try:
        cache.put(_texts(3), _vectors(3))
        modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    finally:
        os.umask(mask)

    assert set(modes.values()) == {0o600}, modes


class _CacheAgainstDict(RuleBasedStateMachine):
    """Any order of puts, lookups and restarts finds what a dict would (below the bound)."""

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "vectors.sqlite"
        self.cache = _cache(self.path, memory_texts=3)
        self.model: dict[str, float] = {}

    @rule(texts=st.lists(st.sampled_from(_texts(12)), max_size=6), number=st.integers(0, 50))
    def put(self, texts: list[str], number: int) -> None:
        self.cache.put(texts, np.full((len(texts), DIM), number, dtype=np.float32))
        self.model |= dict.fromkeys(texts, number)

    @rule(texts=st.lists(st.sampled_from(_texts(12)), max_size=6))
    def get(self, texts: list[str]) -> None:
        found = [None if vector is None else float(vector[0]) for vector in self.cache.get(texts)]
        assert found == [self.model.get(text) for text in texts]

    @rule()
    def restart(self) -> None:
        self.cache.close()
        self.cache = _cache(self.path, memory_texts=3)

    def teardown(self) -> None:
        self.cache.close()
        self.folder.cleanup()


_CacheAgainstDict.TestCase.settings = settings(max_examples=30, deadline=None)
TestCacheAgainstDict = _CacheAgainstDict.TestCase
