"""Laws of a broadcast: every process reads the whole topic, the latest of each key, and then what comes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from streams.broker import Broker
from streams.kafka.broadcast import Broadcast, read_latest
from streams.kafka.errors import TopicsNotReady
from streams.kafka.topics import create
from streams.settings import Settings

WaitAsync = Callable[..., Awaitable[Any]]
Records = Sequence[tuple[bytes, bytes | None]]
TOPIC = "policies"


async def send(settings: Settings, records: Records, topic: str = TOPIC) -> None:
    """Records, acked, in order."""
    producer = AIOKafkaProducer(bootstrap_servers=settings.bootstrap_servers, acks="all")
    await producer.start()
    try:
        for key, value in records:
            await producer.send_and_wait(settings.topic(topic), value, key=key)
    finally:
        await producer.stop()


async def send_in_transaction(settings: Settings, records: Records) -> None:
    """Records, and behind them a control record, which has an offset but reaches no consumer: a hole at the end."""
    producer = AIOKafkaProducer(bootstrap_servers=settings.bootstrap_servers, transactional_id=settings.topic("holes"))
    await producer.start()
    try:
        async with producer.transaction():
            for key, value in records:
                await producer.send_and_wait(settings.topic(TOPIC), value, key=key)
    finally:
        await producer.stop()


@asynccontextmanager
async def following(settings: Settings) -> AsyncIterator[tuple[Broadcast, list[tuple[bytes, bytes | None]]]]:
    """A broadcast that is ready and follows, and what it gave so far."""
    given: list[tuple[bytes, bytes | None]] = []
    broadcast = Broadcast(settings, TOPIC, lambda key, value: given.append((key, value)))
    await broadcast.start()
    task = asyncio.create_task(broadcast.run())
    try:
        yield broadcast, given
    finally:
        await broadcast.stop()
        await task


async def test_an_empty_topic_is_ready_at_once(settings: Settings) -> None:
    """A new installation has no policy and no snapshot yet."""
    await create(settings)

    async with following(settings) as (broadcast, given):
        assert broadcast.ready
        assert given == []


async def test_the_start_gives_the_latest_of_each_key(settings: Settings) -> None:
    """In the order of their offsets; a deleted key is none."""
    await create(settings)
    await send(settings, [(b"a", b"1"), (b"b", b"1"), (b"gone", b"1"), (b"a", b"2"), (b"gone", None), (b"c", b"1")])

    async with following(settings) as (_, given):
        assert given == [(b"b", b"1"), (b"a", b"2"), (b"c", b"1")]


async def test_later_records_come_as_they_are_sent(settings: Settings, wait_until_async: WaitAsync) -> None:
    """Tombstones too."""
    await create(settings)
    await send(settings, [(b"a", b"1")])

    async with following(settings) as (_, given):
        await send(settings, [(b"a", b"2")])
        await wait_until_async(lambda: len(given) == 2)
        await send(settings, [(b"a", None)])
        await wait_until_async(lambda: len(given) == 3)

    assert given == [(b"a", b"1"), (b"a", b"2"), (b"a", None)]


async def test_two_processes_both_get_every_record(settings: Settings, wait_until_async: WaitAsync) -> None:
    """There is no group that would share them out."""
    await create(settings)

    async with following(settings) as (_, one), following(settings) as (_, other):
        await send(settings, [(b"a", b"1")])
        await wait_until_async(lambda: one and other)

    assert one == other == [(b"a", b"1")]


async def test_a_hole_at_the_end_does_not_keep_it_from_being_ready(settings: Settings) -> None:
    """The last offset of the topic belongs to no record."""
    await create(settings)
    await send_in_transaction(settings, [(b"a", b"1"), (b"a", b"2")])

    assert await asyncio.wait_for(read_latest(settings, TOPIC), 20.0) == {b"a": b"2"}


async def test_what_its_callback_raises_comes_out(settings: Settings) -> None:
    """At the start and while following: the caller decides whether that ends the process."""
    await create(settings)

    def refuse(key: bytes, value: bytes | None) -> None:
        raise RuntimeError("no such policy")

    broadcast = Broadcast(settings, TOPIC, refuse)
    await broadcast.start()
    task = asyncio.create_task(broadcast.run())
    await send(settings, [(b"a", b"1")])
    with pytest.raises(RuntimeError, match="no such policy"):
        await asyncio.wait_for(task, 20.0)
    await broadcast.stop()

    with pytest.raises(RuntimeError, match="no such policy"):
        await Broadcast(settings, TOPIC, refuse).start()


async def test_a_missing_topic_is_named_and_not_made(settings: Settings) -> None:
    """Asking twice gets the same answer: looking for it didn't create it."""
    for _ in range(2):
        with pytest.raises(TopicsNotReady, match=r"policies is missing; make it with `regulars topics create`"):
            await read_latest(settings, TOPIC)


async def test_a_topic_of_several_partitions_is_refused(settings: Settings) -> None:
    """Its records would have no order."""
    await create(settings)

    with pytest.raises(TopicsNotReady, match="has 4 partitions, must be 1"):
        await read_latest(settings, "purchases")


async def test_it_can_be_stopped_at_any_time(settings: Settings) -> None:
    """Before it started, twice, and in the middle of a poll."""
    await create(settings)
    broadcast = Broadcast(settings, TOPIC, lambda key, value: None)
    await broadcast.stop()

    async with following(settings) as (running, _):
        await running.stop()
        await running.stop()
        assert not running.ready


async def test_it_goes_on_after_the_broker_was_away(
    tmp_path: Path, free_port: int, prefix: str, wait_until_async: WaitAsync
) -> None:
    """A restarted broker is found again, and nothing that it was given meanwhile is missed."""
    broker = await asyncio.to_thread(Broker.start, tmp_path, free_port, heap="256m")
    settings = Settings(bootstrap_servers=broker.bootstrap, topic_prefix=prefix)
    try:
        await create(settings)
        await send(settings, [(b"a", b"1")])
        async with following(settings) as (broadcast, given):
            await asyncio.to_thread(broker.stop)
            broker = await asyncio.to_thread(Broker.start, tmp_path, free_port, heap="256m")
            await send(settings, [(b"a", b"2")])
            await wait_until_async(lambda: len(given) == 2, 60.0)
            assert broadcast.ready
    finally:
        await asyncio.to_thread(broker.stop)

    assert given == [(b"a", b"1"), (b"a", b"2")]
