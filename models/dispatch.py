"""A chunk of customers as they are stored, stepped: many at once over arrays, few or odd ones one by one.

Both ways give the same outcome, to the bit (tests/unit/models/test_equality.py). On what comes of it campaigns decide,
partition by partition (`models.deciding`).
"""

from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from models.deciding import decide_campaigns
from models.rounds import Rounds, Times
from models.step import Customer, Outcome, Terms, advance_groups, with_reasons
from models.stored import StoredRows
from schemas.stored import decode_state, due_of

# A round over arrays is some hundred calls of numpy, however many customers it has. Measured, us per customer over arrays
# and one by one: 219 and 174 with 32 customers, 187 and 223 with 48, 124 and 137 with 64, 74 and 113 with 128.
LEAST = 48

Group = tuple[Sequence[Customer], Terms]


def advance_stored(groups: Sequence[Group], least: int = LEAST) -> list[list[Outcome]]:
    """`models.step.advance_groups` of customers with a stored `value`, and what campaigns decide about them.

    Args:
        groups: customers of a partition each; rules and scorer are the same in all.
        least: so many customers are worth arrays.
    """
    customers = [customer for of_one, _ in groups for customer in of_one]
    outcomes: list[Outcome | None] = [None] * len(customers)
    many = [i for i, customer in enumerate(customers) if customer.erasure is None]
    if len(many) >= least:
        times = np.array([(t.horizon, t.purchases_known, t.latest) for of_one, t in groups for _ in of_one]).T
        chosen = [customers[i] for i in many]
        of_chosen = _over_arrays(chosen, Times(*times[:, many]), groups[0][1], least)
        for i, outcome in zip(many, of_chosen, strict=True):
            outcomes[i] = outcome
    _one_by_one(groups, customers, outcomes)
    done = [outcome for outcome in outcomes if outcome is not None]
    ends = list(accumulate(len(of_one) for of_one, _ in groups))
    of_groups = [done[end - len(of_one) : end] for end, (of_one, _) in zip(ends, groups, strict=True)]
    for of_group, (_, terms) in zip(of_groups, groups, strict=True):
        decide_campaigns(of_group, terms)
    return of_groups


def _one_by_one(groups: Sequence[Group], customers: Sequence[Customer], outcomes: list[Outcome | None]) -> None:
    """Fills in the outcomes that are missing."""
    begin = 0
    left: list[tuple[list[Customer], Terms]] = []
    places: list[int] = []
    for of_one, terms in groups:
        missing = [i for i in range(begin, begin + len(of_one)) if outcomes[i] is None]
        begin += len(of_one)
        if missing:
            left.append(([_decoded(customers[i]) for i in missing], terms))
            places += missing
    if left:
        flat = [outcome for of_one in advance_groups(left) for outcome in of_one]
        for i, outcome in zip(places, flat, strict=True):
            outcomes[i] = outcome


def _decoded(customer: Customer) -> Customer:
    value = customer.value
    return customer if value is None else customer._replace(state=decode_state(value), due=due_of(value))


def _over_arrays(customers: Sequence[Customer], times: Times, terms: Terms, least: int) -> list[Outcome | None]:
    """The outcome of each customer; None: arrays can't hold them."""
    rows = StoredRows([customer.value for customer in customers], terms.rules)
    rows.odd |= rows.known & (rows.head["as_of"] > times.latest)  # judged by a clock that was wrong: nothing for arrays
    rounds = Rounds(rows, customers, times, terms, least)
    rounds.run()
    outcomes: list[Outcome | None] = [
        None if odd else Outcome(customer, due, None)
        for customer, odd, due in zip(customers, rows.odd.tolist(), rows.head["due"].tolist(), strict=True)
    ]
    who = np.flatnonzero(rounds.touched & ~rows.odd)
    moved = np.zeros(len(customers), dtype=bool)
    moved[list(rounds.moves)] = True
    values, other = rows.write(who, moved[who])
    shows = ~rows.known | moved | rounds.events.beyond_clicks
    shows[who] |= other
    flags = zip(rows.known[who].tolist(), shows[who].tolist(), strict=True)
    for i, value, (was_there, shown) in zip(who.tolist(), values, flags, strict=True):
        outcome = outcomes[i]
        assert outcome is not None
        outcome.set_value(value)
        outcome.was_there, outcome.shows = was_there, shown
    for i, labels in rounds.labels.items():
        if (outcome := outcomes[i]) is not None:
            outcome.labels = tuple(labels)
    _give_reasons(rounds, outcomes, terms)
    return outcomes


def _give_reasons(rounds: Rounds, outcomes: list[Outcome | None], terms: Terms) -> None:
    """Hands the moves to their outcomes, explained."""
    shifts: dict[int, list[int]] = {}
    for place, (i, _) in enumerate(rounds.shifts):
        if outcomes[i] is not None:
            shifts.setdefault(i, []).append(place)
    moves = [move for i in shifts for move in rounds.moves[i]]
    if not moves:
        return
    chosen = [rounds.shifts[place][1] for places in shifts.values() for place in places]
    explained = iter(with_reasons(moves, chosen, terms._replace(scorer=rounds.scorer)))
    for i, places in shifts.items():
        outcome = outcomes[i]
        assert outcome is not None
        outcome.moves = tuple(next(explained) for _ in places)
