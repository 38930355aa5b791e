"""What the data plane needs of the world around it: a local store, a sender of records, a process that it can end.

Faust makes the store and the producer when its app starts, so the plane asks its `World` for them each time. Tests pass
small worlds of their own.
"""

from collections.abc import Iterable, Iterator
from typing import Protocol

from streams.kafka.incarnations import TopicIds
from streams.plane.records import Headers


class States(Protocol):
    """The local store: RocksDB in production (`store.BulkStore`)."""

    def multi_get(self, partition: int, keys: list[bytes]) -> list[bytes | None]:
        """The states of `keys`, in order; None where there is none."""

    def write(
        self, partition: int, items: Iterable[tuple[bytes, bytes | None]], offset: int, confirmed: int | None = None
    ) -> None:
        """Writes states, the changelog offset and the confirmed offset at once."""

    def items(self, partition: int) -> Iterator[tuple[bytes, bytes]]:
        """Every key and state of the partition."""


class Acknowledgement(Protocol):
    """Records on their way (`producer.Delivery`)."""

    appended_at: float | None  # when the broker appended the last one, where it stamps that on records; epoch seconds

    async def acknowledged(self) -> int:
        """Waits until the records are safe; the offset of the last one."""


class OutputSender(Protocol):
    """Sends records to one partition of a topic (`producer.Producer`)."""

    async def send_batch(
        self, topic: str, partition: int, records: Iterable[tuple[bytes | None, bytes | None, Headers]]
    ) -> Acknowledgement:
        """Hands records over, in order."""

    def partition_of(self, topic: str, partition: int) -> int:
        """The partition of `topic` for an output that records of `partition` caused."""


class World(Protocol):
    """What surrounds the pipeline in one process (`runtime.FaustWorld`)."""

    def states(self) -> States:
        """The local store."""

    def sender(self) -> OutputSender:
        """The sender of all records."""

    async def claim(self, partition: int) -> None:
        """Makes this worker the only one that can write to a partition, with one record in the changelog."""

    def forget_claims(self) -> None:
        """Gives every claim up: the assignment has ended."""

    def topic_ids(self) -> TopicIds:
        """Kafka's ids of the topics, as of the start."""

    def changelog_id(self) -> str:
        """Kafka's id of the changelog; empty: not known."""

    async def check_topics_unchanged(self) -> None:
        """Asks Kafka whether the input topics are still those of the start.

        Raises:
            TopicReplaced: one was deleted and made again meanwhile.
            KafkaError: Kafka is away.
        """

    def fail(self, exc: BaseException) -> None:
        """Ends the process; never returns in production."""
