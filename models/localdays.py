"""Days as a place counts them: from one local midnight to the next, whatever its clocks do in between.

A local day begins at the first second whose local date has come that far: where clocks jump over midnight that is the
second after the jump, where they go back over it the first of the two midnights, and a day that a place left out
begins with the one after it. So days only ever go forward, and two moments of equal time have equal days.
"""

import math
from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

from schemas.states import NEVER

# What a datetime can hold in every zone: years 1 to 9999, two days in from both ends.
_FIRST, _LAST = -62_135_424_000.0, 253_402_128_000.0
_FIRST_DAY, _LAST_DAY = date.min.toordinal() + 2, date.max.toordinal() - 2


class ZoneUnknown(Exception):
    """No time zone of that name is known here; the message says why and the way out."""


class LocalDays:
    """The days of one IANA time zone (`Europe/London`).

    Which rules a zone had and has is data: the system's, or that of the package `tzdata` where it has none.

    Raises:
        ZoneUnknown: no such zone here.
    """

    def __init__(self, zone: str) -> None:
        try:
            if zone in ("localtime", "posixrules"):  # files of some systems: another machine has other ones
                raise ValueError(zone)
            self._zone = ZoneInfo(zone)
        except (OSError, ValueError, KeyError) as exc:
            raise ZoneUnknown(
                f"'{zone}' is no time zone of the IANA data base (as Europe/London, America/Sao_Paulo, UTC) known here; "
                "a system without that data gets it with the package tzdata"
            ) from exc
        self._begins: dict[int, float] = {}

    def between(self, start: float, end: float) -> int:
        """How many local days have begun after that of `start` by `end` (epoch seconds); 0 where `end` is earlier."""
        return max(self.day(end) - self.day(start), 0)

    def after(self, start: float, days: float) -> float:
        """When the first whole number of local days, at least `days`, has passed since the day of `start`.

        Epoch seconds; `NEVER` beyond the calendar.
        """
        return self.begins(self.day(start) + math.ceil(min(days, 4e6)))

    def day(self, at: float) -> int:
        """The latest local day that has begun by `at` (epoch seconds), as `date.toordinal` counts."""
        # Days begin at whole seconds; a fraction would be rounded up to microseconds, and perhaps over midnight.
        second = math.floor(min(max(at, _FIRST), _LAST))
        latest = datetime.fromtimestamp(second, self._zone).toordinal()
        while self.begins(latest + 1) <= second:  # clocks that went back over midnight say the day before once more
            latest += 1
        return latest

    def begins(self, day: int) -> float:
        """The first second of a local day, epoch seconds; `NEVER` beyond the calendar."""
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
