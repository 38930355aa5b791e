"""Whether this worker may still write: how long ago the group coordinator confirmed that it is a member.

A worker that was stopped or cut off must not write after its partitions moved. The broker drops a member that it has
not heard from for `session_timeout_s`, and one that does not rejoin within `rebalance_timeout_s` of a rebalance. Half
of either, counted from the moment a heartbeat that was answered left this process, leaves the other half for the write
to arrive.

That narrows the window of a zombie writer, it does not close it: a request may be under way for longer than that.
"""

import time
from collections.abc import Callable

from streams.plane.patience import PATIENCE_S


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
        """Seconds since the last heartbeat that was answered left this process."""
        return self.clock() - self._member_at
