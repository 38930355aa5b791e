"""A whole system for one fault: shop, workers, trainer and Prometheus on a broker; a supervisor starts again what ends."""

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from streams.demo.children import Child, Children, tail
from tests.drill import breakable, prometheus
from tests.faults.load import Load
from tests.faults.run import free_port
from tests.faults.stage import ROOT

RESTART_S = 5.0  # what a supervisor waits before it starts a process again
POLL_S = 0.2
COMMAND_LIMIT_S = 120.0
WITHOUT_POISON = 10**9
WORKER_JOB, TRAINER_JOB = "regulars-worker", "regulars-trainer"


@dataclass(frozen=True)
class Plan:
    """What a stack is made of.

    Attributes:
        workers: how many.
        rate: events per second.
        texts: how many reviews in a hundred have a text.
        supervised: whether processes that end are started again.
        own_broker: whether the broker is this stack's alone, because it will be taken away.
        env: settings of the workers besides.
    """

    workers: int = 1
    rate: float = 20.0
    texts: int = 0
    supervised: bool = True
    own_broker: bool = False
    env: dict[str, str] = field(default_factory=dict)


class CommandFailed(Exception):
    """A command of the product did not do what the drill needs; the message has its last words."""


class Stack:
    """Everything on topics of its own. A context: all processes end with it.

    Attributes:
        ports: process (`worker-1`, `trainer`) -> port of its pages on this machine.
        prometheus_port: where Prometheus answers.
        shop: sends events at the plan's rate.
    """

    def __init__(self, servers: str, folder: Path, plan: Plan) -> None:
        self.servers, self.folder, self.plan = servers, folder, plan
        self.prefix = f"d{uuid.uuid4().hex[:8]}-"
        self.workers = [f"worker-{number}" for number in range(1, plan.workers + 1)]
        self.ports = {name: free_port() for name in (*self.workers, "trainer")}
        self.prometheus_port = free_port()
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("REGULARS_")},
            "REGULARS_BOOTSTRAP_SERVERS": servers,
            "REGULARS_TOPIC_PREFIX": self.prefix,
            "REGULARS_APP_ID": f"{self.prefix}shop",
            "REGULARS_PARTITIONS": "4",
            "REGULARS_DEVICE": "cpu",
            "REGULARS_CACHE_DIR": str(folder / "cache"),
            "REGULARS_PSEUDONYM_KEY": "only-for-tests-only-for-tests-only-for-tests",
        }
        self.shop = Load(servers, self.prefix, texts=plan.texts, poison=WITHOUT_POISON, live=True)
        self._children = Children(folder / "logs")
        self._running: dict[str, Child] = {}
        self._starts: dict[str, int] = {}
        self._supervised: set[str] = set()
        self._ending = threading.Event()
        self._supervisor = threading.Thread(target=self._supervise, daemon=True)
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        if self._supervisor.is_alive():
            self._supervisor.join()
        self.shop.abandon()
        for child in self._running.values():
            if child.status() is None:
                os.kill(child.pid, signal.SIGCONT)
        self._children.__exit__(kind, exc, trace)

    def start(self) -> None:
        """Topics, shop, workers, trainer, Prometheus; returns before they are ready."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.plan.texts:
            self.switch(breakable.WITH_TEXTS)
        self.command("topics", "create")
        for name in (*self.workers, "trainer"):
            self.spawn(name)
        targets = {WORKER_JOB: [self.ports[name] for name in self.workers], TRAINER_JOB: [self.ports["trainer"]]}
        prometheus.write_configuration(self.folder / "prometheus", targets)
        self._children.start("prometheus", prometheus.command(self.folder / "prometheus", self.prometheus_port))
        self.shop.run(self.plan.rate)
        if self.plan.supervised:
            self._supervised = set(self.ports)
        self._supervisor.start()

    # --- what a fault does

    def signal(self, name: str, number: int) -> None:
        """Sends a signal to a process of the stack, if it runs."""
        with self._lock:
            if self._running[name].status() is None:
                os.kill(self._running[name].pid, number)

    def spawn(self, name: str) -> None:
        """Starts a process of the stack (again)."""
        with self._lock:
            self._starts[name] = self._starts.get(name, 0) + 1
            arguments = ["trainer"] if name == "trainer" else ["worker", "--data-dir", str(self.data_dir(name))]
            module = [sys.executable, "-m", "tests.drill.breakable", str(self.folder)]
            command = [*module, *arguments, "--web-port", str(self.ports[name])]
            env = self.environment | ({} if name == "trainer" else {"REGULARS_INSTANCE_ID": name, **self.plan.env})
            self._running[name] = self._children.start(f"{name}-{self._starts[name]}", command, env)

    def data_dir(self, name: str) -> Path:
        """The local store of a worker."""
        return self.folder / "data" / name

    def switch(self, fault: str, on: bool = True) -> None:
        """Sets a switch of `tests.drill.breakable`."""
        if on:
            (self.folder / fault).touch()
        else:
            (self.folder / fault).unlink(missing_ok=True)

    def command(self, *arguments: str) -> str:
        """Runs `regulars ...` to its end; what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "streams.cli", *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_LIMIT_S,
        )
        if done.returncode:
            raise CommandFailed(f"regulars {' '.join(arguments)}: exit code {done.returncode}: {done.stderr[-500:]}")
        return done.stdout

    # --- what is known of it

    def starts(self, name: str) -> int:
        """How often a process was started."""
        return self._starts[name]

    def last_words(self) -> dict[str, list[str]]:
        """The last lines of the log of each process as it runs now."""
        return {name: tail(child.log, 3) for name, child in self._running.items()}

    def _supervise(self) -> None:
        ended: dict[str, float] = {}
        while not self._ending.wait(POLL_S):
            for name in self._supervised:
                if self._running[name].status() is None:
                    ended.pop(name, None)
                elif time.monotonic() - ended.setdefault(name, time.monotonic()) >= RESTART_S:
                    self.spawn(name)
                    del ended[name]
