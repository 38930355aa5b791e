"""Databases that no longer serve: they may still hold customers who have been erased since, so they are deleted.

A partition's database stays on the disk when the partition moves to another worker, because it may come back. It is void
after `restore.STALE_AFTER_S` without a write. A damaged database is kept beside the new one, for a person to look at.
"""

import asyncio
import shutil
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)

DAY_S = 86_400.0
EVERY_S = 600.0

# Twice the time after which a restore finds a database void: it is of no use to anybody then.
UNUSED_KEPT_S = DAY_S
SET_ASIDE_KEPT_S = 7 * DAY_S

DATABASE, SET_ASIDE, DELETED = ".db", ".db.set-aside", ".db.deleted"


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
        elif path.name.endswith(SET_ASIDE):
            # A rename changes the inode's time, not the one of its content.
            if now - path.stat().st_ctime > SET_ASIDE_KEPT_S:
                yield path
        elif path.name.endswith(DATABASE) and path not in in_use and now - _written_at(path) > UNUSED_KEPT_S:
            yield path


def _written_at(database: Path) -> float:
    return max(path.stat().st_mtime for path in (database, *database.iterdir()))


class Leftovers:
    """Deletes what is left over.

    Args:
        folder: gives the folder of the databases.
        in_use: gives the databases that are open.
    """

    def __init__(self, folder: Callable[[], Path], in_use: Callable[[], Collection[Path]]) -> None:
        self._folder, self._in_use = folder, in_use

    async def delete(self) -> None:
        """Deletes and logs them. What cannot be deleted is said, and tried again the next time."""
        for path in list(left_over(self._folder(), self._in_use(), time.time())):
            # Under another name nobody opens it while its files go, one by one, in a thread.
            doomed = (
                path if path.name.endswith(DELETED) else path.with_name(f"{path.name.removesuffix('.db')}{DELETED}")
            )
            try:
                path.rename(doomed)
                await asyncio.to_thread(shutil.rmtree, doomed)
            except OSError as exc:
                log.warning("a database that is no longer used cannot be deleted", path=str(doomed), error=exc.strerror)
            else:
                log.info("a database that is no longer used was deleted", path=str(path))
