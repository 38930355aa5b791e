"""How much one poll takes, in bytes of its records in memory.

Kafka limits a fetch in compressed bytes, of which one may become a thousand: the records of a single fetch may be gigabytes.
What a poll leaves stays compressed and comes with the next poll.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from aiokafka.consumer.fetcher import FetchResult
from aiokafka.structs import ConsumerRecord

# For all partitions together; the last record may exceed it. A poll has up to eight thousand events (`max_poll_records`) of
# half a kilobyte, which are a quarter of it.
PORTION_BYTES = 16 << 20


class Portion:
    """What a poll may still take, in bytes."""

    def __init__(self) -> None:
        self.left = PORTION_BYTES

    @property
    def taken(self) -> int:
        """Bytes that were taken."""
        return PORTION_BYTES - self.left


_portion: ContextVar[Portion | None] = ContextVar("portion", default=None)


@contextmanager
def portion() -> Iterator[Portion]:
    """In its block aiokafka's fetcher gives one portion in all, but at least one record where there is one."""
    made = Portion()
    token = _portion.set(made)
    try:
        yield made
    finally:
        _portion.reset(token)


def taking_portions() -> None:
    """Makes the aiokafka consumers of this process take no more than one portion in the block of `portion`."""
    FetchResult.getall = _getall


_aiokafkas_getall = FetchResult.getall


def _getall(result: FetchResult, max_records: int | None = None) -> list[ConsumerRecord]:
    """The next fetched records of one partition, at most `max_records`; none when the portion is used up."""
    portion = _portion.get()
    if portion is None:
        records: list[ConsumerRecord] = _aiokafkas_getall(result, max_records)
        return records
    if portion.left <= 0 or not result.check_assignment(result._topic_partition) or not result.has_more():
        return []
    left, taken = portion.left, []
    for record in result._partition_records:
        taken.append(record)
        left -= record.serialized_key_size + record.serialized_value_size
        if record.headers:
            left -= sum(len(name) + len(value or b"") for name, value in record.headers)
        if left <= 0 or (max_records is not None and len(taken) >= max_records):
            result._update_position()
            break
    else:
        result._update_position()
        result._partition_records = None
    portion.left = left
    return taken
