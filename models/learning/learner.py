"""The learner: four River models that correct the prior, one label at a time.

`learn_many` and `learn_one`, `predict_one`, `snapshot`: whatever else learns here has this face. Law: learning all
labels equals learning some, taking a snapshot, `Learner.restored` from it and learning the rest.
"""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from river import optim, preprocessing, stats

from models.features import FloatArray
from models.learning.inputs import (
    CLIP,
    HORIZONS,
    PROBABILITIES,
    SCORES_OF_HORIZON,
    input_names,
    inputs,
    links,
)
from models.learning.offset import (
    OffsetLogisticRegression,
    OffsetPoissonRegression,
    OffsetRegression,
    set_weights,
)
from models.learning.quality import AmountQuality, ProbabilityQuality, Quality
from models.learning.snapshots import LINEAR, Snapshot, version_of
from models.scores import SPEND_90, Scorer
from schemas.learning import SCORES, Label

# AdaGrad's step of a weight is _RATE / sqrt(_HEADSTART + its sum of squared gradients): the head start keeps the first
# labels from moving every weight by a whole _RATE.
_RATE, _HEADSTART = 0.05, 10.0
# The intercept is the level, which moves with the season: a constant step forgets over about 1 / (step x curvature)
# labels, 500 for a probability near .3 and 200 for spend, whose scatter pays for it with a wobble of some percent.
_LEVEL_RATE = (0.01, 0.01, 0.01, 0.005)
# Of a gradient of the amounts, in purchases and in mean spends: one wholesale customer counts as that many ordinary
# ones. At 10, a synthetic shop with lognormal spend (sigma 1.26) was forecast 7 % lower than at 30.
_GRADIENT_LIMIT = 30.0


class Learner:
    """Learns from matured labels, in their order. Deterministic: equal labels in equal order, equal weights."""

    def __init__(self, names: tuple[str, ...], feature_set: str, prior: Scorer) -> None:
        self.names, self.feature_set = names, feature_set
        self.labels = 0
        self.learnt_to = 0.0
        self._prior = prior
        self._inputs = input_names(names)
        self._scalers = {horizon: preprocessing.StandardScaler() for horizon in HORIZONS}
        self._models = tuple(_model(score) for score in range(len(SCORES)))
        self._quality: tuple[Quality, ...] = tuple(
            ProbabilityQuality() if score < PROBABILITIES.stop else AmountQuality() for score in range(len(SCORES))
        )
        self._spend = stats.Mean()

    def learn_one(self, label: Label) -> None:
        """`learn_many` of one label."""
        self.learn_many([label])

    def learn_many(self, labels: Sequence[Label]) -> None:
        """Forecasts each label, counts the loss, then learns it; one after another, as `learn_one` would.

        Raises:
            ValueError: a label of another feature set, or whose features aren't finite; none was learnt then.
        """
        if not labels:
            return
        for label in labels:
            if label.feature_set != self.feature_set or len(label.features) != len(self.names):
                raise ValueError(f"a label of feature set {label.feature_set}, this learner has {self.feature_set}")
        x = np.array([label.features for label in labels], dtype=np.float64)
        if not np.isfinite(x).all():
            raise ValueError("a label with a feature that isn't finite")
        prior = self._prior.score(x)
        offsets = links(prior)
        rows = zip(labels, inputs(x, offsets).tolist(), offsets.tolist(), prior.tolist(), strict=True)
        for label, given, offset, prior_forecasts in rows:
            self._learn(label, dict(zip(self._inputs, given, strict=True)), offset, prior_forecasts)

    def predict_one(self, features: Sequence[float]) -> tuple[float, float, float, float]:
        """Forecasts in the order of SCORES; of a target without a label yet, the prior's."""
        x: FloatArray = np.array([features], dtype=np.float64)
        prior = self._prior.score(x)
        offsets = links(prior)
        given = dict(zip(self._inputs, inputs(x, offsets)[0].tolist(), strict=True))
        forecasts = list(prior[0].tolist())
        for horizon in HORIZONS:
            z = self._standardised(horizon, given)
            for score in SCORES_OF_HORIZON[horizon]:
                if self._models[score].optimizer.n_iterations:
                    forecasts[score] = self._forecast(score, z, offsets[0, score])
        return forecasts[0], forecasts[1], forecasts[2], forecasts[3]

    def quality(self) -> dict[str, dict[str, float]]:
        """Score -> measure -> value over the latest labels (`models.learning.quality`)."""
        return {score: quality.get() for score, quality in zip(SCORES, self._quality, strict=True)}

    def _learn(self, label: Label, given: dict[str, float], offsets: list[float], prior: list[float]) -> None:
        horizon = label.horizon_days
        truths = (float(label.bought), float(label.bought), float(label.purchases), label.spend)
        # Forecast with what was known before this label, its features included.
        z = self._standardised(horizon, given)
        for score in SCORES_OF_HORIZON[horizon]:
            taught = self._models[score].optimizer.n_iterations
            forecast = self._forecast(score, z, offsets[score]) if taught else prior[score]
            self._quality[score].update(truths[score], forecast, prior[score])
        scaler = self._scalers[horizon]
        scaler.learn_one(given)
        z = self._standardised(horizon, given)
        for score in SCORES_OF_HORIZON[horizon]:
            self._models[score].offset = offsets[score]
            self._models[score].learn_one(z, truths[score], w=self._gradient_weight(score, label))
        self.labels += 1
        self.learnt_to = max(self.learnt_to, label.matured_at)

    def _gradient_weight(self, score: int, label: Label) -> float:
        """Puts the gradient of spend in units of the mean spend, so that a shop's currency makes no difference."""
        if score != SPEND_90:
            return 1.0
        self._spend.update(label.spend)
        mean = float(self._spend.get())
        return 1.0 / mean if mean > 0 else 0.0

    def _standardised(self, horizon: int, given: dict[str, float]) -> dict[str, float]:
        z: dict[str, float] = self._scalers[horizon].transform_one(given)
        return {
            name: -CLIP if value < -CLIP else CLIP if value > CLIP else value  # noqa: FURB136 (half as long as min and max)
            for name, value in z.items()
        }

    def _forecast(self, score: int, z: dict[str, float], offset: float) -> float:
        model = self._models[score]
        model.offset = offset
        if isinstance(model, OffsetLogisticRegression):
            return float(model.predict_proba_one(z)[True])
        return float(model.predict_one(z))

    def snapshot(self, next_offset: int = 0, seen: NDArray[np.uint64] | None = None) -> Snapshot:
        """This learner now.

        Args:
            next_offset: where in model-train learning goes on.
            seen: labels seen lately (`models.learning.seen`).
        """
        arrays = self._arrays() | {"seen": np.zeros(0, dtype=np.uint64) if seen is None else seen}
        return Snapshot(
            version=version_of(LINEAR, self.labels, arrays),
            kind=LINEAR,
            feature_set=self.feature_set,
            names=self.names,
            labels=self.labels,
            learnt_to=self.learnt_to,
            next_offset=next_offset,
            quality=self.quality(),
            arrays=arrays,
        )

    def _arrays(self) -> dict[str, NDArray[Any]]:
        names, scalers, models = self._inputs, self._scalers.values(), self._models
        weights = [model.weights for model in models]
        return {
            "counts": np.array([scaler.counts[names[0]] for scaler in scalers], dtype=np.int64),
            "means": np.array([[scaler.means[name] for name in names] for scaler in scalers]),
            "variances": np.array([[scaler.vars[name] for name in names] for scaler in scalers]),
            "weights": np.array([[of.get(name, 0.0) for name in names] for of in weights]),
            "squares": np.array([[model.optimizer.g2[name] for name in names] for model in models]),
            "intercepts": np.array([model.intercept for model in models], dtype=np.float64),
            "steps": np.array([model.optimizer.n_iterations for model in models], dtype=np.int64),
            "spend_scale": np.array([self._spend.n, self._spend.get()], dtype=np.float64),
        }

    @classmethod
    def restored(cls, snapshot: Snapshot, prior: Scorer) -> Self:
        """The learner that `snapshot` was taken of; its measures of quality start anew."""
        learner = cls(snapshot.names, snapshot.feature_set, prior)
        learner.labels, learner.learnt_to = snapshot.labels, snapshot.learnt_to
        names, arrays = learner._inputs, snapshot.arrays
        for i, scaler in enumerate(learner._scalers.values()):
            scaler.counts.update(dict.fromkeys(names, int(arrays["counts"][i])))
            scaler.means.update(zip(names, arrays["means"][i].tolist(), strict=True))
            scaler.vars.update(zip(names, arrays["variances"][i].tolist(), strict=True))
        for i, model in enumerate(learner._models):
            set_weights(model, dict(zip(names, arrays["weights"][i].tolist(), strict=True)))
            model.optimizer.g2.update(zip(names, arrays["squares"][i].tolist(), strict=True))
            model.optimizer.n_iterations = int(arrays["steps"][i])
            model.intercept = float(arrays["intercepts"][i])
        learner._spend = stats.Mean._from_state(*arrays["spend_scale"].tolist())
        return learner


def _model(score: int) -> OffsetRegression:
    optimizer = optim.AdaGrad(_RATE, eps=_HEADSTART)
    if score < PROBABILITIES.stop:
        return OffsetLogisticRegression(optimizer, intercept_lr=_LEVEL_RATE[score])
    return OffsetPoissonRegression(
        optimizer, optim.losses.Poisson(), intercept_lr=_LEVEL_RATE[score], clip_gradient=_GRADIENT_LIMIT
    )
