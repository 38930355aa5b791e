"""A worker as its pages show it (`streams.worker.web`): how fast it is, whether it is ready, and if not, why."""

import asyncio
import time
from collections import deque
from typing import Protocol

from models.shadow import Comparison
from schemas.changes import Standing
from streams.health import Note, Reason
from streams.ops.lag import LagMonitor
from streams.settings import Settings
from streams.worker.feed import ChangeFeed, SegmentCounts
from streams.worker.metrics import Metrics
from streams.worker.status import Counts, Status, TextProgress

BEAT_S = 0.5
# An event loop that hasn't come round for so long hangs. A big chunk takes far less, and so do a full garbage collection and
# the states of one restored partition (5 us per customer).
BEAT_LIMIT_S = 15.0
# A commit comes twice a second. Records that wait for texts may take minutes; they have a limit of their own.
STALL_LIMIT_S = 30.0
# A batch of texts takes seconds on two slow cores.
TEXTS_LIMIT_S = 60.0
RATE_WINDOW_S = 10.0


class StatusSource(Protocol):
    """What the view asks of the worker (`streams.worker.answers.WorkerAnswers`), at each beat and each request."""

    def status(self) -> Status:
        """Its place in the group and what it serves."""
        ...

    def standing(self, customer_id: str) -> Standing | None:
        """A customer from the local store; None: unknown. Raises NotHere."""
        ...

    def shadow(self) -> Comparison | None:
        """How the shadow policy compares with the served one; None: there is no shadow."""
        ...

    def texts(self) -> TextProgress:
        """What waits for the encoder."""
        ...

    def counts(self) -> Counts:
        """What its parts have counted."""
        ...


class WorkerView:
    """A worker as seen from outside. `run` keeps the heartbeat, the rates and the lag up to date.

    Attributes:
        settings, lag, metrics, worker: what the pages ask.
        changes: the latest changes.
        segments: how many customers are in each segment.
        started_at_s: epoch seconds.
        beat_at: when the event loop last came round, monotonic.
        texts_at: when a text was last read, or none could be: none waited, or Kafka was away; monotonic.
    """

    def __init__(
        self,
        settings: Settings,
        lag: LagMonitor,
        metrics: Metrics,
        changes: ChangeFeed,
        segments: SegmentCounts,
        worker: StatusSource,
    ) -> None:
        self.settings, self.lag, self.metrics = settings, lag, metrics
        self.changes, self.segments, self.worker = changes, segments, worker
        self.started_at_s = time.time()
        self.beat_at = self.texts_at = time.monotonic()
        self._read = 0
        self._counts: deque[tuple[float, int, int]] = deque(maxlen=int(RATE_WINDOW_S / BEAT_S))
        metrics.watch_customers(lambda: worker.status().customers)
        metrics.watch_shadow(worker.shadow)
        metrics.watch_ready(lambda: not self.not_ready())
        metrics.watch_texts_waiting(lambda: worker.status().texts_waiting)
        metrics.watch_counts(worker.counts)

    async def run(self) -> None:
        """Notes the heartbeat and samples the lag until cancelled; raises what the sampling raised."""
        sampling = asyncio.create_task(self.lag.run(), name="lag monitor")
        try:
            while not sampling.done():
                self.beat()
                await asyncio.wait({sampling}, timeout=BEAT_S)
            if sampling.cancelled():
                raise RuntimeError("the lag monitor was cancelled")
            sampling.result()
        finally:
            sampling.cancel()
            await asyncio.gather(sampling, return_exceptions=True)

    def beat(self) -> None:
        """Notes that the event loop came round, and whether a text was read."""
        self.beat_at = time.monotonic()
        texts = self.worker.texts()
        if not (texts.reading and self.lag.fresh) or texts.read != self._read or texts.loading_s is not None:
            self._read, self.texts_at = texts.read, self.beat_at
        self._counts.append((self.beat_at, self.metrics.events, self.metrics.changes))

    def rates(self) -> tuple[float, float]:
        """Events and changes per second, over the last ten seconds."""
        if len(self._counts) < 2:
            return 0.0, 0.0
        (began, events, changes), (ended, events_now, changes_now) = self._counts[0], self._counts[-1]
        seconds = max(ended - began, 1e-9)
        return (events_now - events) / seconds, (changes_now - changes) / seconds

    def heartbeat_age_s(self) -> float:
        """Seconds since the event loop last came round."""
        return time.monotonic() - self.beat_at

    def not_ready(self) -> list[Reason]:
        """Why the worker can't be relied on now; empty: it is ready."""
        status, texts = self.worker.status(), self.worker.texts()
        return [*_unfinished(status), *self._late(set(status.assigned), texts), *self._unread(status, texts)]

    def notes(self) -> list[Note]:
        """What the worker is busy with that is no reason against it."""
        status, texts = self.worker.status(), self.worker.texts()
        if not texts.reading or self._unread(status, texts):
            return []
        does = "is encoding" if texts.loading_s is None else f"has been loading for {texts.loading_s:.0f} s"
        where = f"{len(texts.reading)} of this worker's input partitions"
        return [Note("texts", f"{status.texts_waiting:,} records in {where} wait for their texts; the encoder {does}")]

    def _unread(self, status: Status, texts: TextProgress) -> list[Reason]:
        silent_s = time.monotonic() - self.texts_at
        if not texts.reading or silent_s <= TEXTS_LIMIT_S:
            return []
        detail = f"{status.texts_waiting:,} records wait for their texts, and none was read for {silent_s:.0f} s"
        return [
            Reason("texts", detail, "see whether the GPU answers and the CPU is free; if it stays, restart the worker")
        ]

    def _late(self, assigned: set[int], texts: TextProgress) -> list[Reason]:
        reasons: list[Reason] = []
        if not self.lag.fresh:
            age_s = f"{self.lag.age_s:.0f} s"
            known = (
                f"after {age_s} there is no sample"
                if self.lag.sampled_at is None
                else f"the last sample is {age_s} old"
            )
            why = "" if self.lag.error is None else f": {self.lag.error}"
            reasons.append(
                Reason("lag-unknown", f"{known}{why}", "see whether the broker is up and reachable from here")
            )
        stalled = [
            row
            for tp, row in self.lag.lags.items()
            if row.partition in assigned and row.stalled_s > STALL_LIMIT_S and tp not in texts.reading
        ]
        if stalled:
            worst = max(stalled, key=lambda row: row.stalled_s)
            waiting = sum(row.records for row in stalled)
            where = (
                f"{worst.topic} [{worst.partition}] at {worst.start if worst.committed is None else worst.committed}"
            )
            detail = (
                f"{len(stalled)} of this worker's input partitions: nothing was committed for up to "
                f"{worst.stalled_s:.0f} s while {waiting:,} records wait; worst {where}"
            )
            reasons.append(
                Reason("stalled", detail, "read the worker's last log lines; if it stays, restart the worker")
            )
        return reasons


def _unfinished(status: Status) -> list[Reason]:
    reasons: list[Reason] = []
    if not status.joined:
        reasons.append(Reason("not-joined", "no assignment from the group yet", "wait; if it stays, see the log"))
    if status.restoring:
        which = ", ".join(map(str, status.restoring))
        reasons.append(Reason("restoring", f"the state of partition {which} is being read back", "wait"))
    if status.clock_off_s is not None:
        detail = f"this machine's clock and the brokers' differ by {status.clock_off_s:+.0f} s; silence is not judged"
        reasons.append(Reason("clock", detail, "set the wrong clock right; it is noticed within half a minute"))
    reasons += [
        Reason("broadcast-unread", f"{topic} is not read to its end yet", "wait; if it stays, `regulars topics check`")
        for topic in status.unread
    ]
    return reasons
