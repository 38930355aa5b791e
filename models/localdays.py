"""Days of a time zone: from one local midnight to the next, also when its clocks change.

A local day begins at the first second whose local date is at least that day. If the clocks jump over midnight, that is the
second after the jump. If they go back over midnight, it is the first of the two midnights. A day that a time zone left out
begins together with the day after it. So days never go back, and equal moments have equal days.
"""

import math
from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

from schemas.states import NEVER

# What a datetime can hold in every zone: years 1 to 9999, without two days at both ends.
_FIRST, _LAST = -62_135_424_000.0, 253_402_128_000.0
_FIRST_DAY, _LAST_DAY = date.min.toordinal() + 2, date.max.toordinal() - 2


class ZoneUnknown(Exception):
    """No time zone of that name is known on this machine; the message says what to do."""


class LocalDays:
    """The days of one IANA time zone (`Europe/London`).

    The rules of a zone are data of the system, or of the package `tzdata` if the system has none.

    Raises:
        ZoneUnknown: the zone is not known here.
    """

    def __init__(self, zone: str) -> None:
        try:
            if zone in ("localtime", "posixrules"):  # files on some systems, which differ from machine to machine
                raise ValueError(zone)
            self._zone = ZoneInfo(zone)
        except (OSError, ValueError, KeyError) as exc:
            raise ZoneUnknown(
                f"'{zone}' is no time zone of the IANA data base (such as Europe/London or UTC) known here; "
                "on a system without that data, install the package tzdata"
            ) from exc
        self._begins: dict[int, float] = {}

    def between(self, start: float, end: float) -> int:
        """How many local days begin after the day of `start` and by `end` (epoch seconds); 0 if `end` is earlier."""
        return max(self.day(end) - self.day(start), 0)

    def after(self, start: float, days: float) -> float:
        """When the first whole number of local days, at least `days`, has passed since the day of `start`.

        In epoch seconds; `NEVER` after the year 9999.
        """
        return self.begins(self.day(start) + math.ceil(min(days, 4e6)))

    def day(self, at: float) -> int:
        """The latest local day that has begun by `at` (epoch seconds), as `date.toordinal` counts."""
        # Days begin at whole seconds. A fraction is dropped, because rounding it to microseconds could cross midnight.
        second = math.floor(min(max(at, _FIRST), _LAST))
        latest = datetime.fromtimestamp(second, self._zone).toordinal()
        while (
            self.begins(latest + 1) <= second
        ):  # after clocks went back over midnight, they show the day before once more
            latest += 1
        return latest

    def begins(self, day: int) -> float:
        """The first second of a local day, epoch seconds; `NEVER` after the year 9999."""
        if day > _LAST_DAY:
            return NEVER
        known = self._begins.get(day)
        if known is None:
            known = self._begins[day] = self._first_second(max(day, _FIRST_DAY))
        return known

    def _first_second(self, day: int) -> float:
        midnight = datetime.combine(date.fromordinal(day), time(), self._zone)
        at = round(midnight.timestamp())
        if self._local(at) == midnight.replace(tzinfo=None):
            return float(at)
        # Clocks jumped over midnight. By the offset after the jump it would have been before the jump.
        before = round(midnight.replace(fold=1).timestamp())
        while at - before > 1:
            middle = (before + at) // 2
            if self._local(middle).toordinal() >= day:
                at = middle
            else:
                before = middle
        return float(at)

    def _local(self, second: int) -> datetime:
        return datetime.fromtimestamp(second, UTC).astimezone(self._zone).replace(tzinfo=None)
