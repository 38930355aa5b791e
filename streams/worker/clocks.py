"""Compares this worker's clock with the brokers': by the time that a broker stamps on a record of this worker's own.

The record lies between its sending and its acknowledgement, so the two clocks surely differ where the stamp lies outside of
that, however long the answer takes. While they differ by more than a minute, nothing is judged by this worker's clock.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Literal, NamedTuple

import structlog

from streams.kafka.errors import InfrastructureFailure

log = structlog.get_logger(__name__)

LIMIT_S = 60.0
# How often it is compared: a clock that was set right or wrong is noticed in this time.
COMPARE_EVERY_S = 30.0


class Stamped(NamedTuple):
    """A record of this worker: sent and acknowledged by its clock, appended by the broker's (epoch seconds)."""

    sent_at: float
    appended_at: float
    acknowledged_at: float

    @property
    def difference_s(self) -> float:
        """By how much this worker's clock is surely ahead of the broker's; below 0: behind.

        >>> Stamped(100.0, 101.0, 110.0).difference_s, Stamped(100.0, 40.0, 110.0).difference_s
        (0.0, 60.0)
        >>> Stamped(100.0, 400.0, 110.0).difference_s
        -290.0
        """
        return max(self.sent_at - self.appended_at, 0.0) + min(self.acknowledged_at - self.appended_at, 0.0)


class ClockWatch:
    """Whether this worker's clock can be judged by.

    Args:
        stamp: sends a record and gives its stamp; None: the broker stamps none, so there is nothing to compare with.
        mode: what measures silence; with `event` nothing is judged by a clock, and none is compared.
        clock: this worker's, epoch seconds.

    Attributes:
        difference_s: by how much this worker's clock is surely ahead of the brokers'; None: not compared yet.
    """

    def __init__(
        self,
        stamp: Callable[[], Awaitable[float | None]],
        mode: Literal["wall", "event"] = "wall",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._stamp, self._clock, self._mode = stamp, clock, mode
        self.difference_s: float | None = 0.0 if mode == "event" else None
        self._compared_at = float("-inf")

    @property
    def is_right(self) -> bool:
        """Whether it was compared, and does not differ by more than `LIMIT_S`."""
        return self.difference_s is not None and abs(self.difference_s) <= LIMIT_S

    async def compare(self) -> None:
        """Compares the clocks, where that is due, and says when what it finds changes."""
        if self._mode == "event" or time.monotonic() - self._compared_at < COMPARE_EVERY_S:
            return
        sent_at = self._clock()
        try:
            appended_at = await self._stamp()
        except InfrastructureFailure as exc:
            log.warning("this machine's clock could not be compared with the brokers'", why=str(exc))
            return
        self._compared_at = time.monotonic()
        was_wrong = self.difference_s is not None and not self.is_right
        self.difference_s = 0.0 if appended_at is None else Stamped(sent_at, appended_at, self._clock()).difference_s
        if not self.is_right:
            log.error(
                "this machine's clock and the brokers' differ: silence is not judged; set the wrong one right",
                difference_s=round(self.difference_s, 1),
                limit_s=LIMIT_S,
            )
        elif was_wrong:
            log.info("this machine's clock and the brokers' agree again")
