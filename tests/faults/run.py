"""Breaks the system on purpose, at every point and at any moment, and lets the oracle judge what is left.

    python -m tests.faults.run [--only crash random ...] [--row PATTERN] [--kills 100] [--logs DIR]

Without `--only`, everything: parts that mostly wait run in a second process beside the others.

Runs on a broker of its own (`regulars broker start`) and prints a row as each kind of fault is through, and in the end
what the oracle catches of damages to good runs. A row that goes wrong leaves what its workers and the broker said in
`--logs`. Exit codes: 0 nothing was wrong, 1 something was, or a run didn't come to an end.
"""

import argparse
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from streams.broker import Broker
from tests.faults import brokers, crashes, network, poison, rebalances, standstill, surroundings
from tests.faults.damages import table
from tests.faults.load import Load
from tests.faults.report import Row, head, summary
from tests.faults.stage import Stage, Undecided

PARTS = (
    "crash",
    "random",
    "catch-up",
    "rebalance",
    "zombie",
    "rolling",
    "broker",
    "network",
    "surroundings",
    "denied",
    "poison",
    "hangs",
)
WAITING = ("broker", "network", "surroundings", "denied", "hangs")
BESIDE_LIMIT_S = 1800
KILLS_A_VERDICT = 25
ROW_LIMIT_S = 420


# name, what breaks it, how its stage and load are made
Faults = Iterator[tuple[str, Callable[[Stage, Load], Row], dict[str, Any]]]


class Suite:
    """Everything on one broker, apart from what needs one of its own; each kind of fault has topics of its own."""

    def __init__(self, broker: brokers.OwnBroker, folder: Path, logs: Path, kills: int) -> None:
        self.broker, self.folder, self.logs, self.kills = broker, folder, logs, kills
        self.cache_dir = folder / "cache"

    def rows(self, parts: list[str], only: str = "") -> Iterator[Row]:
        """Breaks one thing after the other; `only`: the rows whose names this pattern matches."""
        yield self._attempt("texts are read, nothing broken", self._warm)
        for part in parts:
            for name, broken, given in getattr(self, "_" + part.replace("-", "_"))():
                if re.search(only, name):
                    yield self._attempt(name, broken, **given)

    def _attempt(
        self, fault: str, broken: Callable[[Stage, Load], Row], servers: str = "", texts: int = 0, poison: int = 100
    ) -> Row:
        began = time.monotonic()
        stage = None
        signal.signal(signal.SIGALRM, _too_long)
        signal.alarm(ROW_LIMIT_S)
        try:
            stage = Stage(servers or self.broker.servers, self.folder, cache_dir=self.cache_dir)
            row = broken(stage, Load(stage.servers, stage.prefix, texts=texts, poison=poison))
        except Exception as exc:  # whatever it is, the rows after it are of use
            why = " ".join(f"{'' if isinstance(exc, Undecided) else type(exc).__name__ + ': '}{exc}".split())
            row = Row(fault, 1, None, time.monotonic() - began, why[:1500])
        finally:
            signal.alarm(0)
            if stage is not None:
                stage.close()
        if not row.good and stage is not None:
            folder = self.logs / re.sub(r"[^\w.-]+", "-", fault)
            stage.write_logs(folder)
            for log in self.broker.folder.glob("broker.log*"):
                shutil.copy(log, folder)
            row = replace(row, note=f"{row.note} [logs: {folder}]")
        return row

    def _warm(self, stage: Stage, load: Load) -> Row:
        """Also leaves the encoder's anchors in the cache, so that later workers don't load it."""
        began = time.monotonic()
        with_texts = Load(stage.servers, stage.prefix, texts=30)
        with_texts.send(2000)
        worker = stage.start()
        stage.drained(240)
        code = worker.stop()
        verdict = stage.judge()
        return Row("nothing, texts are read", 1, verdict, time.monotonic() - began, f"exit code {code}")

    def _crash(self) -> Faults:
        for store in ("kept", "wiped"):
            for point in crashes.points(store):
                yield f"kill -9 {point}, store {store}", partial(crashes.at_point, point=point, store=store), {}

    def _random(self) -> Faults:
        for seed in range(0, self.kills, KILLS_A_VERDICT):
            tries = min(KILLS_A_VERDICT, self.kills - seed)
            # every second round with texts, so that some records are held when the kill comes
            texts = 3 if seed // KILLS_A_VERDICT % 2 else 0
            yield "kill -9 at any moment", partial(crashes.at_random, tries=tries, seed=seed), {"texts": texts}

    def _catch_up(self) -> Faults:
        yield "kill -9, time to catch up", partial(crashes.caught_up, tries=max(2, self.kills // 5)), {}

    def _rebalance(self) -> Faults:
        for seed in range(2):
            yield "rebalances", partial(rebalances.churn, rebalances=10, seed=seed), {}

    def _zombie(self) -> Faults:
        for point in rebalances.ASLEEP_AT:
            yield f"asleep {point}", partial(rebalances.zombie, point=point), {}

    def _rolling(self) -> Faults:
        yield "rolling restart", partial(rebalances.rolling, rounds=3), {}

    def _broker(self) -> Faults:
        for how in ("stop", "kill -9"):
            yield f"broker: {how}", partial(brokers.away, self.broker, how=how), {}

    def _network(self) -> Faults:
        with network.BehindProxy(self.folder / "behind-proxy", free_port()) as proxy:
            for name in network.FAULTS:
                yield f"network: {name}", partial(network.disturbed, proxy, name=name), {"servers": proxy.servers}

    def _surroundings(self) -> Faults:
        yield "local store deleted", surroundings.store_deleted, {}
        yield "local store damaged", surroundings.store_damaged, {}
        yield "local store behind", surroundings.store_behind, {}
        yield "local store ahead", surroundings.store_ahead, {}
        yield "disk full", surroundings.disk_full, {}
        yield "changelog truncated", surroundings.changelog_truncated, {}
        yield "partition count wrong", surroundings.partitions_wrong, {}
        yield "message too large", surroundings.too_large, {}
        yield "topic missing", surroundings.topic_missing, {"poison": 10**9}

    def _denied(self) -> Faults:
        port = free_port()
        broker = Broker.start(self.folder / "denying", port, heap="512m", properties=surroundings.WITH_PERMISSIONS)
        try:
            for topic, operation in surroundings.DENIED:
                broken = partial(surroundings.denied, topic=topic, operation=operation)
                yield f"permission to {operation.name.lower()} {topic}", broken, {"servers": broker.bootstrap}
        finally:
            broker.stop()

    def _poison(self) -> Faults:
        yield "1,000 poison records in a row", poison.in_a_row, {}
        yield "poison made by hypothesis", poison.made_up, {}

    def _hangs(self) -> Faults:
        for point in ("between_changelog_and_ack", "after_decode"):
            yield f"hangs {point}", partial(standstill.hangs, point=point, port=free_port()), {}


def _too_long(*_: object) -> None:
    raise Undecided(f"not over within {ROW_LIMIT_S} s")


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _run(parts: list[str], row: str, kills: int, port: int, logs: Path) -> list[Row]:
    """Breaks and prints; every row."""
    folder = Path(tempfile.mkdtemp(prefix="regulars-faults-"))
    broker = brokers.OwnBroker(folder / "broker", port or free_port())
    broker.start()
    rows = []
    try:
        for made in Suite(broker, folder, logs, kills).rows(parts, row):
            rows.append(made)
            print(made, flush=True)
            if made.verdict is not None and not made.good:
                print(f"    {made.verdict}", flush=True)
    finally:
        broker.stop()
        shutil.rmtree(folder, ignore_errors=True)
    return rows


def _beside(logs: Path) -> tuple[subprocess.Popen[bytes], Path]:
    """Starts the parts that mostly wait as a second process; it and the file it prints to."""
    told = logs / "waiting.txt"
    command = [sys.executable, "-m", "tests.faults.run", "--logs", str(logs), "--only", *WAITING]
    with told.open("wb") as file:
        return subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT), told


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, help="some of the parts, one after the other")
    parser.add_argument("--row", default="", help="only rows whose names this pattern matches")
    parser.add_argument("--logs", type=Path, default=None, help="of rows that go wrong; default: a new folder in /tmp")
    parser.add_argument("--kills", type=int, default=100, help="at random moments (default 100)")
    parser.add_argument("--port", type=int, default=0, help="of the broker; default: a free one")
    given = parser.parse_args()
    # Ended from outside, it still ends what it started; a shell's background job ignores SIGINT otherwise.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(1))
    began = time.monotonic()
    logs = given.logs or Path(tempfile.mkdtemp(prefix="regulars-faults-logs-"))
    logs.mkdir(parents=True, exist_ok=True)
    print(head(), flush=True)
    if given.only or given.row:
        rows = _run(given.only or list(PARTS), given.row, given.kills, given.port, logs)
        print(summary(rows))
        return 0 if all(row.good for row in rows) else 1

    # What is measured comes first and alone; then what mostly waits runs beside what mostly computes.
    rows = _run(["catch-up"], "", given.kills, given.port, logs)
    beside, told = _beside(logs)
    try:
        rows += _run([part for part in PARTS if part not in (*WAITING, "catch-up")], "", given.kills, given.port, logs)
        code = beside.wait(BESIDE_LIMIT_S)
    finally:
        beside.terminate()
        beside.wait()
    print(told.read_text().partition("\n")[2], end="")
    print(f"{summary(rows)} besides; {(time.monotonic() - began) / 60:.0f} minutes")
    lines, caught = table()
    print("\n".join(["", *lines]))
    return 0 if caught and code == 0 and all(row.good for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
