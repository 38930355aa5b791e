"""The season of a shop: how much is bought in each month, known in advance.

The first year of events can't show what the next quarter brings. A shop knows its season and states it in its policy; a
shop that states none gets the usual season of online retail. A season is an index of twelve months: what is bought on a day
of the month, relative to an average day. It acts like time: a Poisson process with a changing rate is one of rate 1 on a
clock that runs as fast as the rate (Cinlar 1975, Introduction to Stochastic Processes, 4.7). So thirty days of a month with
index 1.4 count as 42.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from schemas.times import DAY_S

FloatArray = NDArray[np.float64]

# Online shops and mail order (NAICS 4541), sales not adjusted for season, months of 2009 and 2010 per day, with the growth
# of 12 % a year taken out: U.S. Census Bureau, Monthly Retail Trade Survey. January first.
ONLINE_RETAIL = (0.94, 0.96, 0.98, 0.96, 0.91, 0.97, 0.91, 0.94, 0.97, 0.94, 1.11, 1.41)

# The days whose season is computed; a moment before the first or after the last gets the season of that day.
_FIRST, _LAST = np.datetime64("1970-01-01"), np.datetime64("2100-01-01")
_HORIZONS = (30, 90)
_LEAST_MONTHS = 24  # of history, to distinguish a season from growth
_MONTH = np.timedelta64(1, "M")


class Season:
    """One index per month, in any unit: only its ratio to the mean over all days counts.

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
        means: FloatArray = self._ahead[:, np.minimum(np.maximum(at / DAY_S, 0.0), last).astype(np.int64)]
        return means

    def mean(self, at: float, days: int) -> float:
        """Mean index over the next `days`, at most a year; `at`: epoch seconds."""
        day = int(min(max(at // DAY_S, 0), self._ahead.shape[1] - 1))
        return float(self._sums[day + days] - self._sums[day]) / days


USUAL = Season()


class TooShort(ValueError):
    """The history is shorter than two whole years, so a season can't be distinguished from growth."""


def measured(at: FloatArray) -> tuple[tuple[float, ...], float]:
    """The season in a shop's own purchases, and the factor by which they grow per year.

    Least squares of the log of purchases per day on month and time, over the whole months between the first purchase and
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
        raise TooShort(f"{len(whole)} whole months between the first purchase and the last; {_LEAST_MONTHS} are needed")
    starts = np.searchsorted(months, np.append(whole, whole[-1] + _MONTH))
    counts = np.diff(starts)
    if not counts.all():
        raise TooShort(f"no purchase in {whole[int(np.argmin(counts))]}")
    days = np.diff(np.append(whole, whole[-1] + _MONTH).astype("datetime64[D]")).astype(np.float64)
    of_month = whole.astype(np.int64) % 12
    seen = np.column_stack([of_month[:, None] == np.arange(12), np.arange(len(whole)) / 12.0])
    fitted = np.linalg.lstsq(seen.astype(np.float64), np.log(counts / days), rcond=None)[0]
    index = np.exp(fitted[:12] - fitted[:12].mean())
    return tuple(float(each) for each in index / index.mean()), float(np.exp(fitted[12]))
