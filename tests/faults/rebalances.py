"""Workers that join, leave, die, sleep and wake while events come; and how long a partition stands still meanwhile."""

import random
import signal
import threading
import time

from tests.faults.load import Load
from tests.faults.oracle import INPUTS
from tests.faults.report import Row
from tests.faults.stage import SESSION_S, Stage, Undecided

# In each chunk, so that a worker which stops there sleeps in the middle of its work.
ASLEEP_AT = (
    "after_decode",
    "before_changelog",
    "after_lease",
    "between_changelog_and_ack",
    "before_outputs",
    "between_output_acks",
    "before_store",
    "after_store",
    "before_commit",
)


class Standstill:
    """Watches committed offsets: the longest time that a partition with records waiting didn't move."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._longest = 0.0
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def take(self) -> float:
        """Seconds of the longest standstill since the last call."""
        with self._lock:
            longest, self._longest = self._longest, 0.0
        return longest

    def __enter__(self) -> "Standstill":
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        moved: dict[tuple[str, int], tuple[int, float]] = {}
        while not self._stop.wait(0.2):
            committed = self._stage.committed()
            ends = {(name, p): end for name in INPUTS for p, end in enumerate(self._stage.ends(name))}
            now = time.monotonic()
            for place, offset in committed.items():
                if offset >= ends[place] or moved.get(place, (-1, now))[0] != offset:
                    moved[place] = offset, now
                with self._lock:
                    self._longest = max(self._longest, now - moved[place][1])


def churn(stage: Stage, load: Load, rebalances: int, seed: int, rate: float = 400) -> Row:
    """One to three workers that join, leave, are killed, or sleep past their session and wake; `rebalances` in all."""
    rnd, began = random.Random(seed), time.monotonic()
    load.run(rate)
    alive, number = [stage.start("d0", static=False)], 0
    stage.until(lambda: sum(stage.committed().values()), "the first commit")
    longest: dict[str, float] = {}
    with Standstill(stage) as standstill:
        for _ in range(rebalances):
            what = rnd.choice(
                [*(["join"] * 2 if len(alive) < 3 else []), *(["leave", "kill", "sleep"] if len(alive) > 1 else [])]
            )
            if what == "join":
                number += 1
                alive.append(stage.start(f"d{number}", static=False))
            else:
                worker = alive.pop(rnd.randrange(len(alive)))
                if what == "leave":
                    # SIGTERM before it could listen (the imports take seconds) ends it at once
                    if (code := worker.stop()) not in (0, -signal.SIGTERM):
                        raise Undecided(f"a worker that was asked to leave ended with {code}: {worker.lines[-5:]}")
                elif what == "kill":
                    worker.kill()
                else:
                    worker.signal(signal.SIGSTOP)
                    time.sleep(SESSION_S + rnd.uniform(1, 3))
                    worker.signal(signal.SIGCONT)
                    time.sleep(1.0)
                    alive += [worker] if worker.alive else []
            stage.until(lambda: stage.lag() < rate, f"caught up after {what}")
            time.sleep(rnd.uniform(0, 2))
            longest[what] = max(longest.get(what, 0.0), standstill.take())
            alive = [worker for worker in alive if worker.alive]
            if not alive:
                number += 1
                alive.append(stage.start(f"d{number}", static=False))
    load.stop()
    stage.drained()
    verdict = stage.judge()
    for worker in alive:
        worker.kill()
    note = "a partition stood still for at most " + ", ".join(f"{s:.1f} s ({what})" for what, s in longest.items())
    return Row("1-3 workers join, leave, die, sleep and wake", rebalances, verdict, time.monotonic() - began, note)


def zombie(stage: Stage, load: Load, point: str) -> Row:
    """A worker that stops at `point`, sleeps until another one works on its partitions, and wakes."""
    began = time.monotonic()
    load.run(300)
    sleeper = stage.start("z1", static=False, REGULARS_CRASH_POINT=f"{point}:12", REGULARS_CRASH_SIGNAL="19")
    stage.until(sleeper.stopped, f"the worker stops at {point}")
    other = stage.start("z2", static=False)
    done = sum(stage.committed().values())
    stage.until(lambda: sum(stage.committed().values()) > done + 1000, "the other worker takes over")
    sleeper.signal(signal.SIGCONT)
    time.sleep(3.0)
    end = "goes on" if sleeper.alive else f"ended with {sleeper.wait()}"
    load.stop()
    stage.drained()
    verdict = stage.judge()
    sleeper.kill()
    other.kill()
    return Row(f"asleep past its session {point}", 1, verdict, time.monotonic() - began, f"the sleeper {end}")


def rolling(stage: Stage, load: Load, rounds: int, rate: float = 400) -> Row:
    """Two static members, each stopped and started again in turn: their partitions stay theirs."""
    began = time.monotonic()
    load.run(rate)
    for name in ("s1", "s2"):
        stage.start(name)
    stage.until(lambda: all(worker.at_work() for worker in stage.workers.values()), "both work")
    longest = 0.0
    with Standstill(stage) as standstill:
        for number in range(2 * rounds):
            name = ("s1", "s2")[number % 2]
            if (code := stage.workers[name].stop()) != 0:
                raise Undecided(f"{name} ended with {code}: {stage.workers[name].lines[-5:]}")
            stage.until(stage.start(name).at_work, "it works again")
            stage.until(lambda: stage.lag() < rate, "caught up after a restart")
            longest = max(longest, standstill.take())
    load.stop()
    stage.drained()
    verdict = stage.judge()
    for name in ("s1", "s2"):
        stage.workers[name].kill()
    note = f"a partition stood still for at most {longest:.1f} s"
    return Row("rolling restart of 2 static members", 2 * rounds, verdict, time.monotonic() - began, note)
