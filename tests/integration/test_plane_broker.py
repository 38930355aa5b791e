"""The data plane when its broker goes away, on a broker of its own."""

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from streams.broker import Broker
from streams.settings import Settings
from tests.faults.proxy import Proxy
from tests.support.plane import Plane

pytestmark = pytest.mark.timeout(180)

Wait = Callable[..., Any]


@pytest.fixture
def kafka(tmp_path: Path, free_port: int) -> Iterator[Broker]:
    """A broker that a test may stop."""
    broker = Broker.start(tmp_path / "kafka", free_port, heap="512m")
    yield broker
    broker.stop()


@pytest.fixture
def plane(kafka: Broker, prefix: str, tmp_path: Path) -> Iterator[Plane]:
    """Topics on that broker."""
    made = Plane(
        Settings(bootstrap_servers=kafka.bootstrap, topic_prefix=prefix, data_dir=tmp_path / "data", partitions=4)
    )
    yield made
    made.close()


def test_a_broker_that_comes_back_is_gone_on_with(
    plane: Plane, kafka: Broker, tmp_path: Path, wait_until: Wait
) -> None:
    """A restart of the broker under load: the worker waits, goes on, and nothing is lost or doubled."""
    plane.send_numbers(2000)
    worker = plane.start()
    wait_until(lambda: sum(plane.ends("changes").values()) > 100, 60)
    kafka.stop()
    again = Broker.start(tmp_path / "kafka", int(kafka.bootstrap.rpartition(":")[2]), heap="512m")
    try:
        plane.send_numbers(500)
        wait_until(lambda: plane.lag() == 0, 90)
        assert worker.stop() == 0
        assert plane.verify().wrong == []
    finally:
        again.stop()


def test_a_broker_that_stays_away_ends_the_process(plane: Plane, kafka: Broker, wait_until: Wait) -> None:
    """After its patience the worker exits with 70 and says so, so that a supervisor can go on; nothing is committed."""
    worker = plane.start(PLANE_PATIENCE_S="6")
    worker.wait_for("ready")
    kafka.stop()
    assert worker.wait(60) == 70
    assert "Kafka did not answer" in worker.lines[-1]


def test_an_outage_is_told_while_it_lasts_and_when_it_is_over(
    plane: Plane, kafka: Broker, tmp_path: Path, wait_until: Wait
) -> None:
    """Not at a start alone: on-call looks for these lines."""
    worker = plane.start()
    worker.wait_for("ready")
    kafka.stop()
    wait_until(lambda: any("Kafka is away" in line for line in worker.lines), 30)
    again = Broker.start(tmp_path / "kafka", int(kafka.bootstrap.rpartition(":")[2]), heap="512m")
    try:
        wait_until(lambda: any("Kafka is back" in line for line in worker.lines), 60)
        assert worker.stop() == 0
    finally:
        again.stop()


def test_a_process_that_was_stopped_for_longer_than_its_patience_goes_on(plane: Plane, wait_until: Wait) -> None:
    """With records under way: it may not write when it wakes, takes part again, and nothing is lost or doubled."""
    plane.send_numbers(2000)
    worker = plane.start(PLANE_PATIENCE_S="8")
    worker.wait_for("ready")
    wait_until(lambda: sum(plane.ends("changes").values()) > 0, 60)
    worker.process.send_signal(signal.SIGSTOP)
    awake_at = time.monotonic() + 25
    wait_until(lambda: time.monotonic() > awake_at, 60)
    plane.send_numbers(500)
    worker.process.send_signal(signal.SIGCONT)
    wait_until(lambda: plane.lag() == 0, 90)
    assert any("this worker stood still" in line for line in worker.lines)
    assert worker.stop() == 0
    assert plane.verify().wrong == []


def test_a_session_that_the_broker_refuses_ends_the_process(plane: Plane) -> None:
    """It would wait for ever, its client having said once why; the last line names the setting and the broker's limit."""
    worker = plane.start(REGULARS_SESSION_TIMEOUT_S="4000")
    assert worker.wait(60) == 70
    assert "REGULARS_SESSION_TIMEOUT_S" in worker.lines[-1]
    assert "group.max.session.timeout.ms" in worker.lines[-1]


def test_a_network_that_refuses_for_longer_than_a_request_may_take_ends_nobody(
    prefix: str, tmp_path: Path, free_port: int, wait_until: Wait
) -> None:
    """Two workers in the middle of their first rebalance, cut off for 35 s: both go on, nothing is lost or doubled."""
    proxy = Proxy(free_port)
    kafka = Broker.start(tmp_path / "kafka", free_port, heap="512m", properties=proxy.advertised)
    plane = Plane(
        Settings(bootstrap_servers=proxy.servers, topic_prefix=prefix, data_dir=tmp_path / "data", partitions=4)
    )
    try:
        plane.send_numbers(2000)
        first = plane.start("w1")
        first.wait_for("ready")
        second = plane.start("w2")
        second.wait_for("restored")  # the rebalance goes on: positions are still to be asked for
        proxy.refuse()
        back_at = time.monotonic() + 35
        wait_until(lambda: time.monotonic() > back_at, 60)
        proxy.accept()
        plane.send_numbers(500)
        wait_until(lambda: plane.lag() == 0, 60)
        assert first.stop() == second.stop() == 0
        assert plane.verify().wrong == []
    finally:
        plane.close()
        kafka.stop()
        proxy.close()


def test_a_worker_that_starts_before_its_broker_answers_waits_for_it(
    kafka: Broker, plane: Plane, wait_until: Wait
) -> None:
    """Connections are refused at the start and come through later; the worker then does its work."""
    proxy = Proxy(int(kafka.bootstrap.rpartition(":")[2]))
    try:
        proxy.refuse()
        plane.send_numbers(500)
        worker = plane.start(REGULARS_BOOTSTRAP_SERVERS=proxy.servers)
        wait_until(lambda: any("Kafka is away" in line for line in worker.lines), 60)
        proxy.accept()
        wait_until(lambda: plane.lag() == 0, 60)
        assert worker.stop() == 0
        assert plane.verify().wrong == []
    finally:
        proxy.close()
