"""How many customers have taught, in a kilobyte; and how far what they taught is trusted.

Hundreds of labels can be of few customers: they say little of everybody else, however many they are. So what was learnt
counts n / (n + `DOUBT`) on the link scale, n customers, and the prior the rest:

    served = prior + n / (n + DOUBT) (learnt - prior)

That is the shrinkage of an estimate from n groups towards what was known before. n is counted by a bitmap of hashes (linear
counting, Whang, Vander-Zanden and Taylor 1990): within a twentieth up to some 30,000, where trust is .99 anyway.
"""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

# How many customers are as good as the prior. Measured: docs/models.md, cold start.
DOUBT = 200.0

_BITS = 8_192
SIZE = _BITS // 8


class CustomerCount:
    """The customers that labels were of."""

    def __init__(self) -> None:
        self._seen = np.zeros(_BITS, dtype=np.bool_)

    def add(self, label_id: str) -> None:
        """Counts the customer of a label, once; the id begins with the customer's pseudonym."""
        customer = label_id.partition(":")[0]
        self._seen[int.from_bytes(blake2b(customer.encode(), digest_size=4).digest(), "little") % _BITS] = True

    @property
    def customers(self) -> float:
        """About how many there were.

        >>> count = CustomerCount()
        >>> for number in range(1000):
        ...     count.add(f"c{number}:0:30")
        ...     count.add(f"c{number}:0:90")
        >>> 950 < count.customers < 1050
        True
        """
        empty = _BITS - int(self._seen.sum())
        return float(-_BITS * np.log(max(empty, 1) / _BITS))

    @property
    def trust(self) -> float:
        """What counts of what was learnt, in [0, 1)."""
        return self.customers / (self.customers + DOUBT)

    def to_array(self) -> NDArray[np.uint8]:
        """(SIZE,): the bitmap."""
        return np.packbits(self._seen)

    @classmethod
    def from_array(cls, array: NDArray[np.uint8]) -> Self:
        """The inverse of `to_array`."""
        found = cls()
        found._seen = np.unpackbits(array).astype(np.bool_)
        return found


def trust_in(arrays: Mapping[str, NDArray[Any]]) -> float:
    """The trust of a snapshot; one of a release that didn't count its customers is trusted wholly, as it was."""
    return float(arrays["trust"][0]) if "trust" in arrays else 1.0
