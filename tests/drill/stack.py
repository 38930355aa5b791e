"""A whole system for one fault: shop, workers, trainer and Prometheus on a broker; a supervisor starts again what ends."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from confluent_kafka import OFFSET_END, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

from streams.demo.children import Child, Children, tail
from tests.drill import breakable, prometheus
from tests.faults.brokers import OwnBroker
from tests.faults.commands import output_of
from tests.faults.load import Load
from tests.faults.run import free_port

RESTART_S = 5.0  # what a supervisor waits before it starts a process again
POLL_S = 0.2
WITHOUT_POISON = 10**9
ROOMY_DISK = "8g"  # of a tmpfs: memory is taken only by what is written
THROTTLE_S = 0.5
UNREAD_S = 5.0
PARTITIONS = 4
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
        own_disk: whether the workers' stores have a disk (a tmpfs) of their own, because it will be full.
        kept_s: for how long Kafka keeps purchases; None: as the product makes them.
        silent_since_s: so long before the start the shop has fallen silent after hours of steady sales, as Prometheus
            remembers it; None: Prometheus begins with the stack.
        env: settings of the workers besides.
    """

    workers: int = 1
    rate: float = 20.0
    texts: int = 0
    supervised: bool = True
    own_broker: bool = False
    own_disk: bool = False
    kept_s: float | None = None
    silent_since_s: float | None = None
    env: dict[str, str] = field(default_factory=dict)


class CommandFailed(Exception):
    """A command of the product did not do what the drill needs; the message has its last words."""


class Stack:
    """Everything on topics of its own. A context: all processes end with it.

    Attributes:
        broker: the broker that it is on.
        started_at_s: epoch seconds.
        ports: process (`worker-1`, `trainer`) -> port of its pages on this machine.
        prometheus_port: where Prometheus answers.
        shop: sends events at the plan's rate.
    """

    def __init__(self, broker: OwnBroker, folder: Path, plan: Plan) -> None:
        self.broker, self.folder, self.plan = broker, folder, plan
        self.started_at_s = time.time()
        self.prefix = f"d{uuid.uuid4().hex[:8]}-"
        self.workers = [f"worker-{number}" for number in range(1, plan.workers + 1)]
        self.ports = {name: free_port() for name in (*self.workers, "trainer")}
        self.prometheus_port = free_port()
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("REGULARS_")},
            "REGULARS_BOOTSTRAP_SERVERS": broker.servers,
            "REGULARS_TOPIC_PREFIX": self.prefix,
            "REGULARS_APP_ID": f"{self.prefix}shop",
            "REGULARS_PARTITIONS": str(PARTITIONS),
            "REGULARS_DEVICE": "cpu",
            "REGULARS_CACHE_DIR": str(folder / "cache"),
            "REGULARS_PSEUDONYM_KEY": "only-for-tests-only-for-tests-only-for-tests",
        }
        self.shops: list[Load] = []
        self.shop = self.another_shop(texts=plan.texts)
        self._children = Children(folder / "logs")
        self._running: dict[str, Child] = {}
        self._starts: dict[str, int] = {}
        self._supervised: set[str] = set()
        self._throttled: set[str] = set()
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
        for shop in self.shops:
            shop.abandon()
        for name in self._running:
            self.signal(name, signal.SIGCONT)
        self._children.__exit__(kind, exc, trace)
        if self.plan.own_disk:
            subprocess.run(["umount", "-l", str(self.folder / "data")], check=False)

    def start(self) -> None:
        """Topics, shop, workers, trainer, Prometheus; returns before they are ready."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.plan.texts:
            self.switch(breakable.WITH_TEXTS)
        if self.plan.own_disk:
            (self.folder / "data").mkdir()
            self._mount(f"size={ROOMY_DISK}")
        self.command("topics", "create")
        if self.plan.kept_s is not None:
            self._keep_purchases(self.plan.kept_s)
        for name in (*self.workers, "trainer"):
            self.spawn(name)
        targets = {WORKER_JOB: [self.ports[name] for name in self.workers], TRAINER_JOB: [self.ports["trainer"]]}
        prometheus.write_configuration(self.folder / "prometheus", targets)
        if self.plan.silent_since_s is not None:
            self._remember_sales(self.started_at_s - self.plan.silent_since_s)
        self._children.start("prometheus", prometheus.command(self.folder / "prometheus", self.prometheus_port))
        if self.plan.rate:
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

    def throttle(self, name: str, share: float) -> None:
        """Leaves a process this share of the time from now on, as an overloaded machine would; 1.0: all of it."""
        self._throttled.discard(name)
        if share < 1.0:
            self._throttled.add(name)
            threading.Thread(target=self._throttle, args=(name, share), daemon=True).start()

    def fill_disk(self) -> None:
        """Leaves nothing on the workers' disk."""
        used = shutil.disk_usage(self.folder / "data").used
        self._mount(f"remount,size={used}")

    def empty_disk(self) -> None:
        """Gives the workers' disk its room back."""
        self._mount(f"remount,size={ROOMY_DISK}")

    def another_shop(self, *, texts: int = 0, **given: Any) -> Load:
        """A shop that sends live events to this stack's topics once it `run`s."""
        options = {"texts": texts, "poison": WITHOUT_POISON, "live": True, **given}
        shop = Load(self.broker.servers, self.prefix, **options)
        self.shops.append(shop)
        return shop

    def send_purchase(self, event_id: str) -> None:
        """Sends one purchase, a valid one, besides what the shop sends."""
        now = datetime.now(UTC).isoformat()
        event = {"event_id": event_id, "customer_id": "c00001", "event_time": now, "type": "purchase"}
        order = {"order_id": event_id, "amount_minor": 500, "currency": "GBP"}
        producer = Producer({"bootstrap.servers": self.broker.servers, "partitioner": "murmur2_random", "log_level": 0})
        producer.produce(f"{self.prefix}purchases", json.dumps(event | order), b"c00001")
        if producer.flush(30):
            raise CommandFailed("Kafka did not take a purchase within 30 s")

    def lose_unread(self) -> None:
        """Deletes purchases that a stopped worker has not read yet, as a retention that is too short does."""
        for name in self.workers:
            self.signal(name, signal.SIGSTOP)
        time.sleep(UNREAD_S)
        ends = [TopicPartition(f"{self.prefix}purchases", number, OFFSET_END) for number in range(PARTITIONS)]
        admin = self._admin()
        for deleted in admin.delete_records(ends).values():
            deleted.result(30)
        for name in self.workers:
            self.signal(name, signal.SIGCONT)

    def command(self, *arguments: str) -> str:
        """Runs `regulars ...` to its end; what it printed."""
        return output_of(arguments, self.environment, CommandFailed)

    # --- what is known of it

    def starts(self, name: str) -> int:
        """How often a process was started."""
        return self._starts[name]

    def last_words(self) -> dict[str, list[str]]:
        """The last lines of the log of each process as it runs now."""
        return {name: tail(child.log, 3) for name, child in self._running.items()}

    def _keep_purchases(self, seconds: float) -> None:
        kept = ConfigEntry("retention.ms", str(int(seconds * 1000)), incremental_operation=AlterConfigOpType.SET)
        topic = ConfigResource(ConfigResource.Type.TOPIC, f"{self.prefix}purchases", incremental_configs=[kept])
        admin = self._admin()
        for altered in admin.incremental_alter_configs([topic]).values():
            altered.result(30)

    def _admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.broker.servers, "log_level": 0})

    def _mount(self, options: str) -> None:
        disk = str(self.folder / "data")
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", disk], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise CommandFailed(f"no tmpfs may be mounted here, so no disk can be full: {done.stderr.strip()}")

    def _remember_sales(self, until_s: float) -> None:
        labels = {
            "app_id": self.environment["REGULARS_APP_ID"],
            "instance": f"127.0.0.1:{self.ports[self.workers[0]]}",
            "job": WORKER_JOB,
            "outcome": "applied",
            "topic": f"{self.prefix}purchases",
        }
        prometheus.write_history(
            self.folder / "prometheus", "regulars_events_total", labels, until_s, self.started_at_s
        )

    def _throttle(self, name: str, share: float) -> None:
        while name in self._throttled and not self._ending.is_set():
            self.signal(name, signal.SIGSTOP)
            time.sleep(THROTTLE_S * (1 - share))
            self.signal(name, signal.SIGCONT)
            time.sleep(THROTTLE_S * share)

    def _supervise(self) -> None:
        ended: dict[str, float] = {}
        while not self._ending.wait(POLL_S):
            for name in self._supervised:
                if self._running[name].status() is None:
                    ended.pop(name, None)
                elif time.monotonic() - ended.setdefault(name, time.monotonic()) >= RESTART_S:
                    self.spawn(name)
                    del ended[name]
