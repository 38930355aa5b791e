"""One writer a partition, and the latest claim alone may write: the broker itself refuses whoever claimed before.

Kafka gives a producer with a `transactional.id` the same producer id again with a higher epoch, and a partition that
has seen the higher epoch refuses the lower one. That needs no transaction: the epoch is in every batch of an idempotent
producer. So a worker that takes a partition asks for the epoch under `<group>-<partition>` and writes one record with
it to the changelog (the claim). What an earlier owner wrote before the claim is in the log and is restored; what it
tries afterwards, however long it slept and whatever was under way, never gets into the log. The same holds for every
output topic of the partition from the first record on that the new owner writes there; before that, an earlier owner
can only send what its acknowledged changelog records hold, in the same bytes and before anything newer.

Id and epoch stand in each batch, not in the request: one producer sends the batches of all partitions, each under its own
identity, in as few requests as for one.

Kafka forgets a producer's epoch when a partition wasn't written to for a day (`producer.id.expiration.ms`), and a
transactional id a week after its last claim: a worker claims again every day (`app.CLAIM_AGAIN_S`).
"""

from collections.abc import Callable
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError
from aiokafka.producer.message_accumulator import BatchBuilder, MessageAccumulator
from aiokafka.producer.sender import Sender
from aiokafka.producer.transaction_manager import TransactionManager

# Of the transaction that is never begun; the broker wants a number that it allows.
TRANSACTION_TIMEOUT_MS = 60_000


class _Accumulator(MessageAccumulator):
    """Gives each batch the identity that it was made under; any other producer has one for all."""

    def _pop_batch(self, tp: Any) -> Any:
        self._txn_manager = self._batches[tp][0]._builder.identity
        return super()._pop_batch(tp)


class FencedProducer(AIOKafkaProducer):
    """An idempotent producer whose batches may stand under several producer ids."""

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
        """An empty batch, to be sent under `identity` (from `identify`); None: under the producer's own."""
        batch = super().create_batch()
        batch.identity = self._txn_manager if identity is None else identity
        return batch

    async def identify(self, name: str) -> TransactionManager:
        """The producer id of `name` with a new epoch; tries until the broker gives one.

        What is sent under an earlier epoch of `name` is refused by each partition from the first batch on that reached
        it under this one.

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
            # aiokafka's way to say that a broker answered which doesn't know of any broker yet, not even itself
            raise KafkaConnectionError("the cluster has no brokers yet") from exc
        # Its id and epoch are all that was wanted: from here on it is an idempotent producer's like any other, without
        # transactions, which would cost two more round trips a chunk.
        identity.transactional_id = None
        return identity


class Writers:
    """The identities under which this worker writes to the partitions that it claimed.

    Args:
        producer: sends for all of them; given lazily, because faust makes it when the app starts.
        group: the group's name.
    """

    def __init__(self, producer: Callable[[], FencedProducer], group: str) -> None:
        self._producer, self._group = producer, group
        self._identities: dict[int, TransactionManager] = {}

    async def take(self, partition: int) -> None:
        """A new identity for the partition; once something was written under it, earlier ones no longer can.

        Where that fails, the one before stays and may go on writing.
        """
        self._identities[partition] = await self._producer().identify(f"{self._group}-{partition}")

    def of(self, partition: int) -> TransactionManager | None:
        """The partition's identity; None: not claimed."""
        return self._identities.get(partition)

    def forget(self) -> None:
        """Gives every claim up; what is under way may still arrive, if nobody has claimed the partition by then."""
        self._identities.clear()
