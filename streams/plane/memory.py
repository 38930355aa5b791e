"""Gives freed memory back to the operating system.

A worker frees in other sizes and orders than it allocates: blocks of tables, write buffers, fetched batches. glibc keeps
what was freed, even in holes into which nothing fits. So resident memory would rise for hours at a level use.
"""

import asyncio
import ctypes
from collections.abc import Callable

EVERY_S = 60.0


def _trimmer() -> Callable[[int], int] | None:
    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError):
        return None  # not glibc
    return trim


_trim = _trimmer()


async def give_back() -> None:
    """Gives back whole free pages, in a thread, within milliseconds. Does nothing where libc is not glibc."""
    if _trim is not None:
        await asyncio.to_thread(_trim, 0)
