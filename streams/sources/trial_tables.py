"""A trial in a table: one row a decision, with the arm, its probability, the reward, and what was known before."""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.bandits.replay import LoggedTrial
from models.decisions.estimators import Logged
from streams.sources.tables import FileRefused, Table, read_everything

FloatArray = NDArray[np.float64]
# A text column with more values than this is an id, not a feature.
_MOST_VALUES = 20


def read_generic_trial(path: Path, reward: str) -> dict[str, LoggedTrial]:
    """Any table with the columns arm, propensity (of that arm) and the reward; all others are known before.

    A column of texts with at most 20 values becomes one number a value; with more it is left out. Raises as above.
    """
    return {"": table_trial(read_everything(path), reward)}


def table_trial(table: Table, reward: str) -> LoggedTrial:
    """The trial in a table, as `read_generic_trial` says. Raises as above."""
    path = table.path
    missing = [name for name in ("arm", "propensity", reward) if name not in table.rows]
    if missing:
        raise FileRefused(f"{path} has no column {', '.join(missing)}; a trial needs arm, propensity and {reward}")
    names = table.identifiers("arm")
    if names.isna().any():
        raise FileRefused(f"{path}: column arm is empty in {int(names.isna().sum()):,} rows")
    arms = sorted(names.unique(), key=lambda name: (name != "none", name))
    arm = names.map({name: k for k, name in enumerate(arms)}).to_numpy(dtype=np.int64)
    propensity = table.numbers("propensity", 1e-9, 1.0)
    if np.isnan(propensity).any():
        raise FileRefused(f"{path}: column propensity is empty in {int(np.isnan(propensity).sum()):,} rows")
    parts, left_out = [], []
    for name in table.rows.columns.difference(["arm", "propensity", reward], sort=False):
        cells = table.rows[name]
        if (
            not pd.api.types.is_numeric_dtype(cells.dtype)
            and pd.to_numeric(cells.dropna(), errors="coerce").isna().any()
        ):
            few = cells.nunique() <= _MOST_VALUES
            (parts.append(indicator_columns(table, name)) if few else left_out.append(name))
        else:
            parts.append(table.numbers(name)[:, None])
    x = np.hstack([np.zeros((len(arm), 0)), *parts])
    notes = [f"left out: texts with more than {_MOST_VALUES} values: {', '.join(left_out)}"] if left_out else []
    trial = LoggedTrial(tuple(arms), Logged(arm, propensity, rewards_of(table, reward)), float(propensity.min()), x)
    return with_rewards(trial._replace(notes=tuple(notes)), reward)


def with_rewards(trial: LoggedTrial, reward: str) -> LoggedTrial:
    """`trial` without the rows whose reward is not known."""
    known = ~np.isnan(trial.logged.reward)
    if not known.any():
        raise FileRefused(f"no row has a {reward}")
    if known.all():
        return trial
    note = f"left out: {int((~known).sum()):,} rows without {reward}"
    return trial.part(np.flatnonzero(known).astype(np.int64))._replace(notes=(*trial.notes, note))


def rewards_of(table: Table, name: str) -> FloatArray:
    """(n,): the column `name`, nan where it is empty."""
    return table.numbers(name, yes_no=True)


def number_columns(table: Table, names: tuple[str, ...]) -> FloatArray:
    """(n, names): columns as numbers, nan where empty."""
    return np.stack([table.numbers(name, yes_no=True) for name in names], axis=1)


def indicator_columns(table: Table, name: str) -> FloatArray:
    """One column a value, but for the first: together they would say what the constant says."""
    cells = table.rows[name].astype("string").fillna("")
    values = sorted(cells.unique())[1:]
    return np.stack([np.zeros(len(cells)), *((cells == value).to_numpy(dtype=float) for value in values)], axis=1)
