"""Logs that repeat themselves, or say nothing.

While a broker is away, its clients say so ninety times a second; and a healthy worker is told of as if it were ill.
"""

import logging
import time
from collections.abc import Callable

EVERY_S = 10.0

# A thread that was waited for while it started, restored or was stopped; a poll that a rebalance overtook. Where a thread
# really hangs, no heartbeat is answered.
EVERYDAY = ("Thread keepalive is not responding", "exception performing seek when flow not active")


class Everyday(logging.Filter):
    """Keeps back what mode and faust warn of several times in the life of a healthy worker."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record passes."""
        said = record.getMessage()
        return not any(line in said for line in EVERYDAY)


class OncePer(logging.Filter):
    """Lets records of one line of code pass once in `every_s`; the next that passes says how many did not.

    Args:
        every_s: seconds; what differs in the text of two records makes no difference.
        clock: monotonic seconds.
    """

    def __init__(self, every_s: float = EVERY_S, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._every_s, self._clock = every_s, clock
        self._told: dict[tuple[str, int], tuple[float, int]] = {}  # line -> when it was told, how often kept back since

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record passes."""
        line, now = (record.pathname, record.lineno), self._clock()
        told_at, kept_back = self._told.get(line, (-self._every_s, 0))
        if now - told_at < self._every_s:
            self._told[line] = told_at, kept_back + 1
            return False
        self._told[line] = now, 0
        if kept_back:
            record.msg = f"{record.getMessage()} (and {kept_back} more like it in {now - told_at:.0f} s)"
            record.args = None
        return True
