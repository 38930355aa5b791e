"""Laws of waiting for a broker that is away."""

import asyncio

import pytest
import uvloop
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    LeaderNotAvailableError,
    NotLeaderForPartitionError,
    ProducerFenced,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.structs import BrokerMetadata

from streams.kafka.errors import BrokerLost
from streams.kafka.patience import away, breaking_on_uvloop, outlasting, patiently, renewing, within


class World:
    """A broker that is away for so many seconds, and the time."""

    def __init__(self, away_s: float, error: Exception) -> None:
        self.now, self._back_at, self._error = 0.0, away_s, error
        self.asked = 0

    def clock(self) -> float:
        """Seconds."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Lets time pass."""
        self.now += seconds

    async def ask(self) -> str:
        """Fails until the broker is back."""
        self.asked += 1
        if self.now < self._back_at:
            raise self._error
        return "answer"


@pytest.mark.parametrize(
    "error",
    [
        KafkaConnectionError("Unable to bootstrap"),
        KafkaTimeoutError(),
        LeaderNotAvailableError(),
        KafkaError("wrapped"),
    ],
    ids=repr,
)
async def test_a_broker_that_comes_back_in_time_is_waited_for(error: Exception) -> None:
    """Whatever a client says of one that is away; what was asked for is given in the end."""
    world = World(59, error)
    answer = await patiently("it", world.ask, 60, clock=world.clock, sleep=world.sleep)
    assert answer == "answer"
    assert world.asked > 1


async def test_a_broker_that_stays_away_is_given_up_with_what_was_wanted_and_why() -> None:
    """The message is the worker's last line."""
    world = World(100, KafkaConnectionError("Unable to bootstrap"))
    with pytest.raises(BrokerLost, match=r"the start: Kafka has been away for 6\d s \(KafkaConnectionError"):
        await patiently("the start", world.ask, 60, clock=world.clock, sleep=world.sleep)


@pytest.mark.parametrize(
    "error", [ProducerFenced(), TopicAuthorizationFailedError("t"), TransactionalIdAuthorizationFailed("g-0")], ids=repr
)
async def test_what_waiting_does_not_mend_is_raised_at_once(error: Exception) -> None:
    """A refusal is an answer."""
    world = World(100, error)
    assert not away(error)
    with pytest.raises(type(error)):
        await patiently("it", world.ask, 60, clock=world.clock, sleep=world.sleep)
    assert world.asked == 1


@pytest.mark.parametrize("patient", [True, False])
async def test_only_an_outlasting_producer_keeps_a_batch_that_waits_for_a_leader(patient: bool) -> None:
    """Aiokafka fails it when it is older than a request may be; without `outlasting` this test shows it."""
    producer = AIOKafkaProducer(bootstrap_servers="127.0.0.1:1", enable_idempotence=True, request_timeout_ms=0)
    if patient:
        outlasting(producer)
    producer._txn_manager.set_pid_and_epoch(1, 0)
    batch = producer.create_batch()
    batch.append(timestamp=1, key=b"k", value=b"v")
    accumulator = producer._message_accumulator
    waiting = await accumulator.add_batch(batch, TopicPartition("t", 0), 1)

    accumulator.drain_by_nodes(set())  # no metadata: no leader is known

    inner = accumulator._batches.get(TopicPartition("t", 0))
    assert bool(inner) is patient
    if not patient:
        with pytest.raises(NotLeaderForPartitionError):
            await waiting
    producer._closed = True  # it was never started


class Silent:
    """A connection whose other end is gone without a word."""

    closed = False

    def connected(self) -> bool:
        """As far as this end knows."""
        return True

    async def send(self, request: object) -> None:
        """Never answered."""
        raise TimeoutError

    def close(self, reason: object = None) -> None:
        """Given up."""
        self.closed = True


@pytest.mark.parametrize("renewed", [True, False])
async def test_only_a_renewing_client_gives_up_a_connection_that_does_not_answer_for_metadata(renewed: bool) -> None:
    """Aiokafka keeps it and asks it again and again; the connection to the group's coordinator isn't touched."""
    client = AIOKafkaClient(bootstrap_servers="127.0.0.1:1")
    client.cluster._brokers = {1: BrokerMetadata(1, "127.0.0.1", 1, None)}
    asked, other = Silent(), Silent()
    client._conns = {(1, ConnectionGroup.DEFAULT): asked, (1, ConnectionGroup.COORDINATION): other}
    if renewed:
        renewing(client)

    assert not await client._metadata_update(client.cluster, [])

    assert asked.closed is renewed
    assert not other.closed


class Unasked(AIOKafkaConnection):
    """A connection to something that speaks no Kafka."""

    async def _do_version_lookup(self) -> None:
        self._versions = {MetadataRequest.API_KEY: (0, 0)}


@pytest.mark.parametrize(("mended", "raised"), [(True, KafkaConnectionError), (False, RuntimeError)])
def test_a_connection_that_was_reset_breaks_as_kafkas_error_on_uvloop_too(
    monkeypatch: pytest.MonkeyPatch, mended: bool, raised: type[Exception]
) -> None:
    """A write between the reset and the task that reads it; unmended, the error is one that aiokafka's tasks end by."""
    monkeypatch.setattr(AIOKafkaConnection, "send", AIOKafkaConnection.send)  # put back after
    if mended:
        breaking_on_uvloop()

    async def written_after_a_reset() -> bool:
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
        connection = Unasked("127.0.0.1", server.sockets[0].getsockname()[1])
        await connection.connect()
        connection._writer.transport.abort()
        await asyncio.sleep(0)  # the transport is closed now, and the reader not yet woken
        with pytest.raises(raised):
            connection.send(MetadataRequest([]))
        broken = not connection.connected()
        connection.close()
        server.close()
        await server.wait_closed()  # uvloop would wait for it as the loop closes, for ever
        return broken

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(written_after_a_reset())


async def test_a_limit_leaves_out_time_in_which_the_loop_stood_still() -> None:
    """The process is stopped for 100 s of a limit of 90: what it waits for still has the rest of them."""
    times = iter([0.0, 1.0, 101.0, *(102.0 + second for second in range(100))])
    looked = 0

    def clock() -> float:
        nonlocal looked
        looked += 1
        return next(times)

    with pytest.raises(TimeoutError):
        async with within(90.0, 0.001, clock):
            await asyncio.Event().wait()

    assert looked == pytest.approx(92, abs=2)


async def test_what_comes_in_time_is_given() -> None:
    """And leaves no timer behind."""
    async with within(90.0, 0.001):
        await asyncio.sleep(0)
    async with asyncio.timeout(10), within(0.01, 0.001):
        pass
