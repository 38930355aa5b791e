"""Dead letters: what is there and why, and sending them back to where they came from once the cause is mended.

A letter is named by its origin (topic, partition, offset): a crash may have written it twice, but it counts once. A
record that was sent back and refused again is the same record: it counts once as well, by its latest letter.
Which letters were sent back is remembered (`sent_back`), so that a second replay sends only those that were not.
"""

import asyncio
import contextlib
import re
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord

from schemas.events import CLOCK_HEADER, INPUT_TOPICS
from schemas.letters import LETTER_HEADERS, REPLAYED_HEADER, TRUNCATED_HEADER, WHOLE_LIMIT_BYTES, headers_bytes
from streams.kafka.readers import read_topic
from streams.kafka.security import kafka_options, telling
from streams.ops.sent_back import remember, remembered, sent
from streams.settings import Settings

UNKNOWN = "unknown"
# Why a letter is not sent back.
BEFORE, TOO_LARGE, UNFIT = "before", "too large", "unfit"
# A letter carries up to 2 MiB: this many in flight are at most 100 MB, and enough that the round trip doesn't count.
IN_FLIGHT = 50
MAX_REQUEST_BYTES = 4 << 20
# Of the 2 MiB that an input topic takes (max.message.bytes): Kafka's framing, and the header that says where it was.
FRAMING_BYTES = 1024


class Letter(NamedTuple):
    """One dead letter: where it lies, where it came from, why it was refused, and the record as it came."""

    partition: int  # in dead-letters, like `at`
    at: int
    written_s: float  # epoch seconds: when it was refused
    topic: str
    source_partition: int
    source_offset: int
    reason: str
    field: str
    detail: str
    replayed_from: str  # `origin` at which the record was first refused, if it was sent back since; else ""
    truncated: bool
    size: int  # bytes of what it has of the record
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]  # those that the producer gave it

    @property
    def origin(self) -> str:
        """`topic/partition/offset` of the record that was refused."""
        return f"{self.topic}/{self.source_partition}/{self.source_offset}"

    @property
    def record(self) -> str:
        """Names the record through all its refusals; the letter itself where nothing says where it came from."""
        return self.replayed_from or (self.origin if self.source_offset >= 0 else f"{self.partition}@{self.at}")

    @property
    def place(self) -> tuple[int, int]:
        """Partition and offset in `dead-letters`."""
        return self.partition, self.at

    @property
    def is_clock(self) -> bool:
        """Whether it says the time of the partition that it came from, and is nothing in another."""
        return not self.key and self.source_partition >= 0 and any(name == CLOCK_HEADER for name, _ in self.headers)


class Known(NamedTuple):
    """A refused record: its latest letter, without the bytes, and what was done about it."""

    letter: Letter
    again: bool  # it was sent back, and refused again
    sent_back: bool  # it was sent back, and not refused since
    hindrance: str  # why it can't be sent back: TOO_LARGE, UNFIT; "" where it can


class Choice(NamedTuple):
    """Which letters are meant; an empty part leaves the choice open."""

    reasons: Collection[str] = ()
    fields: Collection[str] = ()
    topics: Collection[str] = ()  # full names
    since_s: float | None = None

    def takes(self, letter: Letter) -> bool:
        """Whether the letter is meant."""
        return (
            (not self.reasons or letter.reason in self.reasons)
            and (not self.fields or letter.field in self.fields)
            and (not self.topics or letter.topic in self.topics)
            and (self.since_s is None or letter.written_s >= self.since_s)
        )


class Heap(NamedTuple):
    """Records that were refused for the same thing: how many, and the first and the last letter in time."""

    reason: str
    field: str
    topic: str
    records: int
    sent_back: int
    again: int
    first: Letter
    last: Letter


class Replay(NamedTuple):
    """What a replay did, or would do: letters to send by topic, letters left out and why."""

    by_topic: Mapping[str, int]
    before: int  # sent back by an earlier replay
    too_large: int  # cut, or larger than an input topic takes
    unfit: int  # without key and value, or from a topic that is no input of this prefix


def letter_of(record: ConsumerRecord) -> Letter:
    """The letter in a record of `dead-letters`; headers that are missing give `UNKNOWN` and -1."""
    speaks = (*LETTER_HEADERS, TRUNCATED_HEADER, REPLAYED_HEADER)
    ours = {name: (value or b"").decode(errors="replace") for name, value in record.headers if name in speaks}
    own = tuple((name, value) for name, value in record.headers if name not in speaks)
    return Letter(
        record.partition,
        record.offset,
        record.timestamp / 1000,
        ours.get("regulars-topic", UNKNOWN),
        _number(ours.get("regulars-partition")),
        _number(ours.get("regulars-offset")),
        ours.get("regulars-reason", UNKNOWN),
        ours.get("regulars-field", ""),
        ours.get("regulars-detail", ""),
        ours.get(REPLAYED_HEADER, ""),
        TRUNCATED_HEADER in ours,
        len(record.key or b"") + len(record.value or b"") + headers_bytes(own),
        record.key,
        record.value,
        own,
    )


def _number(text: str | None) -> int:
    return int(text) if text is not None and re.fullmatch("[0-9]{1,19}", text) else -1


async def letters(settings: Settings) -> AsyncIterator[Letter]:
    """Every letter as of now, a partition of the topic after the other; one that was written twice comes twice.

    Raises:
        BrokerAway: no broker answers.
        TopicMissing: there is no `dead-letters`.
    """
    async for records in read_topic(settings, settings.topic("dead-letters")):
        for record in records:
            yield letter_of(record)


async def survey(settings: Settings) -> list[Known]:
    """Every refused record, in the order in which their latest letters were written.

    Raises:
        BrokerAway: no broker answers.
        TopicMissing: there is no `dead-letters`.
        KafkaError: Kafka refuses.
    """
    latest: dict[str, Known] = {}
    homes = {settings.topic(name) for name in INPUT_TOPICS}
    async for letter in letters(settings):
        bare = letter._replace(key=None, value=None, headers=())
        made = Known(bare, bool(letter.replayed_from), False, _hindrance(letter, homes))
        before = latest.setdefault(letter.record, made)
        if before.letter.origin != letter.origin:
            latest[letter.record] = max(before, made, key=lambda each: _when(each.letter))._replace(again=True)
    through = await remembered(settings, sorted({each.letter.reason for each in latest.values()}))
    known = [
        each._replace(sent_back=not each.hindrance and through[name].holds(each.letter.at))
        if (name := (each.letter.reason, each.letter.partition)) in through
        else each
        for each in latest.values()
    ]
    return sorted(known, key=lambda each: _when(each.letter))


def _hindrance(letter: Letter, homes: Collection[str]) -> str:
    if letter.topic not in homes or (letter.key is None and letter.value is None):
        return UNFIT
    return TOO_LARGE if letter.truncated or letter.size + FRAMING_BYTES > WHOLE_LIMIT_BYTES else ""


def _when(letter: Letter) -> tuple[float, int, int]:
    return letter.written_s, *letter.place


def heaps(found: Iterable[Known]) -> list[Heap]:
    """Records, in the order of `survey`, by reason, field and topic; the largest heap first."""
    together: dict[tuple[str, str, str], Heap] = {}
    for letter, again, sent_back, _ in found:
        name = letter.reason, letter.field, letter.topic
        heap = together.get(name, Heap(*name, 0, 0, 0, letter, letter))
        together[name] = heap._replace(
            records=heap.records + 1, sent_back=heap.sent_back + sent_back, again=heap.again + again, last=letter
        )
    return sorted(together.values(), key=lambda heap: (-heap.records, heap[:3]))


async def replay(settings: Settings, choice: Choice, *, send: bool, again: bool = False) -> Replay:
    """Sends letters back to their topics, where their keys belong; without `send` only counts them.

    Key, value and the producer's own headers are the original's; `REPLAYED_HEADER` names where it was first refused. A
    clock record goes to the partition that it came from. The letter stays where it is. A crash on the way sends some
    twice: the customer's state knows a recent event id again.

    Args:
        settings: which cluster and topics.
        choice: which letters.
        send: whether anything is sent.
        again: also what an earlier replay sent.

    Raises:
        BrokerAway: no broker answers.
        TopicMissing: there is no `dead-letters`.
        KafkaError: a record could not be sent; what was sent before it is remembered where that is possible.
    """
    known = await survey(settings)
    by_topic: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    places = set()
    for letter, _, sent_back, hindrance in known:
        if not choice.takes(letter):
            continue
        if hindrance or (sent_back and not again):
            left_out[hindrance or BEFORE] += 1
        else:
            by_topic[letter.topic] += 1
            places.add(letter.place)
    if send and places:
        done: set[tuple[int, int]] = set()
        try:
            await _send(settings, places, done)
        except KafkaError:
            with contextlib.suppress(KafkaError):
                await _remember(settings, known, done)
            raise
        await _remember(settings, known, done)
    return Replay(by_topic, left_out[BEFORE], left_out[TOO_LARGE], left_out[UNFIT])


async def _send(settings: Settings, places: Collection[tuple[int, int]], done: set[tuple[int, int]]) -> None:
    """Sends the letters at `places`; `done` gets those that were acknowledged."""
    producer = AIOKafkaProducer(
        **kafka_options(settings),
        acks="all",
        enable_idempotence=True,
        max_request_size=MAX_REQUEST_BYTES,
    )
    async with telling(settings):
        await producer.start()
    on_their_way: dict[tuple[int, int], asyncio.Future[Any]] = {}

    async def acknowledged() -> None:
        answers = await asyncio.gather(*on_their_way.values(), return_exceptions=True)
        done.update(place for place, got in zip(on_their_way, answers, strict=True) if not isinstance(got, Exception))
        on_their_way.clear()
        for got in answers:
            if isinstance(got, Exception):
                raise got

    try:
        async for letter in letters(settings):
            if letter.place not in places:
                continue
            headers = [*letter.headers, (REPLAYED_HEADER, letter.record.encode())]
            partition = letter.source_partition if letter.is_clock else None
            sending = await producer.send(letter.topic, letter.value, letter.key, partition, headers=headers)
            on_their_way[letter.place] = sending
            if len(on_their_way) >= IN_FLIGHT:
                await acknowledged()
        await acknowledged()
    finally:
        await producer.stop()


async def _remember(settings: Settings, known: Sequence[Known], done: Collection[tuple[int, int]]) -> None:
    """Adds `done` to what is remembered; what can't be sent is passed over."""
    through: dict[str, dict[int, list[tuple[int, bool]]]] = {each.letter.reason: {} for each in known}
    for letter, _, sent_back, hindrance in known:
        is_through = sent_back or bool(hindrance) or letter.place in done
        through[letter.reason].setdefault(letter.partition, []).append((letter.at, is_through))
    for reason in sorted({each.letter.reason for each in known if each.letter.place in done}):
        await remember(settings, reason, {partition: sent(sorted(of)) for partition, of in through[reason].items()})
