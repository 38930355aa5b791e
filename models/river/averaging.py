"""Dynamic models of different speed, averaged by how well each forecast: how fast the world changes is learnt, not set.

Dynamic model averaging (Raftery, Karny and Ettler 2010). Each expert is a dynamic model whose weights drift at a speed of
its own, and has a chance p, from the likelihood of what it forecast:

    log p <- log p . 0.5^(days / half_life) + sum of log f(y | what the expert forecast of y) / dispersion,   sum of p = 1

An outcome is judged by the weights that the expert had when its features were taken, `lag` days ago. Today's weights have
learnt of overlapping outcomes in between: judged by those, the fast would look better than it will be. Experts are averaged
on the link scale, where they are linear: what forecasts is one vector of weights, the mean, so that forecasts cost as much,
and contributions add up, as with one model.
"""

from collections.abc import Hashable
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from models.river.dynamic import DynamicGLM
from models.river.families import POISSON, Family, FloatArray
from models.river.kinds import BinaryClassifier, MeanRegressor
from models.river.logistic import DynamicLogisticRegression
from models.river.poisson import DynamicPoissonRegression
from models.river.rows import RowModel

Speeds = tuple[tuple[float, float], ...]

# Drift of the weights and of the intercept, variance a day: over a year a weight moves by .02, .1 or .6. The level is told
# by every outcome and moves with the season, so it drifts ten times as fast.
SPEEDS: Speeds = ((1e-6, 1e-5), (3e-5, 3e-4), (1e-3, 1e-2))


class Remembered(NamedTuple):
    """The experts' coefficients at one moment, days since the first step."""

    day: float
    coefficients: FloatArray  # (experts, features + 1)


class AveragedGLM(RowModel):
    """The averaging, whatever the distribution; `AveragedLogisticRegression` documents the parameters.

    Attributes:
        experts: one dynamic model a speed.
        evidence: (experts,), log likelihoods of late; the highest is 0.
        memory: the experts' coefficients at moments `memory_interval` apart, back to `lag` days ago.
    """

    _expert: type[DynamicGLM]

    def __init__(
        self,
        speeds: Speeds,
        lag: float,
        half_life: float,
        memory_interval: float,
        scale: float,
        intercept_scale: float,
        dispersion: float,
        limit: float,
        step_limit: float,
        surprise_limit: float,
        newton_steps: int,
        offset: Hashable | None,
        cautious: frozenset[Hashable] | None,
    ) -> None:
        self.speeds, self.lag, self.half_life, self.memory_interval = speeds, lag, half_life, memory_interval
        self.scale, self.intercept_scale, self.dispersion = scale, intercept_scale, dispersion
        self.limit, self.step_limit = limit, step_limit
        self.surprise_limit, self.newton_steps = surprise_limit, newton_steps
        self.offset, self.cautious = offset, cautious
        self._start()
        self.experts = tuple(
            self._expert(
                scale=scale,
                intercept_scale=intercept_scale,
                drift=drift,
                intercept_drift=level,
                dispersion=dispersion,
                limit=limit,
                step_limit=step_limit,
                surprise_limit=surprise_limit,
                newton_steps=newton_steps,
                offset=offset,
                cautious=cautious,
            )
            for drift, level in speeds
        )
        self.evidence: FloatArray = np.zeros(len(speeds))
        self.day = 0.0
        self.memory = [Remembered(0.0, self._of_experts())]
        self._average()

    @property
    def coefficients(self) -> FloatArray:
        """(features + 1,): the mean over the experts; the intercept, then the weights in the order of `feature_names`."""
        return self._coefficients

    @property
    def chances(self) -> FloatArray:
        """(experts,): of each, that it is the one to follow; their sum is 1."""
        likelihoods = np.exp(self.evidence - self.evidence.max())
        chances: FloatArray = likelihoods / likelihoods.sum()
        return chances

    def _grow(self, names: list[Hashable]) -> None:
        for expert in self.experts:
            expert.join(names)
        room = np.zeros((len(self.experts), len(names)))
        self.memory = [Remembered(each.day, np.hstack([each.coefficients, room])) for each in self.memory]
        self._average()

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
        """See `RowModel.learn_array`; all outcomes judge the experts."""
        self.learn_judged(z, y, offset, elapsed, w, np.ones(len(z), dtype=np.bool_), rank_one=rank_one)

    def learn_judged(
        self,
        z: FloatArray,
        y: FloatArray,
        offset: FloatArray,
        elapsed: float,
        w: float,
        judges: NDArray[np.bool_],
        *,
        rank_one: bool = False,
    ) -> None:
        """`learn_array` where only the outcomes that `judges` (n,) marks, those `lag` days after their features, judge."""
        self.day += elapsed
        self.evidence = self.evidence * 0.5 ** (elapsed / self.half_life)
        past = self._past()
        if past is not None and judges.any():
            likelihoods = self._likelihoods(past, z[judges], offset[judges], y[judges])
            self.evidence = self.evidence + w / self.dispersion * likelihoods
            self.evidence = self.evidence - self.evidence.max()
        for expert in self.experts:
            expert.learn_array(z, y, offset, elapsed, w, rank_one=rank_one)
        self._average()
        if self.day >= self.memory[-1].day + self.memory_interval:
            self.memory.append(Remembered(self.day, self._of_experts()))

    def _past(self) -> FloatArray | None:
        """The latest coefficients that are `lag` days old; older ones are forgotten."""
        latest = self.day - self.lag
        while len(self.memory) > 1 and self.memory[1].day <= latest:
            del self.memory[0]
        return self.memory[0].coefficients if self.memory[0].day <= latest else None

    def _likelihoods(self, coefficients: FloatArray, z: FloatArray, offset: FloatArray, y: FloatArray) -> FloatArray:
        """(experts,): log likelihoods of outcomes, up to what all experts have in common."""
        moved = np.clip(coefficients[:, :1] + coefficients[:, 1:] @ z.T, -self.limit, self.limit)
        return self.family.log_likelihood(offset + moved, y, self.surprise_limit)

    def _of_experts(self) -> FloatArray:
        return np.array([expert.coefficients for expert in self.experts])

    def _average(self) -> None:
        self._coefficients = self.chances @ self._of_experts()

    def restart_at(self, coefficients: FloatArray) -> None:
        """All experts go on from `coefficients` (features + 1,); their chances and how surely they know stay."""
        for expert in self.experts:
            expert.coefficients = coefficients.copy()
        self.memory = [Remembered(self.day, self._of_experts())]
        self._average()

    def to_array(self) -> FloatArray:
        """(any,): day, number of memories, evidence, coefficients and covariance of each expert, memories."""
        return np.concatenate(
            [
                [self.day, len(self.memory)],
                self.evidence,
                *(expert.state_array() for expert in self.experts),
                *(np.r_[each.day, each.coefficients.ravel()] for each in self.memory),
            ]
        )

    def take(self, array: FloatArray) -> Self:
        """Goes on from the array of a model with as many experts and features; returns itself."""
        size, count = len(self._coefficients), len(self.experts)
        self.day, memories = float(array[0]), int(array[1])
        self.evidence = array[2 : 2 + count].copy()
        rest = array[2 + count :]
        expert_size = size + size * (size + 1) // 2
        for expert, state in zip(self.experts, np.split(rest[: count * expert_size], count), strict=True):
            expert.take_state(state)
        kept = rest[count * expert_size :].reshape(memories, 1 + count * size)
        self.memory = [Remembered(float(each[0]), each[1:].reshape(count, size).copy()) for each in kept]
        self._average()
        return self


class AveragedLogisticRegression(BinaryClassifier, AveragedGLM):
    """Dynamic logistic regression at several speeds at once, averaged by how well each forecasts.

    How fast the weights move is what one would have to tune in `DynamicLogisticRegression`. Here a few speeds run side by
    side, and dynamic model averaging[^1] follows those that forecast best of late. It costs as much to predict as one
    model, and to learn as much as all of them.

    Parameters
    ----------
    speeds
        For each expert, the `drift` and the `intercept_drift` of its dynamic model.
    lag
        Days between an observation's features and its outcome. The experts are judged by what they had learnt so long
        ago, as they would have had to forecast then.
    half_life
        Days after which the evidence for an expert counts half.
    memory_interval
        Days between the moments whose weights are kept to be judged.
    scale
        Standard deviation of a weight before anything was learnt.
    intercept_scale
        The same of the intercept.
    dispersion
        Variance of an outcome over that of its distribution.
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
        Name of a feature that is added to the link scale as it is.
    cautious
        Names of features that are thought to say little.

    Attributes:
    ----------
    weights
        The mean weight of each feature.
    chances
        Of each expert, the probability that it is the one to follow.

    Examples:
    --------
    >>> from river import datasets
    >>> from river import evaluate
    >>> from river import metrics
    >>> from river import preprocessing
    >>> from models.river import AveragedLogisticRegression

    >>> model = preprocessing.StandardScaler() | AveragedLogisticRegression(scale=1.0)
    >>> evaluate.progressive_val_score(datasets.Phishing(), model, metrics.ROCAUC())
    ROCAUC: 95.33%
    >>> round(model['AveragedLogisticRegression'].chances.sum(), 6).item()
    1.0

    References:
    ----------
    [^1]: [Raftery, A. E., Karny, M. and Ettler, P., 2010. Online prediction under model uncertainty via dynamic model averaging. Technometrics, 52(1), pp. 52-66.](https://doi.org/10.1198/TECH.2009.08104)

    """  # noqa: E501 - a reference is one line, as River has it

    _expert = DynamicLogisticRegression

    def __init__(
        self,
        speeds: Speeds = SPEEDS,
        lag: float = 0.0,
        half_life: float = 90.0,
        memory_interval: float = 10.0,
        scale: float = 0.1,
        intercept_scale: float = 1.0,
        dispersion: float = 1.0,
        limit: float = 20.0,
        step_limit: float = 2.0,
        surprise_limit: float = float("inf"),
        newton_steps: int = 25,
        offset: Hashable | None = None,
        cautious: frozenset[Hashable] | None = None,
    ) -> None:
        super().__init__(
            speeds, lag, half_life, memory_interval, scale, intercept_scale, dispersion,
            limit, step_limit, surprise_limit, newton_steps, offset, cautious,
        )  # fmt: skip


class AveragedPoissonRegression(MeanRegressor, AveragedGLM):
    """Dynamic Poisson regression at several speeds at once, averaged by how well each forecasts.

    See `AveragedLogisticRegression`; with `dispersion` other than 1 it is quasi-Poisson, for amounts as well as counts.

    Parameters
    ----------
    speeds
        For each expert, the `drift` and the `intercept_drift` of its dynamic model.
    lag
        Days between an observation's features and its outcome.
    half_life
        Days after which the evidence for an expert counts half.
    memory_interval
        Days between the moments whose weights are kept to be judged.
    scale
        Standard deviation of a weight before anything was learnt.
    intercept_scale
        The same of the intercept.
    dispersion
        Variance of an outcome over its mean.
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
        The mean weight of each feature.
    chances
        Of each expert, the probability that it is the one to follow.

    Examples:
    --------
    >>> from models.river import AveragedPoissonRegression

    >>> model = AveragedPoissonRegression()
    >>> for day in range(400):
    ...     model.learn_one({'sale': day % 7 == 0}, 4 if day % 7 == 0 else 1, t=float(day))
    >>> model.predict_one({'sale': True}) > 2 * model.predict_one({'sale': False})
    True

    References:
    ----------
    [^1]: [Raftery, A. E., Karny, M. and Ettler, P., 2010. Online prediction under model uncertainty via dynamic model averaging. Technometrics, 52(1), pp. 52-66.](https://doi.org/10.1198/TECH.2009.08104)

    """  # noqa: E501 - a reference is one line, as River has it

    _expert = DynamicPoissonRegression

    def __init__(
        self,
        speeds: Speeds = SPEEDS,
        lag: float = 0.0,
        half_life: float = 90.0,
        memory_interval: float = 10.0,
        scale: float = 0.1,
        intercept_scale: float = 1.0,
        dispersion: float = 1.0,
        limit: float = 20.0,
        step_limit: float = 2.0,
        surprise_limit: float = float("inf"),
        newton_steps: int = 25,
        offset: Hashable | None = None,
        cautious: frozenset[Hashable] | None = None,
    ) -> None:
        super().__init__(
            speeds, lag, half_life, memory_interval, scale, intercept_scale, dispersion,
            limit, step_limit, surprise_limit, newton_steps, offset, cautious,
        )  # fmt: skip

    @property
    def family(self) -> Family:
        """Poisson, log link."""
        return POISSON
