"""How long Kafka may be away, and waiting for it.

A broker restarts in seconds, a cluster elects a leader in seconds, a network heals in seconds: none of that is a reason
to end a worker. After `PATIENCE_S` without an answer it ends, with one line that says so, and a supervisor goes on.
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

# A minute, and a quarter of one for the way back: the coordinator loads, the clients connect and ask for metadata.
PATIENCE_S = 75.0

# Longer than the patience: where Kafka is silent, the heartbeats' line is the last one, not that of a single write.
DELIVERY_TIMEOUT_S = PATIENCE_S + 15.0

# A connection on which a request has no answer for so long is given up. Longer than a rebalance: a join waits for it.
REQUEST_TIMEOUT_S = 30.0

# Leaving a group and closing sockets takes milliseconds.
LEAVE_TIMEOUT_S = 5.0

RETRY_S = 0.5
TELL_AGAIN_S = 10.0

# Heartbeats leave once a second, and are answered in milliseconds.
AWAY_AFTER_S = 5.0

# What comes round every second and didn't for so long was stopped, with its process or its machine. Chunks, collections and
# restores hold an event loop up for less.
STOOD_STILL_S = 5.0

T = TypeVar("T")


def away(exc: BaseException) -> bool:
    """Whether an error may pass by itself: no connection, no answer, or no leader or coordinator yet.

    Aiokafka wraps what its producer meets on the way to a coordinator into a bare KafkaError.
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
    """What `attempt` gives, tried again while Kafka is away.

    Raises:
        BrokerLost: it was still away after `patience_s`.
    """
    began = clock()
    told = -TELL_AGAIN_S
    while True:
        try:
            return await attempt()
        except KafkaError as exc:
            if not away(exc):
                raise
            if clock() - began > patience_s:
                raise BrokerLost(f"{what}: Kafka has been away for {clock() - began:.0f} s ({_named(exc)})") from exc
            if clock() - began - told >= TELL_AGAIN_S:
                told = clock() - began
                log.warning("Kafka is away", what=what, error=_named(exc))
        await sleep(RETRY_S)


class Outage:
    """When to tell of a Kafka that is away; looked at about once a second.

    >>> outage = Outage()
    >>> [outage.look(silence_s) for silence_s in (4.0, 6.0, 15.0, 16.5, 0.3, 1.3)]
    [None, 'away', None, 'away', 'back', None]
    >>> outage.away_s
    16.5
    """

    def __init__(self) -> None:
        self.away_s = 0.0  # how long this outage, or the last one, was at the last look that found it
        self._told_at: float | None = None  # of `away_s`

    def look(self, silence_s: float, bear_s: float = AWAY_AFTER_S) -> Literal["away", "back"] | None:
        """What to tell now; `silence_s`: since Kafka answered, of which `bear_s` mean nothing."""
        if silence_s <= bear_s:
            if self._told_at is None:
                return None
            self._told_at = None
            return "back"
        self.away_s = silence_s
        if self._told_at is not None and silence_s - self._told_at < TELL_AGAIN_S:
            return None
        self._told_at = silence_s
        return "away"


@contextlib.asynccontextmanager
async def within(
    seconds: float, every_s: float = 1.0, clock: Callable[[], float] = time.monotonic
) -> AsyncIterator[None]:
    """As `asyncio.timeout`, without the time in which the loop stood still: an answer may be there, and not read yet.

    Raises:
        TimeoutError: `seconds` are over.
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
    """An idempotent aiokafka producer, not started, that fails no batch for its age; `Delivery` says how long to wait.

    Otherwise a batch that has waited for a leader for longer than a request may take is failed when the broker comes
    back, and its sequence number is used up: no later batch is accepted.
    """
    renewing(producer.client)
    producer._message_accumulator._batch_ttl = float("inf")
    producer._request_timeout_ms = DELIVERY_TIMEOUT_S * 1000  # here: how long a batch may wait for the one before
    return producer


def renewing(client: AIOKafkaClient) -> None:
    """Makes an aiokafka client give up connections on which it had no answer to a request for metadata.

    It does so after any other request. A half-open connection that carries nothing else would stay for minutes, and
    whoever waits for a topic's metadata with it.
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
    """Makes connections of aiokafka that run on uvloop break as they do on asyncio's own loop; of the whole process.

    Between a reset and the task that reads it, uvloop refuses a write with RuntimeError, where asyncio takes it. Aiokafka
    doesn't expect one: the task of a client that asks for metadata ends by it, and whoever waits for metadata from then on,
    heartbeats and commits among them, does so for ever.
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
    """Stops a client, whether the broker is there or not.

    While it is away, aiokafka's producer waits for its last acks for ever, and its consumer raises the CancelledError
    of a fetch that it cancelled itself, its connections still open. What wasn't acked within `LEAVE_TIMEOUT_S` is given
    up.
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
    text = str(exc)
    return text if text.startswith(type(exc).__name__) else f"{type(exc).__name__}: {text}"
