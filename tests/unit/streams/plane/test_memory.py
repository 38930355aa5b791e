"""Law of the memory that was freed."""

import resource
from pathlib import Path

import numpy as np

from streams.plane.memory import give_back

MIB = 1 << 20


def resident() -> int:
    """Bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


async def test_what_was_freed_between_what_is_still_used_goes_back() -> None:
    """Pieces of 100 KB, as glibc keeps them; every tenth stays in use and holds what lies below it."""
    pieces = [np.ones(100_000, np.uint8) for _ in range(2_000)]
    kept = pieces[::10]
    before = resident()
    del pieces
    await give_back()

    assert before - resident() > 100 * MIB
    assert all(piece.all() for piece in kept)
