"""How far each input partition may be committed. Pure: no Kafka, no clock.

The committable offset of a topic partition is the lowest offset that is not done yet. That is the end of the contiguous
prefix of offsets that were handed over and became durable, or, below it, the lowest record that a job still holds.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from faust.types import TP


class Span(NamedTuple):
    """Offsets that one poll took from a topic partition: from `start` up to, but not including, `end`.

    Not every offset in between has a record: compaction and transactions leave holes.
    """

    start: int
    end: int


class Hole(Exception):
    """A span begins beyond what is done: the records in between were never processed. A bug; a commit would lose them."""

    def __init__(self, tp: TP, done: int, span: Span) -> None:
        super().__init__(f"{tp.topic}[{tp.partition}]: done up to {done}, but the next records begin at {span.start}")


class Stale(Exception):
    """The span belongs to an earlier assignment. Its records come again, so they must not count."""


class InputPosition(NamedTuple):
    """Where an input topic partition stands.

    Attributes:
        done: every offset below it is processed, or held.
        committed: the offset that is committed; None before the first commit of the group.
        held: how many records a job holds.
    """

    done: int
    committed: int | None
    held: int


class Progress:
    """Done and held offsets of every topic partition of one assignment.

    An epoch is one assignment: `begin` starts it with the positions that the broker has committed. Whatever refers to an
    earlier epoch is refused with `Stale`.
    """

    def __init__(self) -> None:
        self.epoch = 0
        self._done: dict[TP, int] = {}
        self._held: dict[TP, set[int]] = {}
        self._committed: dict[TP, int] = {}

    def forget(self) -> int:
        """Ends the assignment: nothing is done, held or committed. Returns the number of the next epoch."""
        self.epoch += 1
        self._done.clear()
        self._held.clear()
        self._committed.clear()
        return self.epoch

    def begin(self, positions: Mapping[TP, int]) -> None:
        """Takes the positions to begin at; a topic partition that already has one in this epoch keeps it."""
        for tp, position in positions.items():
            self._done.setdefault(tp, position)

    def done(self, epoch: int, spans: Mapping[TP, Span], held: Iterable[tuple[TP, int]] = ()) -> None:
        """Marks spans as processed and durable, apart from the offsets in `held`.

        Either all spans are marked or none. A span that was done before changes nothing (a rewind).

        Raises:
            Stale: `epoch` is over.
            Hole: a span begins beyond what is done.
        """
        if epoch != self.epoch:
            raise Stale
        for tp, span in spans.items():
            if span.start > self._done[tp]:
                raise Hole(tp, self._done[tp], span)
        for tp, offset in held:
            if offset >= self._done[tp]:
                self._held.setdefault(tp, set()).add(offset)
        for tp, span in spans.items():
            self._done[tp] = max(self._done[tp], span.end)

    def release(self, epoch: int, held: Iterable[tuple[TP, int]]) -> None:
        """Ends holds; offsets that are not held are ignored.

        Raises:
            Stale: `epoch` is over, and the holds with it.
        """
        if epoch != self.epoch:
            raise Stale
        for tp, offset in held:
            if (offsets := self._held.get(tp)) is not None:
                offsets.discard(offset)

    def commit(self, epoch: int, offsets: Mapping[TP, int]) -> None:
        """Notes what the broker has committed; ignored where `epoch` is over."""
        if epoch == self.epoch:
            self._committed.update(offsets)

    def committed(self, tp: TP) -> int | None:
        """The offset that is committed for the topic partition; None: there is none yet in this assignment."""
        return self._committed.get(tp)

    def position(self, tp: TP) -> int | None:
        """Every offset below it was handed over, and is durable or held; None: the topic partition is not assigned."""
        return self._done.get(tp)

    def held(self, tp: TP) -> int:
        """How many records of the topic partition are held."""
        return len(self._held.get(tp, ()))

    def committable(self) -> dict[TP, int]:
        """The offset to commit for each topic partition: that of the next record that must be processed."""
        return {tp: min(held) if (held := self._held.get(tp)) else done for tp, done in self._done.items()}
