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


def away(broker: OwnBroker, folder: Path, cache_dir: Path, tries: int, how: str) -> Row:
    """The broker goes `tries` times under load, by an orderly stop or a kill -9, and comes back after some seconds."""
    began = time.monotonic()
    with Stage(broker.servers, folder, cache_dir=cache_dir) as stage:
        load = Load(broker.servers, stage.prefix, seed=tries)
        load.run(300)
        for name in ("b1", "b2"):
            stage.start(name)
        stage.until(lambda: all(worker.at_work() for worker in stage.workers.values()), "both work")
        slowest, ended = 0.0, []

        def caught_up() -> bool:
            for name, worker in list(stage.workers.items()):  # as a supervisor does
                if not worker.alive:
                    ended.append(worker.lines[-1] if worker.lines else f"code {worker.process.returncode}")
                    stage.start(name)
            return stage.lag() < 300

        for number in range(tries):
            if how == "kill -9":
                broker.kill()
            else:
                broker.stop()
            time.sleep(2.0 * number)
            broker.start()
            back_at = time.monotonic()
            stage.until(caught_up, "caught up with the broker back", 120)
            slowest = max(slowest, time.monotonic() - back_at)
        load.stop()
        stage.drained()
        verdict = stage.judge()
        note = f"caught up at most {slowest:.1f} s after it answered; workers ended and started again: {len(ended)}"
        note += "".join(f"; {line[:150]}" for line in dict.fromkeys(ended))
        return Row(f"broker: {how} and start", tries, verdict, time.monotonic() - began, note)
