"""A broker of its own that stops, dies and comes back while workers run."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.faults.load import Load
from tests.faults.report import Row
from tests.faults.stage import ROOT, Stage, Undecided

AWAY_S = (0, 4, 40)


class OwnBroker:
    """`regulars broker start` and `stop`, and kill -9 of what it started."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self.servers = f"127.0.0.1:{port}"

    def _run(self, *arguments: str) -> None:
        environment = {name: value for name, value in os.environ.items() if name != "REGULARS_BOOTSTRAP_SERVERS"}
        command = [sys.executable, "-m", "streams.cli", "broker", *arguments, "--dir", str(self.folder)]
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=150
        )
        if done.returncode:
            raise Undecided(f"broker {arguments[0]}: {done.stderr[-300:]}")

    def start(self) -> None:
        """Returns when it answers."""
        self._run("start", "--port", str(self.port))

    def stop(self) -> None:
        """An orderly stop."""
        self._run("stop")

    def kill(self) -> None:
        """SIGKILL to the process that listens."""
        os.kill(int((self.folder / "broker.pid").read_text().split()[0]), signal.SIGKILL)


def away(broker: OwnBroker, stage: Stage, load: Load, how: str) -> Row:
    """The broker goes under load, by an orderly stop or a kill -9, for `AWAY_S`; no supervisor: an end is a fault."""
    began = time.monotonic()
    load.run(300)
    for name in ("b1", "b2"):
        stage.start(name)
    stage.until(lambda: all(worker.at_work() for worker in stage.workers.values()), "both work")
    slowest = 0.0
    for seconds in AWAY_S:
        done = sum(stage.committed().values())
        if how == "kill -9":
            broker.kill()
        else:
            broker.stop()
        time.sleep(seconds)
        broker.start()
        back_at = time.monotonic()
        stage.until(lambda before=done: sum(stage.committed().values()) > before + 600, "commits go on", 90)
        slowest = max(slowest, time.monotonic() - back_at)
        if ended := [worker.lines[-1] for worker in stage.started if not worker.alive]:
            raise Undecided(f"after {seconds} s away workers ended: {ended}")
    load.stop()
    stage.drained()
    verdict = stage.judge()
    note = f"away for {', '.join(str(s) for s in AWAY_S)} s; commits went on at most {slowest:.1f} s after it answered"
    return Row(f"broker: {how} and start", len(AWAY_S), verdict, time.monotonic() - began, note)
