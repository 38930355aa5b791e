"""Faust's consumer thread: polls that also give positions, heartbeats that renew the lease, refusals that end the process.

This relies on the inside of faust 0.15.3 and aiokafka 0.14; `tests/contracts/test_seams_libraries.py` guards that.
"""

import asyncio
import time
import traceback
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.errors import (
    ConsumerStoppedError,
    GroupAuthorizationFailedError,
    InvalidSessionTimeoutError,
    TopicAuthorizationFailedError,
)
from aiokafka.structs import ConsumerRecord, OffsetAndMetadata
from faust.transport.consumer import ensure_TP
from faust.transport.drivers import aiokafka as base
from faust.types import TP

from streams.kafka.errors import InfrastructureFailure
from streams.kafka.patience import REQUEST_TIMEOUT_S, away, patiently, renewing
from streams.plane.gaps import ExplainedOffsets
from streams.plane.lease import Lease
from streams.plane.portion import portion, taking_portions
from streams.plane.ports import World

# Faust hard-codes 1500 ms. On a quiet topic the broker would hold a fetch back for so long, also when partitions were added.
FETCH_MAX_WAIT_MS = 50

Answer = TypeVar("Answer")

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
        world: the ids of the topics, and the process that a refusal ends.
        explained: notes the offsets without a record that polls pass.
    """

    def __init__(self, *args: Any, lease: Lease, world: World, explained: ExplainedOffsets, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lease, self._world, self._explained = lease, world, explained

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
        self._mark_commits(consumer)
        self._watch_heartbeats(consumer._coordinator)
        self._watch_refusals(consumer._coordinator)

    async def earliest_offsets(self, *partitions: TP) -> Mapping[TP, int]:
        """Faust's, but it waits for a broker that is away: an exception in a rebalance would end the worker."""
        return await patiently("earliest offsets", lambda: super(ConsumerThread, self).earliest_offsets(*partitions))

    async def highwaters(self, *partitions: TP) -> Mapping[TP, int]:
        """Faust's, but it waits for a broker that is away."""
        return await patiently("end offsets", lambda: super(ConsumerThread, self).highwaters(*partitions))

    def _mark_commits(self, consumer: Any) -> None:
        """Commits beside each offset which topic it is of: aiokafka repeats a commit until the topic is made again."""
        commit, world = consumer.commit, self._world

        async def marked(offsets: Mapping[Any, Any]) -> None:
            ids = world.topic_ids()
            await commit({tp: OffsetAndMetadata(at.offset, ids.mark(tp.topic)) for tp, at in offsets.items()})

        consumer.commit = marked

    async def stale(self, *partitions: TP) -> set[TP]:
        """Those of the partitions whose committed offset is of a topic that was deleted since."""
        return await patiently("committed offsets", lambda: self._in_thread(self._stale(partitions)))

    async def _in_thread(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self.thread_loop))

    async def _stale(self, partitions: Sequence[TP]) -> set[TP]:
        committed = await self._ensure_consumer()._coordinator.fetch_committed_offsets(list(partitions))
        ids = self._world.topic_ids()
        return {ensure_TP(tp) for tp, at in committed.items() if ids.is_stale(tp.topic, at.metadata)}

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
        return await self._in_thread(self._poll(active, timeout_s))

    async def _poll(self, active: set[TP], timeout_s: float) -> Poll:
        consumer = self._ensure_consumer()
        if not self.consumer.flow_active:
            return Poll({}, {})  # a fetch that began after the flow stopped would wait for ever
        fetcher = consumer._fetcher
        if consumer._closed or fetcher._closed:
            raise ConsumerStoppedError
        with portion(self._explained) as taking, fetcher._subscriptions.fetch_context():
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
