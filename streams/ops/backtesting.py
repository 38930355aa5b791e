"""The forecasts of a backtest, as a parquet file."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from models.features import FEATURE_SET, NAMES
from models.learning.backtest import Forecasts, History, forecasts_over
from models.learning.learner import Learner
from models.policy import Rules, load
from models.scores import PriorScorer
from schemas.learning import SCORES
from schemas.times import DAY_S
from streams.sources.datasets import open_dataset

# A cut-off counts if the data cover the shorter horizon after it.
_COVERED_S = 30 * DAY_S


class NothingToForecast(Exception):
    """The history is too short for a cut-off: three months, then thirty days, with purchases at both ends."""


class Done(NamedTuple):
    """What a backtest did."""

    events: int
    labels: int
    cutoffs: int
    rows: int


def run_backtest(
    dataset: str, file: Path, out: Path, *, seed: int = 0, policy: Path | None = None, prior_alone: bool = False
) -> Done:
    """Writes the forecasts of `file` to `out`.

    Raises:
        FileRefused: the file isn't of that data set.
        NothingToForecast: it is too short.
    """
    source = open_dataset(dataset, file)
    prior = PriorScorer()
    learner = Learner(NAMES, FEATURE_SET, prior)
    history = History(Rules(load(policy)), learner, prior, seed)
    made = list(forecasts_over(source.items(0, len(source.times_s)), history))
    kept = [each for each in made if each.as_of + _COVERED_S <= history.last_purchase_at]
    if not kept:
        raise NothingToForecast(f"{file} has no cut-off: it takes three months, and thirty days after them")
    pq.write_table(_table(kept, prior_alone), out)
    return Done(history.events, learner.labels, len(kept), sum(len(each.customer_ids) for each in kept))


def _table(forecasts: list[Forecasts], prior_alone: bool) -> pa.Table:
    as_of = np.concatenate([np.full(len(each.customer_ids), each.as_of) for each in forecasts])
    scores = np.concatenate([each.prior if prior_alone else each.scores for each in forecasts])
    columns = {
        "customer_id": [customer_id for each in forecasts for customer_id in each.customer_ids],
        "as_of": pa.array((as_of * 1e6).astype(np.int64), pa.timestamp("us", tz="UTC")),
    }
    return pa.table(columns | {name: scores[:, i] for i, name in enumerate(SCORES)})
