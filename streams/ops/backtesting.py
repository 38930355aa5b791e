"""A backtest from file to forecasts: as a parquet file, and as a page beside what came."""

from collections.abc import Sequence
from pathlib import Path
from shlex import join
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
from streams.report.evaluation import differences, groups, rows_by_score
from streams.report.page import Report, page
from streams.report.timeline import Timeline
from streams.sources.datasets import open_dataset
from streams.sources.groups import USUAL_COLUMN, customer_groups

REPORT_NAME = "index.html"
# Bounds of the 90-day spend, beside the scores: `models.learning.intervals`.
INTERVAL = ("expected_spend_90d_low", "expected_spend_90d_high")
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


class Backtest:
    """One run over a file.

    Args:
        dataset: a key of `streams.sources.datasets.SOURCES`.
        file: of that data set.
        seed: orders the labels that mature on the same day.
        policy: whose currency and segments are used; None: the shipped one.

    Raises:
        FileRefused: the file isn't of that data set.
        NothingToForecast: it is too short.
    """

    def __init__(self, dataset: str, file: Path, *, seed: int = 0, policy: Path | None = None) -> None:
        source = open_dataset(dataset, file)
        prior = PriorScorer()
        learner = Learner(NAMES, FEATURE_SET, prior)
        self._timeline = Timeline()
        learner.on_judged = self._timeline.take
        rules = load(policy)
        self.history = History(Rules(rules), learner, prior, seed)
        self._dataset, self._file, self._currency, self._seed = dataset, file, rules.currency, seed
        self._policy = policy
        made = list(forecasts_over(source.items(0, len(source.times_s)), self.history))
        self.forecasts = [each for each in made if each.as_of + _COVERED_S <= self.history.last_purchase_at]
        if not self.forecasts:
            raise NothingToForecast(f"{file} has no cut-off: it takes three months, and thirty days after them")

    @property
    def done(self) -> Done:
        """What it did."""
        rows = sum(len(each.customer_ids) for each in self.forecasts)
        return Done(self.history.events, self.history.learner.labels, len(self.forecasts), rows)

    def write(self, out: Path, *, prior_alone: bool = False) -> None:
        """The forecasts, one row a customer and cut-off."""
        pq.write_table(_table(self.forecasts, prior_alone), out)

    def report(self, folder: Path, *, group_by: str | None = None) -> Path:
        """Writes the page into `folder`; its path.

        Args:
            folder: made if it isn't there.
            group_by: column of the file whose values group the customers; None: what is usual for the data set, if any.

        Raises:
            FileRefused: the file has no such column.
        """
        history, column = self.history, group_by or USUAL_COLUMN.get(self._dataset)
        by_score = rows_by_score(self.forecasts, history.sales, history.last_purchase_at)
        group_of = customer_groups(self._file, column) if column else {}
        with_groups = bool(group_of) and len(by_score) == len(SCORES)
        command = ["regulars", "backtest", self._dataset, self._file.name, "--report", folder.name]
        command += ["--group-by", group_by] if group_by else []
        command += ["--seed", str(self._seed)] if self._seed else []
        command += ["--policy", self._policy.name] if self._policy is not None else []
        found = Report(
            title=f"{self._dataset}, {self._file.name}",
            made_with=join(command),
            currency=self._currency,
            events=history.events,
            labels=history.learner.labels,
            by_score=by_score,
            timeline=self._timeline,
            differences=differences(by_score),
            groups=groups(by_score, group_of) if with_groups else (),
            grouped_by=column or "",
        )
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / REPORT_NAME
        path.write_text(page(found), encoding="utf-8")
        return path


def _table(forecasts: Sequence[Forecasts], prior_alone: bool) -> pa.Table:
    as_of = np.concatenate([np.full(len(each.customer_ids), each.as_of) for each in forecasts])
    scores = np.concatenate([each.prior if prior_alone else each.scores for each in forecasts])
    columns = {
        "customer_id": [customer_id for each in forecasts for customer_id in each.customer_ids],
        "as_of": pa.array((as_of * 1e6).astype(np.int64), pa.timestamp("us", tz="UTC")),
    } | {name: scores[:, i] for i, name in enumerate(SCORES)}
    if not prior_alone:
        bounds = np.concatenate([each.intervals for each in forecasts])
        columns |= {name: bounds[:, i] for i, name in enumerate(INTERVAL)}
    return pa.table(columns)
