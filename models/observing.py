"""What an event does to a group of numbers, by the declarations of `schemas.numbers`: one plan per kind of event.

`after_event` is for one customer, `models.rounds` does the same to many at once by the same plans. Both compute weights
with `math.exp2`, since numpy's differs in the last place on some processors: so a state has the same bits either way.
"""

from collections.abc import Callable
from math import exp2
from typing import Any, NamedTuple, TypeVar

import xxhash
from msgspec.structs import astuple

from models.decay import rescaled
from schemas.events import Click, Event
from schemas.groups import GROUPS, Browsing, Spending, Voice
from schemas.numbers import (
    Adds,
    Decays,
    Earliest,
    Largest,
    Latest,
    Number,
    OfLatest,
    Session,
    SquaredGaps,
    Streak,
)
from schemas.times import DAY_S

Group = TypeVar("Group", Spending, Browsing, Voice)
Quantities = dict[str, Any]

#: The group that holds what an event of a topic does (clickstream, purchases, reviews); a text that was read adds to
#: the last.
GROUP_OF_TOPIC = ("browsing", "spending", "voice")
READING = "reading"

# Plain sums stay there: what is stored, exported and sent has 64 bits. A million purchases of the largest amount lead there.
SUM_LIMIT = (1 << 63) - 1


class UpdatePlan(NamedTuple):
    """What one kind of event changes in a group: places of fields, with quantities by name."""

    gaps: tuple[tuple[int, int], ...]  # squared days since the time that the other field holds
    newest: tuple[tuple[int, str, int], ...]  # a quantity, where the event isn't older than that time
    sums: tuple[tuple[int, str], ...]
    decays: tuple[tuple[int, str, float], ...]  # with the half-life in days
    vectors: tuple[tuple[int, str, float], ...]  # the same, of many numbers
    largest: tuple[tuple[int, str], ...]
    earliest: tuple[int, ...]
    latest: tuple[int, ...]
    session: tuple[tuple[int, int], ...]  # the session and how many events in a row it has


def _plan(numbers: tuple[Number, ...], kind: str) -> UpdatePlan:
    place = {number.name: i for i, number in enumerate(numbers)}
    changed = [(i, number.rule) for i, number in enumerate(numbers) if kind in _kinds(number)]
    decays = [(i, rule.flow.of, float(rule.days)) for i, rule in changed if isinstance(rule, Decays)]
    streaks = [i for i, rule in changed if isinstance(rule, Streak)]
    return UpdatePlan(
        gaps=tuple((i, place[rule.since]) for i, rule in changed if isinstance(rule, SquaredGaps)),
        newest=tuple((i, rule.of, place[rule.since]) for i, rule in changed if isinstance(rule, OfLatest)),
        sums=tuple((i, rule.of) for i, rule in changed if isinstance(rule, Adds)),
        decays=tuple(decay for decay in decays if numbers[decay[0]].dtype),
        vectors=tuple(decay for decay in decays if not numbers[decay[0]].dtype),
        largest=tuple((i, rule.of) for i, rule in changed if isinstance(rule, Largest)),
        earliest=tuple(i for i, rule in changed if isinstance(rule, Earliest)),
        latest=tuple(i for i, rule in changed if isinstance(rule, Latest)),
        session=tuple((i, streaks[0]) for i, rule in changed if isinstance(rule, Session)),
    )


def _kinds(number: Number) -> tuple[str, ...]:
    return number.rule.flow.on if isinstance(number.rule, Decays) else number.rule.on


def _plans(numbers: tuple[Number, ...]) -> dict[str, UpdatePlan]:
    return {kind: _plan(numbers, kind) for number in numbers for kind in _kinds(number)}


#: By group and kind of event.
PLANS: dict[str, dict[str, UpdatePlan]] = {group: _plans(numbers) for group, numbers in GROUPS.items()}

#: The decayed sums of each group: place and half-life in days.
DECAYED: dict[str, tuple[tuple[int, float], ...]] = {
    group: tuple((i, float(n.rule.days)) for i, n in enumerate(numbers) if isinstance(n.rule, Decays))
    for group, numbers in GROUPS.items()
}


def id_hash(text: str) -> bytes:
    """8 bytes that stand for an id."""
    return xxhash.xxh3_64_digest(text.encode())


def session_number(event: Click) -> int:
    """48 bits that stand for the session of a click; float64 holds them whole."""
    return xxhash.xxh3_64_intdigest(event.session_id.encode()) >> 16


#: What an event brings, by the topics' order and the name of the quantity. `new_session` depends on the customer and is
#: set where the session is; a reading brings `sentiment` and `vector`.
QUANTITIES: tuple[dict[str, Callable[[Any], int]], ...] = (
    {"session": session_number},
    {
        "amount": lambda event: event.amount_minor,
        "units": lambda event: sum([item.quantity for item in event.items or ()]),
        "lines": lambda event: len(event.items or ()),
        "coupon": lambda event: event.coupon_id is not None,
    },
    {"rated": lambda event: event.rating is not None, "rating": lambda event: event.rating or 0},
)


def quantities(topic: int, event: Event) -> Quantities:
    """What an event of a topic brings."""
    return {"one": 1} | {name: int(take(event)) for name, take in QUANTITIES[topic].items()}


def after_event(group: Group, plan: UpdatePlan, brought: Quantities, at: float, age_days: float) -> Group:
    """The group after an event of the plan's kind.

    Args:
        group: before.
        plan: of `PLANS`.
        brought: by the event.
        at: its event time, epoch seconds.
        age_days: `at` less the landmark.
    """
    values: list[Any] = list(astuple(group))
    for i, since in plan.gaps:
        gap_days = (at - values[since]) / DAY_S if values[since] and at >= values[since] else 0.0
        values[i] += gap_days * gap_days
    for i, of, since in plan.newest:
        if at >= values[since]:
            values[i] = brought[of]
    for i, streak in plan.session:
        session = brought["session"]
        same = values[i] == session and values[streak] > 0
        values[i], values[streak] = session, values[streak] + 1 if same else 1
        brought["new_session"] = 0 if same else 1
    for i, of in plan.sums:
        values[i] = min(values[i] + brought[of], SUM_LIMIT)
    for i, of, days in plan.decays:
        values[i] += brought[of] * exp2(age_days / days)
    for i, of, days in plan.vectors:
        w = exp2(age_days / days)
        values[i] = tuple([total + w * z for total, z in zip(values[i], brought[of], strict=True)])
    for i, of in plan.largest:
        values[i] = max(values[i], brought[of])
    for i in plan.earliest:
        values[i] = min(values[i], at) if values[i] else at
    for i in plan.latest:
        values[i] = max(values[i], at)
    return type(group)(*values)


def rescaled_group(group: Group, moved_s: float) -> Group:
    """The group after its landmark moved by `moved_s` > 0 seconds."""
    values: list[Any] = list(astuple(group))
    for i, days in DECAYED[_name(group)]:
        total = values[i]
        if isinstance(total, tuple):
            values[i] = tuple(rescaled(each, moved_s, days) for each in total)
        else:
            values[i] = rescaled(total, moved_s, days)
    return type(group)(*values)


def _name(group: Spending | Browsing | Voice) -> str:
    return type(group).__name__.lower()
