"""Simulated customers whose response to an offer is known: synthetic, to check learning against the truth.

The four kinds of uplift modelling (Radcliffe and Surry 1999): *persuadables* buy because of the offer, *sure things* buy
anyway, *lost causes* never do, *sleeping dogs* would have bought and are put off. Which kind a customer is shows, with
noise, in what is known of them.
"""

from typing import NamedTuple

import numpy as np

from models.decisions.draw import FloatArray
from models.decisions.estimators import IntArray

KINDS = ("persuadable", "sure thing", "lost cause", "sleeping dog")
PERSUADABLE, SURE_THING, LOST_CAUSE, SLEEPING_DOG = range(len(KINDS))

# Probability of a purchase without an offer, and with the better of the offers.
_WITHOUT = np.array([0.10, 0.60, 0.05, 0.35])
_WITH = np.array([0.35, 0.60, 0.05, 0.15])
# The second offer does so much of what the first does.
_SECOND = 0.5
WIDTH = 6
ARMS = ("none", "offer", "lesser offer")


class SimulatedCustomers(NamedTuple):
    """n customers.

    Attributes:
        kind: (n,) int, place in `KINDS`.
        x: (n, WIDTH), what is known of them; the last two numbers say nothing.
        means: (n, 3), probability of a purchase by arm.
    """

    kind: IntArray
    x: FloatArray
    means: FloatArray


def simulated_customers(rng: np.random.Generator, n: int, *, differ: bool) -> SimulatedCustomers:
    """Customers drawn from `rng`.

    Args:
        rng: of all draws.
        n: how many.
        differ: whether an offer works for some and hurts with others; else it does the same for everybody, the average.
    """
    kind = rng.choice(4, n, p=[0.3, 0.25, 0.2, 0.25])
    x = rng.normal(size=(n, WIDTH))
    x[:, :4] += 1.5 * np.eye(4)[kind]
    without = _WITHOUT[kind]
    effect = (_WITH - _WITHOUT)[kind]
    if not differ:
        # As good for everybody: better than doing nothing.
        effect = np.full(n, 0.08)
    return SimulatedCustomers(kind, x, np.stack([without, without + effect, without + _SECOND * effect], axis=1))
