"""The changelog topic: its reserved keys, and the latest value of every customer's key.

No customer's key begins with the byte 0xff, because that byte never occurs in UTF-8. Keys that begin with it are reserved:
the data plane's own records, and what a job keeps per partition.
"""

from collections.abc import AsyncIterator
from typing import NamedTuple

from streams.kafka.cluster import layout_of
from streams.kafka.readers import read_span, reader
from streams.settings import Settings

RESERVED = b"\xff"
PLANE_PREFIX = RESERVED + b"\x00"  # the data plane's own records
JOB_PREFIX = RESERVED + b"\x01"  # what a job keeps per partition; kept and restored as any other key
PARTITION_KEY = JOB_PREFIX + b"partition"  # the scoring job's state of the whole partition


class LatestValues(NamedTuple):
    """What the changelog holds of one partition.

    Attributes:
        values: the latest value of every customer's key, in the order in which the keys were first written.
        partition_state: the latest value of `PARTITION_KEY`; None: there is none.
        records: how many records were read.
    """

    values: dict[bytes, bytes]
    partition_state: bytes | None
    records: int


async def latest_values(settings: Settings) -> AsyncIterator[LatestValues]:
    """The changelog as of the call, one partition after the other; a key whose latest value is null is left out.

    Raises:
        BrokerLost: no broker answers.
        AccessRefused: a broker answers and refuses this client.
        TopicsNotReady: there is no changelog: no worker has run.
    """
    tps = list(await layout_of(settings, [settings.changelog_topic]))
    async with reader(settings) as consumer:
        starts, ends = await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)
        for tp in tps:
            values: dict[bytes, bytes] = {}
            partition_state: bytes | None = None
            count = 0
            async for records in read_span(consumer, {tp: (starts[tp], ends[tp])}):
                count += len(records)
                for record in records:
                    key, value = record.key, record.value
                    if not key or key.startswith(RESERVED):
                        if key == PARTITION_KEY:
                            partition_state = value
                    elif value is None:
                        values.pop(key, None)
                    else:
                        values[key] = value
            yield LatestValues(values, partition_state, count)
