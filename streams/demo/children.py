"""Child processes that end when their parent ends, even if the parent is killed.

Each child leads its own session, so Ctrl-C reaches only the parent, which then ends the children in order. If the parent
is killed, a guard ends them: a small process that reads a pipe from the parent, keeps a list of the children, and ends them
when the pipe closes. This module, run as a script, is the guard.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

# A worker commits and leaves its group within a second or two; Kafka takes about as long to flush its log.
PATIENCE_S = 10.0
POLL_S = 0.05


class ChildFailed(Exception):
    """A child ended without being asked; its log says why.

    Attributes:
        name: the child's.
        log: the file with what it printed.
    """

    def __init__(self, name: str, status: int, log: Path) -> None:
        last = tail(log, 3)
        super().__init__(f"the {name} ended with status {status}{': ' + ' / '.join(last) if last else ''}")
        self.name, self.log = name, log


class Child:
    """One process with its log. `ends`: it may end by itself, with status 0."""

    def __init__(self, name: str, process: "subprocess.Popen[bytes]", log: Path, ends: bool) -> None:
        self.name, self.log, self.ends, self._process = name, log, ends, process

    @property
    def pid(self) -> int:
        """Its process id, which is also the id of its process group."""
        return self._process.pid

    def status(self) -> int | None:
        """Its exit status, or None while it runs."""
        return self._process.poll()

    def check(self) -> None:
        """Raises ChildFailed if it has ended and should still run."""
        status = self.status()
        if status is not None and not (self.ends and status == 0):
            raise ChildFailed(self.name, status, self.log)

    def interrupt(self) -> None:
        """Asks it to end (SIGTERM)."""
        _signal_group(self.pid, signal.SIGTERM)

    def await_end(self, deadline_s: float) -> None:
        """Waits until `deadline_s` (monotonic), then kills it and everything that it started."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(max(0.0, deadline_s - time.monotonic()))
        _signal_group(self.pid, signal.SIGKILL)
        self._process.wait()


class Children:
    """A context that ends its children when it is left, the last one first, also after an error."""

    def __init__(self, logs: Path) -> None:
        self._logs, self._started = logs, list[Child]()
        logs.mkdir(parents=True, exist_ok=True)
        # -I, -S: only the standard library, so the guard starts in about 20 ms.
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(__file__))], stdin=subprocess.PIPE, start_new_session=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop_all()
        finally:
            assert self._guard.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                self._guard.stdin.close()
            self._guard.wait()

    def start(
        self, name: str, command: Sequence[str], env: Mapping[str, str] | None = None, *, ends: bool = False
    ) -> Child:
        """Runs `command`; its output goes to `<logs>/<name>.log`."""
        log = self._logs / f"{name}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=None if env is None else {**os.environ, **env},
                start_new_session=True,
            )
        child = Child(name, process, log, ends)
        self._started.append(child)
        self._tell(f"+{child.pid}")
        return child

    def stop(self, child: Child, patience_s: float = PATIENCE_S) -> None:
        """Ends `child`: asks first, and kills it if it does not end in time."""
        child.interrupt()
        child.await_end(time.monotonic() + patience_s)
        self._started.remove(child)
        self._tell(f"-{child.pid}")

    def stop_all(self, patience_s: float = PATIENCE_S) -> None:
        """Ends all children; all are asked at once."""
        for child in reversed(self._started):
            child.interrupt()
        deadline_s = time.monotonic() + patience_s
        while self._started:
            child = self._started[-1]
            child.await_end(deadline_s)
            self._started.pop()
            self._tell(f"-{child.pid}")

    def guard_pid_file(self, path: Path) -> None:
        """If this process is killed, the guard also ends the process whose id is the first word of `path`."""
        self._tell(f"@{path.resolve()}")

    def release_pid_file(self, path: Path) -> None:
        """Takes `guard_pid_file` back."""
        self._tell(f"!{path.resolve()}")

    def check(self) -> None:
        """Raises ChildFailed if a child has ended and should still run."""
        for child in self._started:
            child.check()

    def _tell(self, line: str) -> None:
        assert self._guard.stdin is not None
        self._guard.stdin.write(line.encode() + b"\n")
        self._guard.stdin.flush()


def tail(log: Path, lines: int) -> list[str]:
    """The last lines of a log that are not empty."""
    try:
        text = log.read_text("utf-8", "replace")
    except OSError:
        return []
    return [line.strip() for line in text.splitlines() if line.strip()][-lines:]


def guard(orders: IO[bytes]) -> None:
    """Follows `orders` until they end, then ends every process that is still on the list."""
    for harmless in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(harmless, signal.SIG_IGN)
    groups: set[int] = set()
    pid_files: set[str] = set()
    for line in orders:
        order, rest = line[:1], line[1:].strip().decode()
        match order:
            case b"+":
                groups.add(int(rest))
            case b"-":
                groups.discard(int(rest))
            case b"@":
                pid_files.add(rest)
            case b"!":
                pid_files.discard(rest)
    _end_groups(groups)
    # The broker comes last, so that the others can still commit.
    with contextlib.suppress(OSError, ValueError, IndexError):
        _end_groups({int(Path(path).read_text("utf-8").split()[0]) for path in pid_files})


def _end_groups(groups: set[int]) -> None:
    for group in groups:
        _signal_group(group, signal.SIGTERM)
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and any(_signal_group(group, 0) for group in groups):
        time.sleep(POLL_S)
    for group in groups:
        _signal_group(group, signal.SIGKILL)


def _signal_group(group: int, number: int) -> bool:
    """Sends a signal to a process group; False if the group is gone."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    guard(sys.stdin.buffer)
