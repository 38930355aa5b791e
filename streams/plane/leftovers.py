"""Databases that no longer serve: they may still hold customers who have been erased since, so they are deleted.

A partition's database stays on the disk when the partition moves to another worker, because it may come back. It is void
after `restore.STALE_AFTER_S` without a write. A damaged database is kept beside the new one, for a person to look at.
"""

import asyncio
import shutil
import time
from collections.abc import Collection, Iterator
from pathlib import Path

import structlog

from streams.plane.restore import STALE_AFTER_S
from streams.plane.store import ASIDE

log = structlog.get_logger(__name__)

EVERY_S = 600.0

# A restore finds a database void long before: it is of no use to anybody then.
UNUSED_KEPT_S = 2 * STALE_AFTER_S
SET_ASIDE_KEPT_S = 7 * 86_400.0

DATABASE, DELETED = ".db", ".db.deleted"


def left_over(folder: Path, in_use: Collection[Path], now: float) -> Iterator[Path]:
    """The databases in `folder` that are to be deleted.

    Args:
        folder: of the databases.
        in_use: databases that are open.
        now: epoch seconds, by the clock of the file system.
    """
    for path in folder.iterdir():
        if path.name.endswith(DELETED):
            yield path
        elif path.name.endswith(ASIDE):
            # A rename changes the inode's time, not the one of its content.
            if now - path.stat().st_ctime > SET_ASIDE_KEPT_S:
                yield path
        elif path.name.endswith(DATABASE) and path not in in_use and now - _written_at(path) > UNUSED_KEPT_S:
            yield path


def _written_at(database: Path) -> float:
    return max(path.stat().st_mtime for path in (database, *database.iterdir()))


async def delete_left_over(folder: Path, in_use: Collection[Path]) -> None:
    """Deletes what is left over, and logs it. What cannot be deleted is said, and tried again the next time.

    Args:
        folder, in_use: as in `left_over`.
    """
    # All are renamed before the first pause: under another name nobody opens them while their files go, one by one.
    for path in list(_renamed(folder, in_use)):
        try:
            await asyncio.to_thread(shutil.rmtree, path)
        except OSError as exc:
            _log_kept(path, exc)
        else:
            log.info("a database that is no longer used was deleted", path=str(path))


def _renamed(folder: Path, in_use: Collection[Path]) -> Iterator[Path]:
    for path in list(left_over(folder, in_use, time.time())):
        doomed = path.with_name(path.name.removesuffix(DELETED).removesuffix(DATABASE) + DELETED)
        try:
            yield path.rename(doomed)
        except OSError as exc:
            _log_kept(path, exc)


def _log_kept(path: Path, exc: OSError) -> None:
    log.warning("a database that is no longer used cannot be deleted", path=str(path), error=exc.strerror)
