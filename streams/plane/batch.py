"""A poll's records as the one event that an agent receives, and as one turn per partition."""

from collections.abc import Mapping, Sequence
from typing import Any

from aiokafka.structs import ConsumerRecord
from faust.topics import Topic
from faust.types import TP

from streams.plane.progress import Span


class Batch:
    """All records of one poll, by topic partition, and the offsets they cover.

    `epoch` is the assignment they were polled in (`progress.Progress`), `generation` the group's, `bytes` what the poll
    took.
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
        """Topic partitions of the batch by partition number: each group is one chunk."""
        groups: dict[int, list[TP]] = {}
        for tp in self.records:
            groups.setdefault(tp.partition, []).append(tp)
        return groups


class Turn:
    """What a poll brought for one partition, waiting for the chunks before it.

    Attributes:
        batch: the poll.
        tps: the topic partitions of the batch that have this partition's number.
        is_taken: whether a chunk has it, or a rebalance dropped it.
    """

    __slots__ = ("batch", "is_taken", "tps")

    def __init__(self, batch: Batch, tps: list[TP]) -> None:
        self.batch, self.tps, self.is_taken = batch, tps, False


class BatchTopic(Topic):
    """Topics whose agent receives a `Batch` a poll instead of an event a record.

    Faust subscribes to and assigns it like any other topic. The queue holds one batch: while the agent works on one,
    the next is there and the one after it is being polled; beyond that the consumer waits.

    No acks: faust's stream acks an event whatever its agent raised, and its compiled iterator does so past any override
    of `Consumer.ack`. What may be committed is said by the pipeline's progress alone, and the pipeline itself is asked
    whether work is in flight.
    """

    def __init__(self, app: Any, *, maxsize: int = 1, acks: bool = False, **kwargs: Any) -> None:
        super().__init__(app, maxsize=maxsize, acks=acks, **kwargs)

    def get_topic_name(self) -> str:
        """The names of all topics, for Faust's own tools (`faust agents`)."""
        return ", ".join(self.topics)
