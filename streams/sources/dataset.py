"""A data set as a replay reads it: events in event-time order, made from the file's rows only when they are needed."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streams.sources.events import EventRecord, RecordStream, with_clocks


@dataclass(frozen=True)
class Dataset:
    """A file's events.

    Attributes:
        times_s: event times, epoch seconds, ascending, shape (n,).
        items: gives the events from position `start` up to `stop`, made one by one.
        last_s: the last time in the file; it may be after the last event.
        notes: lines for a person: what was left out, and what was assumed.
    """

    times_s: NDArray[np.float64]
    items: Callable[[int, int], Iterator[EventRecord]]
    last_s: float
    notes: tuple[str, ...] = ()

    def window(self, from_s: float | None, to_s: float | None) -> tuple[int, int]:
        """Positions of the events in [from_s, to_s)."""
        start = 0 if from_s is None else int(np.searchsorted(self.times_s, from_s))
        stop = len(self.times_s) if to_s is None else int(np.searchsorted(self.times_s, to_s))
        return start, max(start, stop)

    def timeline(self, from_s: float | None = None, to_s: float | None = None) -> RecordStream:
        """The events in [from_s, to_s) with clock records; the last one at `to_s` or the file's last time."""
        start, stop = self.window(from_s, to_s)
        last_s = self.last_s if to_s is None else min(to_s, self.last_s)
        return with_clocks(self.items(start, stop), last_s)


def in_blocks(start: int, stop: int, size: int = 8192) -> Iterator[tuple[int, int]]:
    """[start, stop) in pieces of at most `size`, so that rows become Python objects one piece at a time.

    >>> list(in_blocks(1, 6, 2))
    [(1, 3), (3, 5), (5, 6)]
    """
    return itertools.pairwise([*range(start, stop, size), stop]) if start < stop else iter(())
