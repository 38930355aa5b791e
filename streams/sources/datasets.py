"""The real data sets that `regulars replay` knows, each as events in event-time order.

What each one means, and what is assumed where a file doesn't say, is in docs/datasets.md.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from schemas.currencies import unit_minor_of
from schemas.times import DAY_S
from streams.sources.events import Item, Timeline, instant, with_clocks


@dataclass(frozen=True)
class Dataset:
    """A file's events.

    Attributes:
        times_s: event times, epoch seconds, ascending, shape (n,).
        items: the events from position `start` up to `stop`, made as they are asked for.
        last_s: the file's last time; it may lie after the last event.
        notes: what was left out or assumed, for a person.
    """

    times_s: NDArray[np.float64]
    items: Callable[[int, int], Iterator[Item]]
    last_s: float
    notes: tuple[str, ...] = ()

    def window(self, from_s: float | None, to_s: float | None) -> tuple[int, int]:
        """Positions of the events in [from_s, to_s)."""
        start = 0 if from_s is None else int(np.searchsorted(self.times_s, from_s))
        stop = len(self.times_s) if to_s is None else int(np.searchsorted(self.times_s, to_s))
        return start, max(start, stop)

    def timeline(self, from_s: float | None = None, to_s: float | None = None) -> Timeline:
        """The events in [from_s, to_s) with clock records; the last one at `to_s` or the file's last time."""
        start, stop = self.window(from_s, to_s)
        last_s = self.last_s if to_s is None else min(to_s, self.last_s)
        return with_clocks(self.items(start, stop), last_s)


@dataclass(frozen=True)
class Source:
    """How to replay one kind of file.

    Attributes:
        opens: reads the file; the other arguments are the currency of its amounts, and its minor units in a unit.
        currency: what the amounts are in unless the caller says otherwise.
        is_any: files of this kind may be of any currency; `currency` is but where a replay begins.
    """

    opens: Callable[[Path, str, int], Dataset]
    currency: str = "USD"
    is_any: bool = False


def _online_retail(path: Path, currency: str, unit_minor: int) -> Dataset:
    from streams.sources.online_retail import open_online_retail

    return open_online_retail(path, currency, unit_minor)


def _cdnow(path: Path, currency: str, unit_minor: int) -> Dataset:
    from streams.sources.cdnow import open_cdnow

    return open_cdnow(path, currency, unit_minor)


def _rees46(path: Path, currency: str, unit_minor: int) -> Dataset:
    from streams.sources.rees46 import open_rees46

    return open_rees46(path, currency, unit_minor)


def _reviews(path: Path, _currency: str, _unit_minor: int) -> Dataset:
    from streams.sources.clothing_reviews import open_clothing_reviews

    return open_clothing_reviews(path)


def _generic(path: Path, currency: str, unit_minor: int) -> Dataset:
    from streams.sources.generic import open_generic

    return open_generic(path, currency, unit_minor)


SOURCES: dict[str, Source] = {
    "online-retail": Source(_online_retail, "GBP"),
    "cdnow": Source(_cdnow),
    "rees46": Source(_rees46),
    "reviews": Source(_reviews, is_any=True),
    "generic": Source(_generic, "GBP", is_any=True),
}


def unit_minor_or_usual(currency: str) -> int:
    """Minor units in a unit of `currency`; 100 where ISO 4217 knows no such currency."""
    return unit_minor_of(currency) or 100


def open_dataset(name: str, path: Path, currency: str | None = None, unit_minor: int | None = None) -> Dataset:
    """The events of the file at `path`, read as data set `name` (a key of `SOURCES`).

    Args:
        name: of the data set.
        path: of the file.
        currency: of its amounts; None: the data set's own.
        unit_minor: minor units in a unit of it; None: as ISO 4217 says, 100 where it doesn't know the currency.

    Raises:
        FileRefused: the file isn't one of that kind, or holds no event.
    """
    source = SOURCES[name]
    currency = currency or source.currency
    dataset = source.opens(path, currency, unit_minor_or_usual(currency) if unit_minor is None else unit_minor)
    return replace(dataset, notes=(*dataset.notes, *_far_last(dataset.times_s)))


def _far_last(times_s: NDArray[np.float64]) -> tuple[str, ...]:
    """A note on a last event more than a year after the one before it: all who were silent lapse by it."""
    years = (times_s[-1] - times_s[-2]) / (365.25 * DAY_S) if len(times_s) > 1 else 0.0
    if years <= 1:
        return ()
    day = instant(float(times_s[-1])).date()
    return (f"the last event, of {day}, comes {years:.1f} years after the one before it: is its time right?",)


def in_blocks(start: int, stop: int, size: int = 8192) -> Iterator[tuple[int, int]]:
    """[start, stop) in pieces of at most `size`: rows become Python objects a piece at a time.

    >>> list(in_blocks(1, 6, 2))
    [(1, 3), (3, 5), (5, 6)]
    """
    return itertools.pairwise([*range(start, stop, size), stop]) if start < stop else iter(())
