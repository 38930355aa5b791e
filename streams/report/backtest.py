"""A backtest of one file: its forecasts as a parquet file, and a page that compares them with the outcomes."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from shlex import join
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from models.features import FEATURE_SET, NAMES
from models.learning.backtest import Forecasts, History, forecasts_over
from models.learning.contest import Contest, Promotion
from models.learning.learner import Judged, Learner
from models.learning.plug import plugged
from models.policy import Rules, load
from models.scores import PriorScorer
from schemas.learning import SCORES
from schemas.times import DAY_S
from streams.report.challengers import promotion_words
from streams.report.evaluation import differences, groups, rows_by_score
from streams.report.page import Report, page
from streams.report.timeline import Timeline
from streams.sources.groups import USUAL_COLUMN, customer_groups
from streams.sources.registry import SOURCES, open_dataset
from streams.sources.tables import FileRefused

REPORT_NAME = "index.html"
# Bounds of the 90-day spend, beside the scores: `models.learning.intervals`.
INTERVAL = ("expected_spend_90d_low", "expected_spend_90d_high")
# A cut-off counts if the data cover the shorter horizon after it.
_COVERED_S = 30 * DAY_S


class NothingToForecast(Exception):
    """The history is too short for a cut-off: three months, then thirty days, with purchases at both ends."""


class NoPlace(Exception):
    """The result can't be written to this path; raised before the history is read."""


def check_place(path: Path, *, made: bool = False) -> None:
    """Checks that a file can be written at `path`, or (`made`) that a folder can be made there with its parents.

    Raises:
        NoPlace: a folder is missing, is not a folder, or is read-only.
    """
    folder = path if made else path.parent
    while made and not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        raise NoPlace(f"{path}: {folder} is {'not a folder' if folder.exists() else 'not there'}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise NoPlace(f"{path}: no right to write to {folder}")


def _quiet(_: str) -> None:
    return


class Done(NamedTuple):
    """The counts of a finished backtest."""

    events: int
    labels: int
    cutoffs: int
    rows: int


class Backtest:
    """One backtest of one file.

    Args:
        dataset: a key of `streams.sources.registry.SOURCES`.
        file: of that data set.
        seed: orders the labels that mature on the same day.
        policy: gives the currency, minor units and segments; None: the shipped policy.
        group_by: column of the file whose values group the customers; None: the data set's usual column, if it has one.
        models: challengers, as `REGULARS_MODELS` names them (`models.learning.plug`).
        say: is called with lines for a person: what was left out of the file, and what was assumed.

    Attributes:
        policy: the document that judged.
        history: the customers, and the learner, at the end of the file.
        forecasts: of each cut-off, by time.
        contest: the challengers.

    Raises:
        PolicyError: the policy can't be read.
        FileRefused: the file is not of that data set, or has no column `group_by`.
        NothingToForecast: the history is too short.
        PlugError: a challenger cannot be built.
    """

    def __init__(
        self,
        dataset: str,
        file: Path,
        *,
        seed: int = 0,
        policy: Path | None = None,
        group_by: str | None = None,
        models: str = "",
        say: Callable[[str], None] = _quiet,
    ) -> None:
        contenders = plugged(models)
        rules, kind = load(policy), SOURCES[dataset]
        self.policy, self.dataset = rules, dataset
        self._column, self._group_of = _groups(dataset, file, group_by)
        self._currency = rules.currency if kind.is_any else kind.currency
        source = open_dataset(dataset, file, self._currency, rules.unit_minor)
        self._notes = source.notes
        if self._currency != rules.currency:
            self._notes += (
                f"amounts are in {self._currency} and the policy {rules.label} is in {rules.currency}: nothing is converted",
            )
        for note in self._notes:
            say(f"{dataset}: {note}")
        prior = PriorScorer()
        learner = Learner(NAMES, FEATURE_SET, prior)
        self._timeline = Timeline()
        self.contest = Contest(contenders, NAMES)
        self._say = say
        self.history = History(Rules(rules), learner, prior, seed, contest=self.contest, on_judged=self._take)
        self._file, self._seed = file, seed
        self._policy_file, self._asked_for = policy, group_by
        made = list(forecasts_over(source.items(0, len(source.times_s)), self.history))
        self.forecasts = [each for each in made if each.as_of + _COVERED_S <= self.history.last_purchase_at]
        if not self.forecasts:
            raise NothingToForecast(f"{file} has no cut-off: a backtest needs three months, and thirty days after them")

    def _take(self, judged: Judged, promotions: Sequence[Promotion]) -> None:
        self._timeline.take(judged)
        for change in promotions:
            self._say(promotion_words(change, judged.block.at))

    @property
    def done(self) -> Done:
        """The counts of this backtest."""
        rows = sum(len(each.customer_ids) for each in self.forecasts)
        return Done(self.history.events, self.history.learner.labels, len(self.forecasts), rows)

    def write(self, out: Path, *, prior_alone: bool = False) -> None:
        """Writes the forecasts, one row per customer and cut-off."""
        pq.write_table(_table(self.forecasts, prior_alone), out)

    def report(self, folder: Path) -> Path:
        """Writes the page into `folder`, which is made if it isn't there. Gives the page's path."""
        history = self.history
        by_score = rows_by_score(self.forecasts, history.sales, history.last_purchase_at)
        with_groups = bool(self._group_of) and len(by_score) == len(SCORES)
        command = ["regulars", "backtest", self.dataset, self._file.name, "--report", folder.name]
        command += ["--group-by", self._asked_for] if self._asked_for else []
        command += ["--seed", str(self._seed)] if self._seed else []
        command += ["--policy", self._policy_file.name] if self._policy_file is not None else []
        report = Report(
            title=f"{self.dataset}, {self._file.name}",
            made_with=join(command),
            currency=self._currency,
            events=history.events,
            labels=history.learner.labels,
            by_score=by_score,
            timeline=self._timeline,
            differences=differences(by_score),
            groups=groups(by_score, self._group_of) if with_groups else (),
            grouped_by=self._column,
            notes=self._notes,
        )
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / REPORT_NAME
        path.write_text(page(report), encoding="utf-8")
        return path


def _groups(dataset: str, file: Path, group_by: str | None) -> tuple[str, dict[str, str]]:
    """The column that customers are grouped by, and each customer's group; empty where the usual column is absent."""
    column = group_by or USUAL_COLUMN.get(dataset)
    if column is None:
        return "", {}
    try:
        return column, customer_groups(file, column)
    except FileRefused:
        if group_by is not None:
            raise
        return "", {}


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
        for target, name in forecasts[0].challengers:
            columns[f"{target}@{name}"] = np.concatenate([each.challengers[target, name] for each in forecasts])
    return pa.table(columns)
