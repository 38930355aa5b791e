"""The learner: labels/s, snapshot size, rows/s; on real data its gain over others with a standard error.

    python benchmarks/learning.py [--online-retail FILE] [--batch [--batch-season]]
                                   [--cdnow FILE [--hindsight]]

Speed is of one core and of made-up labels with the product's features; the median of --repeats. On Online Retail the
backtest's forecasts are compared, on the same customers and cut-offs, with BG/NBD x Gamma-Gamma (refitted online) and,
with --batch, with an ensemble of batch models retrained from scratch at each cut-off on all labels matured by then (needs
scikit-learn); they don't know the policy's season unless --batch-season tells them. On CDNOW the usual protocol: 39 weeks
seen, the next 39 forecast, same-day purchases merged; --hindsight tells how well those 39 weeks' spend could be told by
models fitted to themselves (needs scikit-learn).
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from models.features import FEATURE_SET, NAMES, FloatArray, rows
from models.learning.backtest import History
from models.learning.course import Course
from models.learning.further import further
from models.learning.learner import Learner
from models.learning.measures import mae, rmse
from models.learning.population import bgnbd_log_likelihood, fit_bgnbd, population_of
from models.learning.scorer import SnapshotScorer
from models.learning.snapshots import encode_snapshot
from models.policy import Rules, load, read
from models.scores import COUNT_90, P_30, P_90, SPEND_90, PriorScorer
from models.season import USUAL
from schemas.learning import Label
from schemas.times import DAY_S

LABELS, ROWS = 40_000, 200_000
BATCH = "batch ensemble"


def main() -> int:
    """Prints what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--online-retail", type=Path)
    parser.add_argument("--cdnow", type=Path)
    parser.add_argument(
        "--hindsight", action="store_true", help="also fit models to the 39 weeks of CDNOW that are forecast"
    )
    parser.add_argument("--batch", action="store_true", help="also retrain an ensemble of batch models at each cut-off")
    parser.add_argument("--batch-season", action="store_true", help="batch models know the season, as the learner does")
    parser.add_argument(
        "--batch-labels", type=int, default=20_000, help="at most so many, drawn at random, teach each one"
    )
    parser.add_argument("--draws", type=int, default=200, help="bootstrap draws over customers")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    speed(options.repeats)
    if options.online_retail is not None:
        batch = options.batch_labels if options.batch else 0
        gain(options.online_retail, batch, options.draws, with_season=options.batch_season)
    if options.cdnow is not None:
        cdnow(options.cdnow, hindsight=options.hindsight)
    return 0


# --- speed --------------------------------------------------------------------------------------------------------


def speed(repeats: int) -> None:
    """Labels learnt a second, bytes of a snapshot, rows scored a second."""
    labels = made_up(LABELS)
    seconds = []
    for _ in range(repeats):
        course = Course(Learner(NAMES, FEATURE_SET, PriorScorer()))
        began = time.perf_counter()
        for start in range(0, len(labels), 500):  # as the trainer polls
            course.learn(labels[start : start + 500], start + 500)
        seconds.append(time.perf_counter() - began)
    print(f"learning   {LABELS / statistics.median(seconds):>10,.0f} labels/s, scoreboard and quality included")
    snapshot = course.snapshot()
    print(f"snapshot   {len(encode_snapshot(snapshot)):>10,} bytes, {len(snapshot.arrays['seen']):,} label ids in it")
    scorer = SnapshotScorer(snapshot, PriorScorer())
    x = np.array([label.features for label in labels[: ROWS // 8]] * 8)
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        scorer.score(x)
        seconds.append(time.perf_counter() - began)
    print(f"scoring    {len(x) / statistics.median(seconds):>10,.0f} rows/s")


def made_up(count: int) -> list[Label]:
    """Labels with the product's features, 2,000 a day, of customers whose purchase rate depends on two of them."""
    rng = np.random.default_rng(1)
    x = rng.gamma(0.7, 1.0, size=(count, len(NAMES))).round(3)
    rate = np.exp(0.4 * (x[:, NAMES.index("count_60d")] - x[:, NAMES.index("recency_days")]))
    labels = []
    for i, features in enumerate(x.tolist()):
        horizon: Literal[30, 90] = 30 if i % 2 else 90
        n = int(rng.poisson(rate[i] * horizon / 90))
        at = i / 2_000 * DAY_S
        spend = 20.0 * n
        labels.append(Label(f"c{i}:0:{horizon}", at, at, horizon, FEATURE_SET, tuple(features), n > 0, n, spend))
    return labels


# --- gain ---------------------------------------------------------------------------------------------------------


def gain(file: Path, batch: int, draws: int, *, with_season: bool = False) -> None:
    """The backtest's measures, and the paired differences."""
    from streams.report.backtest import Backtest
    from streams.report.evaluation import differences, rows_by_score, table

    run = Backtest("online-retail", file)
    history = run.history
    forecasts = list(run.forecasts)
    against = ["bgnbd"]
    if batch:
        forecasts = retrained(file, forecasts, batch, with_season=with_season)
        against.append(BATCH)
    by_score = rows_by_score(forecasts, history.sales, history.last_purchase_at)
    for score, scored in by_score.items():
        print(score)
        for name, values in table(scored, score).items():
            print(f"  {name:<18}" + "  ".join(f"{measure} {value:,.4f}" for measure, value in values.items()))
    for than in against:
        print(f"served less {than}, same rows, bootstrap over customers ({draws} draws)")
        for each in differences(by_score, draws, (than,)):
            sure = abs(each.value) / each.error
            print(f"  {each.score:<24}{each.measure:<16}{each.value:+.4f}  (s.e. {each.error:.4f}, {sure:.1f})")


def retrained(file: Path, forecasts: Sequence[Any], most: int, *, with_season: bool) -> list[Any]:
    """The forecasts, with those of a batch ensemble beside them, retrained at each cut-off from scratch.

    Mean of gradient boosting, a penalised linear model over the prior's forecasts, and BG/NBD x Gamma-Gamma; amounts as
    Poisson count times the Gamma-Gamma mean. Below 500 labels of a horizon the prior stands in; above `most`, so many of
    them are drawn, which keeps a run within minutes on one core.
    """
    from models.learning.backtest import forecasts_over
    from streams.report.backtest import Backtest
    from streams.sources.registry import open_dataset

    source = open_dataset("online-retail", file)
    keeper = _Keeper()
    policy, population = load(), forecasts
    if not with_season:
        with tempfile.TemporaryDirectory() as folder:
            even = Path(folder, "even.yaml")
            even.write_text(f"{read()}\nseason: {[1] * 12}\n")
            policy, population = load(even), Backtest("online-retail", file, policy=even).forecasts
    bgnbd = {each.as_of: each.rivals["bgnbd"] for each in population}
    kept = _Matrices(Rules(policy), keeper, PriorScorer())  # type: ignore[arg-type]
    made = []
    wanted = {each.as_of: each for each in forecasts}
    for each in forecasts_over(source.items(0, len(source.times_s)), kept):
        own = wanted.get(each.as_of)
        if own is not None:
            scores = _ensemble(keeper.matrix(), kept.x, bgnbd[own.as_of], most)
            made.append(own._replace(rivals={**own.rivals, BATCH: scores}))
            print(f"  retrained as of {np.datetime64(int(each.as_of), 's')} on {len(keeper.rows):,} labels", flush=True)
    return made


class _Keeper(Learner):
    """Learns nothing: keeps the labels."""

    def __init__(self) -> None:
        super().__init__(NAMES, FEATURE_SET, PriorScorer())
        self.rows: list[tuple[float, ...]] = []

    def learn_many(self, labels: Sequence[Label]) -> None:
        for label in labels:
            self.rows.append((*label.features, label.horizon_days, label.purchases, label.spend))

    def matrix(self) -> FloatArray:
        """(labels, F + 3): features, horizon, purchases, spend."""
        return np.array(self.rows, dtype=np.float64).reshape(len(self.rows), len(NAMES) + 3)


class _Matrices(History):
    """Keeps the features of the customers that it forecast last."""

    x: FloatArray

    def forecasts(self) -> Any:
        known = sorted(each for each, (state, _) in self._states.items() if state.purchases)
        states = [self._states[each][0] for each in known]
        self.x = rows(states, [self.now] * len(states), self._rules.shop)
        return super().forecasts()


def _ensemble(labels: FloatArray, x: FloatArray, bgnbd: FloatArray, most: int) -> FloatArray:
    import warnings

    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression, PoissonRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from models.learning.inputs import links

    warnings.simplefilter("ignore", ConvergenceWarning)  # 150 steps of a penalised linear model are near enough
    scores = bgnbd.copy()
    trees: dict[str, Any] = {"max_iter": 120, "learning_rate": 0.05, "min_samples_leaf": 200, "random_state": 0}
    prior, rng = PriorScorer(), np.random.default_rng(0)
    wide = np.hstack([x, links(prior.score(x))])
    for horizon, score in ((30, P_30), (90, P_90)):
        own = labels[labels[:, -3] == horizon]
        if len(own) < 500:
            continue
        if len(own) > most:
            own = own[rng.choice(len(own), most, replace=False)]
        features, bought, n = own[:, : len(NAMES)], own[:, -2] > 0, own[:, -2]
        seen = np.hstack([features, links(prior.score(features))])
        boosted = HistGradientBoostingClassifier(**trees).fit(seen, bought).predict_proba(wide)[:, 1]
        line = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=150)).fit(seen, bought)
        scores[:, score] = (boosted + line.predict_proba(wide)[:, 1] + bgnbd[:, score]) / 3
        if horizon == 90:
            mean = bgnbd[:, SPEND_90] / np.maximum(bgnbd[:, COUNT_90], 1e-9)
            regressor = HistGradientBoostingRegressor(loss="poisson", **trees).fit(seen, n)
            plain = make_pipeline(StandardScaler(), PoissonRegressor(alpha=1e-3, max_iter=150)).fit(seen, n)
            linear = np.minimum(plain.predict(wide), 10 * n.max())
            scores[:, COUNT_90] = (regressor.predict(wide) + linear + bgnbd[:, COUNT_90]) / 3
            scores[:, SPEND_90] = scores[:, COUNT_90] * mean
    return scores


# --- CDNOW --------------------------------------------------------------------------------------------------------

CALIBRATED, HOLDOUT_DAYS = "1997-10-01", 273.0


def cdnow(file: Path, *, hindsight: bool = False) -> None:
    """39 weeks seen, 39 forecast: the learner, BG/NBD as published, and its parameters."""
    import pandas as pd

    from streams.sources.registry import open_dataset

    lines = pd.read_csv(file, sep=r"\s+", header=None, dtype=str)
    bought = pd.DataFrame(
        {"customer_id": lines[0], "purchased_at": pd.to_datetime(lines[2], format="%Y%m%d", utc=True)}
    ).assign(amount=lines[4].astype(float))
    merged = bought.groupby(["customer_id", "purchased_at"], as_index=False).amount.sum()
    until = pd.Timestamp(CALIBRATED, tz="UTC")
    later = merged[merged.purchased_at >= until].groupby("customer_id").amount.agg(["size", "sum"])
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder, "cdnow.parquet")
        # An event's amount is above 0: purchases of 0.00 become a cent, so that they count as purchases.
        merged.assign(amount=merged.amount.round(2).clip(lower=0.01)).to_parquet(table)
        source = open_dataset("generic", table)
        history = _Matrices(Rules(load()), Learner(NAMES, FEATURE_SET, PriorScorer()), PriorScorer())
        stop = int(np.searchsorted(source.times_s, until.timestamp()))
        day = DAY_S
        for item in source.items(0, stop):
            while item.at_s >= history.now + day:
                history.reach(item.at_s // day * day)
            history.hear(item.at_s, item.topic, item.key, item.value)
        history.reach(until.timestamp())
        made = history.forecasts()
    real = later.reindex(made.customer_ids).fillna(0.0)
    n, spend = real["size"].to_numpy(float), real["sum"].to_numpy(float)
    seen = merged[merged.purchased_at < until].groupby("customer_id").purchased_at.agg(["min", "max", "size"])
    seen = seen.reindex(made.customer_ids)
    last = until - pd.Timedelta(days=1)  # the protocol counts to 30 September
    weeks = [(span.dt.days / 7).to_numpy(float) for span in (seen["max"] - seen["min"], last - seen["min"])]
    repeats = seen["size"].to_numpy(float) - 1
    population, likelihood = fit_bgnbd(repeats, *weeks)
    assert likelihood == bgnbd_log_likelihood(np.array(population[:4]), repeats, *weeks)
    print(f"CDNOW, {len(n):,} customers, 39 weeks seen, 39 forecast")
    r, alpha, a, b, _ = population
    print(f"  BG/NBD by maximum likelihood: r {r:.3f} alpha {alpha:.3f} a {a:.3f} b {b:.3f} LL {likelihood:.1f}")
    fit = history.learner.fit()
    index = USUAL.mean(until.timestamp(), int(HOLDOUT_DAYS))
    learnt = population_of(fit.population)
    print("  population learnt online (days): " + " ".join(f"{value:.3f}" for value in learnt))
    forecasts = further(NAMES, fit, history.x, HOLDOUT_DAYS, index)
    for name, forecast in (
        ("learner, one pass", forecasts),
        ("prior, as published", _published(history.x)),
    ):
        for what, truth, value in (("purchases", n, forecast[:, 0]), ("spend", spend, forecast[:, 1])):
            correlation = float(np.corrcoef(truth, value)[0, 1])
            print(
                f"  {name:<20} {what:<10} r {correlation:.4f}  RMSE {rmse(truth, value):.3f}  MAE {mae(truth, value):.3f}"
                f"  total {value.sum():,.1f} of {truth.sum():,.1f}"
            )
    if hindsight:
        _fitted_in_hindsight(history.x, forecasts, spend)


def _fitted_in_hindsight(x: FloatArray, forecast: FloatArray, spend: FloatArray) -> None:
    """What the spend's correlation could be: models fitted to the spend that is forecast, each customer's out of fold."""
    from sklearn.ensemble import ExtraTreesRegressor
    from sklearn.linear_model import PoissonRegressor
    from sklearn.model_selection import KFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    two = np.log(np.maximum(forecast, 1e-6))
    everything = np.hstack([x[:, x.std(axis=0) > 0], two])
    line = make_pipeline(StandardScaler(), PoissonRegressor(alpha=1e-3, max_iter=1000))
    stiff = make_pipeline(StandardScaler(), PoissonRegressor(alpha=0.1, max_iter=1000))
    forest = ExtraTreesRegressor(200, min_samples_leaf=10, random_state=0)
    for name, model, seen in (
        ("Poisson regression, two forecasts", line, two),
        ("Poisson regression, all features", stiff, everything),
        ("forest, two forecasts", forest, two),
        ("forest, all features", forest, everything),
    ):
        correlations = []
        for shuffle in range(10):
            fitted = cross_val_predict(model, seen, spend, cv=KFold(10, shuffle=True, random_state=shuffle))
            correlations.append(float(np.corrcoef(fitted, spend)[0, 1]))
        print(
            f"  in hindsight: {name:<34} r {np.mean(correlations):.4f} ({min(correlations):.4f} to {max(correlations):.4f})"
        )


def _published(x: FloatArray) -> FloatArray:
    from models.learning.further import expected_purchases

    prior = PriorScorer()
    scores = prior.score(x)
    count = expected_purchases(prior, x, HOLDOUT_DAYS)
    mean = scores[:, SPEND_90] / np.maximum(scores[:, COUNT_90], 1e-12)
    return np.column_stack([count, count * mean])


if __name__ == "__main__":
    raise SystemExit(main())
