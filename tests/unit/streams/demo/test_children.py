"""Laws of child processes: none outlives whoever started it, however that one ends."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streams.demo.children import ChildFailed, Children

# A child that ignores being asked, as a hung worker does.
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
)
# A child with a child of its own.
FAMILY = "import subprocess, sys; p = subprocess.Popen(['sleep', '600']); print(p.pid, flush=True); p.wait()"
PARENT = """
import signal, sys, time
from pathlib import Path
from streams.demo.children import Children
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job starts with it ignored
logs, pid_file = Path(sys.argv[1]), Path(sys.argv[2])
with Children(logs) as children:
    children.guard_pid_file(pid_file)
    child = children.start("child", ["sleep", "600"])
    print(child.pid, flush=True)
    time.sleep(600)
"""
Wait = Callable[..., Any]


def runs(pid: int) -> bool:
    """Whether `pid` is a process that isn't a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_children_end_with_the_context(tmp_path: Path) -> None:
    """Leaving it ends them all."""
    with Children(tmp_path) as children:
        pids = [children.start(f"child{i}", ["sleep", "600"]).pid for i in range(2)]
        assert all(map(runs, pids))

    assert not any(map(runs, pids))


def test_stubborn_child_is_killed(tmp_path: Path, wait_until: Wait) -> None:
    """One that doesn't listen is ended all the same, after the patience."""
    with Children(tmp_path) as children:
        child = children.start("stubborn", [sys.executable, "-c", STUBBORN])
        wait_until(lambda: "up" in child.log.read_text())

        children.stop(child, patience_s=0.2)

        assert child.status() == -signal.SIGKILL


def test_what_a_child_started_ends_with_it(tmp_path: Path, wait_until: Wait) -> None:
    """Grandchildren too."""
    with Children(tmp_path) as children:
        child = children.start("family", [sys.executable, "-c", FAMILY])
        grandchild = int(wait_until(child.log.read_text))

    wait_until(lambda: not runs(grandchild))


def test_child_that_ends_well_before_its_time_is_a_failure_too(tmp_path: Path, wait_until: Wait) -> None:
    """A worker that leaves quietly is gone all the same; a shop may run out of events."""
    with Children(tmp_path) as children:
        shop = children.start("shop", ["true"], ends=True)
        wait_until(lambda: shop.status() is not None)
        children.check()
        worker = children.start("worker", ["true"])
        wait_until(lambda: worker.status() is not None)

        with pytest.raises(ChildFailed, match="the worker ended with status 0"):
            children.check()


def test_failed_child_says_why(tmp_path: Path, wait_until: Wait) -> None:
    """The error carries the last words of its log."""
    with Children(tmp_path) as children:
        child = children.start("worker", [sys.executable, "-c", "import sys; sys.exit('disk full')"])
        wait_until(lambda: child.status() is not None)

        with pytest.raises(ChildFailed, match=r"the worker ended with status 1: disk full"):
            children.check()


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_killed_parent_leaves_nothing_running(tmp_path: Path, wait_until: Wait, sign: signal.Signals) -> None:
    """Whatever ends the parent, its children end, and so does the one whose id is in a file."""
    pid_file = tmp_path / "other.pid"
    other = subprocess.Popen(["sleep", "600"], start_new_session=True)
    pid_file.write_text(f"{other.pid} 127.0.0.1:9092\n")
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path / "logs"), str(pid_file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[4])},
    )
    try:
        with parent.stdout as out:  # type: ignore[union-attr]
            child = int(out.readline())
            assert runs(child)

            parent.send_signal(sign)
            parent.wait()

        began = time.monotonic()
        wait_until(lambda: not runs(child) and other.poll() is not None)
        assert time.monotonic() - began < 10.0
    finally:
        other.kill()
        other.wait()
