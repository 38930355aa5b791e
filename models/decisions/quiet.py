"""Quiet hours: a stretch of the day, by the clock where the customer is, in which nobody is contacted."""

import re
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from models.localdays import LocalDays, ZoneUnknown

_SPAN = re.compile(r"(?P<h1>[01]\d|2[0-3]):(?P<m1>[0-5]\d)-(?P<h2>[01]\d|2[0-3]):(?P<m2>[0-5]\d)")


class QuietHours(NamedTuple):
    """Minutes after local midnight: quiet from `begins` on, until just before `ends`; over midnight where it is less."""

    begins: int
    ends: int

    def covers(self, at: float, zone: str) -> bool:
        """Whether `at` (epoch seconds) is within, by the wall clock of `zone` (IANA).

        Where clocks go back, an hour that comes twice is quiet twice.
        """
        local = datetime.fromtimestamp(at, _zone(zone))
        minute = local.hour * 60 + local.minute
        if self.begins < self.ends:
            return self.begins <= minute < self.ends
        return minute >= self.begins or minute < self.ends


def quiet_hours(text: str) -> QuietHours:
    """Reads `21:00-08:00`.

    Raises:
        ValueError: it is no such span, or an empty one.

    >>> quiet_hours("21:00-08:00")
    QuietHours(begins=1260, ends=480)
    """
    match = _SPAN.fullmatch(text)
    if match is None:
        raise ValueError(f"'{text}' is no span of hours such as 21:00-08:00")
    h1, m1, h2, m2 = (int(match[group]) for group in ("h1", "m1", "h2", "m2"))
    span = QuietHours(h1 * 60 + m1, h2 * 60 + m2)
    if span.begins == span.ends:
        raise ValueError(f"'{text}' begins where it ends; leave quiet hours out, or pause the campaign")
    return span


def is_zone(zone: str) -> bool:
    """Whether a time zone of that IANA name is known here."""
    try:
        LocalDays(zone)
    except ZoneUnknown:
        return False
    return True


@lru_cache(maxsize=1024)
def _zone(zone: str) -> tzinfo:
    return UTC if zone == "UTC" else ZoneInfo(zone)
