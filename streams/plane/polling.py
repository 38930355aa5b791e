"""Faust's consumer thread: polls that also give positions, heartbeats that renew the lease, refusals that end the process.

This relies on the inside of faust 0.15.3 and aiokafka 0.14; `tests/contracts/test_seams_libraries.py` guards that.
"""

import asyncio
import time
import traceback
from collections.abc import Mapping
from typing import Any, NamedTuple

from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.errors import (
    ConsumerStoppedError,
    GroupAuthorizationFailedError,
    InvalidSessionTimeoutError,
    TopicAuthorizationFailedError,
)
from aiokafka.structs import ConsumerRecord
from faust.transport.consumer import ensure_TP
from faust.transport.drivers import aiokafka as base
from faust.types import TP

from streams.kafka.errors import InfrastructureFailure
from streams.kafka.patience import REQUEST_TIMEOUT_S, away, patiently, renewing
from streams.plane.lease import Lease
from streams.plane.portion import portion, taking_portions
from streams.plane.ports import World

# Faust hard-codes 1500 ms. On a quiet topic the broker would hold a fetch back for so long, also when partitions were added.
FETCH_MAX_WAIT_MS = 50

ALLOW_READ = "give the worker's principal Read and Describe on it and Read on the group"


class Poll(NamedTuple):
    """What one poll returned.

    Attributes:
        records: by topic partition.
        positions: the offset at which each topic partition with records continues.
        bytes: the size of keys, values and headers.
    """

    records: dict[TP, list[ConsumerRecord]]
    positions: dict[TP, int]
    bytes: int = 0


class ConsumerThread(base.AIOKafkaConsumerThread):
    """See the module.

    Args:
        lease: is renewed by each answered heartbeat.
        world: the process that a refusal ends.
    """

    def __init__(self, *args: Any, lease: Lease, world: World, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lease, self._world = lease, world

    def _create_worker_consumer(self, transport: Any) -> Any:
        taking_portions()
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_MAX_WAIT_MS
        renewing(consumer._client)
        timeout_s = max(REQUEST_TIMEOUT_S, self.app.conf.broker_session_timeout)
        consumer._request_timeout_ms = consumer._client._request_timeout_ms = int(timeout_s * 1000)
        return consumer

    async def on_start(self) -> None:
        """Starts the consumer, waiting for a broker that is away, then watches the answers to its heartbeats."""
        consumer = self._consumer = self._create_consumer(loop=self.thread_loop)
        self.time_started = time.monotonic()
        await patiently("starting the consumer", consumer.start)
        self._watch_heartbeats(consumer._coordinator)
        self._watch_refusals(consumer._coordinator)

    async def earliest_offsets(self, *partitions: TP) -> Mapping[TP, int]:
        """Faust's, but it waits for a broker that is away: an exception in a rebalance would end the worker."""
        return await patiently("earliest offsets", lambda: super(ConsumerThread, self).earliest_offsets(*partitions))

    async def highwaters(self, *partitions: TP) -> Mapping[TP, int]:
        """Faust's, but it waits for a broker that is away."""
        return await patiently("end offsets", lambda: super(ConsumerThread, self).highwaters(*partitions))

    def _watch_heartbeats(self, coordinator: Any) -> None:
        lease, heartbeat = self._lease, coordinator._do_heartbeat

        async def watched() -> bool:
            sent_at = lease.clock()
            answered: bool = await heartbeat()
            if answered:
                # A rebalance in progress counts as an answer, too, but asks for a rejoin.
                lease.renew(sent_at, rebalancing=coordinator._rejoin_needed_fut.done())
            elif coordinator.generation == base.DEFAULT_GENERATION_ID:
                lease.lose()
            return answered

        coordinator._do_heartbeat = watched

    def _watch_refusals(self, coordinator: Any) -> None:
        """Ends the process where the group refuses it; aiokafka's coordinator would wait for ever for a call that asks."""
        push = coordinator._push_error_to_user

        def pushed(exc: Exception) -> Any:
            if not away(exc):
                self._world.fail(InfrastructureFailure(self._refused(exc)))
            return push(exc)

        coordinator._push_error_to_user = pushed

    def _refused(self, exc: Exception) -> str:
        if isinstance(exc, InvalidSessionTimeoutError):
            return (
                f"Kafka refuses a session of {self.app.conf.broker_session_timeout:g} s (REGULARS_SESSION_TIMEOUT_S): it is "
                "below the brokers' group.min.session.timeout.ms or above their group.max.session.timeout.ms (by default "
                "6 s and 30 minutes); change the setting or the brokers"
            )
        if isinstance(exc, GroupAuthorizationFailedError):
            return f"Kafka does not allow to join the group {self.app.conf.id}; {ALLOW_READ}"
        if isinstance(exc, TopicAuthorizationFailedError):
            return f"Kafka does not allow to read {exc.args[0]}; {ALLOW_READ}"
        return f"Kafka refuses this worker in the group {self.app.conf.id}: {exc!r}"

    async def poll(self, active: set[TP], timeout_s: float) -> Poll:
        """Records of the `active` partitions, at most the configured number and one portion; none after `timeout_s`."""
        # Not through the thread's method queue: that costs four tasks per call.
        future = asyncio.run_coroutine_threadsafe(self._poll(active, timeout_s), self.thread_loop)
        return await asyncio.wrap_future(future)

    async def _poll(self, active: set[TP], timeout_s: float) -> Poll:
        consumer = self._ensure_consumer()
        if not self.consumer.flow_active:
            return Poll({}, {})  # a fetch that began after the flow stopped would wait for ever
        fetcher = consumer._fetcher
        if consumer._closed or fetcher._closed:
            raise ConsumerStoppedError
        with portion() as taking, fetcher._subscriptions.fetch_context():
            try:
                records = await fetcher.fetched_records(
                    active, timeout=timeout_s, max_records=consumer._max_poll_records
                )
            except TopicAuthorizationFailedError as exc:
                raise InfrastructureFailure(self._refused(exc)) from exc
            except UnicodeDecodeError as exc:
                raise InfrastructureFailure(self._unreadable(exc)) from exc
        if not records:
            return Poll({}, {})
        assignment = consumer._subscription.subscription.assignment
        return Poll(
            {ensure_TP(tp): polled for tp, polled in records.items()},
            {ensure_TP(tp): assignment.state_value(tp)._position for tp in records},
            taking.taken,
        )

    def _unreadable(self, exc: UnicodeDecodeError) -> str:
        """Which record aiokafka could not read, and the way out: aiokafka never gets past the batch that holds it."""
        (inner,) = (
            frame.f_locals
            for frame, _ in traceback.walk_tb(exc.__traceback__)
            if frame.f_code is PartitionRecords._unpack_records.__code__
        )
        tp, at, end = inner["tp"], inner["self"].next_fetch_offset, inner["next_batch"].next_offset
        return (
            f"{tp.topic}[{tp.partition}]: the name of a header of the record at offset {at} is not UTF-8; "
            "mend its producer; to go on without the records from the committed offset to the end of that record's batch, "
            f"stop all workers and run Kafka's kafka-consumer-groups --group {self.app.conf.id} "
            f"--topic {tp.topic}:{tp.partition} --reset-offsets --to-offset {end} --execute"
        )

    def reached(self, tp: TP) -> int | None:
        """The offset of the next fetch; None while it is unknown."""
        consumer = self._ensure_consumer()
        subscription = consumer._subscription.subscription
        assignment = None if subscription is None else subscription.assignment
        state = None if assignment is None else assignment.state_value(tp)
        return None if state is None else state._position
