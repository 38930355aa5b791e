"""Logged decisions as Vowpal Wabbit's decision-service lines (DSJSON), in and out.

One JSON object a line, as `vw --dsjson --cb_adf` reads it and as services that were built on Vowpal Wabbit wrote it:

    _label_cost         the reward, negative
    _label_probability  of the action that was taken
    _label_Action       which one, from 1;  _labelIndex the same from 0
    a, p                actions from 1 with the one taken first; their probabilities
    c                   what was known: namespaces of features, and in `_multi` one object an action

Lines without a label (dangling outcomes, settings) and those marked `_skipLearn` are passed over and counted.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from models.bandits.replay import LoggedTrial
from streams.sources.tables import FileRefused, Table
from streams.sources.trial_tables import table_trial


def read_dsjson(path: Path, reward: str) -> dict[str, LoggedTrial]:
    """The trial in a DSJSON file; `reward` is the cost, negative. An action's name is its `_tag`, or its number.

    Raises:
        FileRefused: a line is no JSON object, lacks a probability, or no line has a label.
    """
    rows, passed = [], 0
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                row = _row(path, number, line, reward)
                passed += row is None
                if row is not None:
                    rows.append(row)
    except (OSError, UnicodeDecodeError) as exc:
        raise FileRefused(f"{path} is not a readable text file ({type(exc).__name__})") from exc
    if not rows:
        raise FileRefused(f"{path}: no line has a label (`_label_cost`, `_label_probability`, `_label_Action`)")
    frame = pd.DataFrame(rows)
    trial = table_trial(Table(path, frame, {str(name): str(name) for name in frame.columns}), reward)
    note = (f"passed over: {passed:,} lines without a label",) if passed else ()
    return {"": trial._replace(notes=(*trial.notes, *note))}


def _row(path: Path, number: int, line: str, reward: str) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
        if not isinstance(event, dict):
            raise TypeError
        if "_label_cost" not in event or event.get("_skipLearn"):
            return None
        index = int(event["_labelIndex"] if "_labelIndex" in event else event["_label_Action"] - 1)
        context = event.get("c") or {}
        actions = context.get("_multi") or []
        tag = actions[index].get("_tag") if index < len(actions) else None
        row: dict[str, Any] = {"arm": str(tag) if tag is not None else f"action-{index + 1}"}
        row |= {"propensity": float(event["_label_probability"]), reward: -float(event["_label_cost"])}
        return row | dict(_features("", {name: part for name, part in context.items() if name != "_multi"}))
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as exc:
        raise FileRefused(f"{path}, line {number:,}: no decision in DSJSON ({type(exc).__name__})") from exc


def _features(prefix: str, part: Any) -> Iterator[tuple[str, Any]]:
    """Numbers, texts and booleans of nested namespaces, by their path; lists say nothing that a line could use."""
    for name, value in part.items():
        if name.startswith("_"):
            continue
        if isinstance(value, dict):
            yield from _features(f"{prefix}{name}.", value)
        elif isinstance(value, bool):
            yield f"{prefix}{name}", float(value)
        elif isinstance(value, int | float | str):
            yield f"{prefix}{name}", value


def dsjson_lines(trial: LoggedTrial) -> Iterator[str]:
    """The rows of a trial, one line each.

    Where only the drawn arm's probability is known, the others share what is left of 1 evenly.
    """
    arms = len(trial.arms)
    multi = [{"_tag": name, "arm": {name: 1}} for name in trial.arms]
    for row, (arm, propensity, reward) in enumerate(zip(*(part.tolist() for part in trial.logged), strict=True)):
        others = [other for other in range(arms) if other != arm]
        rest = (1.0 - propensity) / max(len(others), 1)
        known = {f"f{i}": value for i, value in enumerate(trial.x[row].tolist()) if not np.isnan(value)}
        yield json.dumps(
            {
                "_label_cost": -reward,
                "_label_probability": propensity,
                "_label_Action": arm + 1,
                "_labelIndex": arm,
                "EventId": str(row),
                "a": [arm + 1, *(other + 1 for other in others)],
                "c": {"customer": known, "_multi": multi},
                "p": [propensity, *([rest] * len(others))],
                "VWState": {"m": "regulars"},
            }
        )
