"""Breaks a real stack in every way that has a row, and says how soon somebody on call would know, and of what.

    python -m tests.drill.run [--rows stopped,killed] [--beside 4] [--logs DIR]

Needs Kafka's jars as `regulars broker start` does, `prometheus` (the rules are evaluated by it, unchanged) and `node` (the
page judges by its own script). Exit codes: 0 every row met its goal, 1 one did not, 2 the drill could not run.
"""

import argparse
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from tests.drill import prometheus
from tests.drill.faults import FAULTS, Fault
from tests.drill.judging import LAG, PAGE, READY, Course, head, judge, line
from tests.drill.stack import Stack
from tests.drill.views import Dashboard, LagCommand, ReadyPages
from tests.faults.brokers import OwnBroker
from tests.faults.run import free_port

EVERY_S = 1.0
HEALTHY_LIMIT_S = 240.0
HEALTHY_FOR_S = 15.0
HEALTHY_SCRAPES = 12.0  # a minute: the rules' shortest window
BACK_LIMIT_S = 60.0
NEEDED = ("prometheus", "node")


class NotHealthy(Exception):
    """The stack did not come up, so that breaking it would say nothing; the message has what it showed."""


class Ended(Exception):
    """Somebody ended the drill."""


class Watch:
    """Looks at every view of one stack, each in a thread of its own, and at the alerts."""

    def __init__(self, stack: Stack) -> None:
        self.now = dict.fromkeys((LAG, READY, PAGE), "not asked yet")
        self.states: dict[str, str] = {"not asked yet": "pending"}
        self.course: Course | None = None
        self.mended = False
        self._began = 0.0
        self._stack = stack
        self._ending = threading.Event()
        self._lag = LagCommand(stack.environment)
        self._page = Dashboard({name: stack.ports[name] for name in stack.workers})
        views = {LAG: self._lag.words, READY: ReadyPages(stack.ports).words, PAGE: self._page.words}
        looks: list[Callable[[], None]] = [self._alerts, *(self._looker(view, words) for view, words in views.items())]
        self._threads = [threading.Thread(target=self._repeat, args=(look,), daemon=True) for look in looks]
        for thread in self._threads:
            thread.start()

    def begin(self) -> Course:
        """The fault is there: what shows from now on belongs to it."""
        self._began = time.monotonic()
        self.course = Course()
        return self.course

    @property
    def seconds(self) -> float:
        """Since `begin`."""
        return time.monotonic() - self._began

    def clean(self) -> bool:
        """Whether no view shows anything wrong."""
        return not any(self.now.values())

    def close(self) -> None:
        """Looks no more."""
        self._ending.set()
        for thread in self._threads:
            thread.join(30)
        self._lag.close()
        self._page.close()

    def _repeat(self, look: Callable[[], None]) -> None:
        while not self._ending.wait(EVERY_S):
            look()

    def _looker(self, view: str, words: Callable[[], str]) -> Callable[[], None]:
        def look() -> None:
            self.now[view] = words()
            if self.course is not None and not self.mended:  # a worker that is started anew is no sign of the fault
                self.course.note(view, self.seconds, self.now[view])

        return look

    def _alerts(self) -> None:
        try:
            self.states = prometheus.alerts(self._stack.prometheus_port)
        except OSError:
            self.states = {"Prometheus does not answer": "pending"}
            return
        if self.course is not None:
            for alert, state in self.states.items():
                if state == "firing":
                    self.course.fired.setdefault(alert, self.seconds)


@contextmanager
def _watching(stack: Stack) -> Iterator[Watch]:
    watch = Watch(stack)
    try:
        yield watch
    finally:
        watch.close()


class Drill:
    """Runs rows, some at a time, on one broker; a row that takes its broker away has one of its own."""

    def __init__(self, broker: OwnBroker, folder: Path, logs: Path) -> None:
        self._broker, self._folder, self._logs = broker, folder, logs
        self._ending = threading.Event()

    def end(self) -> None:
        """Has every row that goes on end soon, without a result."""
        self._ending.set()

    def _wait(self) -> None:
        if self._ending.wait(EVERY_S):
            raise Ended("the drill was ended")

    def row(self, name: str) -> tuple[str, bool]:
        """Breaks one stack; the line of the table, and whether the row met its goal. No exception gets out."""
        fault = FAULTS[name]
        folder = self._folder / name
        try:
            course = self._course(fault, folder)
        except Exception as exc:  # whatever it is, the rows beside it are of use
            self._keep(name, folder, traceback.format_exc())
            return f"{name:<34} did not come to an end: {' '.join(str(exc).split())[:400]}", False
        judgement = judge(fault.expected, course)
        if not judgement.good:
            self._keep(name, folder, "\n".join(f"{view}: {sightings}" for view, sightings in course.sightings.items()))
        return line(name, judgement, course), judgement.good

    def _course(self, fault: Fault, folder: Path) -> Course:
        with self._broker_for(fault, folder) as broker, Stack(broker, folder, fault.plan) as stack:
            stack.start()
            with _watching(stack) as watch:
                self._await_health(stack, watch)
                fault.breaks(stack)
                course = watch.begin()
                while watch.seconds < fault.watch_s:
                    self._wait()
                watch.mended = True
                fault.mends(stack)
                mended = time.monotonic()
                while not watch.clean() and time.monotonic() - mended < BACK_LIMIT_S:
                    self._wait()
                if watch.clean():
                    course.back_s = time.monotonic() - mended
                else:
                    course.left = ", ".join(f"{view}: {words}" for view, words in watch.now.items() if words)
        return course

    def _await_health(self, stack: Stack, watch: Watch) -> None:
        """Returns when nothing has shown, and nothing has been about to fire, for a while."""
        deadline, since = time.monotonic() + HEALTHY_LIMIT_S, time.monotonic()
        while time.monotonic() - since < HEALTHY_FOR_S or _scrapes(stack) < HEALTHY_SCRAPES:
            if not watch.clean() or watch.states:
                since = time.monotonic()
            if time.monotonic() > deadline:
                raise NotHealthy(f"shows {watch.now} {watch.states}; {stack.last_words()}")
            self._wait()

    @contextmanager
    def _broker_for(self, fault: Fault, folder: Path) -> Iterator[OwnBroker]:
        if not fault.plan.own_broker:
            yield self._broker
            return
        broker = OwnBroker(folder / "broker", free_port())
        broker.start()
        try:
            yield broker
        finally:
            broker.stop()

    def _keep(self, name: str, folder: Path, words: str) -> None:
        kept = self._logs / name
        shutil.copytree(folder / "logs", kept, dirs_exist_ok=True) if (folder / "logs").exists() else kept.mkdir()
        (kept / "course.txt").write_text(words + "\n")


@contextmanager
def _ended_early(drill: Drill, pool: ThreadPoolExecutor) -> Iterator[None]:
    """Ctrl-C ends the rows that go on, and begins no other one."""
    try:
        yield
    except BaseException:
        drill.end()
        pool.shutdown(wait=False, cancel_futures=True)
        raise


def _scrapes(stack: Stack) -> float:
    try:
        return prometheus.scrapes(stack.prometheus_port)
    except OSError:
        return 0.0


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", default="", help=f"some, comma between them; there are {', '.join(FAULTS)}")
    parser.add_argument("--beside", type=int, default=4, help="how many rows at a time (default 4)")
    parser.add_argument("--logs", type=Path, default=None, help="of rows that miss; default: a new folder in /tmp")
    given = parser.parse_args()
    rows = [name for name in given.rows.split(",") if name] or list(FAULTS)
    if unknown := set(rows) - set(FAULTS):
        parser.error(f"no such row: {', '.join(sorted(unknown))}; there are {', '.join(FAULTS)}")
    if missing := [name for name in NEEDED if shutil.which(name) is None]:
        parser.error(f"needs {' and '.join(missing)} (Debian packages of the same name)")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(1))
    for name in [name for name in os.environ if name.startswith("REGULARS_")]:
        del os.environ[name]  # a developer's settings are none of the stacks'
    logs = given.logs or Path(tempfile.mkdtemp(prefix="regulars-drill-logs-"))
    return _run(rows, given.beside, logs)


def _run(rows: list[str], beside: int, logs: Path) -> int:
    began = time.monotonic()
    logs.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="regulars-drill-"))
    broker = OwnBroker(folder / "broker", free_port())
    print(head(), flush=True)
    try:
        broker.start()
        drill = Drill(broker, folder, logs)
        with ThreadPoolExecutor(beside) as pool, _ended_early(drill, pool):
            # The longest begin first; the table has its own order.
            begun = {name: pool.submit(drill.row, name) for name in sorted(rows, key=lambda row: -FAULTS[row].watch_s)}
            good = []
            for name in rows:
                text, met = begun[name].result()
                print(text, flush=True)
                good.append(met)
    finally:
        broker.stop()
        shutil.rmtree(folder, ignore_errors=True)
    missed = good.count(False)
    print(f"{len(good)} rows, {missed} missed their goal; {(time.monotonic() - began) / 60:.0f} minutes")
    if missed:
        print(f"logs of these: {logs}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
