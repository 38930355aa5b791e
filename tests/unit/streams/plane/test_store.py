"""Laws of the local store, on a real RocksDB in a temporary folder."""

import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams.kafka.changelog import JOB_PREFIX
from streams.plane.errors import StoreBroken
from streams.plane.records import CONFIRMED_KEY, Effects, PartitionGone
from streams.plane.runtime import build_app
from streams.plane.store import PAGE, BulkStore, SharedMemory, StoreLocked
from streams.settings import Settings


class Idle:
    """A job that is never run."""

    topics = ("clicks",)
    outputs = ("changes",)
    gathered = ()

    def decode(self, partition: int, records: Any) -> Any:
        """Nothing."""

    def step(self, partition: int, work: Any, values: Any) -> Effects:
        """Nothing."""
        return Effects([], [])

    def restored(self, partition: int, items: Iterator[tuple[bytes, bytes]]) -> Iterator[None]:
        """Nothing."""
        return iter(())

    def origin(self, changelog_id: str, partition: int, offset: int, number: int) -> tuple[str, bytes]:
        """Where an output was written first."""
        return "origin", f"{changelog_id}/{partition}/{offset}/{number}".encode()

    def refuse(self, partition: int, record: Any, cause: Exception) -> Any:
        """Nothing is set aside here."""
        raise cause

    def revoked(self, partition: int) -> None:
        """Nothing."""


def new_store(folder: Path) -> BulkStore:
    """A store of an app that isn't started."""
    app = build_app(Settings(data_dir=folder / "deep" / "data", web_port=0), Idle())
    app._create_directories()
    store: BulkStore = app.tables["states"].data
    return store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[BulkStore]:
    """A store with partition 0 open."""
    made = new_store(tmp_path)
    made.open(0)
    yield made
    made.close(0)


def test_all_partitions_share_one_budget_of_memory(tmp_path: Path, wait_until: Callable[..., Any]) -> None:
    """Twelve partitions, each with as much data as all of them may hold: buffered, written out, and read, within it."""
    store = new_store(tmp_path)
    memory, budget = SharedMemory(16 << 20), 16 << 20
    store.rocksdb_options = memory
    partitions = range(12)

    def write(offset: int, keys: int) -> None:
        for partition in partitions:
            store.write(
                partition, [(b"%d" % key, b"%d" % offset * 1000) for key in range(offset, offset + keys)], offset
            )

    for partition in partitions:
        store.open(partition)
    for offset in range(1000, 5000, 100):
        write(offset, keys=100)
    # disks are slower than this loop: the buffers run over, but not for good (RocksDB flushes as a write asks for it)
    offsets = itertools.count(5000)
    wait_until(lambda: write(next(offsets), keys=1) or memory.used < budget)
    for partition in partitions:
        read = sum(len(value) for _, value in store.items(partition))
        assert read > budget - (1 << 20)
        assert memory.used < 1.5 * budget
    assert memory.used > budget // 2
    for partition in partitions:
        store.close(partition)


def test_states_and_offsets_are_there_after_reopening(store: BulkStore) -> None:
    """What `write` wrote at once is read back at once."""
    store.write(0, [(b"a", b"1"), (b"b", b"2")], 7, confirmed=7)
    store.write(0, [(b"a", None), (b"c", b"3")], 9)
    store.close(0)
    store.open(0)
    assert store.multi_get(0, [b"c", b"a", b"b"]) == [b"3", None, b"2"]
    saved = store.saved(0)
    assert saved is not None
    assert saved[:2] == (9, 7)


def test_an_empty_store_has_saved_nothing(store: BulkStore) -> None:
    """A new database isn't at offset 0: it is nowhere."""
    assert store.saved(0) is None


def test_iteration_gives_a_jobs_keys_in_order_and_none_of_the_planes(store: BulkStore) -> None:
    """A job's own reserved keys are its state like any other."""
    store.write(0, [(b"b", b"2"), (b"a", b"1"), (JOB_PREFIX + b"clock", b"9"), (CONFIRMED_KEY, b"1 2")], 7)
    assert list(store.items(0)) == [(b"a", b"1"), (b"b", b"2"), (JOB_PREFIX + b"clock", b"9")]


def test_iteration_may_pause_while_the_database_is_closed(store: BulkStore) -> None:
    """A rebalance takes the partition in the middle of it: nothing holds the database, and the rest is not read."""
    store.write(0, [(b"%08d" % index, b"v") for index in range(5 * PAGE)], 7)
    reading = store.items(0)
    assert next(reading) == (b"00000000", b"v")
    store.close(0)
    store.open(0)
    assert len(list(store.items(0))) == 5 * PAGE
    store.close(0)
    with pytest.raises(PartitionGone):
        list(reading)


def test_a_partition_that_is_not_open_is_gone(store: BulkStore) -> None:
    """Nothing opens it by accident: its owner may be another process."""
    with pytest.raises(PartitionGone):
        store.multi_get(1, [b"a"])
    with pytest.raises(PartitionGone):
        store.write(1, [], 1)


def test_damage_found_while_reading_is_remembered(store: BulkStore) -> None:
    """Iteration says so instead of ending early, and the next open starts with an empty store."""
    store.write(0, [(b"%08d" % index, b"v" * 100) for index in range(20_000)], 7, confirmed=7)
    store._dbs[0].flush()
    store.close(0)
    path = store.partition_path(0)
    (table,) = path.glob("*.sst")
    content = bytearray(table.read_bytes())
    content[len(content) // 3 : len(content) // 3 + 100] = b"x" * 100
    table.write_bytes(content)
    store.open(0)
    with pytest.raises(StoreBroken, match="the next start restores it"):
        sum(1 for _ in store.items(0))
    store.close(0)
    store.open(0)
    assert store.saved(0) is None
    assert path.with_name(path.name + ".set-aside").exists()


def test_a_data_directory_is_one_workers(store: BulkStore, tmp_path: Path) -> None:
    """A second process is told, instead of reading or setting aside what the first one writes."""
    other = new_store(tmp_path)
    with pytest.raises(StoreLocked, match="a data directory of its own"):
        other.open(0)
    assert store.saved(0) is None


def _as_a_kill_would_leave_it(store: BulkStore, tmp_path: Path) -> Any:
    """The database as another process finds it: what is in this one's memory alone isn't there."""
    copy = tmp_path / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(store.partition_path(0), copy)
    return store.rocksdb_options.open(copy)


@given(written=st.lists(st.tuples(st.sampled_from("lux"), st.binary(max_size=8)), max_size=8))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_kill_leaves_a_prefix_of_what_was_written_with_its_offset(
    tmp_path_factory: pytest.TempPathFactory, written: list[tuple[str, bytes]]
) -> None:
    """l: logged, u: unlogged, x: flush. Offset n means that exactly the first n writes are there, all logged ones are."""
    tmp_path = tmp_path_factory.mktemp("prefix")
    store = new_store(tmp_path)
    store.open(0)
    safe = offset = 0
    for kind, value in written:
        if kind == "x":
            store.flush(0)
        else:
            offset += 1
            store.write(0, [(b"%d" % offset, value)], offset, logged=kind == "l")
        if kind != "u":
            safe = offset

    db = _as_a_kill_would_leave_it(store, tmp_path)
    found = int(db.get(store.offset_key) or 0)
    keys = list(db.keys())
    there = {int(key) for key in keys if key != store.offset_key}
    db.close()
    store.close(0)

    assert there == set(range(1, found + 1))
    assert found >= safe
