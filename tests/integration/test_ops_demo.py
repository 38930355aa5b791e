"""Laws of the demo: it shows changes, ends by itself with a summary, and leaves nothing running however it ends."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

Wait = Callable[..., Any]
UP_S = 150.0  # the encoder alone takes half a minute where nothing is compiled and two cores are busy


@contextmanager
def demo(broker: str, folder: Path, port: int, *options: str) -> Iterator[tuple["subprocess.Popen[bytes]", Path]]:
    """A demo on the session's broker, and the file it writes to."""
    out = folder / "out"
    command = [sys.executable, "-m", "streams.cli", "demo", "--dir", str(folder / "demo"), "--web-port", str(port)]
    with out.open("wb") as file:
        running = subprocess.Popen(
            [*command, *options],
            stdout=file,
            stderr=subprocess.STDOUT,
            cwd=Path(__file__).parents[2],
            env={**os.environ, "REGULARS_BOOTSTRAP_SERVERS": broker},
            start_new_session=True,
        )
    try:
        yield running, out
    finally:
        running.kill()
        running.wait()


def children_of(pid: int) -> list[int]:
    """Process ids of what `pid` started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def runs(pid: int) -> bool:
    """Whether `pid` is a process that isn't a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_demo_ends_with_a_summary_when_its_events_are_through(
    broker: str, tmp_path: Path, free_port: int, wait_until: Wait
) -> None:
    """Every event counted, changes by kind, latency, models, where the logs are."""
    with demo(broker, tmp_path, free_port, "--events", "400", "--rate", "400") as (running, out):
        wait_until(lambda: running.poll() is not None, UP_S)
        said = out.read_text()

    assert running.returncode == 0, said
    for pattern in (
        r"first change after \d+\.\d s",
        r"events +400\b",
        r"lifecycle +\(new\) +prospect +\d+",
        r"consumed to emitted +p50 [\d,]+ ms",
        r"model versions +\S+",
        r"logs +/",
    ):
        assert re.search(pattern, said), f"{pattern} is not in:\n{said}"


@pytest.mark.parametrize("sign", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGKILL])
def test_demo_that_is_stopped_leaves_nothing_running(
    broker: str, tmp_path: Path, free_port: int, wait_until: Wait, sign: signal.Signals
) -> None:
    """Ctrl-C ends it well and with a summary; a kill takes its children along."""
    with demo(broker, tmp_path, free_port, "--rate", "50") as (running, out):
        wait_until(lambda: "dashboard: " in out.read_text(), UP_S)
        started = children_of(running.pid)
        assert len(started) == 4, "guard, worker, trainer, shop"

        running.send_signal(sign)
        wait_until(lambda: not any(map(runs, [running.pid, *started])), 40.0)

    assert running.returncode == (0 if sign == signal.SIGINT else -signal.SIGKILL)
    assert ("Summary" in out.read_text()) == (sign == signal.SIGINT)
