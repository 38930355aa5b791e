"""A table's local store: RocksDB a partition, read and written in bulk. Plugged into faust under the URL ``bulk://``.

Faust keeps opening, paths and assignment. Its record-by-record recovery finds nothing to do, because an active
partition's `persisted_offset` says "up to date"; the bulk restore (`restore.py`) runs in `on_recovery_completed`,
outside the rebalance callback (heartbeats run) and before the flow resumes.

Beside the states a partition's database holds faust's offset key (the changelog offset of its newest state, ASCII) and
``CONFIRMED_KEY``: ``b"<offset> <unix seconds>"``, the changelog offset up to which every output is known to be sent,
and when that was written.
"""

import contextlib
import gc
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

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

STORE_URL = "bulk://"
STORES.aliases["bulk"] = "streams.plane.store:BulkStore"

WRITE_BUFFER_BYTES = 16 << 20  # of one database; a larger one makes a restore no faster
MAX_OPEN_FILES = 256  # of one database
BLOOM_BITS = 10  # a key; a customer who isn't there costs no read in 99 of 100 cases

# What comes from the changelog can be read again: no log of its own. A third less time a record.
UNLOGGED = rocksdict.WriteOptions()
UNLOGGED.disable_wal = True


class SharedMemory(RocksDBOptions):
    """Options with which all databases of a worker share `size` bytes, however many partitions it has.

    Half of it at most are write buffers, which count against the cache of blocks read. Faust's own options give every
    partition a cache of 2 GiB and 192 MiB of write buffers: memory that fills for hours and is multiplied by a rebalance.
    """

    def __init__(self, size: int) -> None:
        super().__init__(write_buffer_size=WRITE_BUFFER_BYTES, max_open_files=MAX_OPEN_FILES, use_rocksdict=True)
        self._cache = rocksdict.Cache(size)
        self._buffers = rocksdict.WriteBufferManager.new_write_buffer_manager_with_cache(size // 2, False, self._cache)

    def as_options(self) -> rocksdict.Options:
        """Options of one more database."""
        tables = rocksdict.BlockBasedOptions()
        tables.set_block_cache(self._cache)
        tables.set_bloom_filter(BLOOM_BITS, block_based=False)
        options = super().as_options()
        options.set_block_based_table_factory(tables)
        options.set_write_buffer_manager(self._buffers)
        return options

    @property
    def used(self) -> int:
        """Bytes of blocks and write buffers, at most about `size`."""
        found: int = self._cache.get_usage()
        return found


class Saved(NamedTuple):
    """How far a partition's local store is: newest changelog offset, confirmed offset, unix time of the last write."""

    offset: int
    confirmed: int
    at: float


class BulkStore(RocksStore):
    """RocksDB databases by partition; every access is synchronous and in bulk. Option: `memory`, bytes for all of them.

    Raises:
        PartitionGone: the partition isn't open here.
        StoreBroken: the database can't be read or written. Damage is remembered on disk: the next start sets the
            database aside and restores the partition from the changelog.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.rocksdb_options = SharedMemory(self.options["memory"])
        self._unlogged: set[int] = set()
        self._targets: dict[TP, int] = {}  # changelog partition -> last offset, as of the rebalance

    # --- data

    def multi_get(self, partition: int, keys: list[bytes]) -> list[bytes | None]:
        """States of `keys`, in order; None where there is none."""
        db = self._open_db(partition)
        try:
            found: list[bytes | None] = db.get(keys)
        except Exception as exc:
            self._broken(partition, exc)
        return found

    def write(
        self,
        partition: int,
        items: Iterable[tuple[bytes, bytes | None]],
        offset: int,
        confirmed: int | None = None,
        *,
        logged: bool = True,
    ) -> None:
        """Writes states (None: deletes) and how far the store is with them, all at once.

        `confirmed` None leaves the confirmed offset as it is. Of what is not `logged`, a killed process loses the
        latest part, the offset with it, until `flush`; what is logged comes after a flush.
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
        """Makes what was not logged outlive the process."""
        if partition not in self._unlogged:
            return
        db = self._open_db(partition)
        try:
            db.flush()
        except Exception as exc:
            self._broken(partition, exc)
        self._unlogged.discard(partition)

    def items(self, partition: int) -> Iterator[tuple[bytes, bytes]]:
        """Every key and state in byte order, without the data plane's own; consume it at once, before any await."""
        # Rdict.items() ends silently at a damaged block; only a raw iterator's status tells.
        iterator = self._open_db(partition).iter()
        try:
            iterator.seek_to_first()
            while iterator.valid():
                key = iterator.key()
                if key != self.offset_key and not key.startswith(PLANE_PREFIX):
                    yield key, iterator.value()
                iterator.next()
            try:
                iterator.status()
            except Exception as exc:
                self._broken(partition, exc)
        finally:
            del iterator  # a live iterator keeps the database's lock, even after close()

    def saved(self, partition: int) -> Saved | None:
        """How far the store is; None: nothing in it."""
        offset, confirmed = self.multi_get(partition, [self.offset_key, CONFIRMED_KEY])
        if offset is None:
            return None
        if confirmed is None:
            return Saved(int(offset), -1, time.time())
        sent, _, at = confirmed.partition(b" ")
        return Saved(int(offset), int(sent), float(at))

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

    def set_aside(self, partition: int, why: str) -> None:
        """Moves the partition's database out of the way, replacing what was set aside before, and says so."""
        self.close(partition)
        path = self.partition_path(partition)
        aside = path.with_name(path.name + ".set-aside")
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
        """Closes what went away. In this callback no heartbeat is sent: only quick things here."""
        self.revoke_partitions(self.table, revoked)
        mine = [tp for tp in assigned if tp.topic == self.table.changelog_topic_name]
        ends = await self.app.consumer.highwaters(*mine) if mine else {}
        self._targets = {tp: (ends.get(tp) or 0) - 1 for tp in mine}

    def persisted_offset(self, tp: TP) -> int | None:
        """Reports every active partition as up to date: faust's own recovery has nothing to do."""
        return self._targets.get(tp)

    def set_persisted_offset(self, tp: TP, offset: int) -> None:
        """Does nothing: `write` stores the offset together with the states."""

    def apply_changelog_batch(self, batch: Any, to_key: Any, to_value: Any) -> None:
        """Does nothing: the bulk restore reads the changelog, also what a late writer added during a rebalance."""

    async def on_recovery_completed(self, active_tps: set[TP], standby_tps: set[TP]) -> None:
        """Restores the partitions that this worker has now."""
        await self.app.restorer.restore({tp.partition for tp in active_tps})

    def revoke_partitions(self, table: Any, tps: set[TP]) -> None:
        """Closes the databases of changelog partitions that went away."""
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
        raise RuntimeError("states are written by the pipeline, in batches")

    def _del(self, key: bytes) -> None:
        self._set(key, None)


class StoreLocked(StoreBroken):
    """The database is open in another process; operator action if it stays: one data directory a worker."""


def _is_damage(exc: Exception) -> bool:
    # "does not exist": CURRENT is there, a file it leads to isn't.
    text = str(exc)
    return "Corruption" in text or "does not exist" in text or "No such file" in text
