"""One worker under a steady load for a long time: does anything grow that should not?

    python -m tests.faults.soak [--minutes 30] [--rate 2000] [--customers 5000]

Runs on a broker of its own. Every five seconds it notes the worker's resident memory, its file descriptors, its threads
and the group's lag. The first third is warm-up: caches fill, every customer comes once. Over the rest it fits a line by
least squares and prints its slope with twice its standard error. Exit codes: 0 nothing grew, 1 something did: the
slope's lower bound is above 2 % of the memory an hour, or the lag's or the descriptors' is above what noise is.
"""

import argparse
import math
import shutil
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from tests.faults.brokers import OwnBroker
from tests.faults.load import Load
from tests.faults.run import free_port
from tests.faults.stage import Stage

EVERY_S = 5.0
WARM_UP = 1 / 3
PARTITIONS = 8


class Sample(NamedTuple):
    """What was seen at `at` seconds."""

    at: float
    memory_mib: float
    descriptors: float
    threads: float
    lag: float


class Line(NamedTuple):
    """A fitted line: its mean and its slope an hour, with twice the slope's standard error."""

    mean: float
    slope: float
    error: float

    def __str__(self) -> str:
        return f"mean {self.mean:,.1f}, slope {self.slope:+,.2f} +- {self.error:,.2f} an hour"


def fitted(samples: list[tuple[float, float]]) -> Line:
    """Ordinary least squares of value over seconds."""
    n = len(samples)
    mean_x, mean_y = sum(x for x, _ in samples) / n, sum(y for _, y in samples) / n
    spread = sum((x - mean_x) ** 2 for x, _ in samples)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in samples) / spread
    rest = sum((y - mean_y - slope * (x - mean_x)) ** 2 for x, y in samples)
    return Line(mean_y, 3600 * slope, 2 * 3600 * math.sqrt(rest / max(1, n - 2) / spread))


def look(pid: int, stage: Stage, began: float) -> Sample:
    """One sample of a process."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    descriptors = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    memory = int(status["VmRSS"].split()[0]) / 1024
    return Sample(time.monotonic() - began, memory, descriptors, int(status["Threads"]), stage.lag())


def soak(stage: Stage, minutes: float, rate: float, customers: int) -> bool:
    """Prints what grew; True: nothing."""
    # the whole run is two years of event time
    step = timedelta(days=730) / max(1, int(minutes * 60 * rate))
    load = Load(stage.servers, stage.prefix, customers=customers, step=step)
    load.run(rate)
    worker = stage.start()
    stage.until(lambda: worker.at_work() and stage.lag() < rate, "caught up at the start")
    began, samples = time.monotonic(), []
    while (left := began + minutes * 60 - time.monotonic()) > 0:
        if not worker.alive:
            print(f"the worker ended: {worker.lines[-1]}")
            return False
        samples.append(look(worker.process.pid, stage, began))
        time.sleep(min(left, EVERY_S))
    load.stop()
    stage.drained()
    code = worker.stop()
    steady = [sample for sample in samples if sample.at > minutes * 60 * WARM_UP]
    memory, descriptors, threads, lag = (
        fitted([(sample.at, sample[field]) for sample in steady]) for field in range(1, 5)
    )
    print(f"{load.sent:,} events in {minutes:g} min at {rate:,.0f}/s, {customers:,} customers; exit code {code}")
    print(f"resident memory, MiB: {memory}; first {samples[0].memory_mib:,.0f}, last {samples[-1].memory_mib:,.0f}")
    print(f"file descriptors:     {descriptors}; most {max(s.descriptors for s in steady):.0f}")
    print(f"threads:              {threads}")
    print(f"lag, records:         {lag}; most {max(s.lag for s in steady):,.0f}")
    grew = []
    if memory.slope - memory.error > 0.02 * memory.mean:
        grew.append("memory")
    if descriptors.slope - descriptors.error > 12:  # one in five minutes; RocksDB's table files come and go
        grew.append("file descriptors")
    if lag.slope - lag.error > rate:
        grew.append("lag")
    print(f"grew: {', '.join(grew) or 'nothing'}")
    return not grew and code == 0


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--rate", type=float, default=2000.0, help="events a second")
    parser.add_argument("--customers", type=int, default=5000)
    parser.add_argument("--servers", default="", help="a broker that runs already; default: one of its own")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="regulars-soak-"))
    broker = None if given.servers else OwnBroker(folder / "broker", free_port())
    try:
        if broker is not None:
            broker.start()
        with Stage(
            given.servers or (broker.servers if broker else ""),
            folder,
            partitions=PARTITIONS,
            cache_dir=folder / "cache",
        ) as stage:
            return 0 if soak(stage, given.minutes, given.rate, given.customers) else 1
    finally:
        if broker is not None:
            broker.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
