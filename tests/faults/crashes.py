"""Processes that die: at every named point, and at any moment under load."""

import random
import shutil
import statistics
import time

from streams.plane.crash import POINTS
from tests.faults.load import Load
from tests.faults.report import Row
from tests.faults.stage import Stage, Undecided

# These are passed once in a worker's life; every other point is passed in each chunk, and the third leaves some behind.
ONCE = ("before_commit", "after_commit", "during_restore", "during_resend", "during_revoke")


def at_point(stage: Stage, load: Load, point: str, store: str) -> Row:
    """A worker killed at `point` under load, and another after it that finishes the work."""
    began = time.monotonic()
    load.run(300)
    if point == "during_resend":  # a crash before the outputs leaves some to be sent again
        _killed(stage, "before_outputs:3")
    if point == "during_restore":  # there must be something to restore
        stage.start()
        stage.until(lambda: sum(stage.committed().values()) > 300, "the worker commits")
        stage.workers["w1"].kill()
    if store == "wiped":
        shutil.rmtree(stage.data_dir("w1"), ignore_errors=True)
    worker = stage.start(REGULARS_CRASH_POINT=f"{point}:{1 if point in ONCE else 3}")
    if point == "during_revoke":
        before = sum(stage.committed().values())
        stage.until(lambda: sum(stage.committed().values()) > before, "the worker commits")
        worker.process.terminate()
    _expect_kill(worker.wait(60), point, worker.lines)
    if store == "wiped":
        shutil.rmtree(stage.data_dir("w1"), ignore_errors=True)
    last = stage.start()
    load.stop()
    stage.drained()
    verdict = stage.judge()
    last.kill()
    return Row(f"kill -9 {point}, store {store}", 1, verdict, time.monotonic() - began)


def _killed(stage: Stage, point: str) -> None:
    worker = stage.start(REGULARS_CRASH_POINT=point)
    _expect_kill(worker.wait(60), point, worker.lines)


def _expect_kill(code: int, point: str, lines: list[str]) -> None:
    if code != -9:
        raise Undecided(f"{point}: the worker ended with {code}, not by the kill: {lines[-5:]}")


def points(store: str) -> list[str]:
    """The points that a worker with such a store passes."""
    return [point for point in POINTS if not (point == "during_restore" and store == "kept")]


def at_random(stage: Stage, load: Load, tries: int, seed: int, rate: float = 300) -> Row:
    """A worker killed `tries` times, from its join to its steady run; every third time its store is gone as well."""
    rnd, began = random.Random(seed), time.monotonic()
    load.run(rate)
    for number in range(tries):
        worker = stage.start()
        time.sleep(rnd.uniform(2.0, 5.5))
        if not worker.alive:
            raise Undecided(f"the worker ended by itself: {worker.lines[-5:]}")
        worker.kill()
        if number % 3 == 2:
            shutil.rmtree(stage.data_dir("w1"), ignore_errors=True)
    last = stage.start()
    load.stop()
    stage.drained()
    verdict = stage.judge()
    last.kill()
    return Row("kill -9 at any moment, store kept or gone", tries, verdict, time.monotonic() - began)


def caught_up(stage: Stage, load: Load, tries: int, rate: float = 1000) -> Row:
    """Seconds from a kill under `rate` events/s until at most half a second of them waits again, store kept."""
    began = time.monotonic()
    load.run(rate)
    worker = stage.start()
    stage.until(lambda: stage.lag() < rate / 2, "caught up at the start")
    took = []
    for _ in range(tries):
        worker.kill()
        killed_at = time.monotonic()
        worker = stage.start()
        # right after the kill little waits yet: that is not being caught up
        stage.until(worker.at_work, "it has its partitions again")
        stage.until(lambda: stage.lag() < rate / 2, "caught up again")
        took.append(time.monotonic() - killed_at)
        time.sleep(0.5)
    load.stop()
    stage.drained()
    verdict = stage.judge()
    worker.kill()
    p95 = statistics.quantiles(took, n=20)[-1] if len(took) > 1 else took[0]
    note = f"caught up in p50 {statistics.median(took):.1f}, p95 {p95:.1f}, max {max(took):.1f} s at {rate:.0f}/s"
    return Row("kill -9, time to catch up", tries, verdict, time.monotonic() - began, note)
