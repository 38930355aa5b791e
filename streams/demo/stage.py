"""The whole product on one machine, for the demo: broker, topics, worker, trainer, simulated shop; and their end."""

import asyncio
import contextlib
import fcntl
import json
import shutil
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streams.broker import Broker
from streams.demo.children import Child, Children
from streams.settings import Settings

WEB_PORT = 6066
# A worker imports torch and reads its encoder: some 5 s when the disk has them, half a minute when it hasn't.
READY_LIMIT_S = 120.0
KEPT_FOLDERS = ("broker", "worker", "logs")

Say = Callable[[str], None]


class StageFailed(Exception):
    """The demo could not be set up: the message says what and where to look."""


@dataclass
class Stage:
    """What runs."""

    settings: Settings
    children: Children
    worker: Child
    web: str  # http://host:port
    env: Mapping[str, str]
    folder: Path

    @property
    def logs(self) -> Path:
        """Where every process writes its log."""
        return self.folder / "logs"

    def start_shop(self, arguments: list[str]) -> Child:
        """Start the simulated shop with the options `arguments`."""
        return self.children.start("shop", [*_regulars("simulate"), *arguments], self.env, ends=True)


@contextlib.contextmanager
def stage(settings: Settings, folder: Path, broker_port: int, say: Say) -> Iterator[Stage]:
    """Broker, topics, worker and trainer, running and ready; ended in order when the context is left.

    What an earlier demo left in `folder` is removed first. A port that is taken is replaced by a free one.

    Raises:
        StageFailed: another demo runs there, or the worker did not become ready.
        BrokerError: there is no Kafka to be had.
    """
    folder = folder.expanduser().resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        stack.enter_context(_alone(folder))
        for name in KEPT_FOLDERS:
            shutil.rmtree(folder / name, ignore_errors=True)
        children = stack.enter_context(Children(folder / "logs"))
        broker = _start_broker(settings, folder, broker_port, children, stack, say)
        served = settings.model_copy(update=_placed(settings, broker, folder))
        # The secret isn't told again: children have it from the environment, as this process has.
        given = {name: getattr(served, name) for name in served.model_fields_set - {"sasl_password"}}
        env = {f"REGULARS_{name.upper()}": str(value) for name, value in given.items() if value is not None}
        _create_topics(served)
        stack.callback(children.stop_all)
        worker = children.start("worker", _regulars("worker"), env)
        web = f"http://{served.web_host}:{served.web_port}"
        _await_ready(children, web, say)
        # The trainer imports River meanwhile: it must not keep the worker from its first change.
        children.start("trainer", _regulars("trainer"), env)
        yield Stage(served, children, worker, web, env, folder)


def _start_broker(
    settings: Settings, folder: Path, port: int, children: Children, stack: ExitStack, say: Say
) -> Broker:
    began = time.perf_counter()
    pid_file = folder / "broker" / "broker.pid"
    children.guard_pid_file(pid_file)
    broker = Broker.for_settings(settings, folder / "broker", free_port(port))
    stack.callback(broker.stop)
    whose = "started" if broker.started else "found"
    say(f"Kafka {whose} at {broker.bootstrap} in {time.perf_counter() - began:.1f} s")
    return broker


def _placed(settings: Settings, broker: Broker, folder: Path) -> dict[str, Any]:
    """The settings that this run decides itself."""
    placed: dict[str, Any] = {
        "bootstrap_servers": broker.bootstrap,
        "data_dir": folder / "worker",
        # The shop tells months in minutes: by the wall clock all its past customers would have fallen silent long ago.
        "clock": "event",
        # Its first searches would wait for the encoder, and everything of their customers behind them.
        "encoder_preload": True,
        "web_port": free_port(settings.web_port or WEB_PORT),
    }
    if not broker.started and not settings.topic_prefix:
        # Somebody's cluster: nothing of the demo may mix with what is there.
        name = f"demo-{time.strftime('%Y%m%d-%H%M%S')}"
        placed |= {"topic_prefix": f"{name}-", "app_id": f"{name}-regulars"}
    return placed


def _create_topics(settings: Settings) -> None:
    from streams.kafka.topics import create

    asyncio.run(create(settings))


def _await_ready(children: Children, web: str, say: Say) -> None:
    began = time.perf_counter()
    found = "no answer yet"
    while time.perf_counter() - began < READY_LIMIT_S:
        children.check()
        try:
            with urllib.request.urlopen(f"{web}/ready", timeout=2.0):
                say(f"worker ready in {time.perf_counter() - began:.1f} s")
                return
        except urllib.error.HTTPError as exc:
            with contextlib.suppress(ValueError, KeyError):
                found = "; ".join(reason["detail"] for reason in json.loads(exc.read())["reasons"])
        except OSError:
            pass  # its web server isn't up yet
        time.sleep(0.1)
    raise StageFailed(f"the worker was not ready within {READY_LIMIT_S:.0f} s: {found}")


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with (folder / "demo.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StageFailed(f"another demo runs in {folder}; stop it, or name another --dir") from None
        yield


def _regulars(command: str) -> list[str]:
    return [sys.executable, "-m", "streams.cli", command]


def free_port(wanted: int) -> int:
    """`wanted` where it is free on 127.0.0.1, else one that is."""
    for port in (wanted, 0):
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                listener.bind(("127.0.0.1", port))
                found: int = listener.getsockname()[1]
                return found
    raise StageFailed("no port is free on 127.0.0.1")
