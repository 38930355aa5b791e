"""The records of one poll: as the single event that an agent receives, and as the turns of the partitions in it."""

from collections.abc import Mapping, Sequence
from typing import Any

from aiokafka.structs import ConsumerRecord
from faust.topics import Topic
from faust.types import TP

from streams.plane.progress import Span


class Batch:
    """All records of one poll, by topic partition, and the offsets that they cover.

    Attributes:
        records: the records of each topic partition, in order of offset.
        spans: the offsets that the poll took from each topic partition.
        epoch: the assignment in which they were polled (`progress.Progress`).
        generation: the consumer group's generation at that time.
        bytes: the size of keys, values and headers.
    """

    __slots__ = ("bytes", "epoch", "generation", "records", "spans")

    def __init__(
        self,
        records: Mapping[TP, Sequence[ConsumerRecord]],
        spans: Mapping[TP, Span],
        epoch: int,
        generation: int,
        bytes_: int = 0,
    ) -> None:
        self.records, self.spans, self.epoch, self.generation, self.bytes = records, spans, epoch, generation, bytes_

    @property
    def size(self) -> int:
        """Number of records."""
        return sum(map(len, self.records.values()))

    def partitions(self) -> dict[int, list[TP]]:
        """Topic partitions of the batch by partition number: each group belongs to one chunk."""
        groups: dict[int, list[TP]] = {}
        for tp in self.records:
            groups.setdefault(tp.partition, []).append(tp)
        return groups


class Turn:
    """What one poll brought for one partition, while it waits for the chunks before it.

    `taken`: an earlier chunk has taken the records along.
    """

    __slots__ = ("batch", "taken", "tps")

    def __init__(self, batch: Batch, tps: Sequence[TP]) -> None:
        self.batch, self.tps, self.taken = batch, tps, False

    @property
    def size(self) -> int:
        """Number of records."""
        return sum(len(self.batch.records[tp]) for tp in self.tps)


class BatchTopic(Topic):
    """Topics whose agent receives one `Batch` per poll instead of one event per record.

    Faust subscribes to these topics and assigns their partitions as it does for any other topic. The queue holds one
    batch: while the agent works on one, the next waits in the queue, and the one after it is being polled. Then the
    consumer waits.

    There are no acks. Faust's stream acks an event whatever its agent raised, and its compiled iterator does so without
    calling any override of `Consumer.ack`. The pipeline's progress alone decides what may be committed, and the pipeline
    itself knows whether work is in flight.
    """

    def __init__(self, app: Any, *, maxsize: int = 1, acks: bool = False, **kwargs: Any) -> None:
        super().__init__(app, maxsize=maxsize, acks=acks, **kwargs)

    def get_topic_name(self) -> str:
        """The names of all topics, for those of Faust's tools that show one name per agent."""
        return ", ".join(self.topics)
