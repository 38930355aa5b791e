"""Answers of a worker about itself, from its parts: to the pages, the metrics and the watchdog.

Every answer describes the moment of the call. It is cheap and changes nothing.
"""

import time
from collections.abc import Collection, Mapping
from typing import Protocol

from aiokafka import TopicPartition

from models.shadow import Comparison
from models.standing import standing
from schemas.changes import Standing
from schemas.stored import decode_state
from streams.kafka.broadcast import Broadcast
from streams.kafka.topics import partition_of
from streams.plane.pipeline import Pipeline
from streams.plane.records import PartitionGone
from streams.settings import Settings
from streams.worker.clocks import ClockWatch
from streams.worker.scoring import ScoringJob
from streams.worker.status import Counts, NotHere, Status, TextProgress
from streams.worker.text_lane import TextLane
from streams.worker.text_queue import TextQueue


class Membership(Protocol):
    """The worker's place in the consumer group (`streams.plane.runtime`)."""

    def assigned(self) -> Collection[int]:
        """Numbers of the input partitions that the group has assigned to this worker."""
        ...

    def restoring(self) -> bool:
        """Whether the state of an assigned partition is being restored."""
        ...


class WorkerAnswers:
    """Answers from the parts of one worker."""

    def __init__(
        self,
        settings: Settings,
        membership: Membership,
        pipeline: Pipeline,
        job: ScoringJob,
        lane: TextLane,
        queue: TextQueue,
        broadcasts: Mapping[str, Broadcast],
        clocks: ClockWatch,
    ) -> None:
        self._clocks = clocks
        self._settings, self._membership, self._pipeline = settings, membership, pipeline
        self._job, self._lane, self._queue, self._broadcasts = job, lane, queue, broadcasts

    def status(self) -> Status:
        """Its place in the group and what it serves."""
        assigned, owned = set(self._membership.assigned()), self.owned()
        times = {number: part.now() for number, part in self._job.parts.items()}
        return Status(
            joined=self._pipeline.ready,
            assigned=tuple(sorted(assigned)),
            restoring=tuple(sorted(assigned - set(owned))),
            unread=tuple(name for name, broadcast in self._broadcasts.items() if not broadcast.ready),
            customers=sum(part.customers for part in self._job.parts.values()),
            versions=self._job.versions,
            texts_waiting=self._queue.held,
            clock_off_s=None if self._clocks.is_right else self._clocks.difference_s,
            partition_times={number: at if abs(at) < time.time() * 10 else None for number, at in times.items()},
        )

    def standing(self, customer_id: str) -> Standing | None:
        """A customer from the local store; None: unknown, or erased.

        Raises:
            NotHere: the customer's partition belongs to another worker.
        """
        key = customer_id.encode()
        partition = partition_of(key, self._settings.partitions)
        try:
            (value,) = self._pipeline.multi_get(partition, [key])
        except PartitionGone:
            raise NotHere(partition) from None
        state = None if value is None else decode_state(value)
        return None if state is None or state.is_erased else standing(customer_id, state, self._job.versions)

    def shadow(self) -> Comparison | None:
        """How the shadow policy compares with the served one; None: there is no shadow."""
        return None if self._job.shadow is None else self._job.shadow.comparison()

    def texts(self) -> TextProgress:
        """What waits for the encoder."""
        return TextProgress(self.reading(), self._lane.given, self._lane.loading_s)

    def counts(self) -> Counts:
        """What its parts have counted; every input topic is there, with 0 where nothing was counted."""
        none = dict.fromkeys(self._job.topics, 0)
        counters = self._pipeline.counters
        return Counts(
            restored=counters.restored_records,
            lost=none | dict(counters.lost),
            foreign=none | self._job.foreign,
            texts_cut=self._job.texts_cut,
            cache_failures=self._lane.cache_failures,
            set_aside=none | dict(counters.set_aside),
        )

    def owned(self) -> Collection[int]:
        """Partition numbers that it owns and has restored."""
        return self._pipeline.partitions()

    def joined(self) -> bool:
        """Whether the group has answered with an assignment, or the state of one is being restored."""
        return self._pipeline.ready or self._membership.restoring()

    def reading(self) -> Collection[TopicPartition]:
        """Topic partitions with records that wait for their texts."""
        positions = self._pipeline.positions().items()
        return [TopicPartition(tp.topic, tp.partition) for tp, position in positions if position.held]

    def encoded(self) -> int:
        """Texts that were encoded since the start."""
        return self._lane.encoded
