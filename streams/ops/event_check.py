"""Events checked before they are sent: every mistake of each record, and what a worker accepts but nobody means.

Records are read one by one. What is remembered of earlier ones is bounded, so a file may have any length.
"""

import time
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import IO, NamedTuple, TypeVar

import msgspec
from xxhash import xxh3_64_intdigest

from schemas.erasures import decode_erasure
from schemas.events import (
    TEXT_LIMIT_CHARS,
    Click,
    Event,
    Purchase,
    Rejected,
    Review,
    decode_clock,
)
from schemas.mistakes.mistake import Mistake
from schemas.mistakes.records import examine
from streams.kafka.cluster import layout_of
from streams.kafka.readers import read_topic
from streams.kafka.topics import partition_of
from streams.settings import Settings

# Of event ids, and of customer ids: about 20 MB each.
REMEMBERED = 100_000

K = TypeVar("K")


class GivenRecord(NamedTuple):
    """One record to be checked, and where it is.

    Attributes:
        line: in the file, from 1; 0 in a topic.
        partition: in the topic, like `offset`; -1 in a file.
        key: None where it has none. A file without keys gives its events' own customer ids.
    """

    line: int
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()
    has_key: bool = True

    @property
    def place(self) -> str:
        """`line 7`, or `partition 3 offset 12`."""
        return f"line {self.line}" if self.line else f"partition {self.partition} offset {self.offset}"


class CheckedRecord(NamedTuple):
    """What was found in one record."""

    record: GivenRecord
    mistakes: Sequence[Mistake]
    notes: Sequence[str]


class Check:
    """Checks records of one input topic.

    Attributes:
        records, valid, mistakes: how many there were. Clock records and erasures are valid.
        kinds: mistakes by reason and field, array indexes left out.
        notes: by what they say.
        currencies: events with an amount by their currency.
    """

    def __init__(
        self, topic: str, future_limit_s: float, partitions: int | None = None, remembered: int = REMEMBERED
    ) -> None:
        self.records = self.valid = self.mistakes = 0
        self.kinds: Counter[tuple[str, str]] = Counter()
        self.notes: Counter[str] = Counter()
        self.currencies: Counter[str] = Counter()
        self._topic, self._future_limit_s, self._partitions, self._remembered = (
            topic,
            future_limit_s,
            partitions,
            remembered,
        )
        self._bodies: OrderedDict[int, int] = OrderedDict()
        self._customers: OrderedDict[str, int] = OrderedDict()

    def check(self, record: GivenRecord) -> CheckedRecord:
        """Every mistake of `record`; of an event without one, what is worth a second look."""
        self.records += 1
        event, mistakes = self._examined(record)
        if record.key and record.partition >= 0 and self._partitions is not None:
            right = partition_of(record.key, self._partitions)
            if right != record.partition:
                hint = "murmur2 (librdkafka: partitioner=murmur2_random; kafkajs: Partitioners.DefaultPartitioner)"
                found = f"in partition {record.partition}"
                mistakes.append(Mistake("wrong-partition", "$", found, f"{right}, which the key decides", hint))
        self.mistakes += len(mistakes)
        for mistake in mistakes:
            self.kinds[mistake.reason, _without_indexes(mistake.field)] += 1
        notes = self._notes(event, record.value or b"") if event is not None and not mistakes else []
        self.notes.update(notes)
        self.valid += not mistakes
        return CheckedRecord(record, mistakes, notes)

    def _examined(self, record: GivenRecord) -> tuple[Event | None, list[Mistake]]:
        latest_s = time.time() + self._future_limit_s
        try:
            if record.has_key and not record.key and decode_clock(record.headers, latest_s) is not None:
                return None, []
            if record.key and not record.value and decode_erasure(self._topic, record.key, record.headers, latest_s):
                return None, []
        except Rejected as rejected:
            return None, [Mistake(rejected.reason, rejected.field, rejected.detail)]
        key = record.key if record.has_key else _id_of(record.value)
        found = examine(self._topic, key, record.value, latest_s)
        if not isinstance(found, list):
            return found, []
        if not record.has_key:
            found = [mistake for mistake in found if mistake.reason not in ("no-key", "key-mismatch")]
        return None, found

    def _notes(self, event: Event, value: bytes) -> list[str]:
        notes = []
        name = xxh3_64_intdigest(f"{event.customer_id}\0{event.event_id}".encode())
        body = xxh3_64_intdigest(value)
        before = self._remember(self._bodies, name, body)
        if before is not None:
            notes.append(
                "the same event again: a retry changes nothing"
                if before == body
                else "an event_id of this customer again, with another content: it changes nothing; ids are unique"
            )
        exact = xxh3_64_intdigest(event.customer_id.encode())
        folded = self._remember(self._customers, event.customer_id.casefold().strip(), exact)
        if folded is not None and folded != exact:
            notes.append("a customer_id that differs from an earlier one in case or white space: another customer")
        currency = event.currency if isinstance(event, (Click, Purchase)) else None
        if currency is not None:
            self.currencies[currency] += 1
            if len(self.currencies) > 1 and self.currencies[currency] == 1:
                notes.append("another currency: amounts are added without conversion")
        text = event.text if isinstance(event, Review) else getattr(event, "query", None)
        if text is not None and len(text) > TEXT_LIMIT_CHARS:
            notes.append(f"a text of more than {TEXT_LIMIT_CHARS:,} characters: the rest does not count")
        return notes

    def _remember(self, memory: OrderedDict[K, int], key: K, value: int) -> int | None:
        """What `memory` held for `key`, which is `value` from now on; the oldest key is forgotten when it is full."""
        before = memory.pop(key, None)
        memory[key] = value
        if len(memory) > self._remembered:
            memory.popitem(last=False)
        return before


def lines_of(file: IO[bytes], separator: bytes | None) -> Iterator[GivenRecord]:
    """Each line of `file` as a record; empty lines are left out.

    Args:
        file: one event per line, as JSON.
        separator: what stands between key and event in a line; None: the lines have no keys.
    """
    for number, raw in enumerate(file, 1):
        line = raw.rstrip(b"\r\n")
        if not line.strip():
            continue
        key, value = None, line
        if separator is not None:
            before, found, after = line.partition(separator)
            key, value = (before, after) if found else (None, line)
        yield GivenRecord(number, -1, -1, key, value, has_key=separator is not None)


async def records_of(settings: Settings, topic: str) -> AsyncIterator[GivenRecord]:
    """Every record that `topic` (its full name) has now.

    Raises:
        BrokerLost: no broker answers.
        TopicsNotReady: there is no such topic.
    """
    async for records in read_topic(settings, topic):
        for each in records:
            yield GivenRecord(0, each.partition, each.offset, each.key, each.value, each.headers)


async def partitions_of(settings: Settings, topic: str) -> int:
    """How many partitions `topic` has."""
    return len(await layout_of(settings, [topic]))


class _Identified(msgspec.Struct):
    customer_id: str


_identified = msgspec.json.Decoder(_Identified)


def _id_of(value: bytes | None) -> bytes:
    """The customer id of an event as a key; of what has none, a key that is only not empty."""
    try:
        return _identified.decode(value or b"").customer_id.encode() or b"-"
    except (msgspec.MsgspecError, UnicodeError):
        return b"-"


def _without_indexes(field: str) -> str:
    return "".join(part.partition("]")[2] if i else part for i, part in enumerate(field.split("[")))
