"""Flaps: changes that reverse the change before them within a week. A policy's margin and dwell make them rare."""

from collections import Counter
from collections.abc import Iterable

from models.step import Move
from schemas.times import DAY_S

#: A change back after a longer time counts as news, not as a flap.
WITHIN_DAYS = 7.0

# A moment is a sum of float64 seconds.
_WITHIN_S = WITHIN_DAYS * DAY_S + 0.001


class Flaps:
    """Counts changes and reversals per dimension. The moves of a customer must come in their order.

    A move from one segment to another is a change; the first placement in a segment is not. A reversal is a change back to
    the segment that the change before it, in the same dimension, had left at most `WITHIN_DAYS` earlier.

    Attributes:
        changes: by dimension.
        reversals: by dimension; among the changes.
    """

    def __init__(self) -> None:
        self.changes: Counter[str] = Counter()
        self.reversals: Counter[str] = Counter()
        self._latest: dict[tuple[str, str], tuple[str, float]] = {}

    def count(self, customer_id: str, moves: Iterable[Move]) -> None:
        """Counts the next moves of a customer."""
        for move in moves:
            if move.previous is None:
                continue
            place = (customer_id, move.dimension)
            before = self._latest.get(place)
            self.changes[move.dimension] += 1
            if before is not None and before[0] == move.current and move.at - before[1] <= _WITHIN_S:
                self.reversals[move.dimension] += 1
            self._latest[place] = (move.previous, move.at)

    def rate(self, dimension: str) -> float:
        """Reversals per 1,000 changes of a dimension; 0 if there was no change."""
        changes = self.changes[dimension]
        return 1000.0 * self.reversals[dimension] / changes if changes else 0.0
