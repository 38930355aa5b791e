"""Every Kafka client of the project is made here: one function per kind of client, one declared set of settings per kind.

Faust makes the worker's consumer and producer itself. Their address and user come from `kafka_options` too, and the
worker's producer takes `PRODUCER_OPTIONS`.

A client made here is not started. `started` starts one and stops it.
"""

import contextlib
from collections.abc import AsyncIterator
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient

from streams.kafka.patience import REQUEST_TIMEOUT_S, leave, outlasting, renewing
from streams.kafka.refusals import explaining_refusals
from streams.kafka.security import kafka_options
from streams.settings import Settings

# Of every producer: a record is safe before it counts as sent, and a retry never writes it twice.
PRODUCER_OPTIONS: dict[str, Any] = {"acks": "all", "enable_idempotence": True}

# The brokers' own default; a larger request is refused before it leaves this process.
REQUEST_BYTES = 1 << 20
# The client's own default: a larger batch needs fewer requests and more memory.
BATCH_BYTES = 16 << 10

# Per partition and fetch. A snapshot has at most 1 MB and a state some 400 bytes: one fetch brings several or thousands.
FETCH_BYTES = 4 << 20
# How long a broker may hold a fetch back for lack of records: short where somebody waits for the end of a topic.
SOON_MS, PATIENT_MS = 50, 500

Client = TypeVar("Client", AIOKafkaAdminClient, AIOKafkaConsumer, AIOKafkaProducer)


def plain_client(settings: Settings) -> AIOKafkaClient:
    """A client for single requests."""
    return AIOKafkaClient(**kafka_options(settings))


def admin_client(settings: Settings) -> AIOKafkaAdminClient:
    """A client for topics, groups and the cluster."""
    return AIOKafkaAdminClient(**kafka_options(settings))


def groupless_consumer(settings: Settings, *, max_wait_ms: int = SOON_MS) -> AIOKafkaConsumer:
    """A consumer without a group: it never commits and takes part in no rebalance."""
    return AIOKafkaConsumer(**kafka_options(settings), **_groupless(max_wait_ms))


def restoring_consumer(settings: Settings) -> AIOKafkaConsumer:
    """As `groupless_consumer`, and it gives up connections on which a broker that is away does not answer."""
    consumer = AIOKafkaConsumer(
        **kafka_options(settings), **_groupless(SOON_MS), request_timeout_ms=int(REQUEST_TIMEOUT_S * 1000)
    )
    renewing(consumer._client)
    return consumer


def _groupless(max_wait_ms: int) -> dict[str, Any]:
    return {
        "group_id": None,
        "enable_auto_commit": False,
        "auto_offset_reset": "earliest",
        "max_partition_fetch_bytes": FETCH_BYTES,
        "fetch_max_wait_ms": max_wait_ms,
    }


def committing_consumer(settings: Settings, group: str) -> AIOKafkaConsumer:
    """A consumer that reads nothing and commits offsets for `group`, which has no members."""
    return AIOKafkaConsumer(**kafka_options(settings), group_id=group, enable_auto_commit=False)


def member_consumer(settings: Settings, group: str) -> AIOKafkaConsumer:
    """A consumer that joins `group` and outlasts a broker that is away; progress is committed by hand."""
    consumer = AIOKafkaConsumer(
        **kafka_options(settings),
        group_id=group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        session_timeout_ms=int(settings.session_timeout_s * 1000),
        heartbeat_interval_ms=int(settings.session_timeout_s * 1000 / 3),
        request_timeout_ms=int(max(REQUEST_TIMEOUT_S, settings.session_timeout_s) * 1000),
    )
    renewing(consumer._client)
    return consumer


def producer(
    settings: Settings, *, max_request_bytes: int = REQUEST_BYTES, max_batch_bytes: int = BATCH_BYTES
) -> AIOKafkaProducer:
    """An idempotent producer. A record that is not acknowledged in aiokafka's 40 s fails."""
    return AIOKafkaProducer(
        **kafka_options(settings),
        **PRODUCER_OPTIONS,
        max_request_size=max_request_bytes,
        max_batch_size=max_batch_bytes,
    )


def lasting_producer(settings: Settings, *, max_request_bytes: int = REQUEST_BYTES) -> AIOKafkaProducer:
    """An idempotent producer that fails no record for its age: the caller decides how long Kafka may be away."""
    made: AIOKafkaProducer = outlasting(
        AIOKafkaProducer(
            **kafka_options(settings),
            **PRODUCER_OPTIONS,
            max_request_size=max_request_bytes,
            request_timeout_ms=int(REQUEST_TIMEOUT_S * 1000),
        )
    )
    return made


@contextlib.asynccontextmanager
async def started(client: Client, settings: Settings, purpose: str = "") -> AsyncIterator[Client]:
    """Starts `client` for the block and stops it afterwards, whether the broker still answers or not.

    `purpose` says in an error what the client was for, as `writing to policies`.

    Raises:
        AccessRefused: a broker answers and refuses this client.
        KafkaError: it could not be started.
    """
    try:
        async with explaining_refusals(settings, purpose):
            await client.start()
        yield client
    finally:
        if isinstance(client, AIOKafkaAdminClient):
            await client.close()
        else:
            await leave(client)
