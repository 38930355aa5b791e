"""A scoring job with one partition, its stored states, and what waits for its texts."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from msgspec.structs import replace

from models.policy import Rules, load
from models.scores import PriorScorer
from models.state import Reading
from schemas.changes import Trace, decode_change
from schemas.groups import TEXT_DIM
from schemas.learning import decode_label
from schemas.states import Held
from schemas.stored import decode_state
from streams.settings import Settings
from streams.worker.chunk import ChunkWork, Waiting
from streams.worker.decoding import work_of
from streams.worker.feed import SegmentCounts
from streams.worker.scoring import ScoringJob

SETTINGS = Settings(partitions=1, clock="event")
RULES = Rules(load())
AT = "2024-01-01T10:00:0{}Z"


class Record(NamedTuple):
    """What the job reads of a ConsumerRecord."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()
    timestamp: int = 0
    timestamp_type: int = 0


class Texts:
    """A lane that has read some texts."""

    version = "fake"

    def __init__(self, *known: str) -> None:
        self.known = set(known)

    def cached(self, texts: Sequence[str]) -> list[Reading | None]:
        """A reading of each known text."""
        return [Reading((0.1,) * TEXT_DIM, 0.5) if text in self.known else None for text in texts]


class Witness:
    """Remembers the bodies of changes, and counts who stands where."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []
        self.actions: list[Any] = []
        self.segments = SegmentCounts()

    def events(self, *arguments: Any) -> None:
        """Ignores it."""

    revoked = events

    def changes(self, partition: int, changes: Any, bodies: Sequence[bytes], *when: float) -> None:
        """Takes them down."""
        assert when == tuple(sorted(when))
        self.seen += bodies
        for change in changes:
            self.segments.moved(partition, change.dimension, change.previous, change.current)

    def decided(self, partition: int, actions: Any) -> None:
        """Takes them down."""
        self.actions += actions

    def erased(self, partition: int, segments: Any) -> None:
        """Takes them off."""
        self.segments.erased(partition, map(places, segments))

    def restored(self, partition: int, places: Counter[tuple[str, str]]) -> None:
        """Counts them."""
        self.segments.restored(partition, places)


def places(segments: Mapping[str, Held]) -> dict[str, str]:
    """A customer's segment in each dimension."""
    return {name: held.segment for name, held in segments.items()}


class Desk:
    """A job with one partition, its stored states, and what it holds."""

    def __init__(self, *known: str, settings: Settings = SETTINGS) -> None:
        self.settings = settings
        self.states: dict[bytes, bytes] = {}
        self.written: list[object] = []  # changes and labels, but not when
        self.table: dict[bytes, bytes | None] = {}  # customer-segments
        self.labels: dict[bytes, bytes | None] = {}  # model-train, compacted
        self.actions: list[bytes] = []
        self.rewards: dict[bytes, bytes | None] = {}  # action-rewards, compacted
        self.offset = 0
        self.start(*known)

    def start(self, *known: str) -> None:
        """A new job, from the stored states."""
        self.waiting: list[Waiting] = []
        self.witness = Witness()
        self.job = ScoringJob(
            self.settings, RULES, PriorScorer(), readings=Texts(*known), waiting=self, observer=self.witness
        )
        list(self.job.restored(0, iter(sorted(self.states.items()))))

    def put(self, partition: int, waiting: Waiting) -> None:
        """See `streams.worker.scoring.WaitingRecords`."""
        self.waiting.append(waiting)

    def drop(self, partition: int) -> None:
        """See `streams.worker.scoring.WaitingRecords`."""
        self.waiting.clear()

    def click(self, customer: str, second: int, query: str | None = None) -> Record:
        """A click, or a search where there is a query."""
        event = {
            "event_id": f"e{self.offset}",
            "customer_id": customer,
            "event_time": AT.format(second),
            "type": "view" if query is None else "search",
            "session_id": "s",
        } | ({} if query is None else {"query": query})
        self.offset += 1
        return Record("clickstream", 0, self.offset - 1, customer.encode(), json.dumps(event).encode())

    def take(self, *records: Record) -> ChunkWork:
        """Decodes and steps one chunk."""
        work = self.job.decode(0, records)  # type: ignore[arg-type]
        self.step(work)
        return work

    def step(self, work: ChunkWork) -> None:
        """Steps, and keeps the states."""
        effects = self.job.step(0, work, [self.states.get(key) for key in work.keys])
        self.states.update({put.key: put.value for put in effects.puts if put.value is not None})
        if effects.delivered is not None:
            effects.delivered()
        for topic, key, value, _ in (output for put in effects.puts for output in put.outputs):
            if topic == "customer-segments":
                self.table[key] = value
            elif topic == "segment-changes":
                self.written.append(replace(decode_change(value or b""), trace=Trace("", "", "")))
            elif topic == "actions":
                self.actions.append(value or b"")
            elif topic == "action-rewards":
                self.rewards[key] = value
            elif topic == "model-train":
                self.labels[key] = value
                if value is not None:
                    self.written.append(decode_label(value))

    def serve(self) -> None:
        """Has the oldest texts read and their records taken."""
        waiting = self.waiting.pop(0)
        texts = {text for _, _, text in waiting.entries if text is not None}
        self.step(work_of(waiting, {text: Reading((0.2,) * TEXT_DIM, -0.5) for text in texts}))

    def silence(self) -> None:
        """Everybody who is due."""
        while (work := self.job.silence(0)) is not None:
            self.step(work)

    def clicks(self, customer: str) -> int:
        """Clicks counted so far."""
        value = self.states.get(customer.encode())
        return 0 if value is None else decode_state(value).clicks
