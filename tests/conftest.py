"""What every test tier shares: one real broker per run, names of its own for each test, waiting with a deadline."""

import asyncio
import contextlib
import fcntl
import inspect
import os
import socket
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from streams.broker import Broker
from streams.broker import stop as stop_broker
from streams.settings import Settings

POLL_S = 0.02

# No worker starts without a secret; there is no default.
os.environ.setdefault("REGULARS_PSEUDONYM_KEY", "only-for-tests-only-for-tests-only-for-tests")

# A law is true or false, not slow: shared machines stall for seconds. CI tries the same inputs each time.
hypothesis_settings.register_profile(
    "regulars", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=bool(os.environ.get("CI"))
)
hypothesis_settings.load_profile("regulars")


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a Kafka: the one REGULARS_BOOTSTRAP_SERVERS names, else one started for this run.

    All processes of a run share one broker. A broker per process would cost three more JVMs on two cores, and every test
    has topics and groups of its own. The first process starts it, the last one that used it stops it.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "broker"
    with _counted_users(folder) as users:
        port = int(users.read_text()) if users.exists() else _free_port()
        users.write_text(str(port))
        kafka = Broker.for_settings(Settings(), folder, port)
        mine = folder.parent / f"broker-user-{os.getpid()}"
        mine.touch()
    try:
        yield kafka.bootstrap
    finally:
        with _counted_users(folder):
            mine.unlink()
            if not any(folder.parent.glob("broker-user-*")):
                stop_broker(folder)


@contextlib.contextmanager
def _counted_users(folder: Path) -> Iterator[Path]:
    """Holds the lock under which users of the shared broker come and go; gives the file that holds its port."""
    with (folder.parent / "broker-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder.parent / "broker-port"


@pytest.fixture
def free_port() -> int:
    """A TCP port on 127.0.0.1 that nobody listens on."""
    return _free_port()


@pytest.fixture
def prefix() -> str:
    """A topic prefix that no other test has."""
    return f"t{uuid.uuid4().hex[:10]}-"


@pytest.fixture
def settings(broker: str, prefix: str, tmp_path: Path) -> Settings:
    """Settings for one test on the real broker: own topics, own groups, own folder, no web server, event clock."""
    return Settings(
        bootstrap_servers=broker,
        topic_prefix=prefix,
        app_id=f"{prefix}shop",
        data_dir=tmp_path / "data",
        web_port=0,
        clock="event",
        partitions=4,
    )


@pytest.fixture
def wait_until() -> Callable[[Callable[[], Any], float], Any]:
    """`wait_until(condition, deadline_s)`: polls until the condition is true; gives its value."""

    def wait(condition: Callable[[], Any], deadline_s: float = 30.0) -> Any:
        end = time.monotonic() + deadline_s
        while not (value := condition()):
            if time.monotonic() > end:
                pytest.fail(f"not within {deadline_s} s: {_said(condition)}")
            time.sleep(POLL_S)
        return value

    return wait


@pytest.fixture
def wait_until_async() -> Callable[[Callable[[], Any], float], Awaitable[Any]]:
    """As `wait_until`, without blocking the event loop; the condition may be a coroutine function."""

    async def wait(condition: Callable[[], Any], deadline_s: float = 30.0) -> Any:
        end = time.monotonic() + deadline_s
        while True:
            value = condition()
            if inspect.isawaitable(value):
                value = await value
            if value:
                return value
            if time.monotonic() > end:
                pytest.fail(f"not within {deadline_s} s: {_said(condition)}")
            await asyncio.sleep(POLL_S)

    return wait


def _said(condition: Callable[[], Any]) -> str:
    try:
        return inspect.getsource(condition).strip()
    except (OSError, TypeError):
        return repr(condition)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
