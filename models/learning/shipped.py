"""Challengers that come with Regulars, switched on by name in `REGULARS_MODELS`: each a pipeline of River's parts.

They take all features and the prior's forecast. None is served unless it is better beyond noise; docs/models.md says how
they did on real shops.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from river import compose, ensemble, forest, linear_model, optim, preprocessing, tree

from models.learning.inputs import PRIOR_KEY, is_probability
from models.river import DynamicLogisticRegression, DynamicPoissonRegression
from models.river.leaves import LeafMembership
from schemas.learning import SCORES

_SEED = 1
# Purchases come in bursts and amounts in wholesale orders: both vary by more than a Poisson number does, and one order must
# not outweigh a hundred customers.
_AMOUNT: dict[str, Any] = {"dispersion": 8.0, "surprise_limit": 30.0}


def adagrad(target: str) -> Any:
    """Logistic or Poisson regression by AdaGrad (Duchi, Hazan and Singer 2011)."""
    if is_probability(target):
        model: Any = linear_model.LogisticRegression(optimizer=optim.AdaGrad(0.05))
    else:
        model = linear_model.LinearRegression(
            optimizer=optim.AdaGrad(0.05), loss=optim.losses.Poisson(), clip_gradient=30.0
        )
    return preprocessing.StandardScaler() | model


def random_forest(target: str) -> Any:
    """Adaptive random forest (Gomes et al. 2017)."""
    if is_probability(target):
        return forest.ARFClassifier(n_models=5, max_features="sqrt", leaf_prediction="nba", seed=_SEED)
    return forest.ARFRegressor(n_models=5, max_features="sqrt", leaf_prediction="mean", seed=_SEED)


def leaf_tree(target: str) -> Any:
    """A Hoeffding tree whose leaves have weights of their own: forecast = link of the sum of weight times membership."""
    probability = is_probability(target)
    grown: Any = (
        tree.HoeffdingTreeClassifier(grace_period=500, max_depth=5, leaf_prediction="mc")
        if probability
        else tree.HoeffdingTreeRegressor(grace_period=500, max_depth=5, leaf_prediction="mean")
    )
    weighted: Any = DynamicLogisticRegression if probability else DynamicPoissonRegression
    parameters = {} if probability else _AMOUNT
    membership = LeafMembership(grown) + compose.Select(PRIOR_KEY)
    return membership | weighted(offset=PRIOR_KEY, scale=0.3, drift=1e-5, intercept_drift=1e-4, **parameters)


def bagging(target: str) -> Any:
    """Ten of `adagrad` in an online bag (Oza and Russell 2001)."""
    kind = ensemble.BaggingClassifier if is_probability(target) else ensemble.BaggingRegressor
    return kind(adagrad(target), n_models=10, seed=_SEED)


def dynamic(target: str) -> Any:
    """One dynamic model over the prior, at one speed: what the served model is, without its parts around it."""
    if is_probability(target):
        model: Any = DynamicLogisticRegression(drift=3e-5, intercept_drift=3e-4)
    else:
        model = DynamicPoissonRegression(drift=3e-5, intercept_drift=3e-4, **_AMOUNT)
    return preprocessing.StandardScaler() | model


def _for_all(make: Callable[[str], Any]) -> Mapping[str, Any]:
    return {target: make(target) for target in SCORES}


SHIPPED: Mapping[str, Callable[[], Mapping[str, Any]]] = {
    "adagrad": partial(_for_all, adagrad),
    "bagging": partial(_for_all, bagging),
    "dynamic": partial(_for_all, dynamic),
    "forest": partial(_for_all, random_forest),
    "leaf-tree": partial(_for_all, leaf_tree),
}
