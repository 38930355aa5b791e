"""The job that the data plane runs: input records in; customer states, changes, standings, labels and dead letters out.

It stands between Kafka's records and the pure step (`models.step`). Everything durable is in the states. A record goes

    decode (`decoding`) -> step (`models.step`) -> write (`outcomes`)

A record whose text is unread waits before the step: `decode` puts it into a queue (`text_queue`). When the encoder has read
the text, a server (`text_server`) takes the record out and hands it to the pipeline, which calls `step`.
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Protocol

import structlog
from aiokafka.structs import ConsumerRecord

from models.clock import UNKNOWN, PartitionClock
from models.deciding import after_decisions
from models.decisions.board import Board, CampaignTerms
from models.decisions.ledger import Ledger
from models.dispatch import advance_stored
from models.policy import Rules
from models.scores import Scorer
from models.shadow import Shadow
from models.step import Customer, Outcome, Terms
from schemas.actions import Action
from schemas.changes import Change, Versions
from schemas.learning import Origin
from schemas.states import NEVER, Held, PartitionState
from schemas.stored import encode_partition
from schemas.topics import ACTION_REWARDS, ACTIONS, CUSTOMER_SEGMENTS, DEAD_LETTERS, MODEL_TRAIN, SEGMENT_CHANGES
from streams.kafka.changelog import PARTITION_KEY
from streams.keys import pseudonym_key
from streams.plane.records import Effects, Output, Put
from streams.settings import Settings
from streams.worker.chunk import ChunkWork, Waiting
from streams.worker.decoding import Decoder, KnownReadings
from streams.worker.outcomes import OutcomeWriter
from streams.worker.partition import Partition

log = structlog.get_logger(__name__)

NO_ENCODER = "loading"  # of changes made before the encoder is loaded; no text has been read then

# Customers taken at once when silence or a policy moves many: 128 take about 20 ms, which is what an event then waits.
WAVE = 128


class WaitingRecords(Protocol):
    """Where records wait for their texts (`streams.worker.text_queue.TextQueue`)."""

    def put(self, partition: int, waiting: Waiting) -> None:
        """Asks for the texts of `waiting`, and keeps its records until they have been read."""
        ...

    def drop(self, partition: int) -> None:
        """Forgets what waits in `partition`."""
        ...


class Observer(Protocol):
    """Learns what happened, for metrics and the web pages; each method is called once a chunk at most."""

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

    def decided(self, partition: int, actions: Sequence[Action]) -> None:
        """Actions that Kafka has acknowledged."""
        ...

    def erased(self, partition: int, segments: Sequence[Mapping[str, Held]]) -> None:
        """The segments that erased customers were in; called before the changes of the same chunk."""
        ...

    def restored(self, partition: int, places: Counter[tuple[str, str]]) -> None:
        """How many customers of the partition are in each (dimension, segment)."""
        ...

    def revoked(self, partition: int) -> None:
        """Another worker owns the partition now."""
        ...


class ScoringJob:
    """See the module. `rules` and `scorer` may be replaced between chunks.

    A new scorer judges each customer at their next event or moment of silence. New rules reach a partition when
    `silence` has nobody left under the old ones; `sweep` then gives every customer to be judged anew.

    Attributes:
        rules: the policy that is served.
        scorer: the model that is served.
        board: the campaigns that decide.
        shadow: another policy that judges the same customers without effect; None: there is none.
        parts: the memory of each partition that this worker owns.
        topics: full names of the input topics.
        topic_ids: Kafka's id of each input topic, by full name; a topic without one is taken for the one that it was.
        outputs: full names of the topics that are written.
        gathered: those of `outputs` that may have one partition.
    """

    def __init__(
        self,
        settings: Settings,
        rules: Rules,
        scorer: Scorer,
        *,
        readings: KnownReadings,
        waiting: WaitingRecords,
        observer: Observer,
    ) -> None:
        self.rules, self.scorer, self.board = rules, scorer, Board()
        self.shadow: Shadow | None = None
        self.parts: dict[int, Partition] = {}
        self.topic_ids: Mapping[str, str] = {}
        self._settings, self._readings, self._waiting, self._observer = settings, readings, waiting, observer
        self._decoder = Decoder(settings, readings)
        self._writer = OutcomeWriter(settings, self.pseudonym)
        self.topics = self._decoder.topics
        names = (SEGMENT_CHANGES, CUSTOMER_SEGMENTS, ACTIONS, ACTION_REWARDS, DEAD_LETTERS, MODEL_TRAIN)
        self.outputs = tuple(settings.topic(name) for name in names)
        self.gathered = (settings.topic(MODEL_TRAIN),)
        self._pseudonym_key = pseudonym_key(settings)

    @property
    def versions(self) -> Versions:
        """The policy, model and encoder that are served now."""
        return self._versions(self.rules)

    def _versions(self, rules: Rules) -> Versions:
        return Versions(rules.label, self.scorer.version, self._readings.version or NO_ENCODER)

    @property
    def texts_cut(self) -> int:
        """Texts that were longer than the part that counts, since the start."""
        return self._decoder.texts_cut

    @property
    def foreign(self) -> dict[str, int]:
        """Applied purchases in another currency than the policy's, by full name of their topic, since the start."""
        return dict(self._writer.foreign)

    # --- work: from records, and from time that passes

    def decode(self, partition: int, records: Sequence[ConsumerRecord]) -> ChunkWork:
        """The work of a chunk's records; those with unread texts go into the queue."""
        part = self.parts[partition]
        work = self._decoder.decode(partition, part, records)
        for waiting in work.waiting:
            part.hold(waiting)
            self._waiting.put(partition, waiting)
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

        To be asked when `silence` has nobody: what fell due before the new rules came is judged by the old ones.
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
        """How many customers are still to be judged by the rules that are served."""
        return sum(len(p.unswept) if p.rules is self.rules else len(p.due) for p in self.parts.values())

    def origin(self, changelog_id: str, partition: int, offset: int, number: int) -> tuple[str, bytes]:
        """The header by which the trainer knows a label that comes again."""
        return Origin(changelog_id, partition, offset, number).header()

    def refuse(self, partition: int, record: ConsumerRecord, cause: Exception) -> Output:
        """The dead letter of a record at which this job raised `cause`."""
        self._observer.events(partition, {(self.topics.index(record.topic), "rejected"): 1})
        return self._decoder.letter_of_failure(record, cause)

    # --- the step

    def step(self, partition: int, work: ChunkWork, values: Sequence[bytes | None]) -> Effects:
        """New states and every record they cause."""
        return self.steps([(partition, work, values)])[0]

    def steps(self, chunks: Sequence[tuple[int, ChunkWork, Sequence[bytes | None]]]) -> list[Effects]:
        """`step` for chunks of several partitions at once: a matrix of many customers costs little more than of few."""
        groups = [self._group(partition, work, values) for partition, work, values in chunks]
        outcomes: list[list[Outcome]] = [[] for _ in groups]
        for rules in {id(terms.rules): terms.rules for _, terms in groups}.values():
            # All have the same policy, but for the seconds in which a new one reaches one partition after another.
            same = [i for i, (_, terms) in enumerate(groups) if terms.rules is rules]
            for i, of_one in zip(same, advance_stored([groups[i] for i in same]), strict=True):
                outcomes[i] = of_one
        scored_at = time.time()
        written = [
            self._effects(partition, work, of_one, self._spent(terms, of_one), scored_at)
            for (partition, work, _), of_one, (_, terms) in zip(chunks, outcomes, groups, strict=True)
        ]
        # Not before all have succeeded: else they are stepped again, one by one, and money would be spent twice.
        for (partition, _, _), (_, state) in zip(chunks, written, strict=True):
            self.parts[partition].keep(state)
        return [effects for effects, _ in written]

    def _spent(self, terms: Terms, outcomes: Sequence[Outcome]) -> Ledger:
        """What the partition's campaigns have spent after these outcomes."""
        assert terms.campaigns is not None
        return after_decisions(terms.campaigns, outcomes).ledger

    def _group(self, partition: int, work: ChunkWork, values: Sequence[bytes | None]) -> tuple[list[Customer], Terms]:
        """The customers of a chunk with their events, and the terms on which they are judged."""
        part = self.parts[partition]
        if work.served is not None:
            part.serve(work.served)
        customers = []
        for key, value in zip(work.keys, values, strict=True):
            heard, erasure = work.heard.get(key, ()), work.erasures.get(key)
            if value is None:
                # A request to erase that came this far lies in its key's partition.
                if erasure is None and (not heard or self._decoder.rejects_misplaced(work, partition, key)):
                    continue
                customers.append(Customer(key.decode(), None, NEVER, heard, erasure))
            else:
                customers.append(Customer(key.decode(), None, NEVER, heard, erasure, value))
        known = part.clock.purchases_known()
        latest = work.consumed_at + self._settings.future_limit_s if self._settings.clock == "wall" else NEVER
        ledger = Ledger(partition, self._settings.partitions, part.spends)
        campaigns = CampaignTerms(self.board, ledger, self._settings.consent)
        return customers, Terms(
            part.rules, self.scorer, part.now(), known, part.counts_from(), self.pseudonym, latest, campaigns
        )

    def _effects(
        self, partition: int, work: ChunkWork, outcomes: list[Outcome], ledger: Ledger, scored_at: float
    ) -> tuple[Effects, PartitionState]:
        """The records of a chunk, and the partition's own state after it."""
        part = self.parts[partition]
        puts, changes, bodies, actions = self._writer.write(work, part, outcomes, self._versions(part.rules), scored_at)
        erased = [
            outcome.customer.state.segments
            for outcome in outcomes
            if outcome.erased and outcome.customer.state is not None
        ]
        if (state := part.state(ledger.spends)) != part.stored:
            puts.append(Put(PARTITION_KEY, encode_partition(state), []))
        if self.shadow is not None:
            self.shadow.see(partition, outcomes)
        self._observer.events(partition, work.counts)

        def delivered() -> None:
            if self.parts.get(partition) is part:  # else its next owner counts its customers
                if erased:
                    self._observer.erased(partition, erased)
                self._observer.changes(partition, changes, bodies, work.consumed_at, time.time())
                self._observer.decided(partition, actions)

        return Effects(puts, work.dead_letters, delivered if changes or erased else None), state

    def pseudonym(self, customer_id: str) -> str:
        """Names a customer in `model-train`: 16 hex digits, keyed by the setting `pseudonym_key`."""
        return blake2b(customer_id.encode(), key=self._pseudonym_key, digest_size=8).hexdigest()

    # --- assignment

    def restored(self, partition: int, items: Iterator[tuple[bytes, bytes]]) -> Iterator[None]:
        """Takes a partition: builds its memory from its states, portion by portion."""
        part = Partition(PartitionClock(self._settings.clock, self._settings.clock_grace_s), self.rules)
        places = Counter[tuple[str, str]]()
        yield from part.restore(items, places)
        self._observer.restored(partition, places)
        self._meet_topics(partition, part)
        self.parts[partition] = part

    def _meet_topics(self, partition: int, part: Partition) -> None:
        if not self.topic_ids:
            return
        before = part.incarnations
        for index in part.meet([self.topic_ids.get(topic, "") for topic in self.topics]):
            log.warning(
                "input topic was made anew: its records count from where the group stands in it",
                topic=self.topics[index],
                partition=partition,
                before=before[index].topic_id,
                now=part.incarnations[index].topic_id,
            )

    def revoked(self, partition: int) -> None:
        """Forgets a partition."""
        self.parts.pop(partition, None)
        if self.shadow is not None:
            self.shadow.forget(partition)
        self._waiting.drop(partition)
        self._observer.revoked(partition)
