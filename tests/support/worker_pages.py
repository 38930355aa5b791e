"""A worker whose status a test sets, and its pages."""

import time
from typing import Any

from aiokafka import TopicPartition

from models.shadow import Comparison
from schemas.changes import Change, EventCause, Profile, Standing, Trace, Versions
from streams.ops.lag import LagMonitor, PartitionLag
from streams.settings import Settings
from streams.worker.feed import ChangeFeed, SegmentCounts
from streams.worker.metrics import Metrics
from streams.worker.status import Counts, NotHere, Status, TextProgress
from streams.worker.view import WorkerView

AT = "2024-05-01T10:00:00Z"
VERSIONS = Versions("p", "m", "e")
READY = Status(True, (0, 1), (), (), 5, VERSIONS)
PROFILE = Profile(None, 0, None, 0, 0, 0, 0, 0, 0, None, None, None)
ADA = Standing("ada/1", 1, {"value": "low"}, {}, PROFILE, None, VERSIONS, AT)


class StatedWorker:
    """A worker whose status the test sets."""

    def __init__(self, **settings: Any) -> None:
        self.now = READY
        self.text_progress = TextProgress()
        self.view = WorkerView(
            settings=Settings(**settings),
            lag=LagMonitor(Settings()),
            metrics=Metrics(),
            changes=ChangeFeed(),
            segments=SegmentCounts(),
            worker=self,
        )
        self.view.lag.sampled_at = time.time()

    def status(self) -> Status:
        """See `streams.worker.view.StatusSource`."""
        return self.now

    def texts(self) -> TextProgress:
        """See `streams.worker.view.StatusSource`."""
        return self.text_progress

    def shadow(self) -> Comparison | None:
        """See `streams.worker.view.StatusSource`."""
        return None

    def counts(self) -> Counts:
        """See `streams.worker.view.StatusSource`."""
        return Counts()

    def standing(self, customer_id: str) -> Standing | None:
        """Ada is here; one is elsewhere; others are unknown."""
        if customer_id == "elsewhere":
            raise NotHere(3)
        assert customer_id.isprintable(), "the store keeps keys with control characters for itself"
        return ADA if customer_id == "ada/1" else None

    def lags(self, *rows: PartitionLag) -> None:
        """Set the lag that the monitor has sampled."""
        self.view.lag.lags = {TopicPartition(row.topic, row.partition): row for row in rows}


def a_change(number: int) -> Change:
    """Ada's change of that number."""
    cause = EventCause("purchases", 0, number, "e", "purchase")
    trace = Trace(AT, AT, AT)
    return Change(f"ada:{number}", "ada", number, "value", None, "low", AT, cause, {}, (), None, None, VERSIONS, trace)
