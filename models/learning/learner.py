"""The learner: the prior's population and four dynamic models over it, taught by matured labels in one pass.

    block of labels -> forecast by what was known before it -> judged -> calibration, levels, margins -> learnt

`learn_many` and `learn_one`, `predict_one`, `snapshot`: whatever else learns here has this face. Labels are learnt in
blocks: of `BLOCK`, or of a day of event time where that comes sooner; those of an unfinished block wait and go into the
snapshot. Law: learning all labels equals learning some, taking a snapshot, `Learner.restored` from it and learning the
rest. A version that the scoreboard finds worse than the one before is taken back (`models.learning.scoreboard`).
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from models.features import FloatArray
from models.labels import EXPOSE_DAYS
from models.learning.corrections import averaged_corrector, corrector
from models.learning.customers import CustomerCount, trust_in
from models.learning.drift import DriftWatch
from models.learning.forecasting import Fit, Forecaster, beta_views
from models.learning.inputs import HORIZONS, PROBABILITY_OF_HORIZON, input_names
from models.learning.intervals import learn_margins, new_margins
from models.learning.population import PopulationFilter
from models.learning.quality import LABELS, AmountQuality, ProbabilityQuality, Quality
from models.learning.scoreboard import BG_NBD, HORIZON_OF, Block, Scoreboard, Verdict
from models.learning.snapshots import BLOCK, DYNAMIC, PENDING, Snapshot, version_of
from models.river.dynamic import packed, unpacked
from models.scores import COUNT_90, P_30, P_90, SPEND_90, Habits, PriorScorer, Scorer
from schemas.learning import SCORES, Label
from schemas.times import DAY_S

# Features are kept every EXPOSE_DAYS, so the windows of a customer's labels overlap: each counts as the part of its
# thirty days that the one before it hasn't told already.
_WEIGHT = EXPOSE_DAYS / 30.0
# Variance of an outcome over that of a Poisson number: purchases come in bursts, amounts in wholesale orders. Measured on
# what was forecast before: purchases 1.2 to 1.8, amounts 4.6 to 7.0 (Online Retail) and 2.4 (CDNOW). As windows of a
# customer overlap, about twice that.
_DISPERSION = (1.0, 1.0, 3.0, 8.0)
# What the mixtures of count and spend are off by: a few numbers told by every label, so they may start wide. They don't
# drift: what moves is the business of the models that are mixed, and a level that followed the months as well would
# follow wholesale orders. Of the count: a slope, and shares, which may well be a tenth more or less than they are. The
# level of spend hangs on few customers, so it is told as by an even wider dispersion: it must not jump in the first weeks.
_COUNT_LEVEL: dict[str, Any] = {"scale": {"mixed": 0.2}, "dispersion": _DISPERSION[COUNT_90]}
_SPEND_LEVEL: dict[str, Any] = {"scale": 0.3, "dispersion": 20.0}
COUNT_VIEWS = ("mixed", "implied", "prior", "rhythm")
# Calibration is three numbers told by every 30-day label, of a model that is nearly calibrated: it moves slowly.
_CALIBRATION: dict[str, Any] = {"scale": 0.1, "intercept_scale": 0.3, "drift": 3e-6, "intercept_drift": 3e-5}


class Judged(NamedTuple):
    """A block of labels with what everybody had forecast of them before it was learnt."""

    block: Block
    forecasts: Mapping[str, FloatArray]  # contestant -> (n, 4), `models.learning.scoreboard`
    drifts: tuple[str, ...]  # scores whose residuals have moved
    verdict: Verdict | None  # why the served version was taken back
    unit: float = 1.0  # the mean purchase, units of currency


class Learner:
    """Learns from matured labels, in their order. Deterministic: equal labels in equal order, equal weights.

    Attributes:
        rollbacks: versions taken back so far.
    """

    def __init__(self, names: tuple[str, ...], feature_set: str, prior: Scorer) -> None:
        self.names, self.feature_set = names, feature_set
        self.rollbacks = 0
        self.labels = 0
        self.learnt_to = 0.0
        self._prior = prior
        inputs = input_names(names)
        self._width = len(inputs)
        self._pending: list[tuple[float, ...]] = []
        self._learnt = 0  # labels in finished blocks
        self._clock = 0.0  # event time of the latest block
        self._population = PopulationFilter()
        self._customers = CustomerCount()
        self._trust = 0.0  # as of the latest block
        self._seen = 0
        self._means, self._variances = np.zeros(self._width), np.zeros(self._width)
        # What customers write about, sixteen numbers that say little of what they will buy; sentiment isn't among them.
        texts = frozenset(name for name in names if re.fullmatch(r"text_\d+", name))
        # Amounts are judged by labels of 30 days, which are fresh, and learnt from both.
        self._models = tuple(
            averaged_corrector(
                "logit" if score in PROBABILITY_OF_HORIZON.values() else "log",
                inputs,
                lag=90.0 if score == P_90 else 30.0,
                dispersion=dispersion,
                cautious=texts,
            )
            for score, dispersion in enumerate(_DISPERSION)
        )
        self._count_level = corrector("log", COUNT_VIEWS, **_COUNT_LEVEL)
        self._spend_level = corrector("log", ("known",), **_SPEND_LEVEL)
        self._calibrator = corrector("logit", ("log p", "log 1 - p"), **_CALIBRATION)
        self._margins = new_margins()
        self._scoreboard = Scoreboard(names, prior)
        self._drifts = DriftWatch()
        self._quality: tuple[Quality, ...] = tuple(
            ProbabilityQuality() if score in PROBABILITY_OF_HORIZON.values() else AmountQuality()
            for score in range(len(SCORES))
        )
        # What was published before a restart, shown until as many labels have been judged since.
        self._carried_quality: Mapping[str, Mapping[str, float]] = {}
        self._carried_scoreboard: Mapping[str, Mapping[str, float]] = {}

    def learn_one(self, label: Label) -> list[Judged]:
        """`learn_many` of one label."""
        return self.learn_many([label])

    def learn_many(self, labels: Sequence[Label]) -> list[Judged]:
        """Takes labels in order; of each full block it counts the losses of forecasts made before, then learns it.

        Returns:
            Each block that became full, with the forecasts made before it was learnt.

        Raises:
            ValueError: a label of another feature set, or whose features aren't finite; none was taken then.
        """
        judged: list[Judged] = []
        if not labels:
            return judged
        for label in labels:
            if label.feature_set != self.feature_set or len(label.features) != len(self.names):
                raise ValueError(f"a label of feature set {label.feature_set}, this learner has {self.feature_set}")
        if not np.isfinite([label.features for label in labels]).all():
            raise ValueError("a label with a feature that isn't finite")
        for label in labels:
            row = (*label.features, float(label.horizon_days), label.matured_at, float(label.purchases), label.spend)
            if self._pending and label.matured_at > self._pending[0][-3] + DAY_S:
                judged.append(self._learn_block())
            self._pending.append(row)
            self._customers.add(label.label_id)
            self.labels += 1
            self.learnt_to = max(self.learnt_to, label.matured_at)
            if len(self._pending) == BLOCK:
                judged.append(self._learn_block())
        return judged

    def predict_one(self, features: Sequence[float]) -> tuple[float, float, float, float]:
        """Forecasts in the order of SCORES; before the first block was learnt, the prior's."""
        x: FloatArray = np.array([features], dtype=np.float64)
        forecasts = self._forecaster().forecasts(x) if self._learnt else self._prior.score(x)
        p_30, p_90, count, spend = forecasts[0].tolist()
        return p_30, p_90, count, spend

    def rivals(self, x: FloatArray) -> dict[str, FloatArray]:
        """Contestant -> forecasts (n, 4) for features x (n, F): what the same labels taught the others."""
        return self._scoreboard.rivals(x) | {BG_NBD: self._forecaster().prior.score(x)}

    def habits(self, x: FloatArray) -> Habits:
        """What BG/NBD with the population of this shop says of buyers with features x (n, F)."""
        prior = self._forecaster().prior
        return (prior if isinstance(prior, PriorScorer) else PriorScorer(self._population.population)).habits(x)

    def quality(self) -> dict[str, dict[str, float]]:
        """Score -> measure -> value over the latest labels (`models.learning.quality`)."""
        measured = zip(SCORES, self._quality, strict=True)
        return {
            score: dict(self._carried_quality[score]) if self._carries(score) else quality.get()
            for score, quality in measured
        }

    def scoreboard(self) -> dict[str, dict[str, float]]:
        """Score -> contestant -> loss over the latest labels (`models.learning.scoreboard`)."""
        carried = {score: dict(losses) for score, losses in self._carried_scoreboard.items() if self._carries(score)}
        return self._scoreboard.shown() | carried

    def _carries(self, score: str) -> bool:
        return self._quality[SCORES.index(score)].labels < self._carried_quality.get(score, {}).get(LABELS, 0)

    def fit(self) -> Fit:
        """What forecasts are computed from now."""
        return Fit(
            self._population.to_array(),
            self._means,
            self._variances,
            np.array([model.coefficients for model in self._models]),
            self._count_level.coefficients,
            self._spend_level.coefficients,
            self._calibrator.coefficients,
            self._margins,
        )

    def _take_back(self, fit: Fit) -> None:
        """Weights and population as they were; how surely they are known, and what inputs look like, stay."""
        self._population = PopulationFilter.from_array(fit.population)
        self._means, self._variances = fit.means, fit.variances
        for model, weights in zip(self._models, fit.weights, strict=True):
            model.restart_at(weights)
        self._take_levels(fit)
        self._margins = fit.margins

    def _take_levels(self, fit: Fit) -> None:
        self._count_level.coefficients = fit.count_level.copy()
        self._spend_level.coefficients = fit.spend_level.copy()
        self._calibrator.coefficients = fit.calibration.copy()

    def _forecaster(self) -> Forecaster:
        return Forecaster(self.names, self._prior, self.fit(), self._trust)

    def _learn_block(self) -> Judged:
        block = np.array(self._pending, dtype=np.float64)
        self._pending = []
        x, (horizon, matured_at, purchases, spend) = block[:, : len(self.names)], block[:, len(self.names) :].T
        days = max(float(matured_at.max()) - self._clock, 0.0) / DAY_S if self._learnt else 0.0
        self._clock = max(self._clock, float(matured_at.max()))
        judged = self._judge(Block(self._clock, x, horizon, purchases, spend), days)
        self._population.learn_amounts(purchases, spend, days)
        if isinstance(self._prior, PriorScorer) and type(self._prior) is PriorScorer:
            self._population.learn_habits(x, horizon, purchases, days, _WEIGHT)
        forecaster = self._forecaster()
        stage = forecaster.stage(x)
        self._describe(forecaster.columns.inputs(x, stage.offsets, stage.unit))
        self._teach(x, horizon, purchases, spend, days)
        self._learnt += len(x)
        self._trust = max(self._trust, self._customers.trust)
        return judged

    def _judge(self, block: Block, days: float) -> Judged:
        """Forecasts made with what was known before this block, beside those of the others; what they teach."""
        forecaster = self._forecaster()
        prior = forecaster.prior.score(block.x)
        stage = forecaster.stage(block.x)
        raw = forecaster.uncalibrated(block.x, stage)
        served = forecaster.calibrated(raw, stage) if self._learnt else prior
        forecasts = self._scoreboard.forecasts(block, served, prior, forecaster)
        drifts = []
        for score, horizon in enumerate(HORIZON_OF):
            of = block.horizon == horizon
            truth = block.truth(score)[of]
            self._quality[score].update_many(truth, served[of, score], prior[of, score])
            worth = forecaster.unit if score == SPEND_90 else 1.0
            if self._drifts.update_many(score, truth, served[of, score], worth):
                drifts.append(SCORES[score])
        verdict = self._scoreboard.judge(block, forecasts, forecaster.unit)
        if self._learnt:
            self._calibrate(block, raw, days)
            # Of the first moments everybody is new and no model has been taught: a level that learnt what those forecasts
            # were off by would put it on top of what the models learn of it too.
            if self._models[COUNT_90].day >= EXPOSE_DAYS:
                self._teach_levels(forecaster, block, days)
            of = block.horizon == 90
            spends = served[of, SPEND_90] / forecaster.unit, block.spend[of] / forecaster.unit
            self._margins = learn_margins(self._margins, served[of, P_90], *spends)
        if verdict is None:
            self._scoreboard.keep(block.at, self.labels, self.fit())
        else:
            self.rollbacks += 1
            self._take_back(self._scoreboard.go_back(self.fit()))
        return Judged(block, forecasts, tuple(drifts), verdict, forecaster.unit)

    def _calibrate(self, block: Block, raw: FloatArray, days: float) -> None:
        of = block.horizon == 30
        log_odds = raw[of, P_30]
        self._calibrator.learn_array(beta_views(log_odds), block.bought[of], log_odds, days, _WEIGHT)

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
            model = self._models[score]
            # From its first label on days pass for a model, also where a block has none of its horizon.
            if of.any() or model.coefficients.any():
                # What the 30-day model says is part of where the 90-day one starts; it has just learnt.
                start = self._forecaster().started(stage)[of, score]
                model.learn_array(stage.z[of], bought[of], start, days, _WEIGHT)
        forecaster = self._forecaster()
        share = forecaster.columns.share(x, horizon)
        start = forecaster.started(stage)
        spent = spend / stage.unit
        marked = stage.z.copy()
        marked[:, -1] = horizon == 90
        for score, came in ((COUNT_90, purchases), (SPEND_90, spent)):
            self._models[score].learn_judged(marked, came, start[:, score] + share, days, _WEIGHT, horizon == 30)

    def _teach_levels(self, forecaster: Forecaster, block: Block, days: float) -> None:
        # A month tells the level: what 90-day labels say of it is three months old.
        of = block.horizon == 30
        if of.any():
            x = block.x[of]
            stage = forecaster.stage(x)
            mixed = forecaster.mixed(x, forecaster.corrected(stage), stage)
            share = forecaster.columns.share(x, block.horizon[of])
            spent = block.spend[of] / stage.unit
            self._count_level.learn_array(mixed.count_seen, block.purchases[of], mixed.count + share, days, _WEIGHT)
            self._spend_level.learn_array(mixed.spend_seen, spent, mixed.spend + share, days, _WEIGHT)

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
            scoreboard=self.scoreboard(),
            rollbacks=self.rollbacks,
            drifts=dict(self._drifts.found),
            arrays=arrays,
        )

    def _arrays(self) -> dict[str, NDArray[Any]]:
        fit = self.fit()
        pending = np.array(self._pending, dtype=np.float64).reshape(len(self._pending), len(self.names) + PENDING)
        return {name: getattr(fit, name) for name in Fit.__dataclass_fields__} | {
            "counts": np.array([self._learnt, self._seen], dtype=np.int64),
            "clock": np.array([self._clock]),
            "count_level_covariance": packed(self._count_level.covariance),
            "spend_level_covariance": packed(self._spend_level.covariance),
            "calibration_covariance": packed(self._calibrator.covariance),
            **{f"experts_{score}": model.to_array() for score, model in zip(SCORES, self._models, strict=True)},
            "scoreboard": self._scoreboard.to_array(),
            "pending": pending,
            "customers": self._customers.to_array(),
            "trust": np.array([self._trust]),
        }

    @classmethod
    def restored(cls, snapshot: Snapshot, prior: Scorer) -> Self:
        """The learner that `snapshot` was taken of.

        Quality and scoreboard are measured anew. The snapshot's are shown until as many labels of a score have been
        judged since; alarms of drift are counted from 0.
        """
        learner = cls(snapshot.names, snapshot.feature_set, prior)
        learner.labels, learner.learnt_to = snapshot.labels, snapshot.learnt_to
        arrays = snapshot.arrays
        learner._learnt, learner._seen = arrays["counts"].tolist()
        learner._clock = float(arrays["clock"][0])
        learner._population = PopulationFilter.from_array(arrays["population"])
        learner._trust = trust_in(arrays)
        if "customers" in arrays:
            learner._customers = CustomerCount.from_array(arrays["customers"])
        learner._means, learner._variances = arrays["means"], arrays["variances"]
        learner._take_levels(Fit.of(arrays))
        learner._margins = arrays["margins"]
        for score, model, served in zip(SCORES, learner._models, arrays["weights"], strict=True):
            model.take(arrays[f"experts_{score}"])
            # What is served rules: learning goes on from it also where the experts say otherwise.
            if not np.allclose(model.coefficients, served, rtol=1e-9, atol=1e-12):
                model.restart_at(served)
        for level, name in (
            (learner._count_level, "count_level_covariance"),
            (learner._spend_level, "spend_level_covariance"),
            (learner._calibrator, "calibration_covariance"),
        ):
            level.covariance = unpacked(arrays[name])
        learner._scoreboard = Scoreboard.from_array(learner.names, prior, arrays["scoreboard"])
        learner.rollbacks = snapshot.rollbacks
        learner._carried_quality, learner._carried_scoreboard = snapshot.quality, snapshot.scoreboard
        learner._pending = [tuple(row) for row in arrays["pending"].tolist()]
        return learner
