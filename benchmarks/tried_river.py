"""River's own models in the place of the served learner, for the 30-day probability alone."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from models.features import NAMES, FloatArray
from models.learning.inputs import links
from models.scores import P_30, PriorScorer
from schemas.learning import Label


class River:
    """A classifier of River's behind a standard scaler, over features and the prior's forecasts; 30-day labels alone.

    It has no season: as inputs like any other the two columns cost AdaGrad .018 of log loss.
    """

    def __init__(self, model: Any) -> None:
        from river import preprocessing

        self._prior = PriorScorer()
        self._model = preprocessing.StandardScaler() | model

    def _inputs(self, x: FloatArray) -> list[dict[int, float]]:
        x = np.array([without_season(row) for row in x.tolist()])
        given = np.hstack([x, links(self._prior.score(x))])
        return [dict(enumerate(row)) for row in given.tolist()]

    def learn_many(self, labels: Sequence[Label]) -> None:
        """Learns the 30-day labels one by one, in order."""
        mine = [label for label in labels if label.horizon_days == 30]
        if mine:
            for row, label in zip(self._inputs(np.array([label.features for label in mine])), mine, strict=True):
                self._model.learn_one(row, label.bought)

    def score(self, x: FloatArray) -> FloatArray:
        """The prior's forecasts, with the 30-day probability learnt."""
        scores = self._prior.score(x)
        scores[:, P_30] = [self._model.predict_proba_one(row).get(True, 0.5) for row in self._inputs(x)]
        return scores


def river_model(name: str) -> Callable[[], River]:
    """Makes a `River` around the model of this name."""

    def make() -> River:
        from river import ensemble, forest, linear_model, optim, tree

        models: dict[str, Callable[[], Any]] = {
            "adagrad": lambda: linear_model.LogisticRegression(optim.AdaGrad(0.05)),
            "adam": lambda: linear_model.LogisticRegression(optim.Adam(0.003)),
            "tree": lambda: tree.HoeffdingAdaptiveTreeClassifier(seed=0),
            "forest": lambda: forest.ARFClassifier(n_models=10, seed=0),
            "srp": lambda: ensemble.SRPClassifier(tree.HoeffdingTreeClassifier(), n_models=5, seed=0),
        }
        return River(models[name]())

    return make


def without_season(row: Sequence[float]) -> list[float]:
    """A row of features with the season's set to 0."""
    return [0.0 if name.startswith("season_") else value for name, value in zip(NAMES, row, strict=True)]
