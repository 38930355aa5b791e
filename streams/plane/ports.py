"""What the plane needs of the world around it: a local store, a sender of records, a process that can be ended.

Faust makes the store, the producer and the consumer when its app starts, so the plane asks its `World` for them each time.
Tests pass small worlds of their own.
"""

from collections.abc import Iterable, Iterator
from typing import Protocol

from faust.types import TP

from streams.plane.records import Headers


class States(Protocol):
    """The local store, as the pipeline uses it; see `store.BulkStore`."""

    def multi_get(self, partition: int, keys: list[bytes]) -> list[bytes | None]:
        """States of keys, in order."""

    def write(
        self, partition: int, items: Iterable[tuple[bytes, bytes | None]], offset: int, confirmed: int | None = None
    ) -> None:
        """Writes states and offsets at once."""

    def items(self, partition: int) -> Iterator[tuple[bytes, bytes]]:
        """Every key and state."""


class Acknowledgement(Protocol):
    """Records on their way; see `producer.Delivery`."""

    async def acknowledged(self) -> int:
        """Waits until they are safe; gives the offset of the last one."""


class OutputSender(Protocol):
    """Sends records to one partition; see `producer.Producer`."""

    async def send_batch(
        self, topic: str, partition: int, records: Iterable[tuple[bytes | None, bytes | None, Headers]]
    ) -> Acknowledgement:
        """Hands records over in order."""

    def partition_of(self, topic: str, partition: int) -> int:
        """The partition of an output that was caused in `partition`."""


class World(Protocol):
    """What surrounds the pipeline in one process."""

    def states(self) -> States:
        """The local store."""

    def sender(self) -> OutputSender:
        """The sender of all records."""

    def committed(self, tp: TP) -> int | None:
        """The last offset that was committed for a topic partition in this assignment; None: none yet."""

    async def claim(self, partition: int) -> None:
        """Makes this worker the only one that can write to a partition, with one record in the changelog."""

    def forget_claims(self) -> None:
        """Forgets every claim: the assignment has ended."""

    def fail(self, exc: BaseException) -> None:
        """Ends the process; never returns in production."""
