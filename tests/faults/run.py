"""Breaks the system on purpose, at every point and at any moment, and lets the oracle judge what is left.

    python -m tests.faults.run [--only crash random catch-up rebalance zombie rolling broker] [--kills 100]

Runs on a broker of its own (`regulars broker start`) and prints a row as each kind of fault is through. Exit codes: 0
nothing was wrong, 1 something was, or a run didn't come to an end. About 35 minutes on two cores for everything.
"""

import argparse
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.faults import brokers, crashes, rebalances
from tests.faults.load import Load
from tests.faults.report import Row, head, summary
from tests.faults.stage import Stage, Undecided

PARTS = ("crash", "random", "catch-up", "rebalance", "zombie", "rolling", "broker")
KILLS_A_VERDICT = 25


class Suite:
    """Everything on one broker; each kind of fault has topics of its own."""

    def __init__(self, broker: brokers.OwnBroker, folder: Path, kills: int) -> None:
        self.broker, self.folder, self.kills = broker, folder, kills
        self.cache_dir = folder / "cache"

    def rows(self, parts: list[str]) -> Iterator[Row]:
        """Breaks one thing after the other."""
        yield self._attempt("texts are read, nothing broken", self._warm)
        for part in parts:
            yield from getattr(self, "_" + part.replace("-", "_"))()

    def _attempt(self, fault: str, broken: Callable[[Stage, Load], Row], texts: int = 0) -> Row:
        began = time.monotonic()
        try:
            with Stage(self.broker.servers, self.folder, cache_dir=self.cache_dir) as stage:
                return broken(stage, Load(stage.servers, stage.prefix, texts=texts))
        except Undecided as exc:
            return Row(fault, 1, None, time.monotonic() - began, " ".join(str(exc).split())[:2000])

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

    def _crash(self) -> Iterator[Row]:
        for store in ("kept", "wiped"):
            for point in crashes.points(store):
                yield self._attempt(
                    f"kill -9 {point}, store {store}", lambda s, k, p=point, w=store: crashes.at_point(s, k, p, w)
                )

    def _random(self) -> Iterator[Row]:
        for seed in range(0, self.kills, KILLS_A_VERDICT):
            tries = min(KILLS_A_VERDICT, self.kills - seed)
            # every second round with texts, so that some records are held when the kill comes
            texts = 3 if seed // KILLS_A_VERDICT % 2 else 0
            yield self._attempt(
                "kill -9 at any moment", lambda s, k, n=tries, i=seed: crashes.at_random(s, k, n, i), texts
            )

    def _catch_up(self) -> Iterator[Row]:
        yield self._attempt("kill -9, time to catch up", lambda s, k: crashes.caught_up(s, k, max(2, self.kills // 5)))

    def _rebalance(self) -> Iterator[Row]:
        for seed in range(2):
            yield self._attempt("rebalances", lambda s, k, i=seed: rebalances.churn(s, k, 10, i))

    def _zombie(self) -> Iterator[Row]:
        for point in rebalances.ASLEEP_AT:
            yield self._attempt(f"asleep {point}", lambda s, k, p=point: rebalances.zombie(s, k, p))

    def _rolling(self) -> Iterator[Row]:
        yield self._attempt("rolling restart", lambda s, k: rebalances.rolling(s, k, 3))

    def _broker(self) -> Iterator[Row]:
        for how in ("stop", "kill -9"):
            began = time.monotonic()
            try:
                yield brokers.away(self.broker, self.folder, self.cache_dir, 3, how)
            except Undecided as exc:
                yield Row(f"broker: {how}", 3, None, time.monotonic() - began, " ".join(str(exc).split())[:2000])


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="some of the parts")
    parser.add_argument("--kills", type=int, default=100, help="at random moments (default 100)")
    parser.add_argument("--port", type=int, default=0, help="of the broker; default: a free one")
    given = parser.parse_args()
    # Ended from outside, it still ends what it started; a shell's background job ignores SIGINT otherwise.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(1))
    folder = Path(tempfile.mkdtemp(prefix="regulars-faults-"))
    broker = brokers.OwnBroker(folder / "broker", given.port or _free_port())
    broker.start()
    rows = []
    try:
        print(head(), flush=True)
        for row in Suite(broker, folder, given.kills).rows(given.only):
            rows.append(row)
            print(row, flush=True)
            if row.verdict is not None and not row.good:
                print(f"    {row.verdict}", flush=True)
    finally:
        broker.stop()
        shutil.rmtree(folder, ignore_errors=True)
    print(summary(rows))
    return 0 if all(row.good for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
