"""Who buys within 7 and within 30 days: forecasts from clicks and purchases, judged on days that had not come yet.

At the beginning of every seventh day each customer seen until then is scored. A model knows, at that moment, the events of
earlier days and the labels whose days have all passed; its forecast is judged before it learns.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from river import compose

from models.affinities import KINDS
from models.features import FloatArray
from models.intent import of_shoppers
from models.intent.shopper import GROUPS, Shopper
from models.learning.measures import auc, calibration_error, paired_difference
from models.learning.population import bgnbd_chance, fit_bgnbd
from models.scores import PUBLISHED
from streams.report.challengers import aligned
from streams.sources.brand_events import BrandEvents

HORIZONS_DAYS = (7, 30)
STEP_DAYS = 7

WITH, WITHOUT, BGNBD = "with_clicks", "without", "bgnbd"
_OF_CLICKS = tuple(group for group in GROUPS if group != "purchases")
# Name of a pipeline -> the groups of features that it reads.
READS: Mapping[str, tuple[str, ...]] = {
    WITH: GROUPS,
    WITHOUT: ("purchases",),
    **{f"without {group}": tuple(each for each in GROUPS if each != group) for group in _OF_CLICKS},
}

_PURCHASE = KINDS.index("purchase")
_LEAST_CHANCE = 0.01

Progress = Callable[[str, int, int], None]


class NothingToJudge(Exception):
    """The file covers too few days, or all customers did the same. The message says which."""


class PairedGain(NamedTuple):
    """A paired difference in AUC, and its standard error by bootstrap over customers."""

    value: float
    se: float


@dataclass(frozen=True)
class HorizonQuality:
    """How good forecasts of a purchase within so many days were, all on the same rows.

    Attributes:
        auc: area under the ROC curve of the pipeline with clicks, of the same without, and of BG/NBD.
        gain_over_bgnbd: with clicks less BG/NBD.
        gain_over_without: with clicks less the same pipeline without.
        gain_of_group: with clicks less the same pipeline without that group of features.
        ece: of the pipeline with clicks: mean |mean forecast - share that bought| over ten bins of equal mass.
        base_rate: share of rows with a purchase.
        rows: a customer at a cut-off each.
        customers: how many.
        cut_offs: how many.
    """

    auc: Mapping[str, float]
    gain_over_bgnbd: PairedGain
    gain_over_without: PairedGain
    gain_of_group: Mapping[str, PairedGain]
    ece: float
    base_rate: float
    rows: int
    customers: int
    cut_offs: int


class CutOff(NamedTuple):
    """All customers seen before a cut-off, as of its beginning.

    Attributes:
        day: of the cut-off.
        customers: (n,) int64.
        features: (n, features), those of `Shopper` and BG/NBD's log odds of each horizon.
        bgnbd: horizon -> (n,) chances of a purchase; 0 before the first purchase.
    """

    day: int
    customers: NDArray[np.int64]
    features: pd.DataFrame
    bgnbd: Mapping[int, FloatArray]


class ScoredRows(NamedTuple):
    """Rows at one cut-off: who, what came, and name of a way to forecast -> its forecasts."""

    customers: NDArray[np.int64]
    bought: FloatArray
    forecasts: Mapping[str, FloatArray]


class HorizonTrial:
    """The pipelines of one horizon, with the moments that wait for their labels."""

    def __init__(self, days: int, events: BrandEvents) -> None:
        self.days = days
        self.judged: list[ScoredRows] = []
        self._events = events
        self._waiting: deque[CutOff] = deque()
        self._models = {name: of_shoppers(max(days / STEP_DAYS, 1.0)) for name in READS}
        self._learnt = False

    def take(self, cut_off: CutOff) -> None:
        """Learns what has matured before the cut-off; then scores it, if the file covers the days after it."""
        while self._waiting and self._waiting[0].day + self.days <= cut_off.day:
            before = self._waiting.popleft()
            bought = pd.Series(self._came(before) > 0)
            for name, model in self._models.items():
                model.learn_many(self._columns(before, name), bought)
            self._learnt = True
        if self._learnt and cut_off.day + self.days <= int(self._events.days[-1]) + 1:
            forecasts = {name: self._forecast(model, cut_off, name) for name, model in self._models.items()}
            forecasts[BGNBD] = cut_off.bgnbd[self.days]
            self.judged.append(ScoredRows(cut_off.customers, self._came(cut_off), forecasts))
        self._waiting.append(cut_off)

    def quality(self) -> HorizonQuality | None:
        """None where no cut-off could be judged, or all rows are of one kind."""
        if not self.judged:
            return None
        truth = np.concatenate([judged.bought for judged in self.judged])
        who = np.concatenate([judged.customers for judged in self.judged]).astype(str)
        forecasts = {
            name: np.concatenate([judged.forecasts[name] for judged in self.judged]) for name in (*self._models, BGNBD)
        }
        if not 0 < truth.sum() < len(truth):
            return None

        def gain(over: str) -> PairedGain:
            return PairedGain(*paired_difference(_area, truth, (forecasts[WITH], forecasts[over]), who))

        return HorizonQuality(
            {name: auc(truth, forecasts[name]) for name in (WITH, WITHOUT, BGNBD)},
            gain(BGNBD),
            gain(WITHOUT),
            {group: gain(f"without {group}") for group in _OF_CLICKS},
            calibration_error(truth, forecasts[WITH]),
            float(truth.mean()),
            len(truth),
            len(np.unique(who)),
            len(self.judged),
        )

    def _columns(self, cut_off: CutOff, name: str) -> pd.DataFrame:
        other = [f"purchases: BG/NBD, {days} d" for days in HORIZONS_DAYS if days != self.days]
        names = [str(each) for each in cut_off.features]
        columns = [each for each in names if each.split(":")[0] in READS[name] and each not in other]
        return cut_off.features[columns]

    def _forecast(self, model: compose.Pipeline, cut_off: CutOff, name: str) -> FloatArray:
        chances = model.predict_proba_many(self._columns(cut_off, name))
        return np.asarray(chances[True], dtype=np.float64)

    def _came(self, cut_off: CutOff) -> FloatArray:
        events = self._events
        begin, end = np.searchsorted(events.days, [cut_off.day, cut_off.day + self.days])
        buyers = events.customers[begin:end][events.kinds[begin:end] == _PURCHASE]
        return np.isin(cut_off.customers, buyers).astype(np.float64)


def judge_horizons(
    events: BrandEvents, progress: Progress = lambda what, done, of: None
) -> dict[int, HorizonQuality | None]:
    """By horizon in days; None where the file covers too few days, or the rows are all of one kind.

    Raises:
        NothingToJudge: no horizon can be judged.
    """
    if len(events.customer_ids) < 2:
        raise NothingToJudge("the file has one customer; at least two are needed")
    found = {trial.days: trial.quality() for trial in run_trials(events, progress)}
    if all(quality is None for quality in found.values()):
        covered, least = int(events.days[-1]) - int(events.days[0]) + 1, STEP_DAYS + 2 * HORIZONS_DAYS[0]
        raise NothingToJudge(
            f"the file covers {covered:,} days with {len(events.customer_ids):,} customers; at least {least} days are "
            "needed, with customers who buy in a week and customers who do not"
        )
    return found


def run_trials(events: BrandEvents, progress: Progress = lambda what, done, of: None) -> list[HorizonTrial]:
    """A trial per horizon, after one pass over the events."""
    trials = [HorizonTrial(days, events) for days in HORIZONS_DAYS]
    first, end = int(events.days[0]), int(events.days[-1]) + 1
    shoppers: dict[int, Shopper] = {}
    taken = 0
    for day in range(first + STEP_DAYS, end + 1, STEP_DAYS):
        begin, taken = taken, int(np.searchsorted(events.days, day))
        columns = (events.customers, events.kinds, events.brands, events.days)
        for customer, kind, brand, at in zip(*(column[begin:taken].tolist() for column in columns), strict=True):
            if customer not in shoppers:
                shoppers[customer] = Shopper(at)
            shoppers[customer].observe(at, kind, brand)
        cut_off = _cut_off(day, shoppers)
        for trial in trials:
            trial.take(cut_off)
        progress("who buys next", day - first, end - first)
    return trials


def _cut_off(day: int, shoppers: Mapping[int, Shopper]) -> CutOff:
    features = pd.DataFrame([shopper.features(day) for shopper in shoppers.values()])
    bought = np.array([shopper.purchase_days > 0 for shopper in shoppers.values()])
    # A history begins with the first purchase, as Fader, Hardie and Lee (2005) have it; before it, with the first event.
    begins = [
        shopper.first_day if shopper.first_purchase_day is None else shopper.first_purchase_day
        for shopper in shoppers.values()
    ]
    ends = [
        begin if shopper.last_purchase_day is None else shopper.last_purchase_day
        for begin, shopper in zip(begins, shoppers.values(), strict=True)
    ]
    x = np.array([max(shopper.purchase_days - 1.0, 0.0) for shopper in shoppers.values()])
    t_x = np.array(ends, np.float64) - np.array(begins)
    age = day - np.array(begins, np.float64)
    population = fit_bgnbd(x[bought], t_x[bought], age[bought])[0] if bought.any() else PUBLISHED
    bgnbd = {}
    for days in HORIZONS_DAYS:
        chance = bgnbd_chance(population, x, t_x, age, days)
        within = np.clip(chance, _LEAST_CHANCE, 1.0 - _LEAST_CHANCE)
        features[f"purchases: BG/NBD, {days} d"] = np.log(within / (1.0 - within))
        bgnbd[days] = np.where(bought, chance, 0.0)
    return CutOff(day, np.fromiter(shoppers, np.int64, len(shoppers)), features, bgnbd)


def _area(truth: FloatArray, forecast: FloatArray) -> float:
    # A draw of customers who all did the same says nothing for or against.
    area = auc(truth, forecast)
    return 0.5 if np.isnan(area) else area


def table_of(found: Mapping[int, HorizonQuality | None]) -> str:
    """Lines of text: AUC, gains with their standard errors, and calibration, by horizon."""
    rows: list[Sequence[str]] = [("purchase within", *(f"{days} days" for days in found))]

    def line(name: str, cell: Callable[[HorizonQuality], str]) -> None:
        rows.append((name, *("not judged" if q is None else cell(q) for q in found.values())))

    def gain(gain: PairedGain) -> str:
        return f"{gain.value:+.4f} ({gain.se:.4f})"

    line("rows, customers, cut-offs", lambda q: f"{q.rows:,}, {q.customers:,}, {q.cut_offs}")
    line("share that bought", lambda q: f"{q.base_rate:.1%}")
    line("AUC with clicks", lambda q: f"{q.auc[WITH]:.4f}")
    line("AUC without", lambda q: f"{q.auc[WITHOUT]:.4f}")
    line("AUC of BG/NBD", lambda q: f"{q.auc[BGNBD]:.4f}")
    line("gain over BG/NBD (s.e.)", lambda q: gain(q.gain_over_bgnbd))
    line("gain over without (s.e.)", lambda q: gain(q.gain_over_without))
    for group in _OF_CLICKS:
        line(f"gain of {group} (s.e.)", lambda q, group=group: gain(q.gain_of_group[group]))  # type: ignore[misc]
    line("ECE with clicks", lambda q: f"{q.ece:.4f}")
    return aligned(rows)


def figures_of(found: Mapping[int, HorizonQuality | None]) -> dict[str, object]:
    """What `regulars evaluate clicks taobao2013 --json` writes of it; null where the file covers too few days."""
    return {"horizon_days": {str(days): None if q is None else _figures(q) for days, q in found.items()}}


def _figures(q: HorizonQuality) -> dict[str, object]:
    return {
        "auc": dict(q.auc),
        "gain_over_bgnbd": q.gain_over_bgnbd._asdict(),
        "gain_over_without": q.gain_over_without._asdict(),
        "gain_of_group": {group: gain._asdict() for group, gain in q.gain_of_group.items()},
        "ece": q.ece,
        "base_rate": q.base_rate,
        "rows": q.rows,
        "customers": q.customers,
        "cut_offs": q.cut_offs,
    }
