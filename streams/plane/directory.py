"""A data directory belongs to one worker, by a lock on a file in it that lasts as long as the process."""

import fcntl
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from streams.plane.errors import StoreBroken

LOCK_FILE = "worker.lock"

# The permissions of everybody but the owner.
OTHERS = stat.S_IRWXG | stat.S_IRWXO

# How long another process may still hold a database or a directory: it was just killed, or writes its last buffers.
LOCK_WAIT_S = 10.0
POLL_S = 0.1

_held: dict[Path, BinaryIO] = {}


class DirectoryHeld(StoreBroken):
    """Another worker runs on the directory; operator action: one data directory per worker."""


def hold(
    folder: Path,
    *,
    wait_s: float = LOCK_WAIT_S,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Makes `folder` where it does not exist, and holds it until this process ends; idempotent. Only its owner can read it.

    Another holder has `wait_s` seconds to end.

    Raises:
        DirectoryHeld: another process holds it; the message names the process.
        StoreBroken: the directory cannot be made or locked.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder = folder.resolve()
        if folder in _held:
            return
        if (status := folder.stat()).st_uid == os.geteuid() and status.st_mode & OTHERS:
            folder.chmod(status.st_mode & ~OTHERS)  # made by an earlier release, or by hand
        file = (folder / LOCK_FILE).open("a+b")
    except OSError as exc:
        raise StoreBroken(f"data directory {folder}: {exc.strerror}; set REGULARS_DATA_DIR") from exc
    give_up = clock() + wait_s
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if clock() < give_up:
                sleep(POLL_S)
                continue
            file.seek(0)
            holder = file.read(32).decode(errors="replace").strip()
            file.close()
            raise DirectoryHeld(
                f"data directory {folder} is in use by process {holder or 'unknown'}; end that worker, or give this one "
                "a directory of its own with --data-dir or REGULARS_DATA_DIR"
            ) from None
        except OSError as exc:
            file.close()
            raise StoreBroken(
                f"data directory {folder} cannot be locked: {exc.strerror}; set REGULARS_DATA_DIR"
            ) from exc
    file.truncate(0)
    file.write(b"%d\n" % os.getpid())
    file.flush()
    _held[folder] = file
