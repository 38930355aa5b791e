"""Partition time, the watermark of one partition: how far event time has surely come. The contract's "Time" has its rules.

Each of the three topics has a time: the highest event or clock time consumed. While a topic has a backlog, partition time
is the lowest of these times. It never passes an event that is held back until its text is read.

In wall mode, when all three topics are caught up, it is the wall clock less a grace, as of the moment at which they were
last seen to be caught up.

It never goes back. A topic that never had a record, and has none waiting, holds nothing back; in wall mode it is taken to
be as far as the wall clock, so that one event ahead of it doesn't move the partition alone. A topic of which nothing is
known yet holds everything back.
"""

from heapq import heappop, heappush
from typing import Literal

from models.state import PURCHASE

UNKNOWN = float("-inf")


class PartitionClock:
    """The clock of one partition.

    Attributes:
        times: per topic, the highest event or clock time consumed (epoch seconds); None: nothing yet.
    """

    def __init__(self, mode: Literal["wall", "event"], grace_s: float) -> None:
        self.times: list[float | None] = [None, None, None]
        self._mode, self._grace_s = mode, grace_s
        self._idle_at: list[float | None] = [None, None, None]
        # Heaps, one per topic: event times that were held back, and those of them that were served since.
        self._held: tuple[list[float], list[float], list[float]] = ([], [], [])
        self._served: tuple[list[float], list[float], list[float]] = ([], [], [])
        self._now = UNKNOWN

    def heard(self, topic: int, at: float) -> None:
        """An event or clock record of `topic` has the time `at`."""
        known = self.times[topic]
        if known is None or at > known:
            self.times[topic] = at

    def hold(self, topic: int, at: float) -> None:
        """An event of `topic` was consumed and is held back: partition time doesn't pass it."""
        heappush(self._held[topic], at)

    def serve(self, topic: int, at: float) -> None:
        """An event that was held back is applied now."""
        held, served = self._held[topic], self._served[topic]
        heappush(served, at)
        while served and served[0] == held[0]:
            heappop(held)
            heappop(served)
        self.heard(topic, at)

    def idle(self, topic: int, at_s: float) -> None:
        """Every record that `topic` had at wall time `at_s` has been consumed."""
        self._idle_at[topic] = at_s

    def busy(self, topic: int) -> None:
        """`topic` has records waiting."""
        self._idle_at[topic] = None

    def now(self) -> float:
        """Partition time, epoch seconds; `UNKNOWN` until every topic has been looked at."""
        now = UNKNOWN
        idle = [at for at in self._idle_at if at is not None]
        if all(at is not None for at in self.times) or self._only_empty_topics_are_silent():
            times = [at for at in self.times if at is not None]
            if times and self._mode == "wall":
                # Nothing was ever heard of these topics: they are as far as the wall clock, not as far as the others.
                times += [
                    idle - self._grace_s
                    for at, idle in zip(self.times, self._idle_at, strict=True)
                    if at is None and idle is not None
                ]
            now = min(times, default=UNKNOWN)
        if self._mode == "wall" and len(idle) == len(self._idle_at):
            now = max(now, min(idle) - self._grace_s)
        for held in self._held:
            if held:
                now = min(now, held[0])
        self._now = max(self._now, now)
        return self._now

    def kept(self, topic: int) -> float | None:
        """The time of `topic` to store: a restart goes on from it, and consumes once more what is held back.

        An event that is held back limits it, but not below partition time: silence has been judged up to there.
        """
        at, held = self.times[topic], self._held[topic]
        return at if at is None or not held else min(at, max(held[0], self.now()))

    def purchases_known(self) -> float:
        """The event time up to which every purchase has surely been read."""
        known, idle = self.times[PURCHASE], self._idle_at[PURCHASE]
        if self._mode == "wall" and idle is not None:
            return max(UNKNOWN if known is None else known, idle - self._grace_s)
        if known is None:
            return float("inf") if idle is not None else UNKNOWN
        return known

    def _only_empty_topics_are_silent(self) -> bool:
        return all(at is not None or idle is not None for at, idle in zip(self.times, self._idle_at, strict=True))
