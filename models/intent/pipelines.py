"""The pipelines, from River's parts and ours; each learns a session after it has ended, in one pass."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from river import base, compose, forest, preprocessing

from models.intent.features import (
    amounts_of_summary,
    coded_of_summary,
    codes_of_pages,
    names_of_summary,
    numbers_of_summary,
)
from models.intent.stack import StackedClassifier
from models.river import DynamicLogisticRegression

if TYPE_CHECKING:
    import pandas as pd

SCALE = 0.2
"""Standard deviation of a code's weight before anything was learnt. With .1 and .5 the area under the ROC curve of the first
half of online_shoppers is .002 lower."""

_WIDE = 2.0
_FARTHEST = 4.0
"""A standardised number that is farther from its mean counts as this far."""


def of_pages() -> StackedClassifier:
    """P(purchase in this session) from its pages so far: `{"pages": (...), "seconds": (...)}`.

    One pipeline serves one depth, such as the third page: after three pages a page means something else than after ten.
    """
    line = compose.FuncTransformer(codes_of_pages) | DynamicLogisticRegression(scale=SCALE, intercept_scale=_WIDE)
    return StackedClassifier({"line": line})  # for its calibration


def of_summaries(seed: int = 0, trees: int = 30) -> StackedClassifier:
    """P(purchase in this session) from its row; `models.intent.features.numbers_of_summary` has the columns.

    Args:
        seed: of the forest.
        trees: of the forest.
    """
    line = (
        compose.FuncTransformer(amounts_of_summary)
        + (compose.FuncTransformer(coded_of_summary) | preprocessing.OneHotEncoder())
    ) | preprocessing.StandardScaler()
    line |= compose.FuncTransformer(_bounded) | DynamicLogisticRegression(scale=SCALE, intercept_scale=_WIDE)
    numbers = compose.FuncTransformer(numbers_of_summary)
    numbers += compose.FuncTransformer(names_of_summary) | preprocessing.OneHotEncoder()
    return StackedClassifier({"line": line, "forest": numbers | _forest(trees, seed)})


def of_shoppers(overlap: float = 1.0) -> compose.Pipeline:
    """P(purchase within some days) from the features of a `models.intent.shopper.Shopper`, one by one or many at once.

    Args:
        overlap: how many labels of a customer cover the same day, 1 or more; each then tells so much less.
    """
    line = DynamicLogisticRegression(intercept_scale=_WIDE, dispersion=overlap)
    return SteadyScaler() | compose.FuncTransformer(_bounded_all) | line


class SteadyScaler(preprocessing.StandardScaler):  # type: ignore[misc]
    """River's StandardScaler, also where a number hardly varies.

    It merges the variances of mini-batches by a difference, which rounding can leave below 0; a standard deviation that is
    no real number would follow.
    """

    def learn_many(self, X: "pd.DataFrame") -> None:  # noqa: N803
        """Updates with a mini-batch.

        Parameters
        ----------
        X
            A dataframe of features.

        """
        super().learn_many(X)
        for name, variance in self.vars.items():
            self.vars[name] = max(variance, 0.0)


def _bounded_all(x: Any) -> Any:
    return _bounded(x) if isinstance(x, Mapping) else x.clip(-_FARTHEST, _FARTHEST)


def _forest(trees: int, seed: int) -> base.Classifier:
    return forest.ARFClassifier(n_models=trees, seed=seed, lambda_value=6, grace_period=30, leaf_prediction="mc")


def _bounded(x: Mapping[str, float]) -> dict[str, float]:
    return {name: min(max(number, -_FARTHEST), _FARTHEST) for name, number in x.items()}
