"""A bounded cache of text vectors on disk, by content: a text that was encoded once on this machine isn't encoded again.

One SQLite file in WAL mode, shared by all workers of a machine. A row is

    place INTEGER PRIMARY KEY   grows with each row written: the lowest are the ones to evict
    key INTEGER UNIQUE          8 bytes of a digest (BLAKE2b) of encoder version and text, keyed by a secret
    vector BLOB                 the digest's other 8 bytes | CRC-32 of the numbers | dim float16

The digest is keyed, so that whoever can read the file cannot ask it whether a certain text was ever written. Only its owner
can read it.

Eviction is roughly least recently used: when a row of the older half is read, the next `put` writes it again at the end.
float16 halves the disk space, and a unit vector keeps its direction to 2e-7 (1 - cosine). A kill at any moment leaves the
file whole (WAL); a power cut may lose the last rows. A file that is damaged or of another layout is removed and begun again;
a damaged row counts as absent. No disk error reaches the caller, because a cache may forget.
"""

import hashlib
import sqlite3
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

LAYOUT = 2
"""The file's `user_version`. Another number means another layout: begin again. In layout 1 digests had no secret key."""

PAGE_BYTES = 16_384
"""About 20 rows of 384 float16 a page; SQLite's usual 4,096 would leave a fifth of each page empty."""

WAL_PAGES = 256
"""Pages after which the log is folded into the file: 4 MB, so that the bound on disk holds."""

BUSY_S = 0.2
"""How long a write waits for another worker's write before it gives up. Lookups never wait (WAL)."""

EVICT_SHARE = 10
"""A full cache drops its oldest tenth at once, so that eviction is rare."""

DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

SCHEMA = "CREATE TABLE IF NOT EXISTS vectors (place INTEGER PRIMARY KEY, key INTEGER UNIQUE, vector BLOB)"

MIDDLE = "SELECT ((SELECT min(place) FROM vectors) + (SELECT max(place) FROM vectors)) / 2"
"""Two sub-queries, because SQLite takes min and max together by reading the whole table."""

ASKED_AT_ONCE = 500
"""Keys per query. A key takes half the time of a single lookup, and SQLite's oldest limit is 999 parameters."""

Key = bytes
Vector = NDArray[np.float16]


class VectorCache:
    """Vectors of one encoder. `get` and `put` may run in two threads at once, but each in only one thread at a time.

    `failures` counts lookups and writes that the disk refused.
    """

    def __init__(
        self, path: Path, version: str, dim: int, limit_bytes: int, memory_texts: int = 20_000, key: bytes = b""
    ) -> None:
        """Opens or begins the file `path`, of about `limit_bytes` at most; keeps `memory_texts` in memory too.

        `key`: the secret of the digests, up to 64 bytes. A file that was written with another one has nothing for this one.
        """
        self.failures = 0
        self._dim = dim
        self._digest_key = hashlib.blake2b(version.encode(), key=key).digest()
        self._limit_pages = max(2, limit_bytes // PAGE_BYTES)
        self._memory: OrderedDict[Key, Vector] = OrderedDict()
        self._memory_texts = memory_texts
        self._memory_lock = Lock()
        self._again: dict[Key, Vector] = {}
        self._reading, self._writing = _File(path), _File(path)

    def get(self, texts: Sequence[str]) -> list[Vector | None]:
        """The vector of each text, (dim,) float16, or None. Memory first, then the file."""
        keys = [self._key(text) for text in texts]
        with self._memory_lock:
            vectors_by_key = {key: vector for key in keys if (vector := self._remembered(key)) is not None}
        absent = [key for key in dict.fromkeys(keys) if key not in vectors_by_key]
        if absent:
            stored = self._stored(absent)
            self._remember(stored)
            vectors_by_key |= stored
        return [vectors_by_key.get(key) for key in keys]

    def put(self, texts: Sequence[str], vectors: NDArray[np.float32] | NDArray[np.float16]) -> None:
        """Stores (n, dim) vectors, and again the rows of the older half that were read. Evicts when the file is full."""
        halves = vectors.astype(np.float16)
        halves.flags.writeable = False
        fresh = dict(zip(map(self._key, texts), halves, strict=True))
        self._remember(fresh)
        again, self._again = self._again, {}
        rows = [(_number(key), _packed(key, vector)) for key, vector in (again | fresh).items()]
        try:
            with self._writing.connection() as connection:
                connection.executemany("INSERT OR REPLACE INTO vectors (key, vector) VALUES (?, ?)", rows)
                self._evict(connection)
        except sqlite3.Error as failure:
            self._failed(self._writing, failure)

    def close(self) -> None:
        """Closes the file; what was put stays, and a later call opens it again."""
        self._reading.close()
        self._writing.close()

    def _key(self, text: str) -> Key:
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16, key=self._digest_key).digest()

    def _remembered(self, key: Key) -> Vector | None:
        vector = self._memory.get(key)
        if vector is not None:
            self._memory.move_to_end(key)
        return vector

    def _remember(self, vectors: dict[Key, Vector]) -> None:
        with self._memory_lock:
            self._memory.update(vectors)
            while len(self._memory) > self._memory_texts:
                self._memory.popitem(last=False)

    def _stored(self, keys: Sequence[Key]) -> dict[Key, Vector]:
        by_number = {_number(key): key for key in keys}
        stored: dict[Key, Vector] = {}
        try:
            connection = self._reading.connection()
            middle = connection.execute(MIDDLE).fetchone()[0]
            for place, number, blob in _rows(connection, list(by_number)):
                key = by_number[number]
                vector = _unpacked(key, blob, self._dim)
                if vector is not None:
                    stored[key] = vector
                    if place < middle:
                        self._again[key] = vector
        except sqlite3.Error as failure:
            self._failed(self._reading, failure)
        return stored

    def _evict(self, connection: sqlite3.Connection) -> None:
        """Drops the oldest rows while the file holds more pages than allowed. Their pages are used again."""
        while _pages(connection) > self._limit_pages:
            rows = connection.execute("SELECT count(*) FROM vectors").fetchone()[0]
            if rows == 0:
                return
            connection.execute(
                "DELETE FROM vectors WHERE place <= (SELECT place FROM vectors ORDER BY place LIMIT 1 OFFSET ?)",
                (rows // EVICT_SHARE,),
            )

    def _failed(self, file: "_File", failure: sqlite3.Error) -> None:
        """Counts a failure; a damaged file is removed, for both threads and other workers to begin again."""
        self.failures += 1
        code = getattr(failure, "sqlite_errorcode", 0) & 0xFF
        if code in DAMAGED:
            file.remove()
        if code != sqlite3.SQLITE_BUSY:
            file.close()


class _File:
    """One thread's connection to the file, opened when asked for, and again when the file was removed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open: sqlite3.Connection | None = None
        self._inode = 0

    def connection(self) -> sqlite3.Connection:
        """The open connection. Raises sqlite3.Error where the folder or the file can't be had."""
        if self._open is not None and self._inode != self._inode_now():
            self.close()
        if self._open is None:
            self._open = self._connect()
            self._inode = self._inode_now()
        return self._open

    def close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None

    def remove(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)

    def _inode_now(self) -> int:
        try:
            return self._path.stat().st_ino
        except OSError:
            return 0

    def _connect(self) -> sqlite3.Connection:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as failure:
            raise sqlite3.OperationalError(f"{self._path.parent}: {failure.strerror}") from failure
        with suppress(OSError):  # SQLite gives the log and the index the mode of the file
            self._path.touch(mode=0o600)
        connection = self._plain()
        try:
            layout = connection.execute("PRAGMA user_version").fetchone()[0]
            if layout not in (0, LAYOUT):
                connection.close()
                self.remove()
                connection = self._plain()
            if layout != LAYOUT:
                connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute(SCHEMA)
                connection.execute(f"PRAGMA user_version = {LAYOUT}")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _plain(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=BUSY_S, check_same_thread=False)


def count_rows(path: Path) -> int:
    """Vectors in the file at `path`. Raises sqlite3.Error where it isn't a cache."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        rows: int = connection.execute("SELECT count(*) FROM vectors").fetchone()[0]
    return rows


def _pages(connection: sqlite3.Connection) -> int:
    """Pages in use: those of the file without its free ones."""
    total, free = (connection.execute(f"PRAGMA {what}").fetchone()[0] for what in ("page_count", "freelist_count"))
    pages: int = total - free
    return pages


def _rows(connection: sqlite3.Connection, numbers: list[int]) -> Iterator[tuple[int, int, object]]:
    for start in range(0, len(numbers), ASKED_AT_ONCE):
        asked = numbers[start : start + ASKED_AT_ONCE]
        marks = ",".join("?" * len(asked))
        yield from connection.execute(f"SELECT place, key, vector FROM vectors WHERE key IN ({marks})", asked)


def _number(key: Key) -> int:
    return int.from_bytes(key[:8], signed=True)


def _packed(key: Key, vector: Vector) -> bytes:
    numbers = vector.astype("<f2").tobytes()
    return key[8:] + zlib.crc32(numbers).to_bytes(4) + numbers


def _unpacked(key: Key, blob: object, dim: int) -> Vector | None:
    """The vector in `blob`; None where it is another text's, damaged, or no vector at all."""
    if not isinstance(blob, bytes) or len(blob) != 12 + 2 * dim or blob[:8] != key[8:]:
        return None
    if zlib.crc32(blob[12:]).to_bytes(4) != blob[8:12]:
        return None
    return np.frombuffer(blob, dtype="<f2", offset=12)
