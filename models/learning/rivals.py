"""What a shop would have without this learner, taught by the same labels: recency-frequency-monetary cells.

The other rival, BG/NBD x Gamma-Gamma, is the learner's own prior (`models.learning.population`).
"""

from typing import Self

import numpy as np
from numpy.typing import NDArray

from models.features import FloatArray
from models.scores import COUNT_90, P_30, P_90, SPEND_90

_COLUMNS = ("recency_days", "purchases", "monetary")
_FREQUENCY = _COLUMNS.index("purchases")
# Quintiles of the number of purchases would be 1, 1, 1, 2 and more: fixed classes 1, 2, 3 to 4, 5 to 9, 10 and more.
_FREQUENCIES = np.log1p([2.0, 3.0, 5.0, 10.0]) - 1e-3
# And one for who never bought: without recency and amount they would be the most recent and the least of all.
_CELLS = 5 ** len(_COLUMNS) + 1
# A cell is told by its own labels and by so many of the average customer: below a hundred its rate hangs on chance.
_SHRINKAGE = 20.0
# The quintiles' edges are a mean over about so many labels, so that they follow the shop; so do the rates, more slowly.
_MEMORY, _LONG_MEMORY = 5_000.0, 20_000.0
# Below so many labels of 90 days, three times those of 30 days stand in.
_ENOUGH = 500.0
_TABLE = 8  # of labels of 30 and of 90 days: how many, of them bought, purchases, spend
WIDTH = 1 + 4 * len(_COLUMNS) + _CELLS * _TABLE


class RfmCells:
    """Customers in 5 x 5 x 5 cells of recency, frequency and monetary; a cell's forecast is its rate of late.

    Recency and monetary are cut at the quintiles of the buyers whom labels are of; who never bought has a cell apart.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self._columns = [names.index(name) for name in _COLUMNS]
        self._edges: FloatArray = np.zeros((len(_COLUMNS), 4))
        self._table: FloatArray = np.zeros((_CELLS, _TABLE))
        self._buyers = 0.0

    @staticmethod
    def known(names: tuple[str, ...]) -> bool:
        """Whether these features hold recency, frequency and monetary."""
        return set(_COLUMNS) <= set(names)

    def learn_block(self, x: FloatArray, horizon: FloatArray, purchases: FloatArray, spend: FloatArray) -> None:
        """Counts labels in: features x (n, F) and what came of each."""
        found = x[:, self._columns]
        buyers = found[found[:, _FREQUENCY] > 0]
        if len(buyers):
            self._buyers = min(self._buyers + len(buyers), _MEMORY)
            edges = np.quantile(buyers, [0.2, 0.4, 0.6, 0.8], axis=0).T
            self._edges += (edges - self._edges) * min(1.0, len(buyers) / self._buyers)
            self._edges[_FREQUENCY] = _FREQUENCIES
        told = np.column_stack([np.ones(len(x)), purchases > 0, purchases, spend])
        month = (horizon == 30)[:, None]
        self._table *= 1.0 - len(x) / _LONG_MEMORY
        np.add.at(self._table, self._cells(x), np.hstack([told * month, told * ~month]))

    def forecasts(self, x: FloatArray) -> FloatArray:
        """(n, 4) in the order of SCORES; zeros before the first label."""
        month, quarter = np.split(self._table, 2, axis=1)
        cells = self._cells(x)
        rates = _shrunk(month)[cells]
        found = np.empty((len(x), 4))
        found[:, P_30] = rates[:, 0]
        if quarter[:, 0].sum() < _ENOUGH:
            found[:, P_90] = 1.0 - (1.0 - rates[:, 0]) ** 3
            found[:, [COUNT_90, SPEND_90]] = 3.0 * rates[:, 1:]
        else:
            found[:, [P_90, COUNT_90, SPEND_90]] = _shrunk(quarter)[cells]
        return found

    def _cells(self, x: FloatArray) -> NDArray[np.int64]:
        found = np.zeros(len(x), dtype=np.int64)
        for column, edges in zip(self._columns, self._edges, strict=True):
            found = found * 5 + np.searchsorted(edges, x[:, column], side="right")
        found[x[:, self._columns[_FREQUENCY]] <= 0] = _CELLS - 1
        return found

    def to_array(self) -> FloatArray:
        """(WIDTH,): all of it."""
        return np.concatenate([[self._buyers], self._edges.ravel(), self._table.ravel()])

    @classmethod
    def from_array(cls, names: tuple[str, ...], array: FloatArray) -> Self:
        """The inverse of `to_array`."""
        found = cls(names)
        found._buyers = float(array[0])
        found._edges = array[1 : 1 + found._edges.size].reshape(found._edges.shape).copy()
        found._table = array[1 + found._edges.size :].reshape(found._table.shape).copy()
        return found


def _shrunk(table: FloatArray) -> FloatArray:
    """(cells, 3): share that bought, mean purchases and spend, of counts (cells, 4)."""
    whole = table.sum(axis=0)
    means: FloatArray = whole[1:] / max(whole[0], 1e-9)
    found: FloatArray = (table[:, 1:] + _SHRINKAGE * means) / (table[:, :1] + _SHRINKAGE)
    return found
