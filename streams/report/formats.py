"""Numbers, shares and days as a person reads them."""

from datetime import UTC, datetime

import numpy as np

from streams.report.charts import Tick, number


def months(moments: list[float]) -> list[Tick]:
    """The first days of months between the moments (epoch seconds), at most seven, each with its month's name."""
    earliest, latest = min(moments), max(moments)
    first, last = (np.datetime64(int(at), "s").astype("datetime64[M]") for at in (earliest, latest))
    every = np.arange(first, last + np.timedelta64(1, "M"))
    step = -(-len(every) // 7)
    ticks = [(float(month.astype("datetime64[s]").astype(np.int64)), str(month)) for month in every[::step]]
    return [tick for tick in ticks if earliest - 1 <= tick[0] <= latest]


def percent(share: float, digits: int = 0) -> str:
    """A share as a percentage.

    >>> percent(0.256), percent(0.256, 1)
    ('26 %', '25.6 %')
    """
    return f"{share * 100:.{digits}f} %"


def count(value: int) -> str:
    """A whole number with a comma between thousands.

    >>> count(1234567)
    '1,234,567'
    """
    return f"{value:,}"


def day(at: float) -> str:
    """The day (UTC) of epoch seconds."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d}"


def figure(measure: str, value: float) -> str:
    """A measure with enough digits to show how two models differ."""
    if np.isnan(value):
        return "–"
    if measure == "total":
        return f"{value:.3f}"
    return f"{value:.4f}" if abs(value) < 10 else number(value)
