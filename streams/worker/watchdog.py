"""Ends a worker that makes no progress, so that a supervisor starts it again.

It watches four things.

- Progress: the worker owns a partition whose state is complete, records wait there, and the committed offset doesn't move.
  A restore doesn't count, however long it takes, nor does time under an earlier owner. Records that wait for their texts
  don't count either: a backlog of texts holds commits back for minutes.
- Texts: records wait for theirs, none is encoded, and none of those partitions moves. A forward pass may never return.
- Membership: the group has given the worker no assignment, not even an empty one, and no state is being restored.
- The event loop: while it hangs, nothing that runs on it can notice. So a thread looks.

Progress and texts are judged only over time in which the group's lag could be sampled. While Kafka is away nothing can
move; the lease decides how long to wait for Kafka.

`/ready` reports all of it long before (`view.STALL_LIMIT_S`, `view.BEAT_LIMIT_S`): a load balancer acts first, the watchdog
last.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import Protocol

from aiokafka import TopicPartition

from streams.kafka.errors import InfrastructureFailure
from streams.kafka.patience import STOOD_STILL_S
from streams.ops.lag import SAMPLE_LIMIT_S, PartitionLag

EVERY_S = 1.0


class Stuck(InfrastructureFailure):
    """This worker makes no progress; operator action: none, if a supervisor restarts it."""


class LagSample(Protocol):
    """The latest sample of the group's lag, taken by a client of its own (`streams.ops.lag.LagMonitor`)."""

    @property
    def lags(self) -> Mapping[TopicPartition, PartitionLag]:
        """Every partition of the group."""
        ...

    @property
    def sampled_at(self) -> float | None:
        """When it was taken, by any clock; None: there is no sample yet."""
        ...


class Watched(Protocol):
    """What the watchdog asks of the worker (`streams.worker.answers.WorkerAnswers`)."""

    def owned(self) -> Collection[int]:
        """Partition numbers that it owns and has restored."""
        ...

    def joined(self) -> bool:
        """Whether the group has answered with an assignment, or the state of one is being restored."""
        ...

    def reading(self) -> Collection[TopicPartition]:
        """Topic partitions with records that wait for their texts."""
        ...

    def encoded(self) -> int:
        """Texts that were encoded since the start."""
        ...


class Watchdog:
    """Watches one worker; see the module.

    Args:
        lag: the group's lag.
        worker: the worker.
        fail: ends the process.
        limit_s: how long the worker may make no progress. Loading an encoder takes a fraction of it.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        lag: LagSample,
        worker: Watched,
        fail: Callable[[BaseException], object],
        limit_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lag, self._worker, self._fail, self._limit_s, self._clock = lag, worker, fail, limit_s, clock
        self._joined_at = clock()
        self._sample = lag.sampled_at
        self._sample_seen_at = clock()
        self._counted_s = 0.0  # seconds between samples, without those in which Kafka was away
        # How many texts were encoded, and the committed offsets where texts wait.
        self._texts: tuple[int, dict[TopicPartition, int | None]] = (0, {})
        self._texts_at = 0.0  # on the clock of `_counted_s`, as the times in `_still`
        self._still: dict[TopicPartition, tuple[int, float]] = {}  # committed offset, and since when it hasn't moved
        self._beat = self._looked_at = self._checked_at = clock()

    async def run(self) -> None:
        """Watches until cancelled."""
        over = threading.Event()
        self._beat = self._looked_at = self._joined_at = self._checked_at = self._clock()
        threading.Thread(target=self._watch_loop, args=(over,), name="watchdog", daemon=True).start()
        try:
            while True:
                self.look()
                await asyncio.sleep(EVERY_S)
        finally:
            over.set()

    def look(self) -> None:
        """Notes what has moved; ends the process if something hasn't for too long. Called on the event loop."""
        now = self._clock()
        stood_s, self._beat, self._looked_at = now - self._looked_at, now, now
        if stood_s > STOOD_STILL_S:
            self._joined_at += stood_s  # the group may have answered while this process stood still
        self._look_at_group(now)
        counted_s = self._count(now)
        owned, reading = self._worker.owned(), self._worker.reading()
        waiting = {tp: row for tp, row in self._lag.lags.items() if row.records and tp.partition in owned}
        self._look_at_texts(counted_s, {tp: waiting.pop(tp) for tp in reading if tp in waiting})
        still = {}
        for tp, row in waiting.items():
            at = row.start if row.committed is None else row.committed
            known = self._still.get(tp)
            still[tp] = known if known is not None and known[0] == at else (at, counted_s)
        self._still = still
        if not still:
            return
        worst = min(still, key=lambda tp: still[tp][1])
        at, since = still[worst]
        if counted_s - since > self._limit_s:
            self._fail(
                Stuck(
                    f"{worst.topic}[{worst.partition}] has stood at offset {at} for {counted_s - since:.0f} s while "
                    f"{waiting[worst].records:,} records wait (REGULARS_WATCHDOG_LIMIT_S is {self._limit_s:.0f}); "
                    "if the next start stops at the same offset, look at that record"
                )
            )

    def _count(self, now: float) -> float:
        """Seconds that count: all between two samples, unless the samples are so far apart that Kafka was away."""
        sample = self._lag.sampled_at
        if sample != self._sample:
            passed_s = now - self._sample_seen_at
            if self._sample is not None and passed_s <= SAMPLE_LIMIT_S:
                self._counted_s += passed_s
            self._sample, self._sample_seen_at = sample, now
        return self._counted_s

    def _look_at_texts(self, counted_s: float, waiting: Mapping[TopicPartition, PartitionLag]) -> None:
        texts = self._worker.encoded(), {tp: row.committed for tp, row in waiting.items()}
        if not waiting or texts != self._texts:
            self._texts, self._texts_at = texts, counted_s
        elif counted_s - self._texts_at > self._limit_s:
            tp = min(waiting)
            self._fail(
                Stuck(
                    f"{tp.topic}[{tp.partition}] waits for its texts, and none was read for "
                    f"{counted_s - self._texts_at:.0f} s (REGULARS_WATCHDOG_LIMIT_S is {self._limit_s:.0f}): the encoder "
                    "hangs, or is too slow for this machine"
                )
            )

    def _look_at_group(self, now: float) -> None:
        if self._worker.joined():
            self._joined_at = now
        elif now - self._joined_at > self._limit_s:
            self._fail(
                Stuck(
                    f"no assignment from the group for {now - self._joined_at:.0f} s "
                    f"(REGULARS_WATCHDOG_LIMIT_S is {self._limit_s:.0f}); the log's last errors say why"
                )
            )

    def check_loop(self) -> None:
        """Ends the process if the event loop has hung for too long. Called once a second, from a thread."""
        now = self._clock()
        stood_s, self._checked_at = now - self._checked_at, now
        if stood_s > STOOD_STILL_S:  # the whole process stood still, this thread too
            self._beat = min(now, self._beat + stood_s)
        silent_s = now - self._beat
        if silent_s > self._limit_s:
            self._fail(
                Stuck(
                    f"the event loop has not come round for {silent_s:.0f} s "
                    f"(REGULARS_WATCHDOG_LIMIT_S is {self._limit_s:.0f})"
                )
            )

    def _watch_loop(self, over: threading.Event) -> None:
        while not over.wait(EVERY_S):
            self.check_loop()
