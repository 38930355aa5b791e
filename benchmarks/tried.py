"""What was tried and didn't stay, beside what is served: each variant over the same labels and cut-offs, in one pass.

    python benchmarks/tried.py online-retail FILE [--only served --only calibration-none ...]

The history is read once (half a minute); a variant of the served learner then takes some seconds, a forest of River's
up to an hour. Without --only all but the slow ones run. Every row is pooled over the cut-offs, as `regulars backtest`.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace as replaced
from tried_history import forecasts, past  # beside this file
from tried_river import river_model, without_season  # beside this file

from models.features import COLUMN, FEATURE_SET, NAMES, FloatArray
from models.learning.corrections import averaged_corrector, corrector
from models.learning.forecasting import Forecaster, Mixtures, Stage
from models.learning.inputs import input_names, log_of
from models.learning.learner import COUNT_VIEWS, Judged, Learner
from models.learning.scoreboard import SERVED, Block
from models.river.averaging import SPEEDS
from models.scores import COUNT_90, P_30, P_90, SPEND_90, PriorScorer
from schemas.learning import SCORES, Label
from streams.report.evaluation import by_cutoff, rows_by_score, table
from streams.sources.registry import SOURCES

_WEIGHT = 1 / 3


# --- variants of the served learner ----------------------------------------------------------------------------------


class Served(Learner):
    """As it is served; the other variants change one thing of it."""

    forecasts_by: type[Forecaster] = Forecaster

    def __init__(self) -> None:
        super().__init__(NAMES, FEATURE_SET, PriorScorer())

    def _forecaster(self) -> Forecaster:
        return self.forecasts_by(self.names, self._prior, self.fit())

    def score(self, x: FloatArray) -> FloatArray:
        """Forecasts (n, 4)."""
        return self._forecaster().forecasts(x)


Speeds = tuple[tuple[float, float], ...]


def averaging(speeds: Speeds, lag: bool = True, dispersion: float | None = None) -> Callable[[], Served]:
    """Other speeds of the four models; with lag False, judged by the weights of the day before the label.

    Args:
        speeds: drift of the weights and of the level, a day.
        lag: whether a label is judged by the weights of when its features were taken.
        dispersion: of the spend model.
    """

    class Averaging(Served):
        def __init__(self) -> None:
            super().__init__()
            self._models = tuple(
                averaged_corrector(
                    "logit" if score in (P_30, P_90) else "log",
                    input_names(self.names),
                    speeds,
                    model.lag if lag else 0.0,
                    dispersion if dispersion is not None and score == SPEND_90 else model.dispersion,
                    model.cautious,
                )
                for score, model in enumerate(self._models)
            )

    return Averaging


class AllAlike(Served):
    """The plain mean of the speeds: nobody is judged."""

    def __init__(self) -> None:
        super().__init__()
        for model in self._models:
            model.lag = np.inf


def levelling(drift: float = 0.0, shares: float = 0.1, age: float = 0.3) -> Callable[[], Served]:
    """Other levels of the mixtures: their drift a day, the count's shares, the slope of spend on age."""

    class Levelling(Served):
        def __init__(self) -> None:
            super().__init__()
            count, spend = self._count_level.dispersion, self._spend_level.dispersion
            still = {"drift": 0.0, "intercept_drift": drift}
            scales = dict(zip(COUNT_VIEWS, (0.2, shares, shares, shares), strict=True))
            self._count_level = corrector("log", COUNT_VIEWS, scale=scales, dispersion=count, **still)
            self._spend_level = corrector("log", ("known",), scale=age, dispersion=spend, **still)

    return Levelling


class Uncalibrated(Served):
    """No calibration."""

    def _calibrate(self, block: Any, raw: FloatArray, days: float) -> None:
        return


def calibrating(drift: float, level_drift: float) -> Callable[[], Served]:
    """Calibration that moves at another pace."""

    class Calibrating(Served):
        def __init__(self) -> None:
            super().__init__()
            self._calibrator = corrector(
                "logit", ("log p", "log 1 - p"), intercept_scale=0.3, drift=drift, intercept_drift=level_drift
            )

    return Calibrating


class Isotonic(Uncalibrated):
    """Isotonic calibration of both probabilities, on the latest 20,000 forecasts made before their labels were learnt."""

    def __init__(self) -> None:
        super().__init__()
        self._told: dict[int, tuple[FloatArray, FloatArray]] = {}

    def learn_many(self, labels: Sequence[Label]) -> list[Judged]:
        """Learns the labels, and keeps what was forecast of them."""
        judged = super().learn_many(labels)
        for block in judged:
            self._keep(block)
        return judged

    def _keep(self, judged: Judged) -> None:
        for score, days in ((P_30, 30), (P_90, 90)):
            of = judged.block.horizon == days
            said, came = self._told.get(score, (np.zeros(0), np.zeros(0)))
            self._told[score] = (
                np.r_[said, judged.forecasts[SERVED][of, score]][-20_000:],
                np.r_[came, judged.block.bought[of]][-20_000:],
            )

    def score(self, x: FloatArray) -> FloatArray:
        """Forecasts (n, 4)."""
        from sklearn.isotonic import IsotonicRegression

        scores = super().score(x)
        for score, (said, came) in self._told.items():
            if len(said) > 500:
                fit = IsotonicRegression(out_of_bounds="clip").fit(said, came)
                scores[:, score] = np.clip(fit.predict(scores[:, score]), 0.002, 0.998)
        return scores


class BetaOfBoth(Served):
    """The 90-day probability calibrated as the 30-day one is."""

    def __init__(self) -> None:
        super().__init__()
        self._other = corrector("logit", ("log p", "log 1 - p"), intercept_scale=0.3, drift=3e-6, intercept_drift=3e-5)

    def _views(self, p: FloatArray) -> tuple[FloatArray, FloatArray]:
        p = np.clip(p, 1e-5, 1 - 1e-5)
        return np.column_stack([np.log(p), -np.log1p(-p)]), np.log(p / (1 - p))

    def _calibrate(self, block: Any, raw: FloatArray, days: float) -> None:
        super()._calibrate(block, raw, days)
        of = block.horizon == 90
        if of.any():
            forecaster = self._forecaster()
            said = forecaster.calibrated(raw, forecaster.stage(block.x))[of, P_90]
            views, log_odds = self._views(said)
            self._other.learn_array(views, block.bought[of], log_odds, days, _WEIGHT)

    def score(self, x: FloatArray) -> FloatArray:
        """Forecasts (n, 4)."""
        scores = super().score(x)
        scores[:, P_90] = self._other.mean_array(*self._views(scores[:, P_90]))
        return scores


class WithoutSeason(Served):
    """No month is unlike another."""

    def learn_many(self, labels: Sequence[Label]) -> list[Judged]:
        """Learns the labels, their season left out."""
        return super().learn_many([replaced(each, features=tuple(without_season(each.features))) for each in labels])

    def score(self, x: FloatArray) -> FloatArray:
        """Forecasts (n, 4)."""
        return super().score(np.array([without_season(row) for row in x.tolist()]))


class SeasonAsInput(Served):
    """The season is one of the inputs, its weights learnt, and no more."""

    def _forecaster(self) -> Forecaster:
        found = super()._forecaster()
        inputs = found.columns.inputs

        def with_season(x: FloatArray, offsets: FloatArray, unit: float) -> FloatArray:
            given = inputs(x, offsets, unit)
            given[:, : x.shape[1]] = x
            return given

        found.columns.inputs = with_season  # type: ignore[method-assign]
        return found


# Weights of the views of spend: the spend model, count x recent mean, decayed spend, power law.
Shares = tuple[float, float, float, float]


def mixing(shares: Shares, days: tuple[int, ...] = (30,), drift: float = 0.0, slope: float = 0.3) -> Any:
    """Another mixture of spend, its level from labels of these horizons, drifting so much a day; slope 0: none on age."""

    class Mixing(Forecaster):
        def mixed(self, x: FloatArray, raw: FloatArray, stage: Stage) -> Mixtures:
            found, season = super().mixed(x, raw, stage), self.columns.season(x, 90)
            volume = self.volume(x) + season
            power = 0.6 * raw[:, COUNT_90] + 0.7 * log_of(x, COLUMN["spend"], 0.1, self.unit) + 0.4 * season
            recent = log_of(x, self.columns.volume, 1.0, self.unit) - x[:, COLUMN["count_180d"]]
            views = (raw[:, SPEND_90], found.count + recent, volume, power)
            spend = sum(share * view for share, view in zip(shares, views, strict=True)) / sum(shares)
            return replace(found, spend=np.asarray(spend))

    class Mixed(Served):
        forecasts_by = Mixing

        def __init__(self) -> None:
            super().__init__()
            dispersion = self._spend_level.dispersion
            self._spend_level = corrector("log", ("known",), scale=slope, intercept_drift=drift, dispersion=dispersion)

        def _teach_levels(self, forecaster: Any, block: Block, days: float) -> None:
            level = self._spend_level
            if days_of == (30,):
                super()._teach_levels(forecaster, block, days)
                return
            self._spend_level = copy.deepcopy(level)  # what 30-day labels teach goes to waste
            super()._teach_levels(forecaster, block, days)
            self._spend_level = level
            of = np.isin(block.horizon, days_of)
            if of.any():
                x = block.x[of]
                stage = forecaster.stage(x)
                mixed = forecaster.mixed(x, forecaster.corrected(stage), stage)
                offset = mixed.spend + forecaster.columns.share(x, block.horizon[of])
                level.learn_array(mixed.spend_seen, block.spend[of] / stage.unit, offset, days, _WEIGHT)

    days_of = days
    return Mixed


def tempered(volume: float, prior: float) -> Any:
    """Amounts say less from other edges on, in mean purchases."""

    class Edged(Forecaster):
        volume_edge, prior_edge = volume, prior

    class Tempered(Served):
        forecasts_by = Edged

    return Tempered


class TwoStage(Served):
    """Spend as P(buys) x exp(E[log spend of those who buy]), a Gaussian dynamic linear model; its level learnt again."""

    def __init__(self) -> None:
        super().__init__()
        self._log_spend = np.zeros(self._width + 1)
        self._unsure = np.diag(np.r_[1.0, np.full(self._width, 0.01)])
        self._level = corrector("log", (), intercept_drift=1e-5, dispersion=20.0)

    def _stages(self, forecaster: Forecaster, x: FloatArray, stage: Stage) -> tuple[FloatArray, FloatArray]:
        a = np.hstack([np.ones((len(x), 1)), stage.z])
        p = np.clip(forecaster.forecasts(x)[:, P_90], 1e-5, 1.0)
        return a, np.log(p) + a @ self._log_spend

    def _teach_levels(self, forecaster: Any, block: Block, days: float) -> None:
        super()._teach_levels(forecaster, block, days)
        stage = forecaster.stage(block.x)
        a, said = self._stages(forecaster, block.x, stage)
        spent = block.spend / stage.unit
        of = (block.horizon == 90) & (spent > 0)
        if of.any():
            told, drift = _WEIGHT / 0.8, np.r_[1e-3, np.full(self._width, 1e-4)] * days
            self._unsure[np.diag_indices(len(drift))] += drift
            surprise = np.log(spent[of]) - a[of] @ self._log_spend
            known = np.linalg.solve(np.eye(len(drift)) + self._unsure @ (a[of].T @ a[of] * told), self._unsure)
            self._unsure = (known + known.T) / 2
            self._log_spend = self._log_spend + self._unsure @ (a[of].T @ surprise * told)
        of = block.horizon == 90
        if of.any():
            self._level.learn_array(np.zeros((of.sum(), 0)), spent[of], said[of], days, _WEIGHT)

    def score(self, x: FloatArray) -> FloatArray:
        """Forecasts (n, 4)."""
        forecaster = self._forecaster()
        scores = forecaster.forecasts(x)
        _, said = self._stages(forecaster, x, forecaster.stage(x))
        scores[:, SPEND_90] = self._level.mean_array(np.zeros((len(x), 0)), said) * forecaster.unit
        return scores


VARIANTS: dict[str, Callable[[], Any]] = {
    "served": Served,
    "drift-none": averaging(((0.0, 0.0),)),
    "drift-level": averaging(((0.0, 1e-4),)),
    "drift-slow": averaging(((1e-5, 1e-4),)),
    "drift-middle": averaging(((1e-4, 1e-3),)),
    "drift-fast": averaging(((1e-3, 1e-3),)),
    "speeds-alike": AllAlike,
    "speeds-at-once": averaging(SPEEDS, lag=False),
    "speeds-four": averaging(((1e-6, 1e-5), (1e-5, 1e-4), (1e-4, 1e-3), (1e-3, 1e-2))),
    "speeds-wider": averaging(((0.0, 0.0), *SPEEDS, (1e-2, 1e-1))),
    "level-drift": levelling(drift=1e-4),
    "level-no-shares": levelling(shares=1e-6),
    "level-shares-wide": levelling(shares=0.3),
    "calibration-none": Uncalibrated,
    "calibration-slow": calibrating(0.0, 0.0),
    "calibration-fast": calibrating(1e-4, 1e-3),
    "calibration-both": BetaOfBoth,
    "calibration-isotonic": Isotonic,
    "spend-dispersion-20": averaging(SPEEDS, dispersion=20.0),
    "season-none": WithoutSeason,
    "season-input": SeasonAsInput,
    "spend-before": mixing((4, 0, 1, 1), (30, 90), 1e-4, 0.0),
    "spend-equal-3": mixing((1, 0, 1, 1)),
    "spend-equal-4": mixing((1, 1, 1, 1)),
    "spend-closed": mixing((0, 1, 1, 1)),
    "spend-four": mixing((2, 1, 1, 1)),
    "spend-decayed-twice": mixing((1, 0, 2, 0)),
    "spend-both-horizons": mixing((1, 0, 1, 0), (30, 90), 1e-4, 0.0),
    "spend-90-days": mixing((1, 0, 1, 0), (90,), 1e-4, 0.0),
    "spend-no-age": mixing((1, 0, 1, 0), (30,), 0.0, 0.0),
    "spend-level-fast": mixing((1, 0, 1, 0), (30,), 1e-4, 0.3),
    "spend-not-tempered": tempered(np.inf, np.inf),
    "spend-tempered-volume": tempered(1.5, np.inf),
    "spend-tempered-prior": tempered(np.inf, 4.0),
    "spend-tempered-lower": tempered(1.0, 1.0),
    "spend-tempered-higher": tempered(3.0, 8.0),
    "spend-two-stage": TwoStage,
    "river-adagrad": river_model("adagrad"),
    "river-adam": river_model("adam"),
    "river-tree": river_model("tree"),
    "river-forest": river_model("forest"),
    "river-srp": river_model("srp"),
}
SLOW = ("river-tree", "river-forest", "river-srp")


def main() -> int:
    """Prints a row a variant."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", choices=list(SOURCES))
    parser.add_argument("file", type=Path)
    parser.add_argument("--only", action="append", choices=list(VARIANTS), default=[])
    parser.add_argument("--seed", type=int, default=0, help="orders the labels of a day, as in `regulars backtest`")
    given = parser.parse_args()
    known = past(given.dataset, given.file, given.seed)
    print(f"{len(known.labels):,} labels, {len(known.cuts)} cut-offs", flush=True)
    for name in given.only or [name for name in VARIANTS if name not in SLOW]:
        began = time.perf_counter()
        learner = VARIANTS[name]()
        made = list(forecasts(known, learner))
        seconds = time.perf_counter() - began
        by_score = rows_by_score(made, known.sales, known.until)
        print(f"{name} ({seconds:.0f} s, {known.cuts[-1].labels / seconds:,.0f} labels/s)")
        for score in SCORES[:1] if name.startswith("river") else SCORES:
            values = table(by_score[score], score)[SERVED]
            totals = [own.forecasts[SERVED].sum() / own.truth.sum() for _, own in by_cutoff(by_score[score])]
            shown = "  ".join(f"{measure} {value:,.4f}" for measure, value in values.items())
            print(f"  {score:<24}{shown}  by cut-off {min(totals):.2f} to {max(totals):.2f}", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
