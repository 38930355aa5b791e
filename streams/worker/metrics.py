"""The worker's Prometheus metrics, under the contract's names. Updated once per chunk; no label holds customer data."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple, get_args

from prometheus_client import Counter as CounterMetric
from prometheus_client import Gauge as GaugeMetric
from prometheus_client import Histogram as HistogramMetric
from prometheus_client import generate_latest

from models.shadow import Comparison
from schemas.actions import Action
from schemas.changes import Change
from schemas.topics import CAMPAIGNS, MODEL_SNAPSHOTS, POLICIES
from streams.health import new_registry, watch_disk
from streams.ops.lag import LagMonitor
from streams.settings import Settings
from streams.worker.clocks import ClockWatch
from streams.worker.collectors import CountsCollector, LagCollector, ShadowCollector
from streams.worker.latency import Latency
from streams.worker.status import Counts

Outcome = Literal["applied", "rejected", "clock", "duplicate", "conflict", "replayed", "erasure", "void"]

TOKEN_BUCKETS = (64, 256, 1024, 2048, 4096, 8192, 16384, 32768)


class ModelQuality(NamedTuple):
    """How well a model predicts what it has not learnt from yet; None: not known."""

    log_loss: float | None
    auc: float | None


class Metrics:
    """The metrics of one worker, in a registry of their own. Every method is cheap and none raises.

    Args:
        lag: whose samples are shown.
        settings: name the shop in a label of every sample, and the disk of the local store; None: neither.
    """

    def __init__(self, lag: LagMonitor | None = None, settings: Settings | None = None) -> None:
        self.registry = new_registry(None if settings is None else settings.app_id)
        if settings is not None:
            watch_disk(self.registry, settings.data_dir)
        self.events = 0  # applied since the start
        self.changes = 0
        self.texts = 0
        self.models: dict[str, ModelQuality] = {}
        self.latency = Latency(
            "regulars_change_latency_seconds", "From a record taken off the broker to its change acknowledged by it"
        )
        self._events = CounterMetric(
            "regulars_events_total", "Input records by outcome", ("topic", "outcome"), registry=self.registry
        )
        self._changes = CounterMetric(
            "regulars_segment_changes_total",
            "Segment changes delivered",
            ("dimension", "previous", "current", "cause"),
            registry=self.registry,
        )
        self._actions = CounterMetric(
            "regulars_actions_total",
            "Decisions of campaigns, `none` included",
            ("campaign", "arm"),
            registry=self.registry,
        )
        self._suppressed = CounterMetric(
            "regulars_actions_suppressed_total",
            "Decisions in which a reason kept at least one arm from being drawn",
            ("campaign", "reason"),
            registry=self.registry,
        )
        self._texts = CounterMetric("regulars_encoder_texts_total", "Texts encoded", registry=self.registry)
        self._tokens = HistogramMetric(
            "regulars_encoder_batch_tokens", "Tokens of one batch", buckets=TOKEN_BUCKETS, registry=self.registry
        )
        self._texts_waiting = GaugeMetric(
            "regulars_texts_waiting", "Records that wait for their texts", registry=self.registry
        )
        self._refused = CounterMetric(
            "regulars_published_refused_total",
            "Published policies, campaigns and snapshots that this worker refused; it serves the last good ones",
            ("topic",),
            registry=self.registry,
        )
        for topic in (POLICIES, CAMPAIGNS, MODEL_SNAPSHOTS):
            self._refused.labels(topic)
        self._make_learner_metrics()
        self._make_worker_metrics()
        self.registry.register(self.latency)
        if lag is not None:
            self.registry.register(LagCollector(lag))

    def _make_worker_metrics(self) -> None:
        self._customers = GaugeMetric(
            "regulars_customers", "Customers in this worker's partitions", registry=self.registry
        )
        self._clock = GaugeMetric(
            "regulars_clock_difference_seconds",
            "By how much this machine's clock is surely ahead of the brokers'; below 0: behind",
            registry=self.registry,
        )
        self._retention = GaugeMetric(
            "regulars_topic_retention_seconds",
            "How long Kafka keeps the records of an input topic, as of this worker's start; absent: for ever",
            ("topic",),
            registry=self.registry,
        )
        self._ready = GaugeMetric("regulars_ready", "1: /ready answers 200; 0: 503", registry=self.registry)

    def _make_learner_metrics(self) -> None:
        self._log_loss = GaugeMetric(
            "regulars_learner_log_loss", "Progressive log loss of the served model", ("model",), registry=self.registry
        )
        self._auc = GaugeMetric(
            "regulars_learner_auc", "Progressive AUC of the served model", ("model",), registry=self.registry
        )
        self._loss = GaugeMetric(
            "regulars_scoreboard_loss",
            "Loss on the latest matured labels of the served model, the previous version, RFM and BG/NBD",
            ("score", "model"),
            registry=self.registry,
        )
        self._rollbacks = GaugeMetric(
            "regulars_learner_rollbacks",
            "Versions that the trainer took back, worse beyond noise",
            registry=self.registry,
        )
        self._drifts = GaugeMetric(
            "regulars_learner_drifts",
            "Alarms of a score's drift detector since the trainer started",
            ("score",),
            registry=self.registry,
        )

    def expect_events(self, topics: Iterable[str]) -> None:
        """Starts every count of events at 0: Prometheus' `increase` sees no rise in a series that begins at 1."""
        for topic in topics:
            for outcome in get_args(Outcome):
                self._events.labels(topic, outcome)

    def count_events(self, topic: str, outcome: Outcome, n: int) -> None:
        """`n` records of `topic` (full name) that ended as `outcome`."""
        self._events.labels(topic, outcome).inc(n)
        if outcome == "applied":
            self.events += n

    def count_changes(self, changes: Sequence[Change], *, consumed_at_s: float, delivered_at_s: float) -> None:
        """One chunk's delivered changes; the times are of the chunk, epoch seconds."""
        if not changes:
            return
        kinds = Counter((c.dimension, c.previous or "", c.current, c.cause.__struct_config__.tag) for c in changes)
        for (dimension, previous, current, cause), n in kinds.items():
            self._changes.labels(dimension, previous, current, str(cause)).inc(n)
        self.changes += len(changes)
        # Only an event was taken off the broker: changes by silence, a policy or a model have no latency.
        caused = sum(n for (*_, cause), n in kinds.items() if cause == "event")
        if caused:
            self.latency.observe(max(0.0, delivered_at_s - consumed_at_s), caused)

    def count_actions(self, actions: Sequence[Action]) -> None:
        """Decisions of campaigns that were delivered."""
        for action in actions:
            self._actions.labels(action.campaign, action.arm).inc()
            for reason in set(action.suppressed.values()):
                self._suppressed.labels(action.campaign, reason).inc()

    def count_texts(self, n: int, tokens: int) -> None:
        """One encoder batch of `n` texts, `tokens` in all."""
        self._texts.inc(n)
        self._tokens.observe(tokens)
        self.texts += n

    def count_refused(self, topic: str) -> None:
        """A record of `topic` (without prefix) cannot be served."""
        self._refused.labels(topic).inc()

    def set_learner(self, model: str, *, log_loss: float | None, auc: float | None) -> None:
        """How well the served snapshot of `model` predicts, by progressive validation."""
        self.models[model] = ModelQuality(log_loss, auc)
        if log_loss is not None:
            self._log_loss.labels(model).set(log_loss)
        if auc is not None:
            self._auc.labels(model).set(auc)

    def set_scoreboard(
        self, losses: Mapping[str, Mapping[str, float]], *, rollbacks: int, drifts: Mapping[str, int]
    ) -> None:
        """What the served snapshot reports about learning.

        Args:
            losses: by score, then by model, the loss on the latest labels.
            rollbacks: versions that the trainer took back.
            drifts: by score, alarms of its drift detector.
        """
        self._loss.clear()  # a model that is no longer judged, as `previous` after a rollback, has no loss
        for score, by_model in losses.items():
            for model, loss in by_model.items():
                self._loss.labels(score, model).set(loss)
        self._rollbacks.set(rollbacks)
        for score, alarms in drifts.items():
            self._drifts.labels(score).set(alarms)

    def set_retention(self, kept_ms: Mapping[str, int | None]) -> None:
        """How long Kafka keeps the records of each input topic (full names), in ms; None: for ever."""
        for topic, ms in kept_ms.items():
            if ms is not None:
                self._retention.labels(topic).set(ms / 1000)

    def watch_ready(self, ready: Callable[[], bool]) -> None:
        """Asks `ready` whether the worker is ready, whenever the metrics are read."""
        self._ready.set_function(ready)

    def watch_clock(self, clocks: ClockWatch) -> None:
        """Asks `clocks` by how much the two differ, whenever the metrics are read; 0 until they were compared."""
        self._clock.set_function(lambda: clocks.difference_s or 0.0)

    def watch_customers(self, count: Callable[[], int]) -> None:
        """Asks `count` for the number of customers, whenever the metrics are read."""
        self._customers.set_function(count)

    def watch_texts_waiting(self, count: Callable[[], int]) -> None:
        """Asks `count` how many records wait for their texts, whenever the metrics are read."""
        self._texts_waiting.set_function(count)

    def watch_shadow(self, compare: Callable[[], Comparison | None]) -> None:
        """Asks `compare` how the shadow policy compares, whenever the metrics are read."""
        self.registry.register(ShadowCollector(compare))

    def watch_counts(self, counts: Callable[[], Counts]) -> None:
        """Asks for `counts` whenever the metrics are read."""
        self.registry.register(CountsCollector(counts))

    def render(self) -> bytes:
        """The Prometheus text format."""
        return generate_latest(self.registry)

    def learner_rows(self) -> Mapping[str, Mapping[str, float | None]]:
        """`{model: {log_loss, auc}}`, for the dashboard."""
        return {name: quality._asdict() for name, quality in self.models.items()}
