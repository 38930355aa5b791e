"""Numbers of the order of 1, as regressions want them: set by the first customers, then kept."""

from typing import NamedTuple, Self

import numpy as np

from models.decisions.draw import FloatArray
from models.decisions.estimators import IntArray

# A number that goes so far beyond 1 is an amount or a count: its logarithm is what matters.
_WIDE = 20.0
# One customer of a million is no reason to believe a line that far out.
_FURTHEST = 4.0


class Scaling(NamedTuple):
    """How columns (numbers,) are scaled.

    Attributes:
        logs: which ones as sign(x) log(1 + |x|).
        centre: subtracted.
        spread: divided by; 0: the column says nothing, it becomes 0.
        gaps: columns that have gaps; each gets a column of its own that says so.
    """

    logs: FloatArray
    centre: FloatArray
    spread: FloatArray
    gaps: IntArray

    @classmethod
    def of(cls, x: FloatArray) -> Self:
        """From the first customers x (n, numbers), nan where something is not known."""
        known = ~np.isnan(x)
        logs = (np.where(known, np.abs(x), 0.0).max(axis=0, initial=0.0) > _WIDE).astype(float)
        z = np.where(known, _logged(x, logs), 0.0)
        count = np.maximum(known.sum(axis=0), 1)
        centre = z.sum(axis=0) / count
        spread = np.sqrt((np.where(known, z - centre, 0.0) ** 2).sum(axis=0) / count)
        return cls(logs, centre, spread, np.flatnonzero(~known.all(axis=0)).astype(np.int64))

    def scaled(self, x: FloatArray) -> FloatArray:
        """(n, numbers + gaps) of x (n, numbers)."""
        z = np.where(np.isnan(x), self.centre, _logged(x, self.logs)) - self.centre
        z = np.where(self.spread > 0, z / np.where(self.spread > 0, self.spread, 1.0), 0.0)
        missing = np.isnan(x[:, self.gaps]).astype(float)
        return np.hstack([np.clip(z, -_FURTHEST, _FURTHEST), missing])


def _logged(x: FloatArray, logs: FloatArray) -> FloatArray:
    magnitudes: FloatArray = np.where(logs > 0, np.sign(x) * np.log1p(np.abs(x)), x)
    return magnitudes
