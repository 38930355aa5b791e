"""Several classifiers as one, each weighed by its worth on observations that it had not learnt."""

import math
from collections.abc import Hashable, Mapping
from typing import Any

from river import base

from models.river import DynamicLogisticRegression

LIMIT = 0.99
"""A member is never surer than this: one that has seen ten rows says 0 or 1."""

BENDS = (-3.0, -2.0, -1.0, 0.0, 1.0)

_MEAN = "mean"


class StackedClassifier(base.Classifier):  # type: ignore[misc]
    """Stacking of binary classifiers in one pass.

    The members' log odds are the inputs of a logistic regression[^1]. It learns from what they said before an observation
    was learnt, so a member that only remembers is given no weight. The mean of the log odds is an input with bends, at
    which its slope may change: so the result is calibrated, also where members are too sure at one end and not sure enough
    at the other. It begins with that mean.

    Parameters
    ----------
    members
        Classifiers by name.
    scale
        Standard deviation of a member's weight around its equal share, and of a change of slope at a bend, before anything
        was learnt.
    bends
        Log odds at which the slope may change.

    References:
    ----------
    [^1]: Wolpert, D. H. (1992). Stacked generalization. Neural Networks, 5(2), 241-259.

    Examples:
    --------
    >>> from river import linear_model, naive_bayes
    >>> model = StackedClassifier({"line": linear_model.LogisticRegression(), "bayes": naive_bayes.GaussianNB()})
    >>> for x in (-2.0, -1.0, 1.0, 2.0) * 20:
    ...     model.learn_one({"x": x}, x > 0)
    >>> model.predict_proba_one({"x": 1.5})[True] > 0.9
    True

    """

    def __init__(
        self, members: dict[str, base.Classifier], scale: float = 0.3, bends: tuple[float, ...] = BENDS
    ) -> None:
        self.members, self.scale, self.bends = members, scale, bends
        self._blend = DynamicLogisticRegression(scale=scale, intercept_scale=scale, offset=_MEAN)

    @property
    def weights(self) -> dict[str, float]:
        """What each member's log odds count now, bends aside."""
        learnt = self._blend.weights
        return {name: 1.0 / len(self.members) + learnt.get(name, 0.0) for name in self.members}

    def predict_proba_one(self, x: Mapping[Any, Any], **_: Any) -> dict[bool, float]:
        """The probability of False and of True.

        Parameters
        ----------
        x
            A dictionary of features.

        """
        probabilities: dict[bool, float] = self._blend.predict_proba_one(self._voices(x))
        return probabilities

    def learn_one(self, x: Mapping[Any, Any], y: bool, **_: Any) -> None:
        """Learns one observation.

        Parameters
        ----------
        x
            A dictionary of features.
        y
            Whether it came.

        """
        self._blend.learn_one(self._voices(x), y)
        for member in self.members.values():
            member.learn_one(x, y)

    def _voices(self, x: Mapping[Any, Any]) -> dict[Hashable, float]:
        voices: dict[Hashable, float] = {name: _log_odds(member, x) for name, member in self.members.items()}
        mean = sum(voices.values()) / len(self.members)
        return voices | {("bend", bend): max(0.0, mean - bend) for bend in self.bends} | {_MEAN: mean}


def _log_odds(member: base.Classifier, x: Mapping[Any, Any]) -> float:
    p = min(max(member.predict_proba_one(x).get(True, 1.0 - LIMIT), 1.0 - LIMIT), LIMIT)
    return math.log(p / (1.0 - p))
