"""The records of a replay: encoded events in event-time order, with clock records between them.

A clock record says that event time has reached a moment. It makes silence part of history, even where a topic or a
partition has no event for days. It goes to every partition of all three input topics.
"""

import math
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec

from schemas.events import (
    CLICKSTREAM,
    PURCHASES,
    RECORD_LIMIT_BYTES,
    REVIEWS,
    Click,
    Event,
    Purchase,
    Review,
)
from schemas.headers import CLOCK_HEADER
from schemas.times import DAY_S, to_rfc3339

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TOPIC_OF: dict[type[Event], str] = {Click: CLICKSTREAM, Purchase: PURCHASES, Review: REVIEWS}
_encode = msgspec.json.Encoder().encode


class EventRecord(NamedTuple):
    """One event, encoded. `topic` is a name of `INPUT_TOPICS`, without the prefix."""

    at_s: float
    topic: str
    key: bytes
    value: bytes


class ClockRecord(NamedTuple):
    """Event time has reached `at_s`."""

    at_s: float

    def header(self) -> tuple[str, bytes]:
        """The header that makes a record (null key, empty value) a clock record.

        >>> ClockRecord(0.0).header()
        ('regulars-clock', b'1970-01-01T00:00:00Z')
        """
        return CLOCK_HEADER, to_rfc3339(self.at_s).encode()


RecordStream = Iterator[EventRecord | ClockRecord]


def instant(at_s: float) -> datetime:
    """`at_s` (epoch seconds) as aware UTC, to the microsecond.

    >>> instant(1.5).isoformat()
    '1970-01-01T00:00:01.500000+00:00'
    """
    return _EPOCH + timedelta(seconds=at_s)


def event_record(at_s: float, event: Event) -> EventRecord:
    """`event`, which happened at `at_s`, as a record of its topic."""
    return EventRecord(at_s, _TOPIC_OF[type(event)], event.customer_id.encode(), _encode(event))


def purchase_record(at_s: float, purchase: Purchase) -> EventRecord:
    """`purchase` as a record within the size limit.

    A basket of hundreds of lines can exceed the limit of a record: then its lines lose their descriptions and, where
    that is not enough, are left out. The amount is the purchase's own and stays.
    """
    whole = event_record(at_s, purchase)
    if len(whole.value) <= RECORD_LIMIT_BYTES:
        return whole
    bare = tuple(msgspec.structs.replace(line, description=None, category=None) for line in purchase.items or ())
    shorter = event_record(at_s, msgspec.structs.replace(purchase, items=bare))
    if len(shorter.value) <= RECORD_LIMIT_BYTES:
        return shorter
    return event_record(at_s, msgspec.structs.replace(purchase, items=()))


def with_clocks(items: Iterable[EventRecord], last_s: float, every_s: float = DAY_S) -> RecordStream:
    """`items` (in event-time order) with clock records: at the first item's time, every `every_s`, and at `last_s`.

    Those in between are at whole multiples of `every_s`: at 00:00 UTC for days. A clock record comes before the events of
    the same moment; only the last clock record comes after them. A `last_s` before the last item's time counts as that
    time. Without items there is one clock record, at `last_s`.

    >>> day = 86_400.0
    >>> events = [EventRecord(day + 5, "purchases", b"a", b"{}"), EventRecord(3 * day, "purchases", b"a", b"{}")]
    >>> [(type(x).__name__[:5], round(x.at_s / day, 2)) for x in with_clocks(events, 3.5 * day)]
    [('Clock', 1.0), ('Event', 1.0), ('Clock', 2.0), ('Clock', 3.0), ('Event', 3.0), ('Clock', 3.5)]
    """
    tick = math.inf
    reached_s = -math.inf
    for each in items:
        if reached_s == -math.inf:
            yield ClockRecord(each.at_s)
            tick = _next_tick(each.at_s, every_s)
        while tick <= each.at_s:
            yield ClockRecord(tick)
            tick += every_s
        reached_s = each.at_s
        yield each
    last_s = max(last_s, reached_s)
    while tick < last_s:
        yield ClockRecord(tick)
        tick += every_s
    yield ClockRecord(last_s)


def _next_tick(after_s: float, every_s: float) -> float:
    return (math.floor(after_s / every_s) + 1) * every_s
