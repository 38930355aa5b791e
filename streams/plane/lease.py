"""Whether this worker may still write: how long ago the group coordinator confirmed that it is a member.

A worker that was stopped or cut off must not write after its partitions moved. The broker drops a member that it has
not heard from for `session_timeout_s`, and one that does not rejoin within `rebalance_timeout_s` of a rebalance. Half
of either, counted from the moment a heartbeat that was answered left this process, leaves the other half for the write
to arrive.

That narrows the window of a zombie writer, it does not close it: a request may be under way for longer than that.

How long Kafka is waited for is another matter. There, time in which the process stood still isn't Kafka's silence, since
nobody listened; whoever was stopped and wakes may not write, but has its patience.
"""

import time
from collections.abc import Callable

from streams.kafka.patience import PATIENCE_S, STOOD_STILL_S


def _clock() -> float:
    # CLOCK_BOOTTIME goes on while a machine is suspended; CLOCK_MONOTONIC doesn't.
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Lease:
    """Times of the last answered heartbeats. Written by the consumer's thread, read by the loop that processes."""

    def __init__(
        self, session_timeout_s: float, rebalance_timeout_s: float, clock: Callable[[], float] = _clock
    ) -> None:
        self.clock = clock
        self.patience_s = PATIENCE_S
        self._member_for_s = session_timeout_s / 2
        self._stable_for_s = rebalance_timeout_s / 2
        self._member_at = clock()
        self._stable_at = self._member_at
        self._lost = True
        self._known = False
        self._looked_at: float | None = None  # None: nobody looks yet
        self._stood: list[tuple[float, float]] = []  # when the loop that looks stood still, since the last heartbeat

    def renew(self, sent_at: float, *, rebalancing: bool = False) -> None:
        """The coordinator answered a heartbeat sent at `sent_at`; `rebalancing`: it asked for a rejoin as well."""
        self._member_at = sent_at
        if not rebalancing:
            self._stable_at = sent_at
            self._lost = False
            self._known = True

    def lose(self) -> None:
        """The coordinator answered that this worker isn't a member, or not of the current generation."""
        self._lost = True

    def look(self) -> float:
        """To be called about once a second by the loop that processes; how many seconds it stood still before, mostly 0."""
        now, member_at = self.clock(), self._member_at
        before, self._looked_at = self._looked_at, now
        self._stood = [(since, until) for since, until in self._stood if until > member_at]
        if before is None or now - before <= STOOD_STILL_S:
            return 0.0
        self._stood.append((before, now))
        return now - before

    @property
    def known(self) -> bool:
        """Whether Kafka has answered once."""
        return self._known

    @property
    def lost(self) -> bool:
        """Whether membership is known to be over: waiting for an answer is of no use."""
        return self._lost

    @property
    def held(self) -> bool:
        """Whether a write that begins now reaches the broker while this worker is still a member."""
        now = self.clock()
        return (
            not self._lost and now - self._member_at < self._member_for_s and now - self._stable_at < self._stable_for_s
        )

    @property
    def hopeless(self) -> bool:
        """Whether Kafka has been silent for longer than `patience_s`; never before it answered once."""
        return self._known and self.silence_s > self.patience_s

    @property
    def silence_s(self) -> float:
        """Seconds since the last heartbeat that was answered left this process, without those in which it stood still."""
        now, member_at = self.clock(), self._member_at
        stood = list(self._stood)
        if self._looked_at is not None and now - self._looked_at > STOOD_STILL_S:
            stood.append((self._looked_at, now))  # just woken
        return now - member_at - sum(max(0.0, until - max(since, member_at)) for since, until in stood)
