"""Labelled texts from the topic `reviews`, so that a shop's own ratings can train its sentiment head."""

import math
from datetime import datetime
from typing import NamedTuple

import numpy as np

from schemas.events import REVIEWS, Rejected, Review, decode
from streams.kafka.readers import read_topic
from streams.settings import Settings
from streams.sources.labelled import NEUTRAL_RATING, Labelled, two_sided

# Customer and event_id: an event_id is unique only within one customer.
_Event = tuple[str, str]


class _Rated(NamedTuple):
    """A rated text. Ordered by event time, so the order doesn't depend on how the partitions were read."""

    at: datetime
    customer_id: str
    event_id: str
    text: str
    positive: bool


async def read_ratings(settings: Settings, latest: int) -> Labelled:
    """The `latest` texts by event time that have a rating which isn't neutral, each event once.

    Reads the topic from its beginning to its end at the time of the call. Commits nothing and joins no group. Left out are
    records that are no valid event, repeated events, and events without a text, without a rating or with a neutral one.

    Raises:
        BrokerLost: no broker answers.
        TopicsNotReady: the topic isn't there.
        OneSided: only one of the two labels occurs.
    """
    topic = settings.topic(REVIEWS)
    rated: dict[_Event, _Rated] = {}
    seen = 0
    async for records in read_topic(settings, topic):
        seen += len(records)
        for record in records:
            text = _rated(record.key, record.value)
            if text is not None:
                rated.setdefault((text.customer_id, text.event_id), text)
        if len(rated) > 2 * latest:
            rated = _latest(rated, latest)
    kept = list(_latest(rated, latest).values())
    positive = np.array([one.positive for one in kept], np.int64)
    return two_sided(topic, Labelled([one.text for one in kept], positive, seen - len(kept)))


def _rated(key: bytes | None, value: bytes | None) -> _Rated | None:
    try:
        event = decode(REVIEWS, key, value, math.inf)
    except Rejected:
        return None
    assert isinstance(event, Review)
    if event.rating is None or event.rating == NEUTRAL_RATING or not event.text.strip():
        return None
    return _Rated(event.event_time, event.customer_id, event.event_id, event.text, event.rating > NEUTRAL_RATING)


def _latest(rated: dict[_Event, _Rated], count: int) -> dict[_Event, _Rated]:
    """The last `count` by event time, in order."""
    return {(one.customer_id, one.event_id): one for one in sorted(rated.values())[-count:]}
