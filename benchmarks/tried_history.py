"""What all variants of `tried.py` have in common: the labels and cut-offs of one history, read once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from models.features import FEATURE_SET, NAMES, FloatArray, rows
from models.learning.backtest import Forecasts, History, Sale, forecasts_over
from models.learning.learner import Learner
from models.policy import Rules, load
from models.scores import PriorScorer
from schemas.learning import Label
from schemas.times import DAY_S
from streams.sources.registry import open_dataset


class Cut(NamedTuple):
    """A cut-off: who is forecast, their features, and how many labels had matured."""

    as_of: float
    customers: list[str]
    x: FloatArray
    labels: int


@dataclass
class Past:
    """All that the variants have in common."""

    labels: list[Label]
    cuts: list[Cut]
    sales: list[Sale]
    until: float


class _Keeper(Learner):
    """Learns nothing, keeps the labels."""

    def __init__(self) -> None:
        super().__init__(NAMES, FEATURE_SET, PriorScorer())
        self.kept: list[Label] = []

    def learn_many(self, labels: Sequence[Label]) -> None:
        self.kept += labels


class _Keeping(History):
    """Gives the features instead of forecasts."""

    def forecasts(self) -> Any:
        known = sorted(each for each, (state, _) in self._states.items() if state.purchases)
        states = [self._states[each][0] for each in known]
        keeper: Any = self.learner
        x = rows(states, [self.now] * len(states), self._rules.shop)
        return Cut(self.now, known, x, len(keeper.kept))


def past(dataset: str, file: Path, seed: int = 0) -> Past:
    """Reads the history once."""
    source, keeper = open_dataset(dataset, file), _Keeper()
    history = _Keeping(Rules(load()), keeper, PriorScorer(), seed)
    cuts: list[Any] = list(forecasts_over(source.items(0, len(source.times_s)), history))
    until = history.last_purchase_at
    return Past(keeper.kept, [cut for cut in cuts if cut.as_of + 30 * DAY_S <= until], history.sales, until)


def forecasts(known: Past, learner: Any) -> Iterator[Forecasts]:
    """The forecasts of one variant."""
    done = 0
    for cut in known.cuts:
        learner.learn_many(known.labels[done : cut.labels])
        done = max(done, cut.labels)
        scores = learner.score(cut.x)
        yield Forecasts(cut.as_of, cut.customers, scores, scores, np.zeros((len(cut.x), 2)), {})
