"""The trainer as seen from outside: `/live`, `/ready` and `/metrics`, on a port of its own.

The trainer's loop fills the view. The pages only read it; the same event loop serves them.
"""

import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, Literal

import msgspec
from aiohttp import web
from prometheus_client import Counter, Gauge, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from streams.health import CONTENT_TYPE, Reason, new_registry
from streams.settings import Settings
from streams.signin.guard import PageGuard
from streams.signin.pages import HEALTH_PAGES

State = Literal["joining", "taking over", "learning", "spare"]

# The longest that one round of the trainer's loop may take while it waits for Kafka: its patience for metadata (75 s), the
# attempt that has begun by then (30 s), its patience for an acknowledgement (75 s), and a busy machine's delay.
TURN_LIMIT_S = 200.0
# Kafka is asked every 5 s: three answers in a row are missing.
SILENCE_LIMIT_S = 15.0


class TrainerView:
    """What the pages show. Every method is cheap and none raises.

    Attributes:
        state: `joining` the group, `taking over` from the last snapshot, `learning`, or `spare`: another trainer learns.
        next_offset: the next record of model-train to read; None unless it learns.
        end: the end of model-train in Kafka's last answer; None: not known now.
        beat_at: when the trainer's loop last came round, monotonic.
        answered_at: when Kafka last answered with the end, monotonic.
    """

    def __init__(self, app_id: str | None = None) -> None:
        self.registry = new_registry(app_id)
        self.state: State = "joining"
        self.next_offset: int | None = None
        self.end: int | None = None
        self.beat_at = self.answered_at = time.monotonic()
        self._labels = Counter("regulars_trainer_labels_total", "Labels learnt by this process", registry=self.registry)
        self._published = Counter(
            "regulars_trainer_published_total", "Snapshots published by this process", registry=self.registry
        )
        self._published_at: float | None = None
        learning = Gauge(
            "regulars_trainer_learning",
            "1: this process learns; 0: it is a spare, or has yet to join or to take over",
            registry=self.registry,
        )
        learning.set_function(lambda: float(self.state == "learning"))
        self.registry.register(_KnownGauges(self))

    def beat(self) -> None:
        """Notes that the trainer's loop came round."""
        self.beat_at = time.monotonic()

    def answered(self, end: int) -> None:
        """Notes the end of model-train: Kafka has just answered."""
        self.end, self.answered_at = end, time.monotonic()

    def count_learnt(self, labels: int, next_offset: int) -> None:
        """Counts `labels` more that were learnt; `next_offset` is the next record to read."""
        self._labels.inc(labels)
        self.next_offset = next_offset

    def count_published(self, at_s: float) -> None:
        """Counts a snapshot that Kafka acknowledged at `at_s`, epoch seconds."""
        self._published.inc()
        self._published_at = at_s

    @property
    def published_at_s(self) -> float | None:
        """When this process last published, epoch seconds; None: not yet."""
        return self._published_at

    @property
    def lag(self) -> int | None:
        """Records of model-train that are not learnt yet; None: not known, or another trainer learns."""
        if self.next_offset is None or self.end is None:
            return None
        return max(0, self.end - self.next_offset)

    @property
    def turn_age_s(self) -> float:
        """Seconds since the trainer's loop last came round."""
        return time.monotonic() - self.beat_at

    def not_ready(self) -> list[Reason]:
        """Why the trainer can't be relied on now; empty: it learns, or is a spare."""
        reasons = []
        if self.state == "joining":
            reasons.append(
                Reason(
                    "not-joined",
                    "the group has not assigned model-train yet, or a rebalance is going on",
                    "wait 20 s; if it stays, look in the log for a broker that is away",
                )
            )
        elif self.state == "taking over":
            reasons.append(
                Reason("restoring", "the last snapshot is being read", "wait; if it stays, `regulars topics check`")
            )
        silent_s = time.monotonic() - self.answered_at
        if silent_s > SILENCE_LIMIT_S:
            reasons.append(
                Reason(
                    "lag-unknown",
                    f"the broker has not answered with the end of model-train for {silent_s:.0f} s",
                    "see whether the broker and the network are up: `regulars broker status`",
                )
            )
        return reasons

    def render(self) -> bytes:
        """The Prometheus text format."""
        return generate_latest(self.registry)


class _KnownGauges(Collector):
    """Gauges whose value may be unknown: they are absent then, not zero."""

    def __init__(self, view: TrainerView) -> None:
        self._view = view

    def collect(self) -> Iterable[Metric]:
        lag = GaugeMetricFamily("regulars_trainer_lag_labels", "Records of model-train that are not learnt yet")
        published = GaugeMetricFamily(
            "regulars_trainer_last_publish_timestamp_seconds", "When this process last published a snapshot"
        )
        for family, value in ((lag, self._view.lag), (published, self._view.published_at_s)):
            if value is not None:
                family.add_metric((), value)
            yield family


def mount(app: web.Application, view: TrainerView, settings: Settings) -> None:
    """Adds the trainer's pages to `app`, with a guard before them; call it before the app starts.

    Raises:
        WrongSetting: the settings of the sign-in are not what they must be.
    """
    PageGuard(settings, HEALTH_PAGES).install(app)

    async def live(request: web.Request) -> web.Response:
        alive = view.turn_age_s <= TURN_LIMIT_S
        return _json({"live": alive, "heartbeat_age_s": round(view.turn_age_s, 3)}, 200 if alive else 503)

    async def ready(request: web.Request) -> web.Response:
        reasons = view.not_ready()
        body = {"ready": not reasons, "state": view.state, "reasons": [reason._asdict() for reason in reasons]}
        return _json(body, 503 if reasons else 200)

    async def metrics(request: web.Request) -> web.Response:
        return web.Response(body=view.render(), headers={"Content-Type": CONTENT_TYPE})

    app.router.add_get("/live", live)
    app.router.add_get("/ready", ready)
    app.router.add_get("/metrics", metrics)


@asynccontextmanager
async def pages(view: TrainerView, settings: Settings) -> AsyncIterator[None]:
    """Serves the pages at the settings' `trainer_web_port` until the block ends; port 0: no pages.

    Raises:
        WrongSetting: the settings of the sign-in are not what they must be.
        OSError: the port is taken, or this machine has no address `web_host`.
    """
    if settings.trainer_web_port == 0:
        yield
        return
    app = web.Application()
    mount(app, view, settings)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.web_host, settings.trainer_web_port).start()
        yield
    finally:
        await runner.cleanup()


def _json(body: Any, status: int) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(body),
        status=status,
        content_type="application/json",
    )
