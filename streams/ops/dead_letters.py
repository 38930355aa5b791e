"""Dead letters: which records were refused, and why.

A letter is named by its origin (topic, partition, offset). A crash may have written a letter twice; it counts once. A
record that was sent back and refused again is the same record: it counts once as well, by its latest letter.
`resending` sends letters back, and `sent_back` remembers which ones were sent.
"""

import re
from collections.abc import AsyncIterator, Collection, Iterable
from typing import NamedTuple

from aiokafka.structs import ConsumerRecord

from schemas.events import GROUP_TOPICS
from schemas.headers import (
    CLOCK_HEADER,
    DETAIL_HEADER,
    FIELD_HEADER,
    LETTER_HEADERS,
    OFFSET_HEADER,
    PARTITION_HEADER,
    PRODUCER_HEADER,
    REASON_HEADER,
    REPLAYED_HEADER,
    TOPIC_HEADER,
    TRUNCATED_HEADER,
)
from schemas.letters import WHOLE_LIMIT_BYTES, headers_bytes
from schemas.topics import DEAD_LETTERS
from streams.kafka.readers import read_topic
from streams.ops.sent_back import remembered
from streams.settings import Settings

UNKNOWN = "unknown"
# Why a letter cannot be sent back.
TOO_LARGE, UNFIT = "too large", "unfit"
# Room in the 2 MiB that an input topic takes (max.message.bytes): Kafka's framing, and the header that names the origin.
FRAMING_BYTES = 1024

# Headers that name the program that sent a record: ours, and that of CloudEvents.
PRODUCERS = (PRODUCER_HEADER, "ce_source")
PRODUCER_LIMIT_CHARS = 64

_OWN_HEADERS = (*LETTER_HEADERS, TRUNCATED_HEADER, REPLAYED_HEADER)


class Letter(NamedTuple):
    """One dead letter: where it is, where its record came from, why that was refused, and the record as it came."""

    partition: int  # in `dead-letters`, like `at`
    at: int
    written_s: float  # when the record was refused, epoch seconds
    topic: str
    source_partition: int
    source_offset: int
    reason: str
    field: str
    detail: str
    replayed_from: str  # `origin` at which the record was first refused, if it was sent back since; else ""
    truncated: bool
    size: int  # bytes of the record that the letter has
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]  # those that the record's producer set
    producer: str = ""  # the program that sent the record, as its headers say

    @property
    def kind(self) -> str:
        """`detail` with every number as `#`: what is equal in many records of one mistake."""
        return re.sub(r"\d[\d,.]*", "#", self.detail)

    @property
    def origin(self) -> str:
        """`topic/partition/offset` of the record that was refused."""
        return f"{self.topic}/{self.source_partition}/{self.source_offset}"

    @property
    def record(self) -> str:
        """Names the record through all its refusals; without an origin it names the letter."""
        return self.replayed_from or (self.origin if self.source_offset >= 0 else f"{self.partition}@{self.at}")

    @property
    def place(self) -> tuple[int, int]:
        """Partition and offset in `dead-letters`."""
        return self.partition, self.at

    @property
    def is_clock(self) -> bool:
        """Whether it is a clock record, which means something only in the partition that it came from."""
        return not self.key and self.source_partition >= 0 and any(name == CLOCK_HEADER for name, _ in self.headers)


class RefusedRecord(NamedTuple):
    """A refused record: its latest letter, without the bytes, and what was done about it."""

    letter: Letter
    again: bool  # it was sent back, and refused again
    sent_back: bool  # it was sent back, and not refused since
    hindrance: str  # why it cannot be sent back: TOO_LARGE, UNFIT; "" where it can


class Choice(NamedTuple):
    """Which letters are meant; an empty part allows every letter."""

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


class RefusalGroup(NamedTuple):
    """Records with the same reason, field, topic, detail (but for numbers) and producer, and their first and last letter."""

    reason: str
    field: str
    topic: str
    kind: str
    producer: str
    records: int
    sent_back: int
    again: int
    first: Letter
    last: Letter


def letter_of(record: ConsumerRecord) -> Letter:
    """The letter in a record of `dead-letters`; a missing header gives `UNKNOWN` or -1."""
    ours = {name: (value or b"").decode(errors="replace") for name, value in record.headers if name in _OWN_HEADERS}
    producers = tuple((name, value) for name, value in record.headers if name not in _OWN_HEADERS)
    return Letter(
        record.partition,
        record.offset,
        record.timestamp / 1000,
        ours.get(TOPIC_HEADER, UNKNOWN),
        _number(ours.get(PARTITION_HEADER)),
        _number(ours.get(OFFSET_HEADER)),
        ours.get(REASON_HEADER, UNKNOWN),
        ours.get(FIELD_HEADER, ""),
        ours.get(DETAIL_HEADER, ""),
        ours.get(REPLAYED_HEADER, ""),
        TRUNCATED_HEADER in ours,
        len(record.key or b"") + len(record.value or b"") + headers_bytes(producers),
        record.key,
        record.value,
        producers,
        _producer(producers),
    )


def _producer(headers: Iterable[tuple[str, bytes | None]]) -> str:
    """The program that sent a record, by the first of `PRODUCERS` that it has; short and printable, as such names are."""
    named = {name: (value or b"").decode(errors="replace") for name, value in headers if name in PRODUCERS}
    name = next((named[header] for header in PRODUCERS if named.get(header)), "")
    return "".join(character if character.isprintable() else "?" for character in name[:PRODUCER_LIMIT_CHARS])


def _number(text: str | None) -> int:
    return int(text) if text is not None and re.fullmatch("[0-9]{1,19}", text) else -1


async def letters(settings: Settings) -> AsyncIterator[Letter]:
    """Every letter as of now, one partition after the other; a letter that was written twice comes twice.

    Raises:
        BrokerLost: no broker answers.
        TopicsNotReady: there is no topic `dead-letters`.
    """
    async for records in read_topic(settings, settings.topic(DEAD_LETTERS)):
        for record in records:
            yield letter_of(record)


async def survey(settings: Settings) -> list[RefusedRecord]:
    """Every refused record, in the order in which their latest letters were written.

    Raises:
        BrokerLost: no broker answers.
        TopicsNotReady: there is no topic `dead-letters`.
        KafkaError: Kafka refuses the request.
    """
    latest: dict[str, RefusedRecord] = {}
    inputs = {settings.topic(name) for name in GROUP_TOPICS}
    async for letter in letters(settings):
        bare = letter._replace(key=None, value=None, headers=())
        refused = RefusedRecord(bare, bool(letter.replayed_from), False, _hindrance(letter, inputs))
        before = latest.setdefault(letter.record, refused)
        if before.letter.origin != letter.origin:
            latest[letter.record] = max(before, refused, key=lambda each: _order(each.letter))._replace(again=True)
    sent = await remembered(settings, sorted({each.letter.reason for each in latest.values()}))
    records = [
        each._replace(sent_back=not each.hindrance and sent[place].holds(each.letter.at))
        if (place := (each.letter.reason, each.letter.partition)) in sent
        else each
        for each in latest.values()
    ]
    return sorted(records, key=lambda each: _order(each.letter))


def _hindrance(letter: Letter, inputs: Collection[str]) -> str:
    if letter.topic not in inputs or (letter.key is None and letter.value is None):
        return UNFIT
    return TOO_LARGE if letter.truncated or letter.size + FRAMING_BYTES > WHOLE_LIMIT_BYTES else ""


def _order(letter: Letter) -> tuple[float, int, int]:
    return letter.written_s, *letter.place


def grouped(records: Iterable[RefusedRecord]) -> list[RefusalGroup]:
    """`records`, in the order of `survey`, grouped by what was wrong and by producer; the largest group first."""
    groups: dict[tuple[str, ...], RefusalGroup] = {}
    for letter, again, sent_back, _ in records:
        name = letter.reason, letter.field, letter.topic, letter.kind, letter.producer
        group = groups.get(name, RefusalGroup(*name, 0, 0, 0, letter, letter))
        groups[name] = group._replace(
            records=group.records + 1, sent_back=group.sent_back + sent_back, again=group.again + again, last=letter
        )
    return sorted(groups.values(), key=lambda group: (-group.records, group[:5]))
