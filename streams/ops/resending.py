"""Sending dead letters back to the topics that they came from, once the cause of the refusal is corrected. This writes.

What was sent is remembered (`sent_back`), so that a second replay sends only what the first one did not.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from aiokafka.errors import KafkaError

from schemas.headers import REPLAYED_HEADER
from streams.kafka.clients import producer as new_producer
from streams.kafka.clients import started
from streams.ops.dead_letters import TOO_LARGE, UNFIT, Choice, RefusedRecord, letters, survey
from streams.ops.sent_back import remember, sent_of
from streams.settings import Settings

BEFORE = "before"  # why a letter is left out: an earlier replay sent it
# A letter has up to 2 MiB: this many in flight are at most 100 MB, and enough to hide the round trip.
IN_FLIGHT = 50
MAX_REQUEST_BYTES = 4 << 20

Place = tuple[int, int]  # partition and offset in `dead-letters`


class ReplayCounts(NamedTuple):
    """What a replay did, or would do: letters to send by topic, and letters left out by reason."""

    by_topic: Mapping[str, int]
    before: int  # sent back by an earlier replay
    too_large: int  # cut, or larger than an input topic takes
    unfit: int  # without key and value, or from a topic that is no input of this prefix


async def replay(settings: Settings, choice: Choice, *, send: bool, again: bool = False) -> ReplayCounts:
    """Sends letters back to their topics, to the partition of their key; without `send` it only counts them.

    Key, value and the producer's headers are the original ones; `REPLAYED_HEADER` names where the record was first
    refused. A clock record goes to the partition that it came from. The letter stays in `dead-letters`. A crash on the way
    sends some letters twice: the customer's state recognises a recent event id.

    Args:
        settings: which cluster and topics.
        choice: which letters.
        send: whether anything is sent.
        again: whether to send what an earlier replay sent as well.

    Raises:
        BrokerLost: no broker answers.
        TopicsNotReady: there is no topic `dead-letters`.
        KafkaError: a record could not be sent; what was sent before it is remembered where that is possible.
    """
    refused = await survey(settings)
    by_topic: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    places = set()
    for letter, _, sent_back, hindrance in refused:
        if not choice.takes(letter):
            continue
        if hindrance or (sent_back and not again):
            left_out[hindrance or BEFORE] += 1
        else:
            by_topic[letter.topic] += 1
            places.add(letter.place)
    if send and places:
        acknowledged: set[Place] = set()
        try:
            await _send(settings, places, acknowledged)
        except KafkaError:
            with contextlib.suppress(KafkaError):
                await _remember(settings, refused, acknowledged)
            raise
        await _remember(settings, refused, acknowledged)
    return ReplayCounts(by_topic, left_out[BEFORE], left_out[TOO_LARGE], left_out[UNFIT])


async def _send(settings: Settings, places: Collection[Place], acknowledged: set[Place]) -> None:
    """Sends the letters at `places`; adds to `acknowledged` those that Kafka has."""
    made = new_producer(settings, max_request_bytes=MAX_REQUEST_BYTES)
    async with started(made, settings, "writing to the input topics") as producer:
        in_flight: dict[Place, asyncio.Future[Any]] = {}
        async for letter in letters(settings):
            if letter.place not in places:
                continue
            headers = [*letter.headers, (REPLAYED_HEADER, letter.record.encode())]
            partition = letter.source_partition if letter.is_clock else None
            in_flight[letter.place] = await producer.send(
                letter.topic, letter.value, letter.key, partition, headers=headers
            )
            if len(in_flight) >= IN_FLIGHT:
                await _settle(in_flight, acknowledged)
        await _settle(in_flight, acknowledged)


async def _settle(in_flight: dict[Place, asyncio.Future[Any]], acknowledged: set[Place]) -> None:
    """Waits for every answer, notes which letters Kafka has, then raises the first error."""
    answers = await asyncio.gather(*in_flight.values(), return_exceptions=True)
    acknowledged.update(
        place for place, answer in zip(in_flight, answers, strict=True) if not isinstance(answer, Exception)
    )
    in_flight.clear()
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer


async def _remember(settings: Settings, refused: Sequence[RefusedRecord], acknowledged: Collection[Place]) -> None:
    """Adds `acknowledged` to what is remembered; a letter that cannot be sent counts as sent."""
    by_reason: dict[str, dict[int, list[tuple[int, bool]]]] = {each.letter.reason: {} for each in refused}
    for letter, _, sent_back, hindrance in refused:
        is_sent = sent_back or bool(hindrance) or letter.place in acknowledged
        by_reason[letter.reason].setdefault(letter.partition, []).append((letter.at, is_sent))
    for reason in sorted({each.letter.reason for each in refused if each.letter.place in acknowledged}):
        sent = {partition: sent_of(sorted(places)) for partition, places in by_reason[reason].items()}
        await remember(settings, reason, sent)
