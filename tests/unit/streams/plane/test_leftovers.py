"""Which databases of a worker are deleted, and which stay."""

import asyncio
import os
import time
from pathlib import Path

from streams.plane.leftovers import SET_ASIDE_KEPT_S, UNUSED_KEPT_S, delete_left_over, left_over


def database(folder: Path, name: str, age_s: float = 0.0) -> Path:
    """A folder with one file, which was written `age_s` ago."""
    path = folder / name
    path.mkdir(parents=True)
    (path / "000001.sst").write_bytes(b"anna")
    for each in (path / "000001.sst", path):
        os.utime(each, (time.time() - age_s,) * 2)
    return path


def test_only_databases_that_serve_nobody_are_left_over(tmp_path: Path) -> None:
    """Old and not open; set aside for a week; half deleted. Everything else stays."""
    old = database(tmp_path, "states-0.db", UNUSED_KEPT_S + 60)
    in_use = database(tmp_path, "states-1.db", UNUSED_KEPT_S + 60)
    database(tmp_path, "states-2.db", UNUSED_KEPT_S - 60)
    aside = database(tmp_path, "states-3.db.set-aside")
    half = database(tmp_path, "states-4.db.deleted")
    (tmp_path / "states-5.db.damaged").touch()

    now = time.time()
    assert set(left_over(tmp_path, {in_use}, now)) == {old, half}
    later = now + SET_ASIDE_KEPT_S + 60
    assert aside in set(left_over(tmp_path, {in_use}, later))
    assert in_use not in set(left_over(tmp_path, {in_use}, later))


def test_a_write_ahead_log_that_is_written_keeps_its_database(tmp_path: Path) -> None:
    """The folder's own time does not move with the files in it."""
    path = database(tmp_path, "states-0.db", UNUSED_KEPT_S + 60)
    os.utime(path / "000001.sst")
    assert list(left_over(tmp_path, (), time.time())) == []


async def test_what_is_left_over_is_gone_with_its_customers(tmp_path: Path) -> None:
    """Nothing of it stays, under no name; the others are as they were."""
    database(tmp_path, "states-0.db", UNUSED_KEPT_S + 60)
    open_one = database(tmp_path, "states-1.db", UNUSED_KEPT_S + 60)
    database(tmp_path, "states-4.db.deleted")
    await delete_left_over(tmp_path, {open_one})
    assert [path.name for path in tmp_path.iterdir()] == ["states-1.db"]
    assert (open_one / "000001.sst").read_bytes() == b"anna"


async def test_nobody_opens_a_database_that_is_about_to_go(tmp_path: Path) -> None:
    """All have other names before the first of them goes: a rebalance may open partitions meanwhile."""
    for number in (0, 1):
        database(tmp_path, f"states-{number}.db", UNUSED_KEPT_S + 60)
    deleting = asyncio.create_task(delete_left_over(tmp_path, ()))
    await asyncio.sleep(0)
    assert list(tmp_path.glob("*.db")) == []
    await deleting
    assert list(tmp_path.iterdir()) == []
