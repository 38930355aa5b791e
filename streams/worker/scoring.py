"""The job that the data plane runs: input records in; customer states, changes, standings, labels and dead letters out.

It translates between Kafka's records and the pure step (`models.step`), and keeps what a partition needs in memory: its
clock, who is due when, and the records whose texts are still being read. Everything durable is in the states.
"""

import heapq
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Protocol

import msgspec
from aiokafka.structs import ConsumerRecord

from models.chunk import advance_stored
from models.clock import UNKNOWN, PartitionClock
from models.policy import Rules
from models.scores import Scorer
from models.shadow import Shadow
from models.standing import change, standing
from models.state import PURCHASE, Erasure, Reading
from models.step import Customer, Heard, Outcome, Terms
from schemas.changes import (
    Change,
    Trace,
    Versions,
    cloudevent_headers,
    encode_change,
    encode_standing,
    erased_headers,
)
from schemas.events import (
    CLOCK_HEADER,
    EARLIEST_S,
    INPUT_TOPICS,
    TEXT_LIMIT_CHARS,
    Click,
    Event,
    Purchase,
    Rejected,
    Review,
    cut,
    decode,
    decode_erasure,
    too_early,
)
from schemas.learning import encode_label
from schemas.letters import letter
from schemas.states import (
    NEVER,
    PARTITION_KEY,
    Held,
    PartitionState,
    decode_partition,
    decode_state,
    due_of,
    encode_partition,
)
from schemas.times import from_rfc3339, to_rfc3339
from streams.kafka.topics import partition_of
from streams.plane.records import Effects, Output, Put
from streams.settings import Settings

NO_ENCODER = "loading"  # of changes made before the encoder is loaded; no text has been read then

# Customers taken at once when silence or a policy moves many: 128 take about 20 ms, which is what an event then waits.
WAVE = 128

# Records that wait for their texts together: about a second of a CPU's reading, after which they can be committed.
TEXTS_AT_ONCE = 64


class Texts(Protocol):
    """What the job needs of the text lane (`streams.worker.encoding`)."""

    @property
    def version(self) -> str | None:
        """Names the encoder; None while it is being loaded."""
        ...

    def cached(self, texts: Sequence[str]) -> list[Reading | None]:
        """The reading of each text that has been read before."""
        ...


class Observer(Protocol):
    """Who is told what happened, for metrics and the web pages; each is called once a chunk at most."""

    def events(self, partition: int, counts: Mapping[tuple[int, str], int]) -> None:
        """`counts`: records by (topic index, outcome)."""
        ...

    def changes(
        self,
        partition: int,
        changes: Sequence[Change],
        bodies: Sequence[bytes],
        consumed_at: float,
        delivered_at: float,
    ) -> None:
        """Changes that Kafka has acknowledged, by when; both times are the chunk's, epoch seconds."""
        ...

    def erased(self, partition: int, segments: Sequence[Mapping[str, Held]]) -> None:
        """The segments that erased customers were in; told before the changes of the same chunk."""
        ...

    def restored(self, partition: int, segments: Iterator[Mapping[str, Held]]) -> None:
        """The segments of every customer of the partition."""
        ...

    def revoked(self, partition: int) -> None:
        """The partition is another worker's now."""
        ...


class Waiting(msgspec.Struct):
    """Records of one chunk whose texts are being read, and those behind them of the same customers and topics."""

    records: list[ConsumerRecord]
    entries: list[tuple[bytes, Heard, str | None]]  # key, event, text still to read
    consumed_at: float


@dataclass(slots=True)
class ChunkWork:
    """One chunk, decoded. `served`: what was held back before and comes now."""

    keys: list[bytes] = field(default_factory=list)
    held: list[ConsumerRecord] = field(default_factory=list)
    heard: dict[bytes, list[Heard]] = field(default_factory=dict)
    sources: dict[bytes, list[ConsumerRecord]] = field(default_factory=dict)
    erasures: dict[bytes, Erasure] = field(default_factory=dict)
    dead_letters: list[Output] = field(default_factory=list)
    counts: Counter[tuple[int, str]] = field(default_factory=Counter)
    consumed_at: float = 0.0
    served: Waiting | None = None


class Partition:
    """What is kept in memory of one partition.

    Attributes:
        rules: what its customers are judged by; the job's newer ones once silence is through under these.
        ruled_at: partition time from which the rules count; None: it isn't known yet.
        unswept: customers who may have been judged by other rules last, in no order.
        due: when each customer must be looked at again; `NEVER`: only if something is heard. Nobody who is erased.
    """

    def __init__(self, clock: PartitionClock, rules: Rules) -> None:
        self.clock, self.rules = clock, rules
        self.ruled_at: float | None = None
        self.unswept: list[bytes] = []
        self.stored = PartitionState()
        self.customers = 0
        self.due: dict[bytes, float] = {}
        self._queue: list[tuple[float, bytes]] = []
        self.behind: Counter[tuple[int, bytes]] = Counter()  # records held, by topic and key

    def schedule(self, key: bytes, due: float) -> None:
        """The state of `key` is to be looked at again at `due`."""
        if self.due.get(key) != due:
            self.due[key] = due
            if due != NEVER:
                heapq.heappush(self._queue, (due, key))

    def forget(self, key: bytes) -> None:
        """The customer of `key` is erased."""
        self.due.pop(key, None)

    def pop_due(self, until: float, most: int) -> list[bytes]:
        """At most `most` keys that are due strictly before `until`, earliest first."""
        queue = self._queue
        found: list[bytes] = []
        while queue and queue[0][0] < until and len(found) < most:
            due, key = heapq.heappop(queue)
            if self.due.get(key) == due:  # else: rescheduled since
                self.due[key] = NEVER
                found.append(key)
        if len(queue) > 2 * len(self.due) + 10_000:
            self._queue = [(due, key) for key, due in self.due.items() if due != NEVER]
            heapq.heapify(self._queue)
        return found

    def hold(self, waiting: Waiting) -> None:
        """Records wait for their texts; whatever follows of the same customers and topics waits behind them."""
        for key, heard, _ in waiting.entries:
            self.clock.hold(heard.topic, heard.at)
            self.behind[heard.topic, key] += 1

    def serve(self, waiting: Waiting) -> None:
        """The records of `waiting` are taken now."""
        for key, heard, _ in waiting.entries:
            self.clock.serve(heard.topic, heard.at)
            self.behind[heard.topic, key] -= 1
            if not self.behind[heard.topic, key]:
                del self.behind[heard.topic, key]

    def now(self) -> float:
        """Partition time."""
        return self.clock.now()

    def counts_from(self) -> float:
        """Since when the rules count: as stored, else from now on, once there is a partition time."""
        if self.ruled_at is None and (now := self.now()) != UNKNOWN:
            self.ruled_at = now
        return UNKNOWN if self.ruled_at is None else self.ruled_at

    def adopt(self, rules: Rules) -> None:
        """Other rules count from now on, for every customer."""
        self.rules, self.ruled_at = rules, self.now()
        self.unswept = list(self.due)

    def state(self) -> PartitionState:
        """What is to be stored of the partition."""
        kept = self.clock.kept
        return PartitionState((kept(0), kept(1), kept(2)), self.rules.tag, self.ruled_at)


class ScoringJob:
    """See the module. `rules` and `scorer` may be replaced between chunks.

    A new scorer judges each customer at their next event or moment of silence. New rules reach a partition when
    `silence` has nobody left under the old ones; `sweep` then gives every customer to be judged anew.

    Attributes:
        shadow: another policy that judges the same customers and tells nobody; None: there is none.
        texts_cut: texts that were longer than what counts of them, since the start.
        foreign: by full name of a topic, applied events in another currency than the policy's, since the start.
        on_waiting: told of records whose texts must be read first; set by the wiring.
        on_revoked: told of a partition that went away; set by the wiring.
    """

    def __init__(self, settings: Settings, rules: Rules, scorer: Scorer, texts: Texts, observer: Observer) -> None:
        self.rules, self.scorer = rules, scorer
        self.shadow: Shadow | None = None
        self.texts_cut = 0
        self.foreign: Counter[str] = Counter()
        self.parts: dict[int, Partition] = {}
        self.on_waiting: Callable[[int, Waiting], None] = _nobody
        self.on_revoked: Callable[[int], None] = lambda partition: None
        self._settings, self._texts, self._observer = settings, texts, observer
        self._source = settings.source
        self.topics = tuple(settings.topic(name) for name in INPUT_TOPICS)
        self._topic_index = {name: i for i, name in enumerate(self.topics)}
        self._changes, self._standings = settings.topic("segment-changes"), settings.topic("customer-segments")
        self._dead_letters, self._train = settings.topic("dead-letters"), settings.topic("model-train")
        self.outputs = (self._changes, self._standings, self._dead_letters, self._train)
        self.gathered = (self._train,)
        self._pseudonym_key = blake2b(settings.pseudonym_key.encode(), digest_size=32).digest()

    @property
    def versions(self) -> Versions:
        """What is served now."""
        return self._versions(self.rules)

    def _versions(self, rules: Rules) -> Versions:
        return Versions(rules.label, self.scorer.version, self._texts.version or NO_ENCODER)

    # --- decoding -------------------------------------------------------------------------------------------------

    def decode(self, partition: int, records: Sequence[ConsumerRecord]) -> ChunkWork:
        """Events of a chunk by customer; what can't be used becomes dead letters, unread texts are held back."""
        part = self.parts[partition]
        work = ChunkWork(consumed_at=time.time())
        latest = work.consumed_at + self._settings.future_limit_s
        texted: list[tuple[ConsumerRecord, Heard, str | None]] = []
        after_text: set[tuple[int, bytes]] = set()
        applied = [0] * len(self.topics)
        index, heard_of, sources = self._topic_index, work.heard, work.sources
        for record in records:
            topic, key = index[record.topic], record.key
            try:
                if not key and self._is_clock(record, part, topic, latest):
                    work.counts[topic, "clock"] += 1
                    continue
                if key and not record.value and self._is_erasure(work, record, partition, topic, latest):
                    work.counts[topic, "erasure"] += 1
                    continue
                event = decode(INPUT_TOPICS[topic], key, record.value, latest)
            except Rejected as rejected:
                self._reject(work, record, rejected)
                continue
            at = event.event_time.timestamp()
            heard = Heard(topic, record.topic, partition, record.offset, at, event)
            text = _text_of(event)
            if text is not None and len(text) > TEXT_LIMIT_CHARS:
                text = cut(text)
                self.texts_cut += 1
            if text is not None or part.behind or (after_text and (topic, key) in after_text):
                texted.append((record, heard, text))
                after_text.add((topic, key))  # what follows of them may have to wait behind it
                continue
            # The way of nine records in ten: no text, and none before it.
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
            self._read(partition, part, work, texted)
        work.keys = list(work.heard)
        work.keys += [key for key in work.erasures if key not in work.heard]
        return work

    def _is_clock(self, record: ConsumerRecord, part: Partition, topic: int, latest: float) -> bool:
        for name, value in record.headers:
            if name == CLOCK_HEADER:
                try:
                    at = from_rfc3339((value or b"").decode())  # a header's value may be null
                except ValueError as exc:
                    raise Rejected("clock", f"header {CLOCK_HEADER}", "not an RFC 3339 timestamp") from exc
                if at < EARLIEST_S:
                    raise Rejected("clock", f"header {CLOCK_HEADER}", too_early(at))
                if at > latest:
                    raise Rejected("future-time", f"header {CLOCK_HEADER}", "later than this worker's clock allows")
                part.clock.heard(topic, at)
                return True
        return False

    def _is_erasure(self, work: ChunkWork, record: ConsumerRecord, partition: int, topic: int, latest: float) -> bool:
        key = record.key
        at = decode_erasure(INPUT_TOPICS[topic], key, record.headers, latest)
        if at is None:
            return False
        if (right := partition_of(key, self._settings.partitions)) != partition:
            raise Rejected("wrong-partition", "$", _misplaced(partition, right))
        before = work.erasures.get(key)
        work.erasures[key] = Erasure(record.offset, at if before is None else max(at, before.at))
        return True

    def _read(
        self,
        partition: int,
        part: Partition,
        work: ChunkWork,
        entries: list[tuple[ConsumerRecord, Heard, str | None]],
    ) -> None:
        texts = [text for _, _, text in entries if text is not None]
        known = iter(self._texts.cached(texts)) if texts else iter(())
        waiting: Waiting | None = None
        slices: list[Waiting] = []
        held: set[tuple[int, bytes]] = set()
        for record, heard, text in entries:
            reading = next(known) if text is not None else None
            unread = text is not None and reading is None
            place = heard.topic, record.key
            if unread or place in part.behind or place in held:
                if waiting is None or len(waiting.records) >= TEXTS_AT_ONCE:
                    waiting = Waiting([], [], work.consumed_at)
                    slices.append(waiting)
                waiting.records.append(record)
                waiting.entries.append((record.key, heard._replace(reading=reading), text if unread else None))
                held.add(place)
                continue
            part.clock.heard(heard.topic, heard.at)
            work.counts[heard.topic, "applied"] += 1
            self._add(work, record, heard if reading is None else heard._replace(reading=reading))
        for waiting in slices:
            work.held += waiting.records
            part.hold(waiting)
            self.on_waiting(partition, waiting)

    @staticmethod
    def _add(work: ChunkWork, record: ConsumerRecord, heard: Heard) -> None:
        events = work.heard.get(record.key)
        if events is None:
            work.heard[record.key] = [heard]
            work.sources[record.key] = [record]
        else:
            events.append(heard)
            work.sources[record.key].append(record)

    def read(self, waiting: Waiting, readings: Mapping[str, Reading]) -> ChunkWork:
        """The work of records that were held back, now that their texts have been read."""
        work = ChunkWork(consumed_at=waiting.consumed_at, served=waiting)
        for record, (_, heard, text) in zip(waiting.records, waiting.entries, strict=True):
            work.counts[heard.topic, "applied"] += 1
            self._add(work, record, heard if text is None else heard._replace(reading=readings[text]))
        work.keys = list(work.heard)
        return work

    def silence(self, partition: int) -> ChunkWork | None:
        """The work of customers whom silence moves by now, at most `WAVE` of them; None: nobody."""
        part = self.parts.get(partition)
        if self.shadow is not None and part is not None:
            self.shadow.reach(partition, part.now())
        keys = part.pop_due(part.now(), WAVE) if part is not None else []
        return ChunkWork(keys=keys, consumed_at=time.time()) if keys else None

    def sweep(self, partition: int) -> ChunkWork | None:
        """The work of customers whom other rules judged last, at most `WAVE` of them; None: nobody.

        To be asked when `silence` has nobody: what fell due before the new rules came is the old ones' matter.
        """
        part = self.parts.get(partition)
        if part is None:
            return None
        if part.rules is not self.rules:
            if part.now() == UNKNOWN:
                return None  # there is no moment yet from which they could count
            part.adopt(self.rules)
        if not part.unswept or part.counts_from() == UNKNOWN:
            return None
        keys = part.unswept[-WAVE:]
        del part.unswept[-WAVE:]
        return ChunkWork(keys=keys, consumed_at=time.time())

    def unswept(self) -> int:
        """How many customers still wait to be judged by the rules that are served."""
        return sum(len(p.unswept) if p.rules is self.rules else len(p.due) for p in self.parts.values())

    def _reject(self, work: ChunkWork, record: ConsumerRecord, rejected: Rejected) -> None:
        work.dead_letters.append(Output(self._dead_letters, *letter(record, rejected)))
        work.counts[self._topic_index[record.topic], "rejected"] += 1

    # --- the step -------------------------------------------------------------------------------------------------

    def step(self, partition: int, work: ChunkWork, values: Sequence[bytes | None]) -> Effects:
        """New states and every record they cause."""
        return self.steps([(partition, work, values)])[0]

    def steps(self, chunks: Sequence[tuple[int, ChunkWork, Sequence[bytes | None]]]) -> list[Effects]:
        """`step` for chunks of several partitions at once: a matrix of many customers costs little more than of few."""
        groups = [self._group(self.parts[partition], partition, work, values) for partition, work, values in chunks]
        outcomes: list[list[Outcome]] = [[] for _ in groups]
        for rules in {id(terms.rules): terms.rules for _, terms in groups}.values():
            # One policy for all, but for the seconds in which a new one reaches the partitions one after another.
            same = [i for i, (_, terms) in enumerate(groups) if terms.rules is rules]
            for i, of_one in zip(same, advance_stored([groups[i] for i in same]), strict=True):
                outcomes[i] = of_one
        scored_at = time.time()
        return [
            self._effects(partition, work, of_one, scored_at)
            for (partition, work, _), of_one in zip(chunks, outcomes, strict=True)
        ]

    def _group(
        self, part: Partition, partition: int, work: ChunkWork, values: Sequence[bytes | None]
    ) -> tuple[list[Customer], Terms]:
        if work.served is not None:
            part.serve(work.served)
        customers = []
        for key, value in zip(work.keys, values, strict=True):
            heard, erasure = work.heard.get(key, ()), work.erasures.get(key)
            if value is None:
                # An erasure that came so far lies in its key's partition.
                if erasure is None and (not heard or self._is_misplaced(work, partition, key)):
                    continue
                customers.append(Customer(key.decode(), None, NEVER, heard, erasure))
            else:
                customers.append(Customer(key.decode(), None, due_of(value), heard, erasure, value))
        known = part.clock.purchases_known()
        return customers, Terms(part.rules, self.scorer, part.now(), known, part.counts_from(), self.pseudonym)

    def _effects(self, partition: int, work: ChunkWork, outcomes: list[Outcome], scored_at: float) -> Effects:
        part = self.parts[partition]
        puts, changes, bodies = self._records(work, part, outcomes, scored_at)
        gone = [
            outcome.customer.state.segments
            for outcome in outcomes
            if outcome.erased and outcome.customer.state is not None
        ]
        if (state := part.state()) != part.stored:
            part.stored = state
            puts.append(Put(PARTITION_KEY, encode_partition(state), []))
        if self.shadow is not None:
            self.shadow.see(partition, outcomes)
        self._observer.events(partition, work.counts)

        def delivered() -> None:
            if self.parts.get(partition) is part:  # else whoever has it now counts its customers
                if gone:
                    self._observer.erased(partition, gone)
                self._observer.changes(partition, changes, bodies, work.consumed_at, time.time())

        return Effects(puts, work.dead_letters, delivered if changes or gone else None)

    def _is_misplaced(self, work: ChunkWork, partition: int, key: bytes) -> bool:
        """Rejects the records of a customer never heard of here whose key belongs to another partition.

        Who has a state here was placed rightly once, and a key's partition never changes.
        """
        right = partition_of(key, self._settings.partitions)
        if right == partition:
            return False
        detail = _misplaced(partition, right)
        for heard, record in zip(work.heard[key], work.sources[key], strict=True):
            self._reject(work, record, Rejected("wrong-partition", "$", detail))
            work.counts[heard.topic, "applied"] -= 1
        return True

    def _records(
        self, work: ChunkWork, part: Partition, outcomes: list[Outcome], scored_at: float
    ) -> tuple[list[Put], list[Change], list[bytes]]:
        versions = self._versions(part.rules)
        trace = Trace(to_rfc3339(work.consumed_at), to_rfc3339(scored_at), to_rfc3339(time.time()))
        currency = part.rules.policy.currency
        puts: list[Put] = []
        changes: list[Change] = []
        bodies: list[bytes] = []
        for outcome in outcomes:
            self._count(work, outcome, currency)
            customer, value = outcome.customer, outcome.value
            key = customer.customer_id.encode()
            if outcome.is_there:
                part.schedule(key, outcome.due)
            else:
                part.forget(key)
            if value is None:
                continue
            part.customers += outcome.is_there - outcome.was_there
            outputs: list[Output] = []
            if outcome.erased:  # before what is said of who comes back in the same chunk
                outputs.append(Output(self._standings, key, None, _erased_headers(outcome)))
            for move in outcome.moves:
                moved = change(customer.customer_id, move, versions, trace)
                body = encode_change(moved)
                changes.append(moved)
                bodies.append(body)
                outputs.append(Output(self._changes, key, body, cloudevent_headers(moved, self._source)))
            if outcome.shows:
                assert outcome.state is not None
                body = encode_standing(standing(customer.customer_id, outcome.state, versions))
                outputs.append(Output(self._standings, key, body, []))
            outputs += [
                Output(self._train, label.label_id.partition(":")[0].encode(), encode_label(label), [])
                for label in outcome.labels
            ]
            puts.append(Put(key, value, outputs))
        return puts, changes, bodies

    def _count(self, work: ChunkWork, outcome: Outcome, currency: str) -> None:
        """Counts what was passed over, and purchases in another currency."""
        passed_over = (("duplicate", outcome.repeated), ("replayed", outcome.replayed), ("void", outcome.void))
        for as_what, events in passed_over:
            for heard in events:
                work.counts[heard.topic, "applied"] -= 1
                work.counts[heard.topic, as_what] += 1
        for heard in outcome.customer.heard:
            if heard.topic == PURCHASE and self._is_foreign(heard, outcome, currency):
                self.foreign[heard.topic_name] += 1

    @staticmethod
    def _is_foreign(heard: Heard, outcome: Outcome, currency: str) -> bool:
        event = heard.event
        if not isinstance(event, Purchase) or event.currency == currency:
            return False
        return not any(heard is other for other in (*outcome.repeated, *outcome.replayed, *outcome.void))

    def pseudonym(self, customer_id: str) -> str:
        """Names a customer in `model-train`: 16 hex digits, keyed by the setting `pseudonym_key`."""
        return blake2b(customer_id.encode(), key=self._pseudonym_key, digest_size=8).hexdigest()

    # --- assignment -----------------------------------------------------------------------------------------------

    def restored(self, partition: int, items: Iterator[tuple[bytes, bytes]]) -> None:
        """Builds what memory needs of a partition from its states."""
        part = Partition(PartitionClock(self._settings.clock, self._settings.clock_grace_s), self.rules)
        self._observer.restored(partition, self._restore(part, items))
        self.parts[partition] = part

    @staticmethod
    def _restore(part: Partition, items: Iterator[tuple[bytes, bytes]]) -> Iterator[Mapping[str, Held]]:
        for key, value in items:
            if key[:1] == b"\xff":
                if key == PARTITION_KEY:
                    part.stored = decode_partition(value)
                    if part.stored.ruled == part.rules.tag:
                        part.ruled_at = part.stored.ruled_at
                    for topic, at in enumerate(part.stored.times):
                        if at is not None:
                            part.clock.heard(topic, at)
                continue
            state = decode_state(value)
            if state.is_erased:
                continue
            part.customers += 1
            part.schedule(key, due_of(value))
            if state.ruled != part.rules.tag:
                part.unswept.append(key)
            yield state.segments

    def revoked(self, partition: int) -> None:
        """Forgets a partition."""
        self.parts.pop(partition, None)
        if self.shadow is not None:
            self.shadow.forget(partition)
        self.on_revoked(partition)
        self._observer.revoked(partition)


def _erased_headers(outcome: Outcome) -> list[tuple[str, bytes]]:
    before, state = outcome.customer.state, outcome.state
    assert state is not None
    assert state.erased_at is not None
    return erased_headers(state.erased_at, 0 if before is None else before.sequence)


def _nobody(partition: int, waiting: Waiting) -> None:
    raise RuntimeError(
        f"partition {partition}: {len(waiting.records)} records with unread texts and nobody to read them"
    )


def _misplaced(partition: int, right: int) -> str:
    return f"in partition {partition}; the key's is {right} (murmur2; librdkafka: partitioner=murmur2_random)"


def _text_of(event: Event) -> str | None:
    """The text of an event that is to be read; None: it has none."""
    if isinstance(event, Review):
        return event.text if event.text.strip() else None
    if isinstance(event, Click) and event.type == "search" and event.query and event.query.strip():
        return event.query
    return None
