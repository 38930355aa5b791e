"""Starts and stops the broker that keeps its data in a folder."""

import fcntl
import os
import signal
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from streams.broker import probe, storage
from streams.broker.errors import BrokerError
from streams.broker.jars import KAFKA_VERSION, find_jars, kafka_version
from streams.broker.java import find_java
from streams.settings import Settings

READY_TIMEOUT_S = 90.0
# A broker flushes and ends within 2 s; one that hangs in its shutdown is killed, and recovers its log at the next start.
STOP_TIMEOUT_S = 20.0
# The port of a killed broker is free when the system has closed its last socket, some 100 ms later.
PORT_TIMEOUT_S = 3.0
POLL_S = 0.1


@dataclass(frozen=True)
class Broker:
    """A Kafka that answers.

    Attributes:
        bootstrap: its address, `host:port`.
        folder: where it keeps its data; None: somebody else runs it.
        started: whether this object started it; only then does `stop` end it.
    """

    bootstrap: str
    folder: Path | None = None
    started: bool = False

    @classmethod
    def start(
        cls,
        folder: Path,
        port: int,
        *,
        version: str = KAFKA_VERSION,
        cache_dir: Path | None = None,
        heap: str = "1g",
        properties: Mapping[str, str] | None = None,
    ) -> Self:
        """The broker of `folder`, started if it does not run yet; returns when it answers a metadata request.

        Args:
            folder: configuration, data and log; made if it is missing.
            port: on 127.0.0.1.
            version: of Kafka, if its jars come from the cache or from Maven.
            cache_dir: where jars are kept; None: the default of the setting.
            heap: the JVM's -Xmx.
            properties: of the server; they override those that are written anyway.

        Raises:
            BrokerError: the port is taken, there is no Java or no Kafka, or Kafka did not start.
        """
        folder = folder.expanduser().resolve()
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder):
            running = storage.read_pid(folder)
            if running is not None:
                return cls._await_running(folder, running[1], port)
            _check_free(port)
            java = find_java(11)
            jars = find_jars(version, cache_dir or Settings().cache_dir, java)
            if int((kafka_version(jars) or version).partition(".")[0]) >= 4:
                java = find_java(17)
            cluster_id = storage.format_storage(java, jars, folder)
            bootstrap = f"127.0.0.1:{port}"
            pid = _spawn(java, jars, folder, port, heap, properties or {})
            storage.write_pid(folder, pid, bootstrap)
            broker = cls(bootstrap, folder, started=True)
            try:
                _await_ready(pid, bootstrap, cluster_id, folder / "broker.log")
            except BaseException:
                broker.stop()
                raise
            return broker

    @classmethod
    def for_settings(cls, settings: Settings, folder: Path, port: int, version: str = KAFKA_VERSION) -> Self:
        """The broker that the settings name, if they name one; otherwise `start`.

        Raises:
            BrokerError: the named broker does not answer, or none could be started.
        """
        named = settings.bootstrap_servers if "bootstrap_servers" in settings.model_fields_set else None
        if named is None or named in (f"127.0.0.1:{port}", f"localhost:{port}"):
            return cls.start(folder, port, version=version, cache_dir=settings.cache_dir)
        if probe.ask_named(settings, timeout_s=5.0) is None:
            raise BrokerError(
                f"REGULARS_BOOTSTRAP_SERVERS names {named}, where no Kafka answers",
                "start that broker, or unset the variable to have one started here",
            )
        return cls(named)

    @classmethod
    def _await_running(cls, folder: Path, bootstrap: str, port: int) -> Self:
        if bootstrap != f"127.0.0.1:{port}":
            raise BrokerError(
                f"the broker of {folder} already runs, at {bootstrap}",
                "use that one, `regulars broker stop` it first, or name another --dir",
            )
        deadline = time.monotonic() + READY_TIMEOUT_S
        while probe.ask(bootstrap) is None:
            if time.monotonic() > deadline or storage.read_pid(folder) is None:
                raise BrokerError(
                    f"the broker of {folder} runs but does not answer at {bootstrap}",
                    f"look at {folder / 'broker.log'}, then `regulars broker stop` and start again",
                )
            time.sleep(POLL_S)
        return cls(bootstrap, folder)

    def stop(self) -> None:
        """Ends the broker if this object started it; one that ran before stays. Idempotent."""
        if self.started and self.folder is not None:
            stop(self.folder)


def stop(folder: Path) -> bool:
    """Ends the broker of `folder`; False: none runs. Returns when the process has ended."""
    folder = folder.expanduser().resolve()
    running = storage.read_pid(folder)
    if running is not None:
        _end(running[0], folder)
    (folder / "broker.pid").unlink(missing_ok=True)
    return running is not None


def _end(pid: int, folder: Path) -> None:
    for sign, patience_s in ((signal.SIGTERM, STOP_TIMEOUT_S), (signal.SIGKILL, STOP_TIMEOUT_S)):
        try:
            os.kill(pid, sign)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            if storage.read_pid(folder) is None:
                with suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
                return
            time.sleep(POLL_S)
    raise BrokerError(f"process {pid} does not end", "look at it with ps: it may wait for a disk")


def _spawn(java: Path, jars: Path, folder: Path, port: int, heap: str, further: Mapping[str, str]) -> int:
    properties, log = folder / "server.properties", folder / "broker.log"
    lines = [storage.server_properties(folder / "data", port, _free_port())]
    lines += [
        f"{name}={value}\n" for name, value in further.items()
    ]  # of two lines for a property, Java takes the last one
    properties.write_text("".join(lines))
    if log.exists():
        log.replace(folder / "broker.log.previous")
    command = [str(java), "-Xms256m", f"-Xmx{heap}", "-XX:+UseG1GC", "-Djava.awt.headless=true"]
    command += ["-Dorg.slf4j.simpleLogger.showDateTime=true", "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS"]
    command += ["-cp", f"{jars}/*", "kafka.Kafka", str(properties)]
    to_log = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    return os.posix_spawn(
        command[0],
        command,
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, log, to_log, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        # A session of its own: Ctrl-C in the terminal reaches only the command, which stops the broker last.
        setsid=True,
    )


def _await_ready(pid: int, bootstrap: str, cluster_id: str, log: Path) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while True:
        cluster = probe.ask(bootstrap)
        if cluster is not None and cluster.brokers:
            if cluster.cluster_id == cluster_id:
                return
            raise BrokerError(f"another Kafka took {bootstrap} meanwhile", "give another --port")
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            raise BrokerError(f"Kafka ended with status {code}", f"its log is {log}", storage.last_lines(log))
        if time.monotonic() > deadline:
            raise BrokerError(
                f"Kafka did not answer at {bootstrap} within {READY_TIMEOUT_S:.0f} s",
                f"its log is {log}",
                storage.last_lines(log),
            )
        time.sleep(POLL_S)


def _check_free(port: int) -> None:
    deadline = time.monotonic() + PORT_TIMEOUT_S
    while (reason := _refusal(port)) is not None:
        other = probe.ask(f"127.0.0.1:{port}")
        if other is not None:
            raise BrokerError(
                f"port {port} belongs to another Kafka (cluster {other.cluster_id})",
                f"use it with REGULARS_BOOTSTRAP_SERVERS=127.0.0.1:{port}, or give another --port",
            )
        if time.monotonic() > deadline:
            raise BrokerError(f"port {port} cannot be used ({reason})", "give another --port")
        time.sleep(POLL_S)


def _refusal(port: int) -> str | None:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError as exc:
            return exc.strerror
    return None


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    # Of two starts on one folder, the second one waits and finds the broker of the first one.
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
