"""How often a policy takes its own changes back on a real history, and what exit margin keeps that under its budget.

The history goes through the live code with its learner, a day at a time, as in `regulars backtest`. Scores hardly depend on
who stands where, so one pass judges every margin that is tried, each as a dimension of its own; what it finds is replayed
as it will be served.
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
from streams.sources.registry import open_dataset

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

    Margins are only raised. All are tried side by side first; then the policy with those found is replayed as it would be
    served, and what is still over the budget gets the next margin: a customer is looked at a little more often where
    more dimensions have something to promise. Raises as `measure`, and:

    Raises:
        NoMargin: none does.
    """
    budget = policy.flap_budget
    tried = {
        place: [dimension.exit_margin, *(margin for margin in MARGINS if margin > dimension.exit_margin)]
        for place, dimension in enumerate(policy.dimensions)
        if _is_budgeted(dimension)
    }
    if budget is None or not tried:
        return {}
    found = {}
    for place, own in _side_by_side(policy, tried, dataset, file).items():
        kept = next((flap for flap in own if flap.per_1000 <= budget), None)
        if kept is None:
            raise _none_of(own, budget)
        found[place] = kept
    while True:
        margins = {place: flap.exit_margin for place, flap in found.items()}
        served = measure(_with(policy, margins), dataset, file)
        found = {place: served[place] for place in tried}
        over = [place for place, flap in found.items() if flap.per_1000 > budget]
        if not over:
            stated = {place: policy.dimensions[place].exit_margin for place in tried}
            return {place: flap for place, flap in found.items() if flap.exit_margin > stated[place]}
        for place in over:
            wider = next((margin for margin in tried[place] if margin > margins[place]), None)
            if wider is None:
                raise _none_of([found[place]], budget)
            found[place] = found[place]._replace(exit_margin=wider)


def _side_by_side(policy: Policy, tried: dict[int, list[float]], dataset: str, file: Path) -> dict[int, list[Flap]]:
    """Each dimension with each of its margins, in one pass."""
    # Days since a purchase have no margin, but whoever crosses their bounds is judged by everything at that moment.
    others = [replace(each, name=str(place)) for place, each in enumerate(policy.dimensions) if place not in tried]
    own = {
        place: [replace(policy.dimensions[place], name=f"{place}/{margin}", exit_margin=margin) for margin in margins]
        for place, margins in tried.items()
    }
    flaps = _replay(
        replace(policy, dimensions=(*others, *(each for some in own.values() for each in some))), dataset, file
    )
    return {
        place: [_flap(flaps, each, each.name)._replace(dimension=policy.dimensions[place].name) for each in some]
        for place, some in own.items()
    }


def _with(policy: Policy, margins: dict[int, float]) -> Policy:
    dimensions = tuple(
        replace(each, exit_margin=margins.get(place, each.exit_margin)) for place, each in enumerate(policy.dimensions)
    )
    return replace(policy, dimensions=dimensions)


def _none_of(flaps: Sequence[Flap], budget: float) -> NoMargin:
    least = min(flaps, key=lambda flap: flap.per_1000)
    return NoMargin(
        f"dimension {least.dimension}: no exit margin up to {flaps[-1].exit_margin:g} keeps reversals within 7 days "
        f"under {budget:g} per 1,000 changes; {least.exit_margin:g} comes nearest with {least.per_1000:.1f}. "
        "A dwell of 8 days has none at all"
    )


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
    source, prior, flaps = open_dataset(dataset, file, unit_minor=policy.unit_minor), PriorScorer(), Flaps()
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
