"""Poisson regression whose weights may drift."""

from collections.abc import Hashable, Mapping

from models.river.dynamic import DynamicGLM
from models.river.families import POISSON, Family
from models.river.kinds import MeanRegressor


class DynamicPoissonRegression(MeanRegressor, DynamicGLM):
    """Regression of a count on the log scale, without a step size, whose weights may drift.

    With `dispersion` other than 1 it is a quasi-Poisson model: of any amount of at least 0 whose variance is `dispersion`
    times its mean. The weights are Gaussian and follow an extended Kalman filter[^1], as those of
    `DynamicLogisticRegression`, which explains the parameters at length.

    Parameters
    ----------
    scale
        Standard deviation of a weight before anything was learnt: one number, or one per feature.
    intercept_scale
        The same of the intercept.
    drift
        Variance that a weight gains a day (an observation, where `learn_one` isn't given `t`).
    intercept_drift
        The same of the intercept.
    dispersion
        Variance of an outcome over its mean.
    limit
        Largest change on the log scale that the weights can make.
    step_limit
        Largest change on the log scale that one Newton step makes of a prediction.
    surprise_limit
        By how much an outcome may exceed its mean before the rest of it is ignored; a mean beyond it tells as much as
        one at the limit. One very large order then can't outweigh a hundred customers.
    newton_steps
        At most so many Newton steps towards the mode of the posterior; with 1 it is the plain extended Kalman filter,
        which is quicker and needs outcomes that aren't far from what was expected.
    offset
        Name of a feature that is added to the log scale as it is: the log of an exposure, say.
    cautious
        Names of features that are thought to say little.

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
    >>> from river import compose
    >>> from river import datasets
    >>> from river import evaluate
    >>> from river import metrics
    >>> from river import preprocessing
    >>> from models.river import DynamicPoissonRegression

    >>> model = compose.Select('time', 'diet') | preprocessing.StandardScaler()
    >>> model |= DynamicPoissonRegression(dispersion=10.0, drift=1e-3, intercept_drift=1e-3)
    >>> evaluate.progressive_val_score(datasets.ChickWeights(), model, metrics.MAE())
    MAE: 23.8...

    An offset takes part as it is. Twice the exposure, twice the count:

    >>> model = DynamicPoissonRegression(offset='log_days')
    >>> for _ in range(500):
    ...     model.learn_one({'log_days': 0.0}, 3)
    >>> import math
    >>> round(model.predict_one({'log_days': math.log(2.0)}), 1)
    6.0

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

    @property
    def family(self) -> Family:
        """Poisson, log link."""
        return POISSON
