"""One chunk of records, decoded: what `decoding` fills, `models.step` steps, and `outcomes` writes down."""

from collections import Counter
from dataclasses import dataclass, field

import msgspec
from aiokafka.structs import ConsumerRecord

from models.state import Erasure
from models.step import Heard
from streams.plane.records import Output


class Waiting(msgspec.Struct):
    """Records of one chunk that wait: those whose texts are unread, and later ones of the same customers and topics."""

    records: list[ConsumerRecord]
    entries: list[tuple[bytes, Heard, str | None]]  # a record's key, its event, the text that is still to be read
    consumed_at: float

    @property
    def texts(self) -> list[str]:
        """The unread texts, each once, in order."""
        return list(dict.fromkeys(text for _, _, text in self.entries if text is not None))


@dataclass(slots=True)
class ChunkWork:
    """The work of one chunk; also of customers whom silence or a policy moves, without any record.

    Attributes:
        keys: customers whose states the step needs, each once.
        held: records that wait for their texts.
        waiting: the same records, in the slices in which they will be served.
        heard: events to apply now, by customer in the order of the records.
        sources: the record of each of those events.
        erasures: the latest request to erase each customer.
        dead_letters: one for each record that can't be used.
        counts: records by (index of the topic, outcome).
        consumed_at: when the records were taken off the broker, epoch seconds.
        served: what waited before and is applied now.
    """

    keys: list[bytes] = field(default_factory=list)
    held: list[ConsumerRecord] = field(default_factory=list)
    waiting: list[Waiting] = field(default_factory=list)
    heard: dict[bytes, list[Heard]] = field(default_factory=dict)
    sources: dict[bytes, list[ConsumerRecord]] = field(default_factory=dict)
    erasures: dict[bytes, Erasure] = field(default_factory=dict)
    dead_letters: list[Output] = field(default_factory=list)
    counts: Counter[tuple[int, str]] = field(default_factory=Counter)
    consumed_at: float = 0.0
    served: Waiting | None = None

    def add(self, record: ConsumerRecord, heard: Heard) -> None:
        """Has the step apply `heard`, the event of `record`, after those that were added before."""
        events = self.heard.get(record.key)
        if events is None:
            self.heard[record.key] = [heard]
            self.sources[record.key] = [record]
        else:
            events.append(heard)
            self.sources[record.key].append(record)
