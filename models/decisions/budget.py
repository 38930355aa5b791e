"""One budget over many partitions: a coordinator leases parts of it, a partition never spends more than its lease.

Amounts are whole minor units, so that nothing is lost to rounding. Time is cut into windows of the budget's `days`; a lease
holds for one window. What was leased and is not reported back counts as spent, whoever holds it and whatever became of
them: so a lost worker, a late report or one that comes twice can make a campaign spend less, never more.

    granted (all leases of a window) <= amount        the coordinator's law
    spent (of one lease)             <= granted       the partition's law
"""

import math
from typing import Self

from msgspec import Struct
from msgspec.structs import replace

from schemas.times import DAY_S

# A lease is this share of what is left, split over the partitions: small enough that a partition without customers
# does not sit on the budget, large enough that a busy one seldom waits for the next snapshot.
_SHARE_LEASED = 0.5


def window_of(at: float, days: float) -> int:
    """The number of the window that `at` (epoch seconds) lies in.

    >>> window_of(0.0, 30), window_of(30 * 86_400.0, 30)
    (0, 1)
    """
    return math.floor(at / (days * DAY_S))


class BudgetLease(Struct, frozen=True):
    """What one partition may spend in one window. It rides in the partition's state; `spent` only ever grows.

    `term` counts how often the partition has given back what it had left: a grant of an earlier term is an old one that
    comes late, and would hand the same money out twice.
    """

    window: int
    granted: int
    spent: int = 0
    term: int = 0

    def left(self, window: int) -> int:
        """What may still be spent in `window`, minor units; nothing in another one than the lease's."""
        return self.granted - self.spent if window == self.window else 0

    def spend(self, amount: int) -> Self:
        """The lease after `amount` was spent.

        Raises:
            ValueError: the lease does not hold as much; the decision should have suppressed the arm.
        """
        if amount > self.granted - self.spent:
            raise ValueError(f"{amount} of a lease that has {self.granted - self.spent} left")
        return replace(self, spent=self.spent + amount)

    def given_back(self) -> Self:
        """The lease with nothing left, in its next term; to be kept durably before the coordinator hears of it."""
        return replace(self, granted=self.spent, term=self.term + 1)

    def taken(self, grant: "BudgetLease") -> "BudgetLease":
        """The lease after the coordinator's word `grant`, whose `spent` is not read.

        A word of an older window or term changes nothing; a newer window begins anew.
        """
        if grant.window > self.window:
            return BudgetLease(grant.window, grant.granted)
        if grant.window < self.window or grant.term != self.term:
            return self
        return replace(self, granted=max(grant.granted, self.granted))


class Budget(Struct, frozen=True):
    """The coordinator's book of one window: `amount` in minor units, and each partition's lease as last heard of."""

    window: int
    amount: int
    leases: dict[int, BudgetLease] = {}

    @property
    def free(self) -> int:
        """What nobody holds and nobody has spent, minor units."""
        return self.amount - sum(lease.granted for lease in self.leases.values())

    def lease(self, partition: int) -> BudgetLease:
        """The coordinator's word to a partition."""
        return self.leases.get(partition, BudgetLease(self.window, 0))

    def heard(self, partition: int, lease: BudgetLease) -> "Budget":
        """The book after a partition's word: what it has spent, and what it has given back.

        A word of another window, or one that is older than the last, changes nothing.
        """
        known = self.lease(partition)
        if lease.window != self.window or (lease.term, lease.spent) <= (known.term, known.spent):
            return self
        granted = lease.granted if lease.term > known.term else known.granted
        heard = BudgetLease(self.window, granted, lease.spent, lease.term)
        return replace(self, leases={**self.leases, partition: heard})

    def leased(self, partitions: range) -> "Budget":
        """The book after more was granted to every partition that has used at least half of its lease."""
        leases, free = dict(self.leases), self.free
        part = max(int(free * _SHARE_LEASED) // max(len(partitions), 1), 1)
        for partition in partitions:
            lease = self.lease(partition)
            more = min(part, free)
            if more > 0 and 2 * lease.spent >= lease.granted:
                leases[partition] = replace(lease, granted=lease.granted + more)
                free -= more
        return replace(self, leases=leases)
