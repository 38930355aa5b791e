"""Clients of the data plane on a real broker behind a network that forgets connections."""

import asyncio
import contextlib

import pytest
import uvloop
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.client import AIOKafkaClient
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import KafkaError
from aiokafka.producer import AIOKafkaProducer
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.structs import BrokerMetadata

from streams.kafka.patience import breaking_on_uvloop, renewing
from streams.plane.fetch import spans
from tests.faults.proxy import Proxy


@pytest.mark.parametrize("renewed", [True, False])
async def test_a_half_open_connection_does_not_keep_metadata_away(broker: str, renewed: bool) -> None:
    """Its other end is gone without a word: the first request is in vain, the second takes a new connection.

    Not so where the client isn't renewing: it asks the dead one again.
    """
    port = int(broker.rpartition(":")[2])
    proxy = Proxy(port)
    client = AIOKafkaClient(bootstrap_servers=broker, request_timeout_ms=500)
    if renewed:
        renewing(client)
    try:
        await client.bootstrap()
        # the broker names its own address; the first connection, which stays, is to go through the proxy
        (node,) = [known.nodeId for known in client.cluster.brokers()]
        client.cluster._brokers = {node: BrokerMetadata(node, "127.0.0.1", proxy.port, None)}
        assert await client._metadata_update(client.cluster, [])
        assert proxy.connections == 1
        proxy.silence()

        assert not await client._metadata_update(client.cluster, [])
        assert await client._metadata_update(client.cluster, []) is renewed
    finally:
        await client.close()
        proxy.close()


def test_metadata_is_heard_after_resets_on_uvloop(broker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often every connection is reset under requests, a client finds its way back."""
    monkeypatch.setattr(AIOKafkaConnection, "send", AIOKafkaConnection.send)  # put back after
    breaking_on_uvloop()
    proxy = Proxy(int(broker.rpartition(":")[2]))

    async def after_resets() -> None:
        client = AIOKafkaClient(bootstrap_servers=broker, request_timeout_ms=5000)
        await client.bootstrap()
        (node,) = [known.nodeId for known in client.cluster.brokers()]
        monkeypatch.setattr(
            client.cluster, "broker_metadata", lambda _: BrokerMetadata(node, "127.0.0.1", proxy.port, None)
        )

        answers = 0

        async def asking() -> None:
            nonlocal answers
            while True:
                with contextlib.suppress(KafkaError):
                    await client.send(node, MetadataRequest([]))
                    answers += 1

        async def listening() -> None:
            while True:
                await client.force_metadata_update()

        busy = [asyncio.create_task(each) for each in (asking(), asking(), asking(), listening())]
        try:
            async with asyncio.timeout(30):
                for _ in range(20):
                    enough = answers + 15
                    await asyncio.to_thread(proxy.cut)
                    while answers < enough:  # noqa: ASYNC110 - of requests that fail or are answered in milliseconds
                        await asyncio.sleep(0.001)
                while not await client.force_metadata_update():
                    pass
        finally:
            for task in busy:
                task.cancel()
            await client.close()

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(after_resets())
    finally:
        proxy.close()


async def test_spans_give_every_record_between_their_bounds_in_order(broker: str, prefix: str) -> None:
    """Several batches a partition, from the middle of one of them on; where they end is the partition's end."""
    topic = f"{prefix}spans"
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 3, 1)])
    await admin.close()
    producer = AIOKafkaProducer(bootstrap_servers=broker, acks="all", max_batch_size=2000)
    await producer.start()
    for number in range(300):
        await producer.send(topic, b"%d" % number, key=b"k", partition=number % 2, headers=[("h", b"1")])
    await producer.stop()
    client = AIOKafkaClient(bootstrap_servers=broker)
    await client.bootstrap()
    await client.add_topic(topic)
    starts = {TopicPartition(topic, 0): 7, TopicPartition(topic, 1): 0, TopicPartition(topic, 2): 0}
    ends = {TopicPartition(topic, 0): 150, TopicPartition(topic, 1): 150, TopicPartition(topic, 2): 0}
    found: dict[int, list[int]] = {}
    after: dict[int, int] = {}
    try:
        async for tp, records, position in spans(client, starts, ends):
            assert all(record.key == b"k" and list(record.headers) == [("h", b"1")] for record in records)
            found.setdefault(tp.partition, []).extend(int(record.value) for record in records)
            after[tp.partition] = position
    finally:
        await client.close()

    assert found == {0: list(range(14, 300, 2)), 1: list(range(1, 300, 2))}
    assert after == {0: 150, 1: 150}
