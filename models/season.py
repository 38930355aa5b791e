"""The year of a shop: in which months how much is bought, known before it comes.

A first year of events can't tell what the next quarter brings; a shop knows its year, and who doesn't say it is served
with that of its trade. A season is an index of twelve months, what is bought on a day of each relative to an average day.
It acts as time does: a Poisson process whose rate changes is one of rate 1 on a clock that runs as fast as the rate (Cinlar
1975, Introduction to Stochastic Processes, 4.7), so thirty days of a month with index 1.4 count as 42.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from schemas.times import DAY_S

FloatArray = NDArray[np.float64]

# Online shops and mail order (NAICS 4541), sales not adjusted for season, months of 2009 and 2010 per day, with the growth
# of 12 % a year taken out: U.S. Census Bureau, Monthly Retail Trade Survey. January first.
ONLINE_RETAIL = (0.94, 0.96, 0.98, 0.96, 0.91, 0.97, 0.91, 0.94, 0.97, 0.94, 1.11, 1.41)

# Days whose season is kept; a moment before the first or after the last has theirs.
_FIRST, _LAST = np.datetime64("1970-01-01"), np.datetime64("2100-01-01")
_HORIZONS = (30, 90)
_LEAST_MONTHS = 24  # of a history, to tell a season from growth
_MONTH = np.timedelta64(1, "M")


class Season:
    """An index a month, in any unit; it is taken relative to its mean over all days.

    Args:
        index: twelve positive numbers, January first.
    """

    __slots__ = ("_ahead", "_sums", "index")

    def __init__(self, index: Sequence[float] = ONLINE_RETAIL) -> None:
        self.index = tuple(index)
        days = np.arange(_FIRST, _LAST + np.timedelta64(366, "D"))
        of_month = np.array(self.index, dtype=np.float64)
        daily = of_month[days.astype("datetime64[M]").astype(np.int64) % 12]
        self._sums: FloatArray = np.concatenate([[0.0], np.cumsum(daily / daily.mean())])
        kept = int((_LAST - _FIRST).astype(np.int64))
        self._ahead: FloatArray = np.log(
            [(self._sums[horizon : horizon + kept] - self._sums[:kept]) / horizon for horizon in _HORIZONS]
        )

    def ahead(self, at: FloatArray) -> FloatArray:
        """(2, ...): logs of the mean index over the next 30 and the next 90 days.

        Args:
            at: (...), moments, epoch seconds; a moment counts as the midnight (UTC) before it.
        """
        last = self._ahead.shape[1] - 1
        found: FloatArray = self._ahead[:, np.minimum(np.maximum(at / DAY_S, 0.0), last).astype(np.int64)]
        return found

    def mean(self, at: float, days: int) -> float:
        """Mean index over the next `days`, at most a year; `at`: epoch seconds."""
        day = int(min(max(at // DAY_S, 0), self._ahead.shape[1] - 1))
        return float(self._sums[day + days] - self._sums[day]) / days


USUAL = Season()


class TooShort(ValueError):
    """A history of less than two whole years can't tell a season from growth."""


def measured(at: FloatArray) -> tuple[tuple[float, ...], float]:
    """The year in a shop's own purchases, and by what factor they grow a year.

    Least squares of the log of purchases a day on month and time, over the whole months between the first purchase and
    the last.

    Args:
        at: moments of purchases, epoch seconds, ascending.

    Raises:
        TooShort: fewer than 24 whole months, or one without a purchase; the message says so.
    """
    months = np.asarray(at, dtype=np.float64).astype("datetime64[s]").astype("datetime64[M]")
    # The first and the last month may be cut off.
    whole = np.arange(months[0] + _MONTH, months[-1]) if len(months) else months
    if len(whole) < _LEAST_MONTHS:
        raise TooShort(f"{len(whole)} whole months between the first purchase and the last; it takes {_LEAST_MONTHS}")
    starts = np.searchsorted(months, np.append(whole, whole[-1] + _MONTH))
    counts = np.diff(starts)
    if not counts.all():
        raise TooShort(f"no purchase in {whole[int(np.argmin(counts))]}")
    days = np.diff(np.append(whole, whole[-1] + _MONTH).astype("datetime64[D]")).astype(np.float64)
    of_month = whole.astype(np.int64) % 12
    seen = np.column_stack([of_month[:, None] == np.arange(12), np.arange(len(whole)) / 12.0])
    found = np.linalg.lstsq(seen.astype(np.float64), np.log(counts / days), rcond=None)[0]
    index = np.exp(found[:12] - found[:12].mean())
    return tuple(float(each) for each in index / index.mean()), float(np.exp(found[12]))
