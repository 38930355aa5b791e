"""What a job takes and gives, and how the outputs of a change travel with the changed state (the outbox).

An outbox is msgpack: an array of ``[topic, key or nil, value or nil, [[header name, header bytes], ...]]``. It is the only
header, named ``outbox``, of the changelog record whose value is the state that caused these outputs (`outbox`).
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import msgspec
from aiokafka.structs import ConsumerRecord

from streams.kafka.changelog import PLANE_PREFIX

Headers = list[tuple[str, bytes]]

NO_HEADERS: Headers = []

OUTBOX_HEADER = "outbox"
CHANGELOG_HEADER = "changelog"  # of a marker: Kafka's id of the topic that the offset in its value is of

CONFIRMED_KEY = PLANE_PREFIX + b"confirmed"
CLAIM_KEY = PLANE_PREFIX + b"claim"  # the first record of a new owner; no earlier owner can write after it


class Output(NamedTuple):
    """A record to send: to the partition that caused it, or to partition 0 of a topic with one partition."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers


class Put(NamedTuple):
    """The new state of a key (None: erased) and all records that this change causes."""

    key: bytes
    value: bytes | None
    outputs: list[Output]


class Effects(NamedTuple):
    """What one step caused. A key occurs in `puts` once. Dead letters are sent, but belong to no state.

    `delivered` is called when everything is acknowledged. It is not called where the effects are dropped.
    """

    puts: list[Put]
    dead_letters: list[Output]
    delivered: Callable[[], None] | None = None


class Work(Protocol):
    """Decoded records of one partition, or work without records."""

    @property
    def keys(self) -> list[bytes]:
        """The distinct keys whose states the step needs."""

    @property
    def held(self) -> Sequence[ConsumerRecord]:
        """Records that the job keeps for later. No offset from the lowest of them on is committed before their release."""


W = TypeVar("W", bound=Work)


class Job(Protocol[W]):
    """What the data plane runs. The methods are synchronous and do no input or output.

    An exception ends the process. When `decode` or `step` raised in two starts at the same records, the third start searches
    for the one record at fault (`fault_search`).
    """

    @property
    def topics(self) -> tuple[str, ...]:
        """Full names of the input topics, which have the same number of partitions."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Full names of all topics for outputs and dead letters; each must exist before a worker starts.

        They have as many partitions as the inputs. So what partition 3 causes goes to partition 3, where it is fenced.
        """

    @property
    def gathered(self) -> tuple[str, ...]:
        """Those of `outputs` that may have a single partition for all; no writer is fenced there."""

    def decode(self, partition: int, records: Sequence[ConsumerRecord]) -> W:
        """The work in the records of one partition number, which come in the order of `topics`, then by offset.

        A record is handed over once per assignment. After a rebalance or a restart, all records since the last commit
        come again.
        """

    def step(self, partition: int, work: W, values: Sequence[bytes | None]) -> Effects:
        """The effects of `work`. `values`: the states of `work.keys` in that order; None: the key has no state yet."""

    def origin(self, changelog_id: str, partition: int, offset: int, number: int) -> tuple[str, bytes]:
        """The header of an output to a topic of `gathered`, by which its reader knows what comes again.

        Outputs of one partition of one changelog are first sent in the order of `offset` and `number`.
        """

    def refuse(self, partition: int, record: ConsumerRecord, cause: Exception) -> Output:
        """The dead letter of a record for which `decode` or `step` raises `cause`, even when it is alone in its chunk."""

    def restored(self, partition: int, items: Iterator[tuple[bytes, bytes]]) -> Iterator[None]:
        """The partition is this worker's and its store is complete; `items` yields every key and state.

        A generator: it yields whenever it has worked for some milliseconds, so that pages are answered meanwhile. It is
        not run to its end where a rebalance takes the partition away; `revoked` is called then, too.
        """

    def revoked(self, partition: int) -> None:
        """The partition is no longer this worker's: whatever memory holds of it is void."""


class PartitionGone(Exception):
    """The partition is no longer this worker's, so nothing was written; its next owner does the work again."""

    def __init__(self, partition: int) -> None:
        super().__init__(f"partition {partition} is not assigned to this worker")
        self.partition = partition


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Output])


def encode_outbox(outputs: Sequence[Output]) -> bytes:
    """Outputs as bytes, as they travel in the changelog; `decode_outbox` reverses it."""
    return _encoder.encode(outputs)


def decode_outbox(data: bytes) -> list[Output]:
    """The outputs in an outbox, in order.

    >>> decode_outbox(encode_outbox([Output("t", b"k", None, [("h", b"1")])]))
    [Output(topic='t', key=b'k', value=None, headers=[('h', b'1')])]
    """
    return _decoder.decode(data)


def outbox_of(headers: Sequence[tuple[str, bytes]]) -> bytes | None:
    """The encoded outbox among the headers of a changelog record; None where the change caused no output."""
    for name, value in headers:
        if name == OUTBOX_HEADER:
            return value
    return None


def marker_headers(changelog_id: str) -> Headers:
    """The headers of a marker whose value is an offset of this changelog; empty id: not known."""
    return [(CHANGELOG_HEADER, changelog_id.encode())] if changelog_id else NO_HEADERS


def confirmed_of(record: Any, changelog_id: str) -> int | None:
    """The confirmed offset that a record of the changelog holds; None: it holds none.

    A mirror copies markers to another cluster, where their offsets mean nothing: they hold none there.
    """
    if record.key != CONFIRMED_KEY or record.value is None:
        return None
    of = dict(record.headers or ()).get(CHANGELOG_HEADER, b"").decode()
    return None if of and changelog_id and of != changelog_id else int(record.value)


@runtime_checkable
class Together(Protocol):
    """A job for which one call with chunks of several partitions is cheaper than one call per chunk."""

    def steps(self, chunks: Sequence[tuple[int, Any, Sequence[bytes | None]]]) -> list[Effects]:
        """As `Job.step` for each (partition, work, values), in order; no partition occurs twice."""
