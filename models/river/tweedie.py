"""Tweedie regression whose weights may drift."""

from collections.abc import Hashable, Mapping

from models.river.dynamic import DynamicGLM
from models.river.families import Family, Tweedie
from models.river.kinds import MeanRegressor


class DynamicTweedieRegression(MeanRegressor, DynamicGLM):
    """Regression of an amount with many zeros and few large values, on the log scale; its weights may drift.

    The variance of an outcome is `dispersion` times its mean to the power of `power`[^1]: 1 is (quasi-)Poisson, between 1
    and 2 a Poisson number of gamma amounts (what a customer spends in a month), 2 is gamma. The weights are Gaussian
    and follow an extended Kalman filter, as those of `DynamicLogisticRegression`, which explains the parameters at length.

    Parameters
    ----------
    power
        Between 1 and 2. The higher it is, the less a large amount tells.
    scale
        Standard deviation of a weight before anything was learnt: one number, or one per feature.
    intercept_scale
        The same of the intercept.
    drift
        Variance that a weight gains a day (an observation, where `learn_one` isn't given `t`).
    intercept_drift
        The same of the intercept.
    dispersion
        Variance of an outcome over its mean to the power of `power`.
    limit
        Largest change on the log scale that the weights can make.
    step_limit
        Largest change on the log scale that one Newton step makes of a prediction.
    surprise_limit
        By how much an outcome may exceed its mean before the rest of it is ignored.
    newton_steps
        At most so many Newton steps towards the mode of the posterior; with 1 it is the plain extended Kalman filter,
        which is quicker and needs outcomes that aren't far from what was expected.
    offset
        Name of a feature that is added to the log scale as it is.
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
    >>> from models.river import DynamicTweedieRegression

    >>> model = DynamicTweedieRegression(power=1.5, dispersion=2.0, scale=1.0)
    >>> for i in range(3_000):
    ...     regular = i % 2 == 0
    ...     model.learn_one({'regular': regular}, 80.0 if regular and i % 4 == 0 else 0.0 if regular else 5.0)
    >>> 35.0 < model.predict_one({'regular': True}) < 45.0
    True
    >>> 4.5 < model.predict_one({'regular': False}) < 5.5
    True

    References:
    ----------
    [^1]: [Jorgensen, B., 1987. Exponential dispersion models. Journal of the Royal Statistical Society: Series B, 49(2), pp. 127-145.](https://doi.org/10.1111/j.2517-6161.1987.tb01685.x)

    """  # noqa: E501 - a reference is one line, as River has it

    def __init__(
        self,
        power: float = 1.5,
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
        if not 1.0 <= power <= 2.0:
            raise ValueError(f"power is {power}; it lies between 1 (Poisson) and 2 (gamma)")
        self.power = power
        super().__init__(
            scale, intercept_scale, drift, intercept_drift, dispersion,
            limit, step_limit, surprise_limit, newton_steps, offset, cautious,
        )  # fmt: skip

    @property
    def family(self) -> Family:
        """Tweedie of this power, log link."""
        return Tweedie(self.power)
