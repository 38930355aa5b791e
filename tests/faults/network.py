"""The network between workers and their broker: slow, cut, refusing, half-open. Nobody ends, nothing is lost."""

import time
from collections.abc import Callable
from pathlib import Path

from streams.broker import Broker
from tests.faults.load import Load
from tests.faults.proxy import Proxy
from tests.faults.report import Row
from tests.faults.stage import Stage, Undecided

RATE = 300


def slow(proxy: Proxy) -> None:
    """A tenth of a second each way for a while."""
    proxy.latency_s = 0.1
    time.sleep(12)
    proxy.latency_s = 0.0


def cut(proxy: Proxy) -> None:
    """Every connection is reset, ten times."""
    for _ in range(10):
        proxy.cut()
        time.sleep(1.1)


def half_open(proxy: Proxy) -> None:
    """The connections there are go dead and nobody says so: only requests without an answer tell."""
    proxy.silence()
    time.sleep(35)


def refused(seconds: float) -> Callable[[Proxy], None]:
    """No connection for so long."""

    def fault(proxy: Proxy) -> None:
        proxy.refuse()
        time.sleep(seconds)
        proxy.accept()

    return fault


FAULTS: dict[str, Callable[[Proxy], None]] = {
    "slow, 100 ms each way": slow,
    "every connection cut, 10 times": cut,
    "no connection for 5 s": refused(5),
    "no connection for 35 s": refused(35),
    "no connection for 58 s": refused(58),
    "half-open connections": half_open,
}


class BehindProxy:
    """A broker of its own that clients reach through a proxy only."""

    def __init__(self, folder: Path, port: int) -> None:
        self.proxy = Proxy(port)
        self._broker = Broker.start(folder, port, heap="512m", properties=self.proxy.advertised)

    def __enter__(self) -> Proxy:
        return self.proxy

    def __exit__(self, *_: object) -> None:
        self._broker.stop()
        self.proxy.close()


def disturbed(proxy: Proxy, stage: Stage, load: Load, name: str) -> Row:
    """Two workers under load while `FAULTS[name]` goes on; no supervisor: one that ends is a fault."""
    began = time.monotonic()
    load.run(RATE)
    for worker in ("n1", "n2"):
        stage.start(worker)
    stage.until(lambda: all(worker.at_work() for worker in stage.workers.values()), "both work")
    FAULTS[name](proxy)
    over_at, done = time.monotonic(), sum(stage.committed().values())
    stage.until(lambda: sum(stage.committed().values()) > done + 2 * RATE, f"commits go on after {name}")
    took = time.monotonic() - over_at
    load.stop()
    stage.drained()
    verdict = stage.judge()
    if ended := [worker.lines[-1] for worker in stage.started if not worker.alive]:
        raise Undecided(f"workers ended: {ended}")
    return Row(
        f"network: {name}", 1, verdict, time.monotonic() - began, f"commits went on {took:.1f} s after it was over"
    )
