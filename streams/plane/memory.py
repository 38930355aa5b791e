"""Memory that was freed goes back to the system.

A worker frees in other sizes and orders than it allocates: blocks of tables, write buffers, fetched batches. glibc keeps
what was freed, also in holes that fit nothing, so that resident memory creeps up for hours at a level amount in use.
"""

import asyncio
import ctypes
from collections.abc import Callable

EVERY_S = 60.0


def _trimmer() -> Callable[[int], int] | None:
    try:
        found: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError):
        return None  # not glibc
    return found


_trim = _trimmer()


async def give_back() -> None:
    """Gives back whole free pages, beside the event loop; some milliseconds. Does nothing where libc is not glibc."""
    if _trim is not None:
        await asyncio.to_thread(_trim, 0)
