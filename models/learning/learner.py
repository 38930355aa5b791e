"""The learner: the prior's population and four dynamic models over it, taught by matured labels in one pass.

`learn_many` and `learn_one`, `predict_one`, `snapshot`: whatever else learns here has this face. Labels are learnt in
blocks: of `BLOCK`, or of a day of event time where that comes sooner; those of an unfinished block wait and go into the
snapshot. Law: learning all labels equals learning some, taking a snapshot, `Learner.restored` from it and learning the
rest.
"""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from models.features import FloatArray
from models.learning.forecasting import Fit, Forecaster, within
from models.learning.glm import DynamicGlm, packed, unpacked
from models.learning.inputs import HORIZONS, PROBABILITY_OF_HORIZON, input_names
from models.learning.population import PopulationFilter
from models.learning.quality import AmountQuality, ProbabilityQuality, Quality
from models.learning.snapshots import BLOCK, DYNAMIC, PENDING, Snapshot, version_of
from models.scores import COUNT_90, P_30, P_90, SPEND_90, PriorScorer, Scorer
from models.step import EXPOSE_DAYS
from schemas.learning import SCORES, Label
from schemas.times import DAY_S

# Features are kept every EXPOSE_DAYS, so the windows of a customer's labels overlap: each counts as the part of its
# thirty days that the one before it hasn't told already.
_WEIGHT = EXPOSE_DAYS / 30.0
# Variance of an outcome over that of a Poisson number: purchases come in bursts, amounts in wholesale orders.
_DISPERSION = (1.0, 1.0, 3.0, 20.0)
# The level of a mixture, and the slope of the count's: a few numbers told by every label, so they may start wide.
_LEVEL_SCALE, _LEVEL_DRIFT, _SLOPE_SCALE = 1.0, 1e-4, 0.2


class Learner:
    """Learns from matured labels, in their order. Deterministic: equal labels in equal order, equal weights."""

    def __init__(self, names: tuple[str, ...], feature_set: str, prior: Scorer) -> None:
        self.names, self.feature_set = names, feature_set
        self.labels = 0
        self.learnt_to = 0.0
        self._prior = prior
        self._width = len(input_names(names))
        self._pending: list[tuple[float, ...]] = []
        self._learnt = 0  # labels in finished blocks
        self._clock = 0.0  # event time of the latest block
        self._population = PopulationFilter()
        self._seen = 0
        self._means, self._variances = np.zeros(self._width), np.zeros(self._width)
        self._models = tuple(
            DynamicGlm(
                self._width, "logit" if score in PROBABILITY_OF_HORIZON.values() else "log", dispersion=dispersion
            )
            for score, dispersion in enumerate(_DISPERSION)
        )
        self._levels = tuple(
            DynamicGlm(1, "log", slope, _LEVEL_SCALE, 0.0, _LEVEL_DRIFT, _DISPERSION[score])
            for score, slope in ((COUNT_90, _SLOPE_SCALE), (SPEND_90, 0.0))
        )
        self._quality: tuple[Quality, ...] = tuple(
            ProbabilityQuality() if score in PROBABILITY_OF_HORIZON.values() else AmountQuality()
            for score in range(len(SCORES))
        )

    def learn_one(self, label: Label) -> None:
        """`learn_many` of one label."""
        self.learn_many([label])

    def learn_many(self, labels: Sequence[Label]) -> None:
        """Takes labels in order; of each full block it counts the losses of forecasts made before, then learns it.

        Raises:
            ValueError: a label of another feature set, or whose features aren't finite; none was taken then.
        """
        if not labels:
            return
        for label in labels:
            if label.feature_set != self.feature_set or len(label.features) != len(self.names):
                raise ValueError(f"a label of feature set {label.feature_set}, this learner has {self.feature_set}")
        if not np.isfinite([label.features for label in labels]).all():
            raise ValueError("a label with a feature that isn't finite")
        for label in labels:
            row = (*label.features, float(label.horizon_days), label.matured_at, float(label.purchases), label.spend)
            if self._pending and label.matured_at > self._pending[0][-3] + DAY_S:
                self._learn_block()
            self._pending.append(row)
            self.labels += 1
            self.learnt_to = max(self.learnt_to, label.matured_at)
            if len(self._pending) == BLOCK:
                self._learn_block()

    def predict_one(self, features: Sequence[float]) -> tuple[float, float, float, float]:
        """Forecasts in the order of SCORES; before the first block was learnt, the prior's."""
        x: FloatArray = np.array([features], dtype=np.float64)
        forecasts = self._forecaster().forecasts(x) if self._learnt else self._prior.score(x)
        p_30, p_90, count, spend = forecasts[0].tolist()
        return p_30, p_90, count, spend

    def quality(self) -> dict[str, dict[str, float]]:
        """Score -> measure -> value over the latest labels (`models.learning.quality`)."""
        return {score: quality.get() for score, quality in zip(SCORES, self._quality, strict=True)}

    def _fit(self) -> Fit:
        return Fit(
            self._population.to_array(),
            self._means,
            self._variances,
            np.array([model.weights for model in self._models]),
            np.array([level.weights for level in self._levels]),
        )

    def _forecaster(self) -> Forecaster:
        return Forecaster(self.names, self._prior, self._fit())

    def _learn_block(self) -> None:
        block = np.array(self._pending, dtype=np.float64)
        self._pending = []
        x, (horizon, matured_at, purchases, spend) = block[:, : len(self.names)], block[:, len(self.names) :].T
        days = max(float(matured_at.max()) - self._clock, 0.0) / DAY_S if self._learnt else 0.0
        self._clock = max(self._clock, float(matured_at.max()))
        self._judge(x, horizon, purchases, spend)
        self._population.learn_amounts(purchases, spend, days)
        if isinstance(self._prior, PriorScorer) and type(self._prior) is PriorScorer:
            self._population.learn_habits(x, horizon, purchases, days, _WEIGHT)
        forecaster = self._forecaster()
        stage = forecaster.stage(x)
        self._describe(forecaster.columns.inputs(x, stage.offsets, stage.unit))
        self._teach(x, horizon, purchases, spend, days)
        self._learnt += len(x)

    def _judge(self, x: FloatArray, horizon: FloatArray, purchases: FloatArray, spend: FloatArray) -> None:
        """Forecasts made with what was known before this block, beside the prior's."""
        forecaster = self._forecaster()
        prior = forecaster.prior.score(x)
        forecasts = forecaster.forecasts(x) if self._learnt else prior
        bought = (purchases > 0).astype(np.float64)
        for days, score, truth in (
            (30, P_30, bought), (90, P_90, bought), (90, COUNT_90, purchases), (90, SPEND_90, spend),
        ):  # fmt: skip
            of = horizon == days
            self._quality[score].update_many(truth[of], forecasts[of, score], prior[of, score])

    def _describe(self, given: FloatArray) -> None:
        """Running means and variances of the inputs (Chan, Golub and LeVeque 1983)."""
        n, total = len(given), self._seen + len(given)
        moved = given.mean(axis=0) - self._means
        spread = self._variances * self._seen + given.var(axis=0) * n + moved**2 * (self._seen * n / total)
        self._means, self._variances, self._seen = self._means + moved * (n / total), spread / total, total

    def _teach(self, x: FloatArray, horizon: FloatArray, purchases: FloatArray, spend: FloatArray, days: float) -> None:
        stage = self._forecaster().stage(x)
        bought = (purchases > 0).astype(np.float64)
        for days_ahead in HORIZONS:
            of = horizon == days_ahead
            score = PROBABILITY_OF_HORIZON[days_ahead]
            if of.any():
                # What the 30-day model says is part of where the 90-day one starts; it has just learnt.
                start = self._forecaster().started(stage)[of, score]
                self._models[score].learn_block(stage.z[of], start, bought[of], days, _WEIGHT)
        share = np.log(horizon / 90.0)
        start = self._forecaster().started(stage)
        spent = spend / stage.unit
        marked = stage.z.copy()
        marked[:, -1] = horizon == 90
        self._models[COUNT_90].learn_block(marked, start[:, COUNT_90] + share, purchases, days, _WEIGHT)
        self._models[SPEND_90].learn_block(marked, start[:, SPEND_90] + share, spent, days, _WEIGHT)
        forecaster = self._forecaster()
        count, spend_mix = forecaster.mixed(x, forecaster.corrected(stage), stage).T
        # A month tells the level of purchases; spend hangs on too few customers for that and takes what all labels say.
        fresh = horizon == 30
        if fresh.any():
            self._levels[0].learn_block(
                within(count)[fresh, None], (count + share)[fresh], purchases[fresh], days, _WEIGHT
            )
        self._levels[1].learn_block(within(spend_mix)[:, None], spend_mix + share, spent, days, _WEIGHT)

    def snapshot(self, next_offset: int = 0, seen: NDArray[np.uint64] | None = None) -> Snapshot:
        """This learner now.

        Args:
            next_offset: where in model-train learning goes on.
            seen: labels seen lately (`models.learning.seen`).
        """
        arrays = self._arrays() | {"seen": np.zeros(0, dtype=np.uint64) if seen is None else seen}
        return Snapshot(
            version=version_of(DYNAMIC, self.labels, arrays),
            kind=DYNAMIC,
            feature_set=self.feature_set,
            names=self.names,
            labels=self.labels,
            learnt_to=self.learnt_to,
            next_offset=next_offset,
            quality=self.quality(),
            arrays=arrays,
        )

    def _arrays(self) -> dict[str, NDArray[Any]]:
        fit = self._fit()
        pending = np.array(self._pending, dtype=np.float64).reshape(len(self._pending), len(self.names) + PENDING)
        return {name: getattr(fit, name) for name in Fit.__dataclass_fields__} | {
            "counts": np.array([self._learnt, self._seen], dtype=np.int64),
            "clock": np.array([self._clock]),
            "covariances": np.array([packed(model.covariance) for model in self._models]),
            "level_covariances": np.array([packed(level.covariance) for level in self._levels]),
            "pending": pending,
        }

    @classmethod
    def restored(cls, snapshot: Snapshot, prior: Scorer) -> Self:
        """The learner that `snapshot` was taken of; its measures of quality start anew."""
        learner = cls(snapshot.names, snapshot.feature_set, prior)
        learner.labels, learner.learnt_to = snapshot.labels, snapshot.learnt_to
        arrays = snapshot.arrays
        learner._learnt, learner._seen = arrays["counts"].tolist()
        learner._clock = float(arrays["clock"][0])
        learner._population = PopulationFilter.from_array(arrays["population"])
        learner._means, learner._variances = arrays["means"], arrays["variances"]
        for models, name in ((learner._models, ""), (learner._levels, "level_")):
            weights = arrays["levels" if name else "weights"]
            for model, own, covariance in zip(models, weights, arrays[f"{name}covariances"], strict=True):
                model.weights, model.covariance = own.copy(), unpacked(covariance)
        learner._pending = [tuple(row) for row in arrays["pending"].tolist()]
        return learner
