"""What River asks of a binary classifier and of a regressor, over a `RowModel`."""

from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

from river import base

from models.river.families import BERNOULLI, Family
from models.river.rows import RowModel

if TYPE_CHECKING:
    import pandas as pd


class BinaryClassifier(RowModel, base.MiniBatchClassifier):  # type: ignore[misc]
    """Probabilities of False and True."""

    @property
    def family(self) -> Family:
        """0 or 1, logit link."""
        return BERNOULLI

    def predict_proba_one(self, x: Mapping[Hashable, Any]) -> dict[bool, float]:
        """The probability of False and of True.

        Parameters
        ----------
        x
            A dictionary of features.

        """
        p = self._mean_one(x)
        return {False: 1.0 - p, True: p}

    def predict_proba_many(self, X: "pd.DataFrame") -> "pd.DataFrame":  # noqa: N803
        """The probability of False and of True, a column each.

        Parameters
        ----------
        X
            A dataframe of features.

        """
        import pandas as pd

        p = self._mean_many(X)
        return pd.DataFrame({False: 1.0 - p, True: p}, index=X.index)

    def predict_many(self, X: "pd.DataFrame") -> "pd.Series[bool]":  # noqa: N803
        """The likelier outcome of each row.

        Parameters
        ----------
        X
            A dataframe of features.

        """
        import pandas as pd

        return pd.Series(self._mean_many(X) > 0.5, index=X.index)

    def _unit_test_skips(self) -> set[str]:
        return BATCH_IS_ONE_STEP


class MeanRegressor(RowModel, base.MiniBatchRegressor):  # type: ignore[misc]
    """The mean of an outcome of at least 0."""

    def predict_one(self, x: Mapping[Hashable, Any]) -> float:
        """The mean.

        Parameters
        ----------
        x
            A dictionary of features.

        """
        return self._mean_one(x)

    def predict_many(self, X: "pd.DataFrame") -> "pd.Series[float]":  # noqa: N803
        """The mean of each row.

        Parameters
        ----------
        X
            A dataframe of features.

        """
        import pandas as pd

        return pd.Series(self._mean_many(X), index=X.index)

    def _unit_test_skips(self) -> set[str]:
        return BATCH_IS_ONE_STEP


# A mini-batch is one step, linearised where the model stood before it; row by row it would be linearised anew at each row.
# River excuses its own gradient models from this check in the same way.
BATCH_IS_ONE_STEP = {"check_learn_many_matches_learn_one"}
