"""How long Kafka may be away, and how to wait for it.

A broker restarts in seconds, a cluster elects a leader in seconds, and a network recovers in seconds: none of these is a
reason to end a worker. After `PATIENCE_S` without an answer a worker ends with one line that says so, and its supervisor
starts it again.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Literal, TypeVar

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError, KafkaError, KafkaTimeoutError

from streams.kafka.errors import BrokerLost

log = structlog.get_logger(__name__)

# One minute for the outage, and 15 s for the return: the coordinator loads, and clients connect and ask for metadata.
PATIENCE_S = 75.0

# Longer than the patience, so that the heartbeats give up first and their message is the last line, not that of a write.
DELIVERY_TIMEOUT_S = PATIENCE_S + 15.0

# A connection on which a request has had no answer for this long is closed. It is longer than a rebalance, because a join
# request waits for one.
REQUEST_TIMEOUT_S = 30.0

# Leaving a group and closing sockets takes milliseconds.
LEAVE_TIMEOUT_S = 5.0

RETRY_S = 0.5
LOG_EVERY_S = 10.0

# Heartbeats are sent once a second and answered in milliseconds.
AWAY_AFTER_S = 5.0

# A timer that fires every second and was silent for this long was stopped, with its process or its machine. Chunks, garbage
# collections and restores hold an event loop up for less.
STOOD_STILL_S = 5.0

T = TypeVar("T")


def away(exc: BaseException) -> bool:
    """Whether an error may pass without help: no connection, no answer, or no leader or coordinator yet.

    Aiokafka's producer raises a plain KafkaError for whatever goes wrong while it looks for a coordinator.
    """
    return isinstance(exc, KafkaError) and (
        exc.retriable or isinstance(exc, KafkaTimeoutError) or type(exc) is KafkaError
    )


async def patiently(
    what: str,
    attempt: Callable[[], Awaitable[T]],
    patience_s: float = PATIENCE_S,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> T:
    """The result of `attempt`, which is repeated while Kafka is away.

    Args:
        what: names the attempt in logs and in the error.
        attempt: is called until it succeeds.
        patience_s: how long it may fail.
        clock: seconds.
        sleep: waits between attempts.

    Raises:
        BrokerLost: Kafka was still away after `patience_s`.
    """
    began = clock()
    logged_s = -LOG_EVERY_S  # after `began`
    while True:
        try:
            return await attempt()
        except KafkaError as exc:
            if not away(exc):
                raise
            if clock() - began > patience_s:
                raise BrokerLost(f"{what}: Kafka has been away for {clock() - began:.0f} s ({_named(exc)})") from exc
            if clock() - began - logged_s >= LOG_EVERY_S:
                logged_s = clock() - began
                log.warning("Kafka is away", what=what, error=_named(exc))
        await sleep(RETRY_S)


class Outage:
    """Decides when to log that Kafka is away or back; call `look` about once a second.

    >>> outage = Outage()
    >>> [outage.look(silence_s) for silence_s in (4.0, 6.0, 15.0, 16.5, 0.3, 1.3)]
    [None, 'away', None, 'away', 'back', None]
    >>> outage.away_s
    16.5
    """

    def __init__(self) -> None:
        self.away_s = 0.0  # length of this outage, or of the last one, as of the last call that saw it
        self._logged_at: float | None = None  # the `away_s` of the last log line; None: no outage

    def look(self, silence_s: float, bear_s: float = AWAY_AFTER_S) -> Literal["away", "back"] | None:
        """What to log now, if anything; `silence_s`: seconds since Kafka answered; up to `bear_s` of them are normal."""
        if silence_s <= bear_s:
            if self._logged_at is None:
                return None
            self._logged_at = None
            return "back"
        self.away_s = silence_s
        if self._logged_at is not None and silence_s - self._logged_at < LOG_EVERY_S:
            return None
        self._logged_at = silence_s
        return "away"


@contextlib.asynccontextmanager
async def within(
    seconds: float, every_s: float = 1.0, clock: Callable[[], float] = time.monotonic
) -> AsyncIterator[None]:
    """As `asyncio.timeout`, but time in which the event loop stood still does not count.

    An answer that came meanwhile is there, and not read yet.

    Raises:
        TimeoutError: `seconds` have passed.
    """
    loop = asyncio.get_running_loop()
    left_s, looked_at = seconds, clock()
    timer: asyncio.TimerHandle | None = None
    async with asyncio.timeout(None) as limit:

        def look() -> None:
            nonlocal left_s, looked_at, timer
            passed_s = clock() - looked_at
            looked_at += passed_s
            left_s -= passed_s if passed_s < every_s + STOOD_STILL_S else every_s
            if left_s > 0:
                timer = loop.call_later(every_s, look)
            else:
                limit.reschedule(loop.time())

        timer = loop.call_later(every_s, look)
        try:
            yield
        finally:
            timer.cancel()


def outlasting(producer: Any) -> Any:
    """The idempotent aiokafka producer, which is not started yet, changed so that it fails no batch for its age.

    Otherwise aiokafka fails a batch that has waited longer for a leader than a request may take, when the broker comes
    back. The batch's sequence number is used up then, and the broker accepts no later batch.
    """
    renewing(producer.client)
    producer._message_accumulator._batch_ttl = float("inf")
    producer._request_timeout_ms = DELIVERY_TIMEOUT_S * 1000  # how long a batch may wait for the one before it
    return producer


def renewing(client: AIOKafkaClient) -> None:
    """Makes an aiokafka client close connections on which a request for metadata had no answer.

    Aiokafka does so after any other request. A half-open connection that carries only metadata would stay for minutes, and
    every task that waits for a topic's metadata would wait as long.
    """
    ask = client._metadata_update

    async def asked(cluster: Any, topics: Any) -> bool:
        answered: bool = await ask(cluster, topics)
        if not answered:
            for (_, group), connection in list(client._conns.items()):
                if group == ConnectionGroup.DEFAULT:
                    connection.close(reason=CloseReason.CONNECTION_TIMEOUT)
        return answered

    client._metadata_update = asked


def breaking_on_uvloop() -> None:
    """Makes aiokafka's connections break on uvloop as they do on asyncio's own loop, in the whole process.

    Between a connection's reset and the task that reads the reset, uvloop refuses a write with RuntimeError; asyncio accepts
    it. Aiokafka does not expect that error: it ends the task that asks for metadata, and from then on everything that waits
    for metadata waits for ever, heartbeats and commits included.
    """
    AIOKafkaConnection.send = _send


_aiokafkas_send = AIOKafkaConnection.send


def _send(connection: Any, request: Any, expect_response: bool = True) -> Any:
    try:
        return _aiokafkas_send(connection, request, expect_response)
    except RuntimeError as exc:
        connection.close(reason=CloseReason.CONNECTION_BROKEN, exc=exc)
        raise KafkaConnectionError(f"Connection at {connection.host}:{connection.port} broken: {exc}") from exc


async def leave(client: AIOKafkaConsumer | AIOKafkaProducer) -> None:
    """Stops a client, whether the broker answers or not.

    While the broker is away, aiokafka's producer waits for its last acknowledgements for ever, and its consumer raises the
    CancelledError of a fetch that it cancelled itself and keeps its connections open. Records that are not acknowledged
    within `LEAVE_TIMEOUT_S` are given up.
    """
    stopped = asyncio.ensure_future(client.stop())
    await asyncio.wait({stopped}, timeout=LEAVE_TIMEOUT_S)
    stopped.cancel()
    await asyncio.wait({stopped}, timeout=LEAVE_TIMEOUT_S)
    if stopped.done() and not stopped.cancelled():
        stopped.result()
    else:
        await (client._client if isinstance(client, AIOKafkaConsumer) else client.client).close()


def _named(exc: BaseException) -> str:
    """The error with the name of its class."""
    text = str(exc)
    return text if text.startswith(type(exc).__name__) else f"{type(exc).__name__}: {text}"
