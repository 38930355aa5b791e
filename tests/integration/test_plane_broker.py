"""The data plane when its broker goes away, on a broker of its own."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from streams.broker import Broker
from streams.settings import Settings
from tests.support.plane import Plane

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
