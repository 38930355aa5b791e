"""Labelled texts from the topic `reviews`: a shop's own ratings teach its own sentiment head."""

import math
from datetime import datetime
from typing import NamedTuple

import numpy as np

from schemas.events import REVIEWS, Rejected, Review, decode
from streams.kafka.readers import read_topic
from streams.settings import Settings
from streams.sources.labelled import NEUTRAL_RATING, Labelled, two_sided

# Customer and event_id: an id tells the events of one customer apart, not those of two.
_Event = tuple[str, str]


class _Rated(NamedTuple):
    """Ordered by event time, so that the order doesn't hang on how partitions were read."""

    at: datetime
    customer_id: str
    event_id: str
    text: str
    positive: bool


async def read_ratings(settings: Settings, latest: int) -> Labelled:
    """The `latest` texts by event time, of those with a rating that isn't neutral, each event once.

    Reads the topic from its beginning to its end as of the call; commits nothing and joins no group. What is left out
    are records of no event, repeats, and events without a text or with no or a neutral rating.

    Raises:
        BrokerLost: no broker answers.
        TopicsNotReady: the topic isn't there.
        OneSided: not both labels among them.
    """
    topic = settings.topic(REVIEWS)
    rated: dict[_Event, _Rated] = {}
    seen = 0
    async for records in read_topic(settings, topic):
        seen += len(records)
        for record in records:
            found = _rated(record.key, record.value)
            if found is not None:
                rated.setdefault((found.customer_id, found.event_id), found)
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
    """The last `count`, in their order."""
    return {(one.customer_id, one.event_id): one for one in sorted(rated.values())[-count:]}
