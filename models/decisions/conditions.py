"""Conditions of a campaign: a rule over segments, numbers and attributes that holds for a customer or does not.

As a document writes them:

    {value: [high, mid]}                     the customer is in one of these segments of the dimension `value`
    {attribute.plan: [gold]}                 the attribute is one of these
    {over: sentiment, below: -0.4}           the number is below; `from`: it is at least; both: it is between
    {all: [...]}, {any: [...]}               all of several hold; at least one does
"""

import math
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple, NoReturn

from models.policy.document import COUNTABLE, DAYS_SINCE_PURCHASE
from schemas.learning import SCORES

# (where, why, key): refuses a document, with the place of `key` in what stands at `where`.
Refuse = Callable[[str, str, str | None], NoReturn]
AttributeValue = str | float | bool

ATTRIBUTE, UPLIFT = "attribute.", "uplift."
_NUMBERS = (DAYS_SINCE_PURCHASE, *SCORES, *COUNTABLE)
# Conditions in conditions: deeper than this nobody can read one.
_DEEPEST = 8


class Facts(NamedTuple):
    """What is known of one customer at one moment.

    Attributes:
        segments: dimension -> segment.
        numbers: name -> number: scores, features, days since a purchase, uplifts; what is unknown is absent.
        attributes: name -> value, without the prefix `attribute.`.
    """

    segments: Mapping[str, str]
    numbers: Mapping[str, float]
    attributes: Mapping[str, AttributeValue] = {}

    def number(self, name: str) -> float | None:
        """A number by its name in a document; None: not known, or no number."""
        if name.startswith(ATTRIBUTE):
            value = self.attributes.get(name.removeprefix(ATTRIBUTE))
            return None if value is None or isinstance(value, str) else float(value)
        return self.numbers.get(name)


class InSegment(NamedTuple):
    """The customer is in one of `segments` of `dimension`."""

    dimension: str
    segments: tuple[str, ...]

    def holds(self, facts: Facts) -> bool:
        """Whether it holds; who was never placed is in none."""
        return facts.segments.get(self.dimension) in self.segments


class HasAttribute(NamedTuple):
    """The attribute `name` is one of `values`."""

    name: str
    values: tuple[AttributeValue, ...]

    def holds(self, facts: Facts) -> bool:
        """Whether it holds; an attribute that is not known is none of them."""
        value = facts.attributes.get(self.name)
        # True is not the number 1 here.
        return any(value == each and isinstance(value, bool) == isinstance(each, bool) for each in self.values)


class Between(NamedTuple):
    """The number `name` is at least `low` and below `high`."""

    name: str
    low: float
    high: float

    def holds(self, facts: Facts) -> bool:
        """Whether it holds; it does not for a number that is not known."""
        number = facts.number(self.name)
        return number is not None and self.low <= number < self.high


class Every(NamedTuple):
    """All of `parts` hold."""

    parts: "tuple[Condition, ...]"

    def holds(self, facts: Facts) -> bool:
        """Whether it holds."""
        return all(part.holds(facts) for part in self.parts)


class Some(NamedTuple):
    """At least one of `parts` holds."""

    parts: "tuple[Condition, ...]"

    def holds(self, facts: Facts) -> bool:
        """Whether it holds."""
        return any(part.holds(facts) for part in self.parts)


Condition = InSegment | HasAttribute | Between | Every | Some


def read_condition(tree: Any, where: str, refuse: Refuse, depth: int = 0) -> Condition:
    """The condition that a parsed document holds at the path `where`.

    Args:
        tree: what stands there, as YAML gives it.
        where: its path, as `$.while`.
        refuse: called for a mistake; raises.
        depth: conditions around it.
    """
    if not isinstance(tree, dict) or not tree:
        refuse(where, "a condition is a mapping, as {value: [high]} or {over: sentiment, below: -0.4}", None)
    if depth > _DEEPEST:
        refuse(where, f"conditions nested deeper than {_DEEPEST}", None)
    if "over" in tree:
        return _between(tree, where, refuse)
    if len(tree) > 1:
        names = ", ".join(str(name) for name in tree)
        refuse(where, f"one condition has one key, here are {names}; join several with `all` or `any`", None)
    ((name, value),) = tree.items()
    if name in ("all", "any"):
        place = f"{where}.{name}"
        if not isinstance(value, list) or not value:
            refuse(place, f"`{name}` needs a list of conditions", None)
        parts = tuple(read_condition(part, f"{place}[{i}]", refuse, depth + 1) for i, part in enumerate(value))
        return Every(parts) if name == "all" else Some(parts)
    values = tuple(value) if isinstance(value, list) else (value,)
    if (
        not isinstance(name, str)
        or not values
        or not all(isinstance(each, str | int | float | bool) for each in values)
    ):
        refuse(where, f"`{name}` needs a list of values, as [high, mid]", None)
    if name.startswith(ATTRIBUTE):
        return HasAttribute(name.removeprefix(ATTRIBUTE), values)
    if not all(isinstance(each, str) for each in values):
        refuse(f"{where}.{name}", f"segments of `{name}` are names; a number is {{over: {name}, from: 1}}", None)
    return InSegment(name, values)


def _between(tree: Mapping[str, Any], where: str, refuse: Refuse) -> Condition:
    for key in tree:
        if key not in ("over", "from", "below"):
            refuse(where, f"`{key}` is none of over, from, below", str(key))
    name = tree["over"]
    if not isinstance(name, str) or not (name in _NUMBERS or name.startswith((ATTRIBUTE, UPLIFT))):
        near = get_close_matches(str(name), _NUMBERS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        refuse(f"{where}.over", f"'{name}' is no score and no feature in docs/features.md{hint}", None)
    if "from" not in tree and "below" not in tree:
        refuse(where, "a number needs `from` (at least), `below`, or both", None)
    bounds = []
    for key, missing in (("from", -math.inf), ("below", math.inf)):
        bound = tree.get(key, missing)
        if isinstance(bound, bool) or not isinstance(bound, int | float) or math.isnan(bound):
            refuse(f"{where}.{key}", f"Expected a number, got {type(bound).__name__}", None)
        bounds.append(float(bound))
    low, high = bounds
    if low >= high:
        refuse(where, f"no number is at least {low:g} and below {high:g}", None)
    return Between(name, low, high)


def dimensions_of(condition: Condition) -> dict[str, set[str]]:
    """Dimension -> segments that `condition` names."""
    if isinstance(condition, InSegment):
        return {condition.dimension: set(condition.segments)}
    named: dict[str, set[str]] = {}
    if isinstance(condition, Every | Some):
        for part in condition.parts:
            for dimension, segments in dimensions_of(part).items():
                named.setdefault(dimension, set()).update(segments)
    return named
