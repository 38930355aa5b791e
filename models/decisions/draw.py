"""Chance that can be repeated: every draw is a hash of what it is about.

A fraction in [0, 1) is made of the first 8 bytes of BLAKE2b over the parts, each written with its length in front, so that
no two different lists of parts are the same bytes. It depends on nothing else: neither on the order of customers nor on the
process, the machine or the time.
"""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def seed_of(*parts: str) -> str:
    """16 hex digits of `parts`.

    >>> seed_of("a", "bc") == seed_of("ab", "c")
    False
    """
    digest = blake2b(digest_size=8)
    for part in parts:
        raw = part.encode()
        digest.update(len(raw).to_bytes(4, "big"))
        digest.update(raw)
    return digest.hexdigest()


def fraction(seed: str) -> float:
    """A seed as a number in [0, 1): 53 of its 64 bits, as many as a float holds.

    >>> fraction("8000000000000000")
    0.5
    """
    return (int(seed, 16) >> 11) / 2.0**53


def is_held_out(share: float, *, campaign: str, salt: str, customer_id: str) -> bool:
    """Whether a customer is in the holdout: the same answer for ever, whatever the version of the campaign.

    A larger `share` keeps everybody who was held out under a smaller one.

    Args:
        share: of all customers, 0 to 1.
        campaign: its name; empty: the holdout of all campaigns together.
        salt: another salt draws another holdout.
        customer_id: the customer.
    """
    return share > 0 and fraction(seed_of("holdout", salt, campaign, customer_id)) < share


def shares_of_wins(values: FloatArray, eligible: Sequence[int]) -> FloatArray:
    """(eligible,): how often each eligible arm has the highest value, over samples of what arms are worth.

    This is Thompson sampling with its probabilities written out: drawing an arm by these shares is the same as drawing one
    sample and taking its best arm. The first of equally good arms wins.

    Args:
        values: (samples, arms), one row a sample.
        eligible: columns that may win, at least one.
    """
    winners = np.argmax(values[:, list(eligible)], axis=1)
    shares: FloatArray = np.bincount(winners, minlength=len(eligible)) / len(values)
    return shares


def floored(shares: FloatArray, floor: float) -> FloatArray:
    """Probabilities of at least `floor` each: what is left above the floors is split by `shares`, which sum to 1.

    Args:
        shares: (..., arms).
        floor: at most 1 / arms.

    >>> floored(np.array([1.0, 0.0]), 0.1).tolist()
    [0.9, 0.1]
    """
    arms = shares.shape[-1]
    lifted: FloatArray = floor + (1.0 - arms * floor) * shares
    return lifted


def drawn(propensities: FloatArray, at: float) -> int:
    """Which arm `at` in [0, 1) falls on, with the propensities laid end to end; never one of probability 0."""
    ends = np.cumsum(propensities)
    index = int(np.searchsorted(ends, at * ends[-1], side="right"))
    # at * ends[-1] rounds up to the end itself at most in its last place.
    return min(index, int(np.flatnonzero(propensities)[-1]))
