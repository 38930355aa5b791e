"""How each number of a customer's state follows from events: what `schemas.states` declares its fields with.

A declaration says on which kinds of event a number changes and by which quantity of the event. The stored row, what an
event does (`models.state`), the move of the landmark and the features of decayed sums follow from it.

Kinds are the types of events and `reading`, a text that was read. Quantities are what `models.state` takes from an
event: `one`, `amount`, `units`, `lines`, `coupon`, `rated`, `rating`, `new_session`, `sentiment`.
"""

from typing import Any, NamedTuple, get_type_hints

Kinds = tuple[str, ...]

CLICKED: Kinds = ("view", "search", "add_to_cart", "remove_from_cart", "wishlist", "checkout")
BOUGHT: Kinds = ("purchase",)
RETURNED: Kinds = ("refund",)
WROTE: Kinds = ("review", "support")
READ: Kinds = ("reading",)

#: Beside a declaration of a whole number: it takes 8 bytes in the stored row, others 4.
WIDE = "wide"


class Apart(NamedTuple):
    """Beside the declarations of numbers that are 0 of many customers: where all of a part are 0 they take no bytes."""

    part: str


class Adds(NamedTuple):
    """A plain sum of a quantity."""

    on: Kinds
    of: str = "one"


class Flow(NamedTuple):
    """What is summed with decay, at as many half-lives as there are fields that name it.

    Attributes:
        on: kinds of event.
        of: quantity of the event.
        meaning: completes "log(1 + decayed ...)", the meaning of each field's feature; "": fields have no feature.
        words: what a person calls it.
        actionable: something a shop or a customer can change.
        money: minor units.
    """

    on: Kinds
    of: str = "one"
    meaning: str = ""
    words: str = ""
    actionable: bool = False
    money: bool = False


class Decays(NamedTuple):
    """A sum with decay (`models.decay`)."""

    days: float  # half-life
    flow: Flow


class Largest(NamedTuple):
    """The largest quantity."""

    on: Kinds
    of: str


class Earliest(NamedTuple):
    """The earliest event time."""

    on: Kinds


class Latest(NamedTuple):
    """The latest event time."""

    on: Kinds


class OfLatest(NamedTuple):
    """A quantity of the event that `since`, a field of the group, holds the time of."""

    on: Kinds
    of: str
    since: str


class SquaredGaps(NamedTuple):
    """The sum of squared days from `since`, a field of the group, to each event; a late event adds nothing."""

    on: Kinds
    since: str


class Session(NamedTuple):
    """Which session the event that arrived last belonged to."""

    on: Kinds


class Streak(NamedTuple):
    """How many events in a row belonged to that session."""

    on: Kinds


Declaration = Adds | Decays | Largest | Earliest | Latest | OfLatest | SquaredGaps | Session | Streak


class Number(NamedTuple):
    """One field of a group as it was declared.

    Attributes:
        name: of the field.
        rule: what events do to it.
        dtype: in the stored row; "" for a vector.
        part: of the stored state that holds it; "": its group's own.
    """

    name: str
    rule: Declaration
    dtype: str
    part: str = ""


def numbers_of(group: type[Any]) -> tuple[Number, ...]:
    """The fields of a group (`schemas.states.Spending`, ...) with their declarations, in order."""
    declared = []
    for name, hint in get_type_hints(group, include_extras=True).items():
        rule, *notes = hint.__metadata__
        plain = hint.__origin__
        dtype = {float: "<f8", int: "<i8" if WIDE in notes else "<u4"}.get(plain, "")
        part = next((note.part for note in notes if isinstance(note, Apart)), "")
        declared.append(Number(name, rule, dtype, part))
    return tuple(declared)
