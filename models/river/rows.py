"""From River's rows to arrays: features by name, in whatever order, with new ones and missing ones.

A model of this package learns and forecasts arrays: `learn_array` and `raw_array` take inputs (n, features) whose columns
are `feature_names`, in order. `RowModel` puts River's dicts and pandas' frames into that shape:

* a name that wasn't seen before becomes a new column, at the end; its weight starts as that of any other did;
* a feature that is missing (no key, no column, None or NaN) counts as 0, the mean of a standardised feature;
* the order of keys and columns makes no difference.
"""

from collections.abc import Hashable, Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from river import base

from models.river.families import Family, FloatArray

if TYPE_CHECKING:
    import pandas as pd

_DAY_S = 86_400.0

# A moment: a datetime, or days as a number.
Moment = datetime | float


class RowModel(base.Estimator):  # type: ignore[misc]
    """A linear predictor over named features; what all models of this package have in common.

    A subclass sets `limit` and `offset` as parameters of its own and calls `_start` at the end of its `__init__`.
    """

    limit: float
    offset: Hashable | None

    def _start(self) -> None:
        self._columns: dict[Hashable, int] = {}
        self._time: float | None = None

    # --- what a subclass does on arrays --------------------------------------------------------------------------

    @property
    def family(self) -> Family:
        """The distribution of an outcome."""
        raise NotImplementedError

    @property
    def coefficients(self) -> FloatArray:
        """(features + 1,): the intercept, then the weights in the order of `feature_names`."""
        raise NotImplementedError

    def learn_array(
        self,
        z: FloatArray,
        y: FloatArray,
        offset: FloatArray,
        elapsed: float,
        w: float = 1.0,
        *,
        rank_one: bool = False,
    ) -> None:
        """Learns outcomes at once, as one step.

        Args:
            z: (n, features), columns in the order of `feature_names`.
            y: (n,).
            offset: (n,), on the link scale.
            elapsed: days since the step before.
            w: weight of each outcome.
            rank_one: of a single row: by the cheaper arithmetic, equal but for rounding.
        """
        raise NotImplementedError

    def _grow(self, names: list[Hashable]) -> None:
        """Makes room for the features `names`, which are new."""
        raise NotImplementedError

    # --- by name -------------------------------------------------------------------------------------------------

    @property
    def feature_names(self) -> tuple[Hashable, ...]:
        """The features met so far, in the order of `coefficients`."""
        return tuple(self._columns)

    @property
    def weights(self) -> dict[Hashable, float]:
        """Weight of each feature, on the link scale."""
        return dict(zip(self._columns, self.coefficients[1:].tolist(), strict=True))

    @property
    def intercept(self) -> float:
        """The constant, on the link scale."""
        return float(self.coefficients[0])

    def join(self, names: Iterable[Hashable]) -> None:
        """Gives every feature that is new a column, in the order given. Learning does it by itself."""
        new = [name for name in dict.fromkeys(names) if name not in self._columns and name != self.offset]
        if new:
            for name in new:
                self._columns[name] = len(self._columns)
            self._grow(new)

    def raw_array(self, z: FloatArray, offset: FloatArray) -> FloatArray:
        """(n,): the forecast on the link scale, for inputs z (n, features) in the order of `feature_names`."""
        raw: FloatArray = offset + limited(self.coefficients, z, self.limit)
        return raw

    def mean_array(self, z: FloatArray, offset: FloatArray) -> FloatArray:
        """(n,): the forecast mean or probability."""
        return self.family.mean(self.raw_array(z, offset))

    def learn_one(self, x: Mapping[Hashable, Any], y: float, t: Moment | None = None, w: float = 1.0) -> None:
        """Updates the model with one observation.

        Parameters
        ----------
        x
            A dictionary of features.
        y
            The outcome.
        t
            When it was observed: a datetime, or days as a number. Weights drift by the time that has passed. Without it
            every observation counts as one day.
        w
            How much the observation counts; 1 for a whole one.

        """
        self.join(x)
        z, offset = self._from_dict(x)
        self.learn_array(z, np.array([float(y)]), offset, self._passed(t, 1), w, rank_one=True)

    def learn_many(self, X: "pd.DataFrame", y: "pd.Series[Any]", t: Moment | None = None, w: float = 1.0) -> None:  # noqa: N803
        """Updates the model with a mini-batch, in one step.

        Parameters
        ----------
        X
            A dataframe of features.
        y
            A series of outcomes.
        t
            When the latest of them was observed; see `learn_one`.
        w
            How much each observation counts.

        """
        if not len(X):
            return
        self.join(X.columns)
        z, offset = self._from_frame(X)
        self.learn_array(z, np.asarray(y, dtype=np.float64), offset, self._passed(t, len(X)), w)

    def _mean_one(self, x: Mapping[Hashable, Any]) -> float:
        return float(self.mean_array(*self._from_dict(x))[0])

    def _mean_many(self, X: "pd.DataFrame") -> FloatArray:  # noqa: N803
        return self.mean_array(*self._from_frame(X))

    def _passed(self, t: Moment | None, observations: int) -> float:
        """Days since the step before; never below 0."""
        if t is None:
            return float(observations)
        now = t.timestamp() / _DAY_S if isinstance(t, datetime) else float(t)
        passed = 0.0 if self._time is None else max(now - self._time, 0.0)
        self._time = now if self._time is None else max(now, self._time)
        return passed

    def _from_dict(self, x: Mapping[Hashable, Any]) -> tuple[FloatArray, FloatArray]:
        z = np.zeros((1, len(self._columns)))
        columns = self._columns
        for name, value in x.items():
            column = columns.get(name)
            if column is not None and value is not None:
                z[0, column] = value
        given = None if self.offset is None else x.get(self.offset)
        return np.nan_to_num(z, copy=False, nan=0.0), np.nan_to_num(
            np.array([0.0 if given is None else given], np.float64)
        )

    def _from_frame(self, X: "pd.DataFrame") -> tuple[FloatArray, FloatArray]:  # noqa: N803
        names = list(X.columns)
        given = X.to_numpy(dtype=np.float64, na_value=np.nan)
        if tuple(names) == self.feature_names:
            z = np.nan_to_num(given, nan=0.0)
        else:
            z = np.zeros((len(X), len(self._columns)))
            pairs = [(self._columns[name], i) for i, name in enumerate(names) if name in self._columns]
            if pairs:
                to, of = (list(side) for side in zip(*pairs, strict=True))
                z[:, to] = np.nan_to_num(given[:, of], nan=0.0)
        if self.offset not in names or self.offset is None:
            return z, np.zeros(len(X))
        return z, np.nan_to_num(given[:, names.index(self.offset)], nan=0.0)


def limited(coefficients: FloatArray, z: FloatArray, limit: float) -> FloatArray:
    """(n,): intercept + weights . z, within `limit` of 0."""
    moved: FloatArray = np.clip(coefficients[0] + z @ coefficients[1:], -limit, limit)
    return moved
