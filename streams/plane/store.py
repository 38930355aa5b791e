"""The local store of the table: one RocksDB database per partition, read and written in bulk.

Faust finds it under the URL ``bulk://``. Faust keeps paths and assignment. Its record-by-record recovery has nothing to do,
because `persisted_offset` reports every active partition as up to date. The bulk restore (`restore`) runs in
`on_recovery_completed`: outside the rebalance callback, so heartbeats run, and before the flow of records resumes.

Beside the states, a partition's database holds three keys. Faust's offset key: the changelog offset of its newest state, as
ASCII. ``CONFIRMED_KEY``: ``b"<offset> <unix seconds>"``, the changelog offset up to which every output was sent, and when
that was written. A third one, ``CHANGELOG_KEY``, holds the id of the topic that these offsets are of.
"""

import contextlib
import gc
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, Protocol

import rocksdict
import structlog
from faust.stores import STORES
from faust.stores.rocksdb import RocksDBOptions
from faust.stores.rocksdb import Store as RocksStore
from faust.types import TP

from streams.kafka.changelog import PLANE_PREFIX
from streams.plane.errors import StoreBroken
from streams.plane.records import CONFIRMED_KEY, PartitionGone

log = structlog.get_logger(__name__)

CHANGELOG_KEY = PLANE_PREFIX + b"changelog"

STORE_URL = "bulk://"
STORES.aliases["bulk"] = "streams.plane.store:BulkStore"

WRITE_BUFFER_BYTES = 16 << 20  # per database; a larger one makes a restore no faster
MAX_OPEN_FILES = 256  # per database
ARENA_BLOCK_BYTES = 128 << 10  # what the first key of an empty write buffer takes; many partitions share few bytes
BLOOM_BITS = 10  # per key; a key without a state costs no read in 99 of 100 cases

# A write without RocksDB's own log. What comes from the changelog can be read again, and it takes a third less time.
UNLOGGED = rocksdict.WriteOptions()
UNLOGGED.disable_wal = True


class SharedMemory(RocksDBOptions):
    """Options with which all databases of a worker share `size` bytes, however many partitions it has.

    At most half of it are write buffers, which count against the block cache. Faust's own options give every partition a
    cache of 2 GiB and 192 MiB of write buffers. That memory fills for hours, and a rebalance multiplies it.
    """

    def __init__(self, size: int) -> None:
        super().__init__(write_buffer_size=WRITE_BUFFER_BYTES, max_open_files=MAX_OPEN_FILES, use_rocksdict=True)
        self._cache = rocksdict.Cache(size)
        self._buffers = rocksdict.WriteBufferManager.new_write_buffer_manager_with_cache(size // 2, False, self._cache)

    def as_options(self) -> rocksdict.Options:
        """The options of one more database."""
        tables = rocksdict.BlockBasedOptions()
        tables.set_block_cache(self._cache)
        tables.set_bloom_filter(BLOOM_BITS, block_based=False)
        options = super().as_options()
        options.set_block_based_table_factory(tables)
        options.set_arena_block_size(ARENA_BLOCK_BYTES)
        options.set_write_buffer_manager(self._buffers)
        return options

    @property
    def used(self) -> int:
        """Bytes of blocks and write buffers, at most about `size`."""
        usage: int = self._cache.get_usage()
        return usage


class Saved(NamedTuple):
    """How far a partition's local store is.

    Attributes:
        offset: the changelog offset of its newest state.
        confirmed: the changelog offset up to which every output was sent; -1: none was.
        at: when it was written last, epoch seconds.
        changelog_id: Kafka's id of the topic that the offsets are of; empty: written before that was kept.
    """

    offset: int
    confirmed: int
    at: float
    changelog_id: str = ""


class Restores(Protocol):
    """What makes partitions complete (`restore.Restorer`)."""

    async def restore(self, partitions: Iterable[int]) -> None:
        """Restores the partitions."""


# What a database that was set aside has behind its name.
ASIDE = ".set-aside"

# Entries that are read from a database at once: about half a millisecond.
PAGE = 500


class BulkStore(RocksStore):
    """RocksDB databases by partition; every access is synchronous and in bulk.

    Options of the table: `memory`, the bytes for all databases together; `restorer`.

    Raises:
        PartitionGone: the partition is not open here.
        StoreBroken: the database cannot be read or written. A mark on the disk remembers damage. The next start then sets
            the database aside and restores the partition from the changelog.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.rocksdb_options = SharedMemory(self.options["memory"])
        self._restorer: Restores = self.options["restorer"]
        self._unlogged: set[int] = set()
        self._ends: dict[TP, int] = {}  # the last offset of each changelog partition, as of the rebalance

    # --- data

    def multi_get(self, partition: int, keys: list[bytes]) -> list[bytes | None]:
        """The states of `keys`, in order; None where there is none."""
        db = self._open_db(partition)
        try:
            values: list[bytes | None] = db.get(keys)
        except Exception as exc:
            self._broken(partition, exc)
        return values

    def write(
        self,
        partition: int,
        items: Iterable[tuple[bytes, bytes | None]],
        offset: int,
        confirmed: int | None = None,
        *,
        logged: bool = True,
    ) -> None:
        """Writes states (None: deletes the key) and the offset that the store has reached, all at once.

        `confirmed` None leaves the confirmed offset as it is.

        A write with `logged` survives a kill of the process. Without, a killed process loses its latest writes, together
        with their offset, unless `flush` was called after them. A logged write flushes first.
        """
        db = self._open_db(partition)
        batch = rocksdict.WriteBatch(raw_mode=True)
        put, delete = batch.put, batch.delete
        for key, value in items:
            if value is None:
                delete(key)
            else:
                put(key, value)
        put(self.offset_key, b"%d" % offset)
        if confirmed is not None:
            put(CONFIRMED_KEY, b"%d %d" % (confirmed, time.time()))
        try:
            if logged:
                self.flush(partition)
                db.write(batch)
            else:
                self._unlogged.add(partition)
                db.write(batch, UNLOGGED)
        except Exception as exc:
            self._broken(partition, exc)

    def flush(self, partition: int) -> None:
        """Makes the writes that were not logged survive a kill of the process."""
        if partition not in self._unlogged:
            return
        db = self._open_db(partition)
        try:
            db.flush()
        except Exception as exc:
            self._broken(partition, exc)
        self._unlogged.discard(partition)

    def items(self, partition: int) -> Iterator[tuple[bytes, bytes]]:
        """Every key and state in byte order, without the data plane's own keys.

        It may be consumed bit by bit. What is written meanwhile is read or not, by its place.
        """
        last = b""
        while page := self._page(partition, last):
            for key, value in page:
                if key != self.offset_key and not key.startswith(PLANE_PREFIX):
                    yield key, value
            last = page[-1][0]

    def _page(self, partition: int, after: bytes) -> list[tuple[bytes, bytes]]:
        """The next entries after the key `after`; empty: there are none."""
        # Rdict.items() ends silently at a damaged block; only the status of a raw iterator shows the damage.
        iterator = self._open_db(partition).iter()
        page: list[tuple[bytes, bytes]] = []
        try:
            iterator.seek(after + b"\0" if after else after)
            while len(page) < PAGE and iterator.valid():
                page.append((iterator.key(), iterator.value()))
                iterator.next()
            try:
                iterator.status()
            except Exception as exc:
                self._broken(partition, exc)
        finally:
            del iterator  # a live iterator keeps the lock of the database, even after close()
        return page

    def saved(self, partition: int) -> Saved | None:
        """How far the store is; None: it is empty."""
        offset, confirmed, changelog = self.multi_get(partition, [self.offset_key, CONFIRMED_KEY, CHANGELOG_KEY])
        if offset is None:
            return None
        changelog_id = (changelog or b"").decode()
        if confirmed is None:
            return Saved(int(offset), -1, time.time(), changelog_id)
        confirmed_offset, _, at = confirmed.partition(b" ")
        return Saved(int(offset), int(confirmed_offset), float(at), changelog_id)

    def name_changelog(self, partition: int, changelog_id: str) -> None:
        """Writes down which changelog the offsets of the store are of; an empty id changes nothing."""
        if changelog_id:
            db = self._open_db(partition)
            try:
                db.put(CHANGELOG_KEY, changelog_id.encode())
            except Exception as exc:
                self._broken(partition, exc)

    def _open_db(self, partition: int) -> Any:
        try:
            return self._dbs[partition]
        except KeyError:
            raise PartitionGone(partition) from None

    def _broken(self, partition: int, exc: Exception) -> NoReturn:
        path = self.partition_path(partition)
        if "Corruption" in str(exc):
            with contextlib.suppress(OSError):
                self._damage_mark(path).touch()
            raise StoreBroken(f"{path}: damaged ({exc}); the next start restores it from the changelog") from exc
        raise StoreBroken(f"{path}: {exc}; is the disk full or failing?") from exc

    # --- opening

    def open(self, partition: int) -> None:
        """Opens the partition's database; a damaged one is set aside and a new one made.

        Raises:
            StoreLocked: another process has it open, perhaps one that is just ending.
        """
        if partition in self._dbs:
            return
        path = self.partition_path(partition)
        if self._damage_mark(path).exists():
            self.set_aside(partition, "it was found to be damaged")
        try:
            self._dbs[partition] = self.rocksdb_options.open(path)
        except Exception as exc:
            if "lock" in str(exc).lower():
                raise StoreLocked(
                    f"{path} is in use by another process: give every worker a data directory of its own"
                ) from exc
            if not _is_damage(exc):
                raise StoreBroken(f"{path}: {exc}; is the disk full or failing?") from exc
            self.set_aside(partition, str(exc))
            self._dbs[partition] = self.rocksdb_options.open(path)

    @property
    def folder(self) -> Path:
        """Where the databases are."""
        return Path(self.path)

    def in_use(self) -> set[Path]:
        """The databases that are open."""
        return {self.partition_path(partition) for partition in self._dbs}

    def set_aside(self, partition: int, why: str) -> None:
        """Moves the partition's database out of the way, over what was set aside before, and logs it."""
        self.close(partition)
        path = self.partition_path(partition)
        aside = path.with_name(path.name + ASIDE)
        shutil.rmtree(aside, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):
            path.rename(aside)
        self._damage_mark(path).unlink(missing_ok=True)
        log.error("local store set aside, restoring from the changelog", partition=partition, why=why, kept=str(aside))

    def close(self, partition: int) -> None:
        """Closes the partition's database, if it is open."""
        self._unlogged.discard(partition)
        if (db := self._dbs.pop(partition, None)) is not None:
            db.close()

    @staticmethod
    def _damage_mark(path: Path) -> Path:
        return path.with_name(path.name + ".damaged")

    # --- faust's hooks

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        """Closes the databases of partitions that leave. No heartbeat is sent during this callback, so it must be quick."""
        self.revoke_partitions(self.table, revoked)
        mine = [tp for tp in assigned if tp.topic == self.table.changelog_topic_name]
        ends = await self.app.consumer.highwaters(*mine) if mine else {}
        self._ends = {tp: (ends.get(tp) or 0) - 1 for tp in mine}

    def persisted_offset(self, tp: TP) -> int | None:
        """Reports every active partition as up to date, so that faust's own recovery has nothing to do."""
        return self._ends.get(tp)

    def set_persisted_offset(self, tp: TP, offset: int) -> None:
        """Does nothing: `write` stores the offset together with the states."""

    def apply_changelog_batch(self, batch: Any, to_key: Any, to_value: Any) -> None:
        """Does nothing: the bulk restore reads the changelog, including what a late writer added during a rebalance."""

    async def on_recovery_completed(self, active_tps: set[TP], standby_tps: set[TP]) -> None:
        """Restores the partitions that this worker has now."""
        await self._restorer.restore({tp.partition for tp in active_tps})

    def revoke_partitions(self, table: Any, tps: set[TP]) -> None:
        """Closes the databases of changelog partitions that leave."""
        for tp in tps:
            if tp.topic == table.changelog_topic_name:
                self.close(tp.partition)
        gc.collect()

    async def stop(self) -> None:
        """Closes every database."""
        for partition in list(self._dbs):
            self.close(partition)
        gc.collect()

    def _set(self, key: bytes, value: bytes | None) -> None:
        raise RuntimeError("the pipeline writes the states, in batches; the table itself is read-only")

    def _del(self, key: bytes) -> None:
        self._set(key, None)


class StoreLocked(StoreBroken):
    """The database is open in another process; operator action if that lasts: one data directory per worker."""


def _is_damage(exc: Exception) -> bool:
    # "does not exist": the file CURRENT is there, but a file that it leads to is not.
    text = str(exc)
    return "Corruption" in text or "does not exist" in text or "No such file" in text
