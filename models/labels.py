"""Exposures and labels: when features are kept, and what a customer did next.

Features are kept every `EXPOSE_DAYS` while a customer is known, first at the first event; what was bought within 30 and
90 days after becomes a label each.
"""

from collections.abc import Sequence
from typing import Literal

from msgspec.structs import replace

from models.features import exposed
from schemas.events import Event, Purchase
from schemas.learning import Label
from schemas.states import NEVER, NINETY_S, THIRTY_S, CustomerState, Exposure
from schemas.times import DAY_S

# No longer than the horizon of promises after the latest event: whoever has been silent for over a year teaches nothing
# new. Every ten days: on Online Retail the same learner taught every thirty days has a 30-day log loss .002 higher
# (docs/models.md); every five gains nothing more.
EXPOSE_DAYS = 10.0
HORIZON_DAYS = 400.0

EXPOSE_S = EXPOSE_DAYS * DAY_S
HORIZON_S = HORIZON_DAYS * DAY_S
# Labels mature in silence too: those only of who comes back would say that everybody does. The last are 90 days longer;
# a late first event moves the grid, which then meets them within one step more.
MATURED_S = HORIZON_S + 90 * DAY_S + EXPOSE_S
# Events of one second may come one after another.
SAME_SECOND_S = 0.002


def learning_moments(state: CustomerState, after: float, until: float) -> list[float]:
    """When features are kept and labels mature: in (after, until)."""
    last = state.last_event_at + MATURED_S
    k = int((after - state.first_event_at) // EXPOSE_S) + 1
    moments = []
    while (at := state.first_event_at + k * EXPOSE_S) < until and at <= last:
        moments.append(at)
        k += 1
    return moments


def next_learning_moment(first_event_at: float, last_event_at: float, as_of: float) -> float:
    """The first such moment after `as_of`, which may itself be one; `NEVER`: all labels have matured by then."""
    k = int((as_of + 0.001 - first_event_at) // EXPOSE_S) + 1
    at = first_event_at + k * EXPOSE_S
    return at if at <= last_event_at + MATURED_S else NEVER


def is_learning(first_event_at: float, at: float) -> bool:
    """Whether `at` is such a moment."""
    k = round((at - first_event_at) / EXPOSE_S)
    return k >= 1 and abs(at - first_event_at - k * EXPOSE_S) < 0.001


def matured(
    exposures: Sequence[Exposure], known_at: float, bought: tuple[int, int], pseudonym: str, unit_minor: int
) -> tuple[tuple[Exposure, ...], list[Label]]:
    """The exposures that still wait, and the labels that are known.

    Args:
        exposures: in the order in which they were kept.
        known_at: up to which moment it is known what was bought.
        bought: purchases and gross spend in minor units up to then.
        pseudonym: names the customer.
        unit_minor: minor units in a unit of the currency.
    """
    waiting, labels = [], []
    for kept in exposures:
        first = not kept.half and known_at >= kept.at + THIRTY_S
        if first:
            labels.append(_label(pseudonym, kept, 30, bought, unit_minor))
        if known_at >= kept.at + NINETY_S:
            labels.append(_label(pseudonym, kept, 90, bought, unit_minor))
        else:
            waiting.append(replace(kept, half=True) if first else kept)
    return tuple(waiting), labels


def with_late(exposures: tuple[Exposure, ...], event: Event, at: float) -> tuple[Exposure, ...]:
    """What was bought by the moment of an exposure, and heard only after it, isn't part of what followed."""
    if not isinstance(event, Purchase) or event.type != "purchase":
        return exposures
    return tuple(
        replace(kept, purchases=kept.purchases + 1, spend_minor=kept.spend_minor + event.amount_minor)
        if at <= kept.at
        else kept
        for kept in exposures
    )


def _label(pseudonym: str, kept: Exposure, days: Literal[30, 90], bought: tuple[int, int], unit_minor: int) -> Label:
    purchases = max(bought[0] - kept.purchases, 0)
    return Label(
        f"{pseudonym}:{kept.at:.3f}:{days}",
        kept.at,
        kept.at + days * DAY_S,
        days,
        kept.feature_set,
        exposed(kept),
        purchases > 0,
        purchases,
        max(bought[1] - kept.spend_minor, 0) / unit_minor,
    )
