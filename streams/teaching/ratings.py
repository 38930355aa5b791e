"""Labelled texts from the topic `reviews`: a shop's own ratings teach its own sentiment head."""

import math
from datetime import datetime
from typing import NamedTuple

import numpy as np

from schemas.events import REVIEWS, Rejected, Review, decode
from streams.ops.cluster import connect, layout, read_span, reader
from streams.settings import Settings
from streams.sources.labelled import NEUTRAL_RATING, Labelled, OneSided


class _Rated(NamedTuple):
    """Ordered by event time, so that the order doesn't hang on how partitions were read."""

    at: datetime
    event_id: str
    text: str
    positive: bool


async def read_ratings(settings: Settings, latest: int) -> Labelled:
    """The `latest` texts by event time, of those with a rating that isn't neutral, each event once.

    Reads the topic from its beginning to its end as of the call; commits nothing and joins no group. What is left out
    are records of no event, repeats, and events without a text or with no or a neutral rating.

    Raises:
        BrokerAway: no broker answers.
        TopicMissing: the topic isn't there.
        OneSided: not both labels among them.
    """
    topic = settings.topic(REVIEWS)
    client = await connect(settings.bootstrap_servers)
    try:
        tps = list(await layout(client, [topic], settings.bootstrap_servers))
    finally:
        await client.close()
    rated: dict[str, _Rated] = {}
    seen = left_out = 0
    async with reader(settings.bootstrap_servers) as consumer:
        starts, ends = await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)
        async for records in read_span(consumer, {tp: (starts[tp], ends[tp]) for tp in tps}):
            seen += len(records)
            for record in records:
                found = _rated(record.key, record.value)
                if found is not None:
                    rated.setdefault(found.event_id, found)
            if len(rated) > 2 * latest:
                rated = _latest(rated, latest)
    kept = sorted(_latest(rated, latest).values())
    left_out = seen - len(kept)
    positive = np.array([one.positive for one in kept], np.int64)
    if not 0 < positive.sum() < len(positive):
        raise OneSided(topic, len(kept))
    return Labelled([one.text for one in kept], positive, left_out)


def _rated(key: bytes | None, value: bytes | None) -> _Rated | None:
    try:
        event = decode(REVIEWS, key, value, math.inf)
    except Rejected:
        return None
    assert isinstance(event, Review)
    if event.rating is None or event.rating == NEUTRAL_RATING or not event.text.strip():
        return None
    return _Rated(event.event_time, event.event_id, event.text, event.rating > NEUTRAL_RATING)


def _latest(rated: dict[str, _Rated], count: int) -> dict[str, _Rated]:
    return {one.event_id: one for one in sorted(rated.values())[-count:]}
