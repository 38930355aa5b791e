"""One writer a partition, and the latest claim alone may write: the broker itself refuses whoever claimed before.

Kafka gives a producer with a `transactional.id` the same producer id again with a higher epoch, and a partition that
has seen the higher epoch refuses the lower one. That needs no transaction: the epoch is in every batch of an idempotent
producer. So a worker that takes a partition asks for the epoch under `<group>-<partition>` and writes one record with
it to the changelog (the claim). What an earlier owner wrote before the claim is in the log and is restored; what it
tries afterwards, however long it slept and whatever was under way, never gets into the log. The same holds for every
output topic of the partition from the first record on that the new owner writes there; before that, an earlier owner
can only send what its acknowledged changelog records hold, in the same bytes and before anything newer.

Kafka forgets a producer's epoch when a partition wasn't written to for a day (`producer.id.expiration.ms`), and a
transactional id a week after its last claim: a worker claims again every day (`app.CLAIM_AGAIN_S`).
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import structlog
from aiokafka.errors import KafkaConnectionError

log = structlog.get_logger(__name__)

STOP_TIMEOUT_S = 2.0


class Writers:
    """The producers of the partitions that this worker claimed.

    Args:
        make: a producer with a `transactional.id`, not started.
        group: the group's name.
    """

    def __init__(self, make: Callable[[str], Any], group: str) -> None:
        self._make, self._group = make, group
        self._writers: dict[int, Any] = {}
        self._ending: set[asyncio.Task[None]] = set()

    async def take(self, partition: int) -> None:
        """A new writer for the partition; once it has written, earlier ones no longer can.

        Where that fails, the one before stays and may go on writing.
        """
        producer = self._make(f"{self._group}-{partition}")
        try:
            await producer.start()
        except AssertionError as exc:
            # aiokafka's way to say that a broker answered which doesn't know of any broker yet, not even itself
            self._drop(producer)
            raise KafkaConnectionError("the cluster has no brokers yet") from exc
        except BaseException:
            self._drop(producer)
            raise
        # Its id and epoch are all that was wanted: from here on it is an idempotent producer like any other, without
        # transactions, which would cost two more round trips a chunk.
        producer._txn_manager.transactional_id = None
        self._drop(self._writers.pop(partition, None))
        self._writers[partition] = producer

    def of(self, partition: int) -> Any | None:
        """The partition's writer; None: not claimed."""
        return self._writers.get(partition)

    def forget(self) -> None:
        """Gives every writer up; what is under way may still arrive, if nobody has claimed the partition by then."""
        writers, self._writers = self._writers, {}
        for producer in writers.values():
            self._drop(producer)

    async def close(self) -> None:
        """As `forget`; returns when the connections are closed."""
        self.forget()
        if self._ending:
            await asyncio.wait(self._ending)

    def _drop(self, producer: Any | None) -> None:
        if producer is not None:
            ending = asyncio.get_running_loop().create_task(_stop(producer))
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)


async def _stop(producer: Any) -> None:
    with contextlib.suppress(Exception):
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await producer.stop()
            return
    with contextlib.suppress(Exception):
        await producer._sender.close()
        await producer.client.close()
