"""Orders to the trainer: which contestant is to be served, whatever the evidence (`regulars models promote`)."""

import asyncio
import contextlib
from collections.abc import Callable

import structlog
from aiokafka.errors import KafkaError

from schemas.orders import ORDERS_KEY, Orders, decode_orders, encode_orders
from schemas.topics import MODEL_SNAPSHOTS
from streams.kafka.broadcast import Broadcast, read_recent
from streams.kafka.clients import producer as new_producer
from streams.kafka.clients import started
from streams.kafka.errors import InfrastructureFailure
from streams.settings import Settings

# How long to wait before the topic is followed again after Kafka was away.
_AGAIN_S = 5.0

log = structlog.get_logger("regulars.trainer")


async def given(settings: Settings) -> Orders:
    """The orders as of now. Raises as `streams.kafka.broadcast.read_recent`."""
    recent = (await read_recent(settings, MODEL_SNAPSHOTS)).get(ORDERS_KEY, ())
    return next((orders for orders in map(decode_orders, recent) if orders is not None), Orders())


async def give(settings: Settings, orders: Orders) -> None:
    """Publishes orders, acknowledged. Raises as `streams.kafka.clients.started`."""
    async with started(new_producer(settings), settings) as producer:
        await producer.send_and_wait(settings.topic(MODEL_SNAPSHOTS), value=encode_orders(orders), key=ORDERS_KEY)


async def follow(settings: Settings, take: Callable[[Orders], None], stopping: asyncio.Event) -> None:
    """Calls `take` with the orders as they come, until `stopping`; where Kafka is away it tries again."""

    def on_record(key: bytes, value: bytes | None) -> bool:
        if key != ORDERS_KEY:
            return True
        if (orders := decode_orders(value)) is None:
            log.error("orders refused: they can't be read; those before stay")
            return False
        take(orders)
        return True

    while not stopping.is_set():
        broadcast = Broadcast(settings, MODEL_SNAPSHOTS, on_record)
        try:
            await broadcast.start()
            await broadcast.run()
        except (KafkaError, InfrastructureFailure) as exc:
            log.warning("orders can't be followed now", why=str(exc))
        finally:
            await broadcast.stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_AGAIN_S):
                await stopping.wait()
