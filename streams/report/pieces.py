"""The two things that a section of the page shows beside its text: a chart and a table."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from models.features import FloatArray
from models.learning.measures import gains
from streams.report.charts import Point
from streams.report.evaluation import SMALLEST_GROUP, Rows

FEW_AT_CUTOFFS = f"no cut-off has {SMALLEST_GROUP} customers of whom some bought"
FEW_IN_TENTH = f"a tenth of these forecasts is fewer than {SMALLEST_GROUP}"


@dataclass(frozen=True)
class ChartPanel:
    """A chart, or the reason why there is too little data for one.

    Attributes:
        title: stands over the chart; empty: nothing does.
        chart: the SVG; None: there is none.
        reason: why there is none.
    """

    title: str = ""
    chart: Markup | None = None
    reason: str = ""


@dataclass(frozen=True)
class PageTable:
    """A table of text; `ours`: its first row is that of the served model."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    ours: bool = False


def is_enough(rows: Rows, share: float = 1.0) -> bool:
    """Whether this share of the rows is large enough for a statement about it."""
    return len(rows.truth) * share >= SMALLEST_GROUP


def thinned(curve: FloatArray, most: int = 100) -> list[Point]:
    """A curve of n + 1 heights over the shares from 0 to 1, in at most `most` points."""
    places = np.unique(np.linspace(0, len(curve) - 1, most).astype(int))
    return [(float(i) / (len(curve) - 1), float(curve[i])) for i in places]


def gain_at(rows: Rows, forecast: FloatArray, share: float) -> float:
    """The share of all outcomes that the first `share` of customers account for, in falling order of `forecast`."""
    curve = gains(rows.truth, forecast)
    return float(curve[round(share * (len(curve) - 1))])
