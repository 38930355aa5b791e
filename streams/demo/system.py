"""The whole product on one machine, for the demo: starts and ends broker, topics, worker, trainer and simulated shop."""

import asyncio
import contextlib
import fcntl
import json
import secrets
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

from pydantic import SecretStr

from streams.broker import Broker
from streams.demo.campaign import CONSENT, LEARN_EVERY_MINUTES, NAME, publish_campaign
from streams.demo.children import Child, Children
from streams.keys import is_loopback
from streams.settings import Settings
from streams.signin.tokens import own_headers

WEB_PORT = 6066
# A worker imports torch and loads its encoder: about 5 s with a warm disk cache, half a minute without.
READY_LIMIT_S = 120.0
KEPT_FOLDERS = ("broker", "worker", "logs")

Say = Callable[[str], None]


class DemoFailed(Exception):
    """The demo could not be started; the message says why and where to look."""


@dataclass
class DemoSystem:
    """The running processes, and how to reach them."""

    settings: Settings
    children: Children
    worker: Child
    web: str  # http://host:port
    env: Mapping[str, str]
    folder: Path

    @property
    def logs(self) -> Path:
        """The folder of the processes' logs."""
        return self.folder / "logs"

    def start_shop(self, arguments: list[str]) -> Child:
        """Starts the simulated shop with the options `arguments`."""
        return self.children.start("shop", [*_regulars("simulate"), *arguments], self.env, ends=True)


@contextlib.contextmanager
def demo_system(
    settings: Settings, folder: Path, broker_port: int, say: Say, *, campaign: bool = False
) -> Iterator[DemoSystem]:
    """Starts broker, topics, worker and trainer, and ends them in order when the context is left. The worker is ready.

    Removes first what an earlier demo left in `folder`. If a port is taken, a free one is used. With `campaign`, the worker
    decides by that of `streams.demo.campaign`, and a process learns it.

    Raises:
        DemoFailed: another demo runs there, or the worker did not become ready.
        BrokerError: no Kafka could be found or started.
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
        if campaign:
            served = served.model_copy(update={"assumed_consent": CONSENT})
        if not is_loopback(served.web_host) and not own_headers(served):
            token = secrets.token_hex(32)
            served = served.model_copy(update={"web_tokens": SecretStr(f"operator/demo:{token}")})
            say(f"the dashboard is not on a loopback address; its password is {token}")
        env = _environment(served)
        _create_topics(served)
        if campaign:
            asyncio.run(publish_campaign(served))
        stack.callback(children.stop_all)
        worker = children.start("worker", _regulars("worker"), env)
        web = f"http://{served.web_host}:{served.web_port}"
        _await_ready(children, web, say)
        # The trainer starts only now: its import of River must not slow down the worker's first change.
        children.start("trainer", _regulars("trainer"), env)
        if campaign:
            learn = [*_regulars("campaign"), "learn", NAME, "--every", str(LEARN_EVERY_MINUTES)]
            children.start("campaign-learn", learn, env)
        yield DemoSystem(served, children, worker, web, env, folder)


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
    """The settings that the demo chooses itself."""
    placed: dict[str, Any] = {
        "bootstrap_servers": broker.bootstrap,
        "data_dir": folder / "worker",
        # The shop's history is months long and sent in minutes: by the wall clock all its customers would be long silent.
        "clock": "event",
        # Otherwise the first searches would wait for the encoder, and all later events of their customers behind them.
        "encoder_preload": True,
        "web_port": free_port(settings.web_port or WEB_PORT),
    }
    if not broker.started and not settings.topic_prefix:
        # A cluster of somebody else's: the demo must not mix with its topics.
        name = f"demo-{time.strftime('%Y%m%d-%H%M%S')}"
        placed |= {"topic_prefix": f"{name}-", "app_id": f"{name}-regulars"}
    return placed


def _environment(settings: Settings) -> dict[str, str]:
    """What the children have beside this process's environment, from which they read the secrets themselves."""
    given = {name: getattr(settings, name) for name in settings.model_fields_set if not _is_secret(name)}
    environment = {f"REGULARS_{name.upper()}": str(value) for name, value in given.items() if value is not None}
    if not settings.pseudonym_key.get_secret_value() and settings.pseudonym_key_file is None:
        # Nobody needs the demo's pseudonyms afterwards.
        environment["REGULARS_PSEUDONYM_KEY"] = secrets.token_hex(32)
    if tokens := settings.web_tokens.get_secret_value():
        environment["REGULARS_WEB_TOKENS"] = tokens
    return environment


def _is_secret(name: str) -> bool:
    return Settings.model_fields[name].annotation is SecretStr


def _create_topics(settings: Settings) -> None:
    from streams.kafka.topics import create

    asyncio.run(create(settings))


def _await_ready(children: Children, web: str, say: Say) -> None:
    began = time.perf_counter()
    answer = "no answer yet"
    while time.perf_counter() - began < READY_LIMIT_S:
        children.check()
        try:
            with urllib.request.urlopen(f"{web}/ready", timeout=2.0):
                say(f"worker ready in {time.perf_counter() - began:.1f} s")
                return
        except urllib.error.HTTPError as exc:
            with contextlib.suppress(ValueError, KeyError):
                answer = "; ".join(reason["detail"] for reason in json.loads(exc.read())["reasons"])
        except OSError:
            pass  # its web server does not answer yet
        time.sleep(0.1)
    raise DemoFailed(f"the worker was not ready within {READY_LIMIT_S:.0f} s: {answer}")


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with (folder / "demo.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DemoFailed(f"another demo runs in {folder}; stop it, or name another --dir") from None
        yield


def _regulars(command: str) -> list[str]:
    return [sys.executable, "-m", "streams.cli", command]


def free_port(wanted: int) -> int:
    """`wanted` if it is free on 127.0.0.1, else another port that is."""
    for port in (wanted, 0):
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                listener.bind(("127.0.0.1", port))
                answer: int = listener.getsockname()[1]
                return answer
    raise DemoFailed("no port is free on 127.0.0.1")
