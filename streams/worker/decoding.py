"""Input records in; events to apply, dead letters, and records that must wait for their texts out.

A record that can't be used becomes a dead letter. A record whose text the encoder has not read waits, and so do later
records of the same customer and topic: their order is kept. Everything else is applied at once.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Protocol

import structlog
from aiokafka.structs import ConsumerRecord

from models.state import PURCHASE, Erasure, Reading
from models.step import Heard
from schemas.erasures import decode_erasure
from schemas.events import (
    GROUP_TOPICS,
    INPUT_TOPICS,
    TEXT_LIMIT_CHARS,
    Click,
    Event,
    Purchase,
    Rejected,
    Review,
    cut,
    decode,
    decode_clock,
)
from schemas.headers import ERASE_HEADER
from schemas.letters import letter
from schemas.mistakes.records import detailed
from schemas.topics import DEAD_LETTERS
from streams.kafka.topics import partition_of
from streams.plane.records import Output
from streams.settings import Settings
from streams.worker.chunk import ChunkWork, Waiting
from streams.worker.partition import Partition

# Index of the topic of erasures, behind those of events.
ERASURE = len(INPUT_TOPICS)
# Kafka's type of a timestamp that the broker gave.
LOG_APPEND_TIME = 1
NEVER_BEFORE = float("-inf")

# Records that wait for their texts together: about a second of a CPU's reading, after which they can be committed.
TEXTS_AT_ONCE = 64


_log = structlog.get_logger(__name__)


class AgainstRules(Rejected):
    """An event that is valid, and that the settings of this installation refuse."""


class KnownReadings(Protocol):
    """What scoring asks of the text lane (`streams.worker.text_lane.TextLane`)."""

    @property
    def version(self) -> str | None:
        """Names the encoder; None while it is being loaded."""
        ...

    def cached(self, texts: Sequence[str]) -> list[Reading | None]:
        """The reading of each text; None for a text that has not been read before."""
        ...


class Decoder:
    """Turns records into the work of a chunk.

    Attributes:
        topics: full names of the topics that the group reads, in the order of their indexes.
        texts_cut: texts longer than the part that counts, since the start.
    """

    def __init__(self, settings: Settings, readings: KnownReadings) -> None:
        self.topics = tuple(settings.topic(name) for name in GROUP_TOPICS)
        self.texts_cut = 0
        self._partitions, self._future_limit_s = settings.partitions, settings.future_limit_s
        self._dead_letters = settings.topic(DEAD_LETTERS)
        self._case, self._refuses_foreign = settings.customer_id_case, settings.foreign_currency == "refuse"
        self._is_strict = self._case != "any"
        self._refuses_in_purchases = settings.erasures_in_purchases == "refuse"
        self._foreign: set[str] = set()  # currencies whose first event was logged
        self._readings = readings
        self._topic_index = {name: i for i, name in enumerate(self.topics)}

    def decode(self, partition: int, part: Partition, records: Sequence[ConsumerRecord]) -> ChunkWork:
        """The work of `records`, which came in the order of the topics and offsets.

        The partition's clock moves with what is applied; `ChunkWork.waiting` holds what is not.
        """
        work = ChunkWork(consumed_at=time.time())
        latest = work.consumed_at + self._future_limit_s
        texted: list[tuple[ConsumerRecord, Heard, str | None]] = []
        after_text: set[tuple[int, bytes]] = set()
        applied = [0] * len(INPUT_TOPICS)
        index, heard_of, sources, bases = self._topic_index, work.heard, work.sources, part.bases
        for record in records:
            topic, key = index[record.topic], record.key
            try:
                if (topic == ERASURE or (key and not record.value)) and self._is_erasure(
                    work, record, partition, topic, bases, latest
                ):
                    work.counts[topic, "erasure"] += 1
                    continue
                if not key and _moves_clock(record, part, topic, latest):
                    work.counts[topic, "clock"] += 1
                    continue
                event = decode(INPUT_TOPICS[topic], key, record.value, max(latest, self._latest_by_broker(record)))
                if self._is_strict or topic == PURCHASE:
                    self._check_rules(event, record, part.rules.policy.currency)
            except Rejected as rejected:
                # The others are of headers, or of rules of this installation; their details are whole.
                if topic != ERASURE and rejected.field.startswith("$") and not isinstance(rejected, AgainstRules):
                    rejected = detailed(rejected, INPUT_TOPICS[topic], key, record.value, latest)
                self.reject(work, record, rejected)
                continue
            at = event.event_time.timestamp()
            heard = Heard(topic, record.topic, partition, bases[topic] + record.offset, at, event)
            text = _text_of(event)
            if text is not None and len(text) > TEXT_LIMIT_CHARS:
                text = cut(text)
                self.texts_cut += 1
            if text is not None or part.behind or (after_text and (topic, key) in after_text):
                texted.append((record, heard, text))
                after_text.add((topic, key))  # later records of the same customer may have to wait behind it
                continue
            # Nine records in ten come here: no text, and none before it. `ChunkWork.add` is written out for speed.
            part.clock.heard(topic, at)
            applied[topic] += 1
            if key in heard_of:
                heard_of[key].append(heard)
                sources[key].append(record)
            else:
                heard_of[key], sources[key] = [heard], [record]
        for topic, count in enumerate(applied):
            work.counts[topic, "applied"] += count
        if texted:
            self._apply_or_hold(part, work, texted)
        work.keys = list(work.heard)
        work.keys += [key for key in work.erasures if key not in work.heard]
        return work

    def _check_rules(self, event: Event, record: ConsumerRecord, currency: str) -> None:
        """Checks what is a rule of this installation, not of events; logs the first event of each foreign currency.

        Raises:
            AgainstRules: the settings refuse the event.
        """
        if (mistake := case_mistake(event.customer_id, self._case)) is not None:
            raise AgainstRules("schema", "$.customer_id", mistake)
        if not isinstance(event, Purchase) or event.currency == currency:
            return
        if self._refuses_foreign:
            hint = "send it in that currency, or set REGULARS_FOREIGN_CURRENCY=count"
            found = f"{event.currency}; allowed: {currency}, the policy's currency; hint: {hint}"
            raise AgainstRules("schema", "$.currency", found)
        if event.currency not in self._foreign:
            self._foreign.add(event.currency)
            _log.warning(
                "a purchase in another currency than the policy's counts at face value",
                topic=record.topic,
                partition=record.partition,
                offset=record.offset,
                currency=event.currency,
                policy_currency=currency,
                way_out="find its producer, or refuse such purchases with REGULARS_FOREIGN_CURRENCY=refuse",
            )

    def _apply_or_hold(
        self, part: Partition, work: ChunkWork, entries: list[tuple[ConsumerRecord, Heard, str | None]]
    ) -> None:
        """Applies the entries whose texts have been read before, and holds the others and what comes behind them."""
        texts = [text for _, _, text in entries if text is not None]
        readings = iter(self._readings.cached(texts)) if texts else iter(())
        waiting: Waiting | None = None
        behind: set[tuple[int, bytes]] = set()
        for record, heard, text in entries:
            reading = next(readings) if text is not None else None
            unread = text is not None and reading is None
            place = heard.topic, record.key
            if unread or place in part.behind or place in behind:
                if waiting is None or len(waiting.records) >= TEXTS_AT_ONCE:
                    waiting = Waiting([], [], work.consumed_at)
                    work.waiting.append(waiting)
                waiting.records.append(record)
                waiting.entries.append((record.key, heard._replace(reading=reading), text if unread else None))
                work.held.append(record)
                behind.add(place)
                continue
            part.clock.heard(heard.topic, heard.at)
            work.counts[heard.topic, "applied"] += 1
            work.add(record, heard if reading is None else heard._replace(reading=reading))

    def _latest_by_broker(self, record: ConsumerRecord) -> float:
        """The latest time that an event can have by the broker's clock, where that of this machine may be behind."""
        stamped = record.timestamp_type == LOG_APPEND_TIME
        return record.timestamp / 1000.0 + self._future_limit_s if stamped else NEVER_BEFORE

    def dead_letter(self, record: ConsumerRecord, rejected: Rejected) -> Output:
        """The dead letter of `record`: as it came, with the reason."""
        return Output(self._dead_letters, *letter(record, rejected))

    def reject(self, work: ChunkWork, record: ConsumerRecord, rejected: Rejected) -> None:
        """Sends `record` to the dead letters, with the reason."""
        work.dead_letters.append(self.dead_letter(record, rejected))
        work.counts[self._topic_index[record.topic], "rejected"] += 1

    def letter_of_failure(self, record: ConsumerRecord, cause: Exception) -> Output:
        """The dead letter of a record at which the worker itself raised `cause`: a defect, named by its type alone."""
        detail = f"the worker raised {type(cause).__name__} at this record; report it, then send it back"
        return self.dead_letter(record, Rejected("internal", "$", detail))

    def rejects_misplaced(self, work: ChunkWork, partition: int, key: bytes) -> bool:
        """Whether `key` belongs to another partition; all its records are then dead letters.

        To be asked of customers without a state: who has one came to the right partition once, and a key's partition
        never changes.
        """
        right = partition_of(key, self._partitions)
        if right == partition:
            return False
        detail = _misplaced(partition, right)
        for heard, record in zip(work.heard[key], work.sources[key], strict=True):
            self.reject(work, record, Rejected("wrong-partition", "$", detail))
            work.counts[heard.topic, "applied"] -= 1
        return True

    def _is_erasure(
        self,
        work: ChunkWork,
        record: ConsumerRecord,
        partition: int,
        topic: int,
        bases: Sequence[int],
        latest: float,
    ) -> bool:
        """Whether `record` asks to erase its customer; the request is then noted."""
        key = record.key
        if topic == ERASURE and (not key or record.value):
            raise Rejected(
                "erase", "$", "allowed here: the customer id as the key, a null value, header regulars-erase"
            )
        request = decode_erasure(GROUP_TOPICS[topic], key, record.headers, latest)
        if request is None:
            return False
        if topic == PURCHASE and self._refuses_in_purchases:
            detail = "allowed in the topic erasures alone (REGULARS_ERASURES_IN_PURCHASES=refuse)"
            raise AgainstRules("erase", f"header {ERASE_HEADER}", detail)
        if (right := partition_of(key, self._partitions)) != partition:
            raise Rejected("wrong-partition", "$", _misplaced(partition, right))
        clicks, purchases, reviews = (
            base + end - 1 if end else -1 for base, end in zip(bases, request.ends, strict=False)
        )
        if topic == PURCHASE:
            purchases = bases[PURCHASE] + record.offset
        erasure = Erasure(
            request.at, (clicks, purchases, reviews), request.at + self._future_limit_s, topic == PURCHASE
        )
        work.erasures[key] = erasure.joined(work.erasures.get(key))
        return True


def work_of(waiting: Waiting, readings: Mapping[str, Reading]) -> ChunkWork:
    """The work of records that waited, now that their texts have been read. `readings`: by text."""
    work = ChunkWork(consumed_at=waiting.consumed_at, served=waiting)
    for record, (_, heard, text) in zip(waiting.records, waiting.entries, strict=True):
        work.counts[heard.topic, "applied"] += 1
        work.add(record, heard if text is None else heard._replace(reading=readings[text]))
    work.keys = list(work.heard)
    return work


def _moves_clock(record: ConsumerRecord, part: Partition, topic: int, latest: float) -> bool:
    """Whether `record`, which has no key, says how far event time has come; the partition's clock then moves."""
    at = decode_clock(record.headers, latest)
    if at is not None:
        part.clock.heard(topic, at)
    return at is not None


def case_mistake(customer_id: str, case: str) -> str | None:
    """What is wrong with the case of a customer id, which the setting `customer_id_case` names; None: nothing.

    It is refused and not changed: the key decides the partition, and a key in another case is in another one.

    >>> case_mistake("anna", "lower"), case_mistake("Anna", "any")
    (None, None)
    """
    if case == "any" or customer_id == (customer_id.lower() if case == "lower" else customer_id.upper()):
        return None
    found, allowed = ("capital", "small") if case == "lower" else ("small", "capital")
    hint = "write id and key in one case (REGULARS_CUSTOMER_ID_CASE)"
    return f"has {found} letters; allowed: {allowed} letters alone; hint: {hint}"


def _misplaced(partition: int, right: int) -> str:
    return f"in partition {partition}; the key's is {right} (murmur2; librdkafka: partitioner=murmur2_random)"


def _text_of(event: Event) -> str | None:
    """The text of an event that is to be read; None: it has none."""
    if isinstance(event, Review):
        return event.text if event.text.strip() else None
    if isinstance(event, Click) and event.type == "search" and event.query and event.query.strip():
        return event.query
    return None
