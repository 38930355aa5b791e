"""The trainer when its broker goes away, on a broker of its own: it waits, and what was learnt is learnt exactly once."""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog.testing

from streams.broker import Broker
from streams.kafka.errors import BrokerLost
from streams.kafka.topics import create
from streams.settings import Settings
from streams.training.schedule import PublishSchedule
from tests.faults.proxy import Proxy
from tests.support.training import EACH, direct, last_snapshot, running, send_labels, trainer_of

pytestmark = pytest.mark.timeout(240)

WaitAsync = Callable[..., Awaitable[Any]]


class Kafka:
    """A broker behind a proxy, that a test may stop and start again."""

    def __init__(self, folder: Path, port: int) -> None:
        self.proxy = Proxy(port)
        self._folder, self._port = folder, port
        self._broker: Broker | None = None

    async def start(self) -> None:
        """Starts it, on the data it had."""
        self._broker = await asyncio.to_thread(
            Broker.start, self._folder, self._port, heap="512m", properties=self.proxy.advertised
        )

    async def stop(self) -> None:
        """Stops it where it runs."""
        if self._broker is not None:
            await asyncio.to_thread(self._broker.stop)


@pytest.fixture
async def kafka(tmp_path: Path, free_port: int) -> AsyncIterator[Kafka]:
    """One that runs."""
    made = Kafka(tmp_path / "kafka", free_port)
    await made.start()
    yield made
    await made.stop()
    made.proxy.close()


@pytest.fixture
async def shop(kafka: Kafka, prefix: str) -> Settings:
    """Its topics, by way of the proxy."""
    settings = Settings(bootstrap_servers=kafka.proxy.servers, topic_prefix=prefix, partitions=4)
    await create(settings)
    return settings


async def test_a_broker_that_restarts_is_waited_for(shop: Settings, kafka: Kafka, wait_until_async: WaitAsync) -> None:
    """Away after labels were learnt and before a snapshot holds them: each counts once, in order; the lag is not known."""
    await send_labels(shop, range(15))
    async with running(shop, PublishSchedule(20, 600.0)) as trainer:
        await wait_until_async(lambda: trainer.view.next_offset == 15)
        await kafka.stop()
        await wait_until_async(lambda: trainer.view.end is None)
        assert trainer.view.lag is None
        await kafka.start()
        await send_labels(shop, range(15, 20))
        await wait_until_async(lambda: trainer.published, 60.0)
        await wait_until_async(lambda: trainer.view.lag == 0)

    found = await last_snapshot(shop)
    assert found is not None
    assert (found.labels, found.version) == (20, direct(range(20), 20).version)


async def test_a_snapshot_that_is_due_while_kafka_is_away_is_published_when_it_is_back(
    shop: Settings, kafka: Kafka, wait_until_async: WaitAsync
) -> None:
    """Refused for longer than a session, so that the group gives the topic anew: still each label once, in order."""
    await send_labels(shop, range(10))
    async with running(shop, PublishSchedule(10**9, 2.0)) as trainer:
        await wait_until_async(lambda: trainer.published)
        await send_labels(shop, range(10, 15))
        await wait_until_async(lambda: trainer.view.next_offset == 15)
        kafka.proxy.refuse()
        back_at = time.monotonic() + 1.5 * shop.session_timeout_s
        await wait_until_async(lambda: time.monotonic() > back_at)
        kafka.proxy.accept()
        await send_labels(shop, range(15, 20))
        await wait_until_async(lambda: trainer.published is not None and trainer.published.labels == 20, 60.0)

    found = await last_snapshot(shop)
    assert found is not None
    assert (found.labels, found.version) == (20, direct(range(20), 20).version)


async def test_a_trainer_that_starts_before_its_broker_answers_waits_for_it(
    shop: Settings, kafka: Kafka, wait_until_async: WaitAsync
) -> None:
    """It says so, isn't ready, and learns when the broker is there."""
    await send_labels(shop, range(5))
    kafka.proxy.refuse()
    with structlog.testing.capture_logs() as said:
        async with running(shop, PublishSchedule(5, 60.0)) as trainer:
            await wait_until_async(lambda: any(line["event"] == "Kafka is away" for line in said))
            assert [reason.reason for reason in trainer.view.not_ready()][:1] == ["not-joined"]
            kafka.proxy.accept()
            await wait_until_async(lambda: trainer.published)

    found = await last_snapshot(shop)
    assert found is not None
    assert found.version == direct(range(5), 5).version


async def test_a_broker_that_stays_away_ends_the_trainer(
    shop: Settings, kafka: Kafka, wait_until_async: WaitAsync
) -> None:
    """After its patience it says so; what it hadn't published is learnt by the next one."""
    await send_labels(shop, range(5))
    trainer = trainer_of(shop, PublishSchedule(100, 600.0), patience_s=6.0)
    task = asyncio.create_task(trainer.run(asyncio.Event()))
    await wait_until_async(lambda: trainer.view.next_offset == 5)
    kafka.proxy.refuse()
    with pytest.raises(BrokerLost, match="Kafka has been away for"):
        await task

    kafka.proxy.accept()
    async with running(shop, EACH) as second:
        await wait_until_async(lambda: second.published, 60.0)
    found = await last_snapshot(shop)
    assert found is not None
    assert found.version == direct(range(5), 5).version


async def test_a_stop_does_not_wait_for_a_broker_that_is_away(free_port: int, wait_until_async: WaitAsync) -> None:
    """With nothing to publish there is nothing to wait for."""
    trainer, stopping = trainer_of(Settings(bootstrap_servers=f"127.0.0.1:{free_port}"), EACH), asyncio.Event()
    with structlog.testing.capture_logs() as said:
        task = asyncio.create_task(trainer.run(stopping))
        await wait_until_async(lambda: any(line["event"] == "Kafka is away" for line in said))
        stopping.set()
        async with asyncio.timeout(10):
            await task


@pytest.fixture
def command(free_port: int) -> Iterator[subprocess.Popen[str]]:
    """The command, with no broker to talk to."""
    process = subprocess.Popen(
        [sys.executable, "-m", "streams.cli", "trainer", "--bootstrap-servers", f"127.0.0.1:{free_port}"],
        stderr=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.communicate()


@pytest.mark.slow
def test_without_a_broker_the_command_fails_in_one_line(command: subprocess.Popen[str]) -> None:
    """Its whole patience later: exit code 1, and the line says how long it waited and the way out."""
    _, said = command.communicate(timeout=150)

    assert command.returncode == 1
    assert "Kafka has been away for" in said.splitlines()[-1]
    assert "regulars broker start" in said.splitlines()[-1]
    assert "Traceback" not in said


def test_a_signal_ends_a_command_that_waits_for_kafka(command: subprocess.Popen[str]) -> None:
    """Exit code 0, at once."""
    assert command.stderr is not None
    while "Kafka is away" not in command.stderr.readline():
        assert command.poll() is None
    command.send_signal(signal.SIGTERM)
    _, said = command.communicate(timeout=30)

    assert command.returncode == 0, said
