"""Logistic regression whose weights may drift."""

from collections.abc import Hashable, Mapping

from models.river.dynamic import DynamicGLM
from models.river.kinds import BinaryClassifier


class DynamicLogisticRegression(BinaryClassifier, DynamicGLM):
    """Logistic regression without a step size, whose weights may drift.

    The weights are Gaussian and are updated by an extended Kalman filter[^1]: second order, so inputs may be correlated
    and nothing is tuned. Between observations the weights may drift, by a variance a day; so the model forgets by time.
    Predictions cost as much as those of any linear model; learning takes O(n^2) for one row of n features and O(n^3) for
    a mini-batch, which is one step.

    Inputs should be standardised, as `scale` is the same for all: put a `preprocessing.StandardScaler` in front. A feature
    that is missing counts as 0.

    Parameters
    ----------
    scale
        Standard deviation of a weight before anything was learnt: one number, or one per feature (0.1 for those that
        the mapping lacks).
    intercept_scale
        The same of the intercept.
    drift
        Variance that a weight gains a day. Days are what `t` says in `learn_one`; where it isn't given, each
        observation counts as a day. With 0 the model converges to Bayesian logistic regression.
    intercept_drift
        The same of the intercept, which often moves faster than the weights.
    dispersion
        Variance of an outcome over that of its distribution. Above 1 every observation tells less: for instance where
        observations overlap.
    limit
        Largest change on the link scale that the weights can make.
    step_limit
        Largest change on the link scale that one Newton step makes of a prediction.
    surprise_limit
        By how much an outcome may exceed its mean before the rest of it is ignored. Probabilities never need it.
    newton_steps
        At most so many Newton steps towards the mode of the posterior; with 1 it is the plain extended Kalman filter,
        which is quicker and needs outcomes that aren't far from what was expected.
    offset
        Name of a feature that is added to the link scale as it is: the log odds of another model, say.
    cautious
        Names of features that are thought to say little: their weights start a tenth as wide and drift a hundredth
        as fast.

    Attributes:
    ----------
    weights
        The weight of each feature.
    intercept
        The constant.
    covariance
        Of the intercept and the weights, in the order of `feature_names`.

    Examples:
    --------
    >>> from river import datasets
    >>> from river import evaluate
    >>> from river import metrics
    >>> from river import preprocessing
    >>> from models.river import DynamicLogisticRegression

    >>> model = preprocessing.StandardScaler() | DynamicLogisticRegression(scale=1.0)
    >>> evaluate.progressive_val_score(datasets.Phishing(), model, metrics.ROCAUC())
    ROCAUC: 95.45%

    Features may join and may be missing; their order makes no difference.

    >>> model = DynamicLogisticRegression(scale=1.0)
    >>> model.learn_one({'visits': 1.0}, True)
    >>> model.learn_one({'carts': -1.0, 'visits': 0.5}, False)
    >>> sorted(model.weights)
    ['carts', 'visits']
    >>> model.predict_proba_one({'carts': 1.0})[True] == model.predict_proba_one({'new': 1.0, 'carts': 1.0})[True]
    True

    A mini-batch is one step:

    >>> import pandas as pd
    >>> X = pd.DataFrame({'visits': [1.0, -1.0, 0.5], 'carts': [0.0, 1.0, 2.0]})
    >>> model.learn_many(X, pd.Series([True, False, True]))
    >>> model.predict_proba_many(X)[True].round(2).tolist()
    [0.69, 0.39, 0.8]

    References:
    ----------
    [^1]: [West, M., Harrison, P. J. and Migon, H. S., 1985. Dynamic generalized linear models and Bayesian forecasting. Journal of the American Statistical Association, 80(389), pp. 73-83.](https://doi.org/10.1080/01621459.1985.10477131)

    """  # noqa: E501 - a reference is one line, as River has it

    def __init__(
        self,
        scale: float | Mapping[Hashable, float] = 0.1,
        intercept_scale: float = 1.0,
        drift: float = 0.0,
        intercept_drift: float = 0.0,
        dispersion: float = 1.0,
        limit: float = 20.0,
        step_limit: float = 2.0,
        surprise_limit: float = float("inf"),
        newton_steps: int = 25,
        offset: Hashable | None = None,
        cautious: frozenset[Hashable] | None = None,
    ) -> None:
        super().__init__(
            scale, intercept_scale, drift, intercept_drift, dispersion,
            limit, step_limit, surprise_limit, newton_steps, offset, cautious,
        )  # fmt: skip
