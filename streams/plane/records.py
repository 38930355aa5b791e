"""What a job takes and gives, and how the outputs of a change travel with it (the outbox).

An outbox is msgpack: an array of ``[topic, key or nil, value or nil, [[header name, header bytes], ...]]``. It is the one
header, named ``outbox``, of the changelog record whose value is the state that caused those outputs.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import msgspec
from aiokafka.structs import ConsumerRecord

from streams.kafka.changelog import PLANE_PREFIX

Headers = list[tuple[str, bytes]]

OUTBOX_HEADER = "outbox"

CONFIRMED_KEY = PLANE_PREFIX + b"confirmed"
CLAIM_KEY = PLANE_PREFIX + b"claim"  # the first record of a new owner; earlier owners can't write after it


class Output(NamedTuple):
    """A record to send: to the partition it was caused in, or to partition 0 of a topic with one partition."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers


class Put(NamedTuple):
    """The new state of a key (None: erased) and every record that this change causes."""

    key: bytes
    value: bytes | None
    outputs: list[Output]


class Effects(NamedTuple):
    """What one step caused. A key occurs in `puts` once; dead letters are sent, but belong to no state."""

    puts: list[Put]
    dead_letters: list[Output]
    delivered: Callable[[], None] | None = None  # called once all of it is acknowledged; never where it was dropped


class Work(Protocol):
    """Decoded records of one partition, or work without records."""

    @property
    def keys(self) -> list[bytes]:
        """Distinct keys whose states the step needs."""

    @property
    def held(self) -> Sequence[ConsumerRecord]:
        """Records the job keeps for later: nothing from the lowest of them on is committed until they are released."""


W = TypeVar("W", bound=Work)


class Job(Protocol[W]):
    """What the data plane runs. Methods are synchronous and use the CPU alone.

    What `decode` and `step` raise ends the process. In the third start at the same records the plane looks for the one
    record at fault (`failures.py`). What the other methods raise ends the process.
    """

    @property
    def topics(self) -> tuple[str, ...]:
        """Full names of the input topics; they have the same number of partitions."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Full names of every topic that outputs and dead letters go to; each must exist before a worker starts.

        They have as many partitions as the inputs, so that what a partition causes is fenced in the one of its number.
        """

    @property
    def gathered(self) -> tuple[str, ...]:
        """Those of `outputs` that may have one partition for what all cause: there nobody is fenced."""

    def decode(self, partition: int, records: Sequence[ConsumerRecord]) -> W:
        """Records of one partition number, topic by topic in the order of `topics`, by offset within each.

        A record is handed over once in an assignment; after a rebalance or a restart, everything since the last
        commit comes again.
        """

    def step(self, partition: int, work: W, values: Sequence[bytes | None]) -> Effects:
        """The effects of `work`, given the states of `work.keys` in that order (None: no state yet)."""

    def refuse(self, partition: int, record: ConsumerRecord, cause: Exception) -> Output:
        """The dead letter of a record that makes the job raise `cause`, alone as in a chunk."""

    def restored(self, partition: int, items: Iterator[tuple[bytes, bytes]]) -> None:
        """Called when a partition is this worker's and its store is complete; `items` yields every key and state."""

    def revoked(self, partition: int) -> None:
        """Called when a partition stops being this worker's: whatever is kept in memory for it is void."""


class PartitionGone(Exception):
    """The partition isn't this worker's any more, so nothing was written; its next owner does the work again."""

    def __init__(self, partition: int) -> None:
        super().__init__(f"partition {partition} is not assigned to this worker")
        self.partition = partition


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Output])


def encode_outbox(outputs: Sequence[Output]) -> bytes:
    """Outputs as they travel in the changelog; `decode_outbox` gives them back equal."""
    return _encoder.encode(outputs)


def decode_outbox(data: bytes) -> list[Output]:
    """The outputs in an outbox, in order.

    >>> decode_outbox(encode_outbox([Output("t", b"k", None, [("h", b"1")])]))
    [Output(topic='t', key=b'k', value=None, headers=[('h', b'1')])]
    """
    return _decoder.decode(data)


def outbox_of(headers: Sequence[tuple[str, bytes]]) -> bytes | None:
    """The outbox among a changelog record's headers, still encoded; None where the change caused nothing."""
    for name, value in headers:
        if name == OUTBOX_HEADER:
            return value
    return None


@runtime_checkable
class Together(Protocol):
    """A job that steps chunks of several partitions cheaper in one call than one by one."""

    def steps(self, chunks: Sequence[tuple[int, Any, Sequence[bytes | None]]]) -> list[Effects]:
        """As `Job.step` for each (partition, work, values), in order; no partition occurs twice."""
