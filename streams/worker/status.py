"""What is known of a worker at one moment: its place in the group, its texts, its counts.

`streams.worker.answers` makes these from the worker's parts.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from aiokafka import TopicPartition

from schemas.changes import Versions


class NotHere(Exception):
    """The customer's partition belongs to another worker; ask that one.

    Attributes:
        partition: the partition number.
    """

    def __init__(self, partition: int) -> None:
        super().__init__(f"partition {partition} belongs to another worker; ask the worker that owns it")
        self.partition = partition


@dataclass(frozen=True)
class Status:
    """A worker's place in the group and what it serves, at one moment.

    Attributes:
        joined: it has received an assignment, and no rebalance is going on.
        assigned: partition numbers; none: a spare worker, which is fine.
        restoring: those of `assigned` whose state is not complete yet.
        unread: broadcast topics that have not been read to their end yet.
        customers: how many customers the assigned partitions have.
        versions: the policy, model and encoder that are served; None: not known yet.
        texts_waiting: records that wait for their texts.
        partition_times: by partition number, epoch seconds; None: not known yet.
        clock_off_s: by how much its clock is ahead of the brokers', too much to be judged by; None: it isn't.
    """

    joined: bool
    assigned: tuple[int, ...]
    restoring: tuple[int, ...]
    unread: tuple[str, ...]
    customers: int
    versions: Versions | None
    texts_waiting: int = 0
    partition_times: Mapping[int, float | None] = field(default_factory=dict)
    clock_off_s: float | None = None


@dataclass(frozen=True)
class TextProgress:
    """Which records wait for their texts, and how far the encoder is, at one moment.

    Attributes:
        reading: topic partitions with records that wait for their texts.
        read: texts since the start, encoded or found in the cache.
        loading_s: for how long the encoder has been loading; None: it isn't.
    """

    reading: Collection[TopicPartition] = ()
    read: int = 0
    loading_s: float | None = None


class Counts(NamedTuple):
    """What a worker's parts have counted since the start.

    Attributes:
        restored: changelog records that restores read.
        lost: by full name of a topic, offsets that retention deleted before they were read.
        set_aside: by full name of a topic, records that made the worker fail and are dead letters.
        foreign: by full name of a topic, applied events in another currency than the served policy's.
        texts_cut: texts longer than the part that counts.
        cache_failures: lookups and writes that the disk refused to the text cache.
    """

    restored: int = 0
    lost: Mapping[str, int] = {}
    foreign: Mapping[str, int] = {}
    texts_cut: int = 0
    cache_failures: int = 0
    set_aside: Mapping[str, int] = {}
