"""Whether this worker may still write: how long ago the group coordinator confirmed that it is a member.

A worker that was stopped or cut off must not write after its partitions moved. The broker drops a member that sends no
heartbeat for `session_timeout_s`, and a member that does not rejoin within `rebalance_timeout_s` of a rebalance. The lease
lasts for half of either time, from the moment when an answered heartbeat left this process. The other half is left for the
write to arrive.

That makes the window of a zombie writer smaller, but does not close it: a request may be under way for longer. The fence
(`fence`) closes it.

The patience with a silent Kafka is counted differently. Time in which this process stood still is not Kafka's silence,
because the process did not listen. A worker that was stopped and wakes may not write, but still has its patience.
"""

import time
from collections.abc import Callable

from streams.kafka.patience import PATIENCE_S, STOOD_STILL_S


def _clock() -> float:
    # CLOCK_BOOTTIME goes on while a machine is suspended; CLOCK_MONOTONIC does not.
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Lease:
    """The times of the last answered heartbeats. The consumer's thread writes them, the event loop reads them."""

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
        self._looked_at: float | None = None  # None: `look` was not called yet
        self._stood: list[tuple[float, float]] = []  # when the event loop stood still, since the last heartbeat

    def renew(self, sent_at: float, *, rebalancing: bool = False) -> None:
        """The coordinator answered a heartbeat sent at `sent_at`; `rebalancing`: it asked for a rejoin as well."""
        self._member_at = sent_at
        if not rebalancing:
            self._stable_at = sent_at
            self._lost = False
            self._known = True

    def lose(self) -> None:
        """The coordinator answered that this worker is not a member of the current generation."""
        self._lost = True

    def look(self) -> float:
        """How many seconds the event loop stood still before this call, mostly 0; call it there about once a second."""
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
        """Whether membership is known to be over, so that there is no answer to wait for."""
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
        """Seconds since the last answered heartbeat left this process, without those in which the process stood still."""
        now, member_at = self.clock(), self._member_at
        stood = list(self._stood)
        if self._looked_at is not None and now - self._looked_at > STOOD_STILL_S:
            stood.append((self._looked_at, now))  # the process has just woken
        return now - member_at - sum(max(0.0, until - max(since, member_at)) for since, until in stood)
