"""How often a policy takes its own changes back on a real history, and the exit margins that keep this within its budget.

The history goes through the live code with its learner, one day at a time, as in `regulars backtest`. Scores hardly depend
on the customers' segments. So one pass judges every margin that is tried, each as a dimension of its own; the result is
replayed as it will be served.
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

# Margins that are tried. No history distinguishes steps finer than 1/20, and beyond 3/5 a bound means little.
MARGINS = tuple(step / 20 for step in range(1, 13))


class Flap(NamedTuple):
    """How often one dimension of a policy took changes back on a history."""

    dimension: str
    exit_margin: float
    changes: int
    reversals: int
    per_1000: float  # reversals per 1,000 changes
    budgeted: bool  # whether the budget applies: the dimension is over a number that can flutter


class NoMargin(Exception):
    """No exit margin keeps a dimension within the budget; the message names it, the lowest rate and another way."""


def measure(policy: Policy, dataset: str, file: Path) -> list[Flap]:
    """Changes and reversals of each dimension of `policy` over a data set.

    Raises:
        FileRefused: the file does not belong to that data set.
    """
    flaps = _replay(policy, dataset, file)
    return [_flap(flaps, dimension, dimension.name) for dimension in policy.dimensions]


def calibrate(policy: Policy, dataset: str, file: Path) -> dict[int, Flap]:
    """The smallest margin tried that keeps the budget, for each dimension (by index) whose stated margin breaks it.

    Margins are only raised. First all are tried side by side. Then the policy with the resulting margins is replayed as it
    would be served, and a dimension that is still over the budget gets the next margin: side by side, more dimensions ask
    for reviews, and each customer is judged a little more often. Raises as `measure`, and:

    Raises:
        NoMargin: no margin keeps the budget.
    """
    budget = policy.flap_budget
    tried = {
        place: [dimension.exit_margin, *(margin for margin in MARGINS if margin > dimension.exit_margin)]
        for place, dimension in enumerate(policy.dimensions)
        if _is_budgeted(dimension)
    }
    if budget is None or not tried:
        return {}
    chosen = {}
    for place, own in _side_by_side(policy, tried, dataset, file).items():
        kept = next((flap for flap in own if flap.per_1000 <= budget), None)
        if kept is None:
            raise _none_of(own, budget)
        chosen[place] = kept
    while True:
        margins = {place: flap.exit_margin for place, flap in chosen.items()}
        served = measure(_with(policy, margins), dataset, file)
        chosen = {place: served[place] for place in tried}
        over = [place for place, flap in chosen.items() if flap.per_1000 > budget]
        if not over:
            stated = {place: policy.dimensions[place].exit_margin for place in tried}
            return {place: flap for place, flap in chosen.items() if flap.exit_margin > stated[place]}
        for place in over:
            wider = next((margin for margin in tried[place] if margin > margins[place]), None)
            if wider is None:
                raise _none_of([chosen[place]], budget)
            chosen[place] = chosen[place]._replace(exit_margin=wider)


def _side_by_side(policy: Policy, tried: dict[int, list[float]], dataset: str, file: Path) -> dict[int, list[Flap]]:
    """The rates of each dimension with each of its margins, from one pass."""
    # Days since a purchase have no margin. They are in the pass because a customer who crosses one of their bounds is judged
    # in every dimension at that moment.
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
        "With a dwell of 8 days, only purchases take changes back"
    )


def over_budget(policy: Policy, flaps: Sequence[Flap]) -> list[Flap]:
    """The dimensions that take back more than the policy allows."""
    budget = policy.flap_budget
    return [] if budget is None else [flap for flap in flaps if flap.budgeted and flap.per_1000 > budget]


def _is_budgeted(dimension: Dimension) -> bool:
    # Days since a purchase change by a purchase or by silence. Taking such a change back is news; no margin concerns it.
    return dimension.over != DAYS_SINCE_PURCHASE


def _flap(flaps: Flaps, dimension: Dimension, name: str) -> Flap:
    changes, reversals = flaps.changes[name], flaps.reversals[name]
    return Flap(name, dimension.exit_margin, changes, reversals, flaps.rate(name), _is_budgeted(dimension))


def _replay(policy: Policy, dataset: str, file: Path) -> Flaps:
    source, prior, flaps = open_dataset(dataset, file, unit_minor=policy.unit_minor), PriorScorer(), Flaps()
    history = History(
        Rules(policy),
        Learner(NAMES, FEATURE_SET, prior),
        prior,
        on_outcome=lambda outcome: flaps.count(outcome.customer.customer_id, outcome.moves),
    )
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
