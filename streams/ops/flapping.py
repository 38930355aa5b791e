"""How often a policy takes its own changes back on a real history, and what exit margin keeps that under its budget.

The history goes through the live code with its learner, a day at a time, as in `regulars backtest`. Scores don't depend
on who stands where, so one pass judges every margin that is tried: each is a dimension of its own.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from models.features import FEATURE_SET, NAMES
from models.flaps import Flaps
from models.learning.backtest import History
from models.learning.learner import Learner
from models.policy import DAYS_SINCE_PURCHASE, Dimension, Policy, Rules
from models.scores import PriorScorer
from schemas.times import DAY_S
from streams.sources.datasets import open_dataset

# Margins that are tried: finer than one in twenty no history tells apart, beyond three fifths a bound means little.
MARGINS = tuple(step / 20 for step in range(1, 13))


class Flap(NamedTuple):
    """One dimension of a policy on a history."""

    dimension: str
    exit_margin: float
    changes: int
    reversals: int
    per_1000: float  # reversals per 1,000 changes
    budgeted: bool  # the budget is about it: it is cut on what can flutter


class NoMargin(Exception):
    """No exit margin keeps a dimension under the budget; the message names it, the least rate and another way."""


def measure(policy: Policy, dataset: str, file: Path) -> list[Flap]:
    """Changes and reversals of each dimension of `policy` over a data set.

    Raises:
        FileRefused: the file isn't of that data set.
    """
    flaps = _replay(policy, dataset, file)
    return [_flap(flaps, dimension, dimension.name) for dimension in policy.dimensions]


def calibrate(policy: Policy, dataset: str, file: Path) -> dict[int, Flap]:
    """For each dimension (by its place) whose stated margin breaks the budget, the smallest one tried that keeps it.

    Margins are only raised. Raises as `measure`, and:

    Raises:
        NoMargin: none does.
    """
    budget = policy.flap_budget
    if budget is None:
        return {}
    tried = [
        (place, replace(dimension, name=f"{place}/{margin}", exit_margin=margin))
        for place, dimension in enumerate(policy.dimensions)
        if _is_budgeted(dimension)
        for margin in (dimension.exit_margin, *(m for m in MARGINS if m > dimension.exit_margin))
    ]
    if not tried:
        return {}
    flaps = _replay(replace(policy, dimensions=tuple(own for _, own in tried)), dataset, file)
    found: dict[int, Flap] = {}
    for place, dimension in enumerate(policy.dimensions):
        own = [_flap(flaps, each, each.name)._replace(dimension=dimension.name) for at, each in tried if at == place]
        if not own or own[0].per_1000 <= budget:
            continue
        kept = next((flap for flap in own if flap.per_1000 <= budget), None)
        if kept is None:
            least = min(own, key=lambda flap: flap.per_1000)
            raise NoMargin(
                f"dimension {dimension.name}: no exit margin up to {own[-1].exit_margin:g} keeps reversals within 7 days "
                f"under {budget:g} per 1,000 changes; {least.exit_margin:g} comes nearest with {least.per_1000:.1f}. "
                "A dwell of 8 days has none at all"
            )
        found[place] = kept
    return found


def over_budget(policy: Policy, flaps: Sequence[Flap]) -> list[Flap]:
    """Those that take back more than the policy allows."""
    budget = policy.flap_budget
    return [] if budget is None else [flap for flap in flaps if flap.budgeted and flap.per_1000 > budget]


def _is_budgeted(dimension: Dimension) -> bool:
    # Days since a purchase move by a purchase or its absence; taking that back is news, and no margin concerns it.
    return dimension.over != DAYS_SINCE_PURCHASE


def _flap(flaps: Flaps, dimension: Dimension, name: str) -> Flap:
    changes, reversals = flaps.changes[name], flaps.reversals[name]
    return Flap(name, dimension.exit_margin, changes, reversals, flaps.rate(name), _is_budgeted(dimension))


def _replay(policy: Policy, dataset: str, file: Path) -> Flaps:
    source, prior, flaps = open_dataset(dataset, file), PriorScorer(), Flaps()
    history = History(Rules(policy), Learner(NAMES, FEATURE_SET, prior), prior)
    history.on_outcome = lambda outcome: flaps.count(outcome.customer.customer_id, outcome.moves)
    tick: float | None = None
    for record in source.items(0, len(source.times_s)):
        while tick is not None and tick <= record.at_s:
            history.reach(tick)
            tick += DAY_S
        history.hear(record.at_s, record.topic, record.key, record.value)
        if tick is None:
            tick = (record.at_s // DAY_S + 1) * DAY_S
    history.reach(max(source.last_s, history.now))
    return flaps
