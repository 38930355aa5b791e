"""The changelog topic: its reserved keys, and how it is read without a worker.

No customer's key begins with the byte 0xff, because that byte never occurs in UTF-8. Keys that begin with it are reserved:
the data plane's own records, and what a job keeps per partition.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition

from streams.kafka.cluster import layout_of
from streams.kafka.readers import read_span, reader
from streams.kafka.spool import Spool
from streams.settings import Settings

RESERVED = b"\xff"
PLANE_PREFIX = RESERVED + b"\x00"  # the data plane's own records
JOB_PREFIX = RESERVED + b"\x01"  # what a job keeps per partition; kept and restored as any other key
PARTITION_KEY = JOB_PREFIX + b"partition"  # the scoring job's state of the whole partition


class PartitionRead(NamedTuple):
    """What was read of one partition.

    Attributes:
        partition_state: the latest value of `PARTITION_KEY`; None: there is none.
        records: how many records were read.
    """

    partition_state: bytes | None
    records: int


class Changelog:
    """The changelog as of one moment.

    Attributes:
        partitions: their number; they are 0 and up.
    """

    def __init__(self, consumer: AIOKafkaConsumer, spans: dict[int, dict[TopicPartition, tuple[int, int]]]) -> None:
        self._consumer, self._spans = consumer, spans
        self.partitions = len(spans)

    async def read(self, partition: int, spool: Spool | None = None) -> PartitionRead:
        """Reads a partition, and puts the latest value of each of its customers into `spool`; None: of nobody.

        Raises:
            BrokerLost: the broker sends nothing more.
            SpoolBroken: the spool cannot be written.
        """
        partition_state: bytes | None = None
        count = 0
        async for records in read_span(self._consumer, self._spans[partition]):
            count += len(records)
            if spool is not None:
                spool.put((each.key, each.value) for each in records if each.key and not each.key.startswith(RESERVED))
            for record in records:
                if record.key == PARTITION_KEY:
                    partition_state = record.value
        return PartitionRead(partition_state, count)


@asynccontextmanager
async def changelog(settings: Settings) -> AsyncIterator[Changelog]:
    """The changelog as it is now.

    Raises:
        BrokerLost: no broker answers.
        AccessRefused: a broker answers and refuses this client.
        TopicsNotReady: there is no changelog: no worker has run.
    """
    tps = list(await layout_of(settings, [settings.changelog_topic]))
    async with reader(settings) as consumer:
        starts, ends = await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)
        yield Changelog(consumer, {tp.partition: {tp: (starts[tp], ends[tp])} for tp in tps})
