"""The real data sets that `regulars replay` knows, each as events in event-time order.

docs/datasets.md says what each one means, and what is assumed where its file is silent.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from schemas.currencies import unit_minor_of
from schemas.times import DAY_S
from streams.sources.dataset import Dataset
from streams.sources.events import instant


@dataclass(frozen=True)
class Source:
    """How to read one kind of file.

    Attributes:
        opens: reads the file; the other arguments are the currency of its amounts, and its minor units in a unit.
        currency: what the amounts are in unless the caller says otherwise.
        is_any: files of this kind may be in any currency; `currency` is only the default of a replay.
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
    """A note if the last event comes over a year after the one before: it makes all silent customers lapse."""
    years = (times_s[-1] - times_s[-2]) / (365.25 * DAY_S) if len(times_s) > 1 else 0.0
    if years <= 1:
        return ()
    day = instant(float(times_s[-1])).date()
    return (f"the last event, of {day}, comes {years:.1f} years after the one before it: is its time right?",)
