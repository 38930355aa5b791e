"""One writer per partition: only the latest claim may write. The broker itself refuses every earlier owner.

Kafka gives a producer with a `transactional.id` the same producer id again, with a higher epoch. A partition that has seen
the higher epoch refuses the lower one. That needs no transaction: the epoch is in every batch of an idempotent producer. So
a worker that takes a partition asks for the epoch under `<group>-<partition>` and writes one record with it to the changelog
(the claim).

What an earlier owner wrote before the claim is in the log and is restored. What it tries later never gets into the log,
however long it slept and whatever was under way. The same holds for every output topic of the partition, from the first
record that the new owner writes there. Before that record, an earlier owner can only send what its acknowledged changelog
records hold: the same bytes, and before anything newer.

Producer id and epoch are in each batch, not in the request. One producer sends the batches of all partitions, each under
its own identity, in as few requests as for one.

Kafka forgets the epoch of a producer when a partition was not written to for a day (`producer.id.expiration.ms`), and a
transactional id a week after its last claim. So a worker claims again every day (`runtime.CLAIM_AGAIN_S`).
"""

from collections.abc import Callable
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError
from aiokafka.producer.message_accumulator import BatchBuilder, MessageAccumulator
from aiokafka.producer.sender import Sender
from aiokafka.producer.transaction_manager import TransactionManager

# The timeout of a transaction that never begins; the broker wants a number that it allows.
TRANSACTION_TIMEOUT_MS = 60_000


class _Accumulator(MessageAccumulator):
    """Gives each batch the identity under which it was made; any other producer has one identity for all batches."""

    def _pop_batch(self, tp: Any) -> Any:
        self._txn_manager = self._batches[tp][0]._builder.identity
        return super()._pop_batch(tp)


class FencedProducer(AIOKafkaProducer):
    """An idempotent producer whose batches may have several producer ids."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        if self._txn_manager is None:
            raise ValueError("the fence needs an idempotent producer")
        made: Any = self._sender._message_accumulator
        self._message_accumulator: Any = _Accumulator(
            self._metadata,
            made._batch_size,
            made._compression_type,
            made._batch_ttl,
            txn_manager=self._txn_manager,
            loop=self._loop,
            linger_ms=1000 * made._linger_time,
        )
        self._sender._message_accumulator = self._message_accumulator

    def create_batch(self, identity: TransactionManager | None = None) -> BatchBuilder:
        """An empty batch, to be sent under `identity` (from `identify`); None: under the producer's own identity."""
        batch = super().create_batch()
        batch.identity = self._txn_manager if identity is None else identity
        return batch

    async def identify(self, name: str) -> TransactionManager:
        """The producer id of `name` with a new epoch; it tries until the broker gives one.

        Each partition refuses an earlier epoch of `name` from the first batch on that reaches it under the new one.

        Raises:
            KafkaError: Kafka is away, or refuses.
        """
        identity = TransactionManager(name, TRANSACTION_TIMEOUT_MS)
        asking = Sender(
            self.client,
            acks=-1,
            txn_manager=identity,
            message_accumulator=None,
            retry_backoff_ms=1000 * self._sender._retry_backoff,
            request_timeout_ms=self._request_timeout_ms,
        )
        try:
            await asking._maybe_wait_for_pid()
        except AssertionError as exc:
            # Aiokafka's answer when a broker does not know of any broker yet, not even of itself.
            raise KafkaConnectionError("the cluster has no brokers yet") from exc
        # Only the id and the epoch were needed. From here on it is the identity of an idempotent producer, without
        # transactions, which would cost two more round trips per chunk.
        identity.transactional_id = None
        return identity


class Claims:
    """The identities under which this worker writes to the partitions that it has claimed.

    Args:
        client: sends for all of them. It is a callable because faust makes it when the app starts.
        group: name of the consumer group.
    """

    def __init__(self, client: Callable[[], FencedProducer], group: str) -> None:
        self._client, self._group = client, group
        self._identities: dict[int, TransactionManager] = {}

    async def take(self, partition: int) -> None:
        """Gets a new identity for the partition. Once something is written under it, no earlier one can write.

        Where that fails, the identity before stays and may go on writing.
        """
        self._identities[partition] = await self._client().identify(f"{self._group}-{partition}")

    def of(self, partition: int) -> TransactionManager | None:
        """The identity for the partition; None: it is not claimed."""
        return self._identities.get(partition)

    def forget(self) -> None:
        """Gives every claim up. What is under way may still arrive, where no other worker has claimed the partition."""
        self._identities.clear()
