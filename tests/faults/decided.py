"""What must hold of campaigns after a run: each entry into the segment decided once, and no limit broken.

Shares no code with the product, as the oracle does not; its rules are those of docs/campaigns.md.

    undecided     a change into the campaign's segment, by an event or by silence, that has no decision
    decided       a decision that no such change asks for, a number out of order, or one with another moment or cause
    bytes         one action_id with two bodies
    cap           more contacts of one customer within the days than allowed
    budget        more spent in a window than the budget
    propensity    an arm that could not be drawn, probabilities that do not sum to 1, a holdout that changes or is contacted
"""

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

CLASSES = ("undecided", "decided", "cap", "budget", "propensity")


class Rules(NamedTuple):
    """What a campaign's document says, as far as it is judged."""

    name: str
    dimension: str
    segment: str
    contacts: int
    contact_days: float
    budget_minor: int
    budget_days: float


#: The campaign that every run of the fault suite has on: whoever becomes active, which a short load brings about as well.
RULES = Rules("welcome", "lifecycle", "active", 1, 20.0, 6_000, 3_000.0)
DOCUMENT = f"""campaign: {RULES.name}
version: "1"
when: {{dimension: {RULES.dimension}, to: {RULES.segment}}}
arms: [{{name: small, cost: 1.00}}, {{name: large, cost: 3.00}}]
reward: {{target: spend, days: 2}}
choose: {{by: bandit, floor: 0.05}}
holdout: 0.1
limits: {{per_customer: {{actions: 1, days: 20}}, budget: {{amount: 60.00, days: 3000}}, quiet_hours: "23:00-02:00"}}
"""

Faults = Mapping[str, list[str]]


def judge_actions(faults: Faults, actions: Iterable[tuple[bytes | None, bytes | None]], changes: list[Any]) -> int:
    """Adds what is wrong to `faults`; how many deliveries were repeated.

    Args:
        faults: by class.
        actions: key and value of every record of `actions`.
        changes: bodies of the log of changes, each once, by customer and sequence.
    """
    bodies: dict[str, bytes | None] = {}
    repeated = 0
    for key, value in actions:
        action = json.loads(value or b"{}")
        name = action.get("action_id", "")
        if name in bodies:
            repeated += 1
            if bodies[name] != value:
                faults["bytes"].append(f"action {name} has two bodies")
            continue
        bodies[name] = value
        if key != action.get("customer_id", "").encode():
            faults["decided"].append(f"action {name} under the key of somebody else")
    decided: dict[str, dict[int, Any]] = defaultdict(dict)
    for name, value in bodies.items():
        customer, _, number = name.rsplit(":", 2)
        decided[customer][int(number)] = json.loads(value or b"{}")
    _judge_entries(faults, decided, changes)
    _judge_draws(faults, decided)
    _judge_limits(faults, decided)
    return repeated


def _judge_entries(faults: Faults, decided: Mapping[str, dict[int, Any]], changes: list[Any]) -> None:
    entries: dict[str, list[Any]] = defaultdict(list)
    for change in changes:
        entered = (change["dimension"], change["current"]) == (RULES.dimension, RULES.segment)
        if entered and change["cause"]["kind"] in ("event", "silence"):
            entries[change["customer_id"]].append(change)
    for customer in entries.keys() | decided.keys():
        asked, made = entries.get(customer, []), decided.get(customer, {})
        for n, change in enumerate(asked, 1):
            action = made.get(n)
            if action is None:
                faults["undecided"].append(f"{customer}: change {change['sequence']} has no decision {n}")
            elif (action["decided_at"], action["cause"]) != (change["changed_at"], change["cause"]):
                faults["decided"].append(f"{customer}:{n} is not of change {change['sequence']}")
        faults["decided"].extend(f"{customer}:{n} that no change asks for" for n in made if n > len(asked))


def _judge_draws(faults: Faults, decided: Mapping[str, dict[int, Any]]) -> None:
    for customer, made in decided.items():
        held = {action["holdout"] for action in made.values()}
        if len(held) > 1 or (True in held and any(action["arm"] != "none" for action in made.values())):
            faults["propensity"].append(f"{customer} is held out and is not")
        for n, action in made.items():
            chances = action["propensities"]
            if chances.get(action["arm"], 0) <= 0 or not math.isclose(sum(chances.values()), 1.0, abs_tol=1e-9):
                faults["propensity"].append(f"{customer}:{n} drew {action['arm']} of {chances}")


def _judge_limits(faults: Faults, decided: Mapping[str, dict[int, Any]]) -> None:
    spent: dict[int, int] = defaultdict(int)
    for customer, made in decided.items():
        at = sorted(_seconds(action["decided_at"]) for action in made.values() if action["arm"] != "none")
        for first, other in zip(at, at[RULES.contacts :], strict=False):
            if other - first < RULES.contact_days * 86_400:
                faults["cap"].append(f"{customer}: {RULES.contacts + 1} contacts within {other - first:.0f} s")
        for action in made.values():
            spent[int(_seconds(action["decided_at"]) // (RULES.budget_days * 86_400))] += round(100 * action["cost"])
    faults["budget"].extend(
        f"{total} of {RULES.budget_minor} in window {window}"
        for window, total in spent.items()
        if total > RULES.budget_minor
    )


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
