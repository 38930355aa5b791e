"""The worker's Prometheus metrics, under the contract's names. Updated per chunk; labels never hold customer data.

`regulars_change_latency_seconds` is kept by hand, because a chunk's changes share one latency and prometheus-client
observes one at a time.
"""

import bisect
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple, get_args

from prometheus_client import CollectorRegistry, disable_created_metrics, generate_latest
from prometheus_client import Counter as CounterMetric
from prometheus_client import Gauge as GaugeMetric
from prometheus_client import Histogram as HistogramMetric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from models.shadow import Comparison
from schemas.changes import Change
from streams.ops.lag import LagMonitor

Outcome = Literal["applied", "rejected", "clock", "duplicate", "replayed", "erasure", "void"]

# 2 ms to 60 s: below is the loop itself, above is backlog, which the lag shows better.
LATENCY_BUCKETS_S = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
TOKEN_BUCKETS = (64, 256, 1024, 2048, 4096, 8192, 16384, 32768)
# The dashboard's percentiles look at so many latest changes: a minute at about 30 changes a second.
LATENCY_WINDOW = 2048
# `_created` gauges would double the page and say only when the process started.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Latency(Collector):
    """A histogram of seconds that counts many equal observations at once, and the latest ones for percentiles."""

    def __init__(self, name: str, documentation: str, buckets: Sequence[float] = LATENCY_BUCKETS_S) -> None:
        self._name, self._documentation, self._bounds = name, documentation, tuple(buckets)
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum = 0.0
        self._latest: deque[tuple[float, int]] = deque(maxlen=LATENCY_WINDOW)

    def observe(self, seconds: float, times: int) -> None:
        """`times` observations of `seconds`."""
        self._counts[bisect.bisect_left(self._bounds, seconds)] += times
        self._sum += seconds * times
        self._latest.append((seconds, times))

    def percentile(self, share: float) -> float | None:
        """The latency in seconds below which `share` of the latest changes stayed; None before the first.

        >>> latency = Latency("x", "x")
        >>> latency.observe(0.1, 99); latency.observe(2.0, 1)
        >>> latency.percentile(0.5), latency.percentile(0.995)
        (0.1, 2.0)
        """
        latest = sorted(self._latest)
        wanted = share * sum(times for _, times in latest)
        for seconds, times in latest:
            wanted -= times
            if wanted <= 0:
                return seconds
        return None

    def collect(self) -> Iterable[Metric]:
        """The histogram as Prometheus reads it."""
        buckets, below = [], 0
        for bound, count in zip([*map(str, self._bounds), "+Inf"], self._counts, strict=True):
            below += count
            buckets.append((bound, below))
        yield HistogramMetricFamily(self._name, self._documentation, buckets=buckets, sum_value=self._sum)


class LagCollector(Collector):
    """The last sample of a `LagMonitor`, each partition of the group, and its age."""

    def __init__(self, monitor: LagMonitor) -> None:
        self._monitor = monitor

    def collect(self) -> Iterable[Metric]:
        """The lag gauges: nothing where the last sample is too old, no seconds where an oldest record's age isn't known."""
        records = GaugeMetricFamily(
            "regulars_lag_records", "Records not yet processed by the group", labels=("topic", "partition")
        )
        seconds = GaugeMetricFamily(
            "regulars_lag_seconds", "Age of the oldest record not yet processed", labels=("topic", "partition")
        )
        for row in self._monitor.lags.values() if self._monitor.fresh else ():
            labels = (row.topic, str(row.partition))
            records.add_metric(labels, row.records)
            if row.seconds is not None:
                seconds.add_metric(labels, row.seconds)
        yield records
        yield seconds
        yield GaugeMetricFamily(
            "regulars_lag_sample_age_seconds",
            "Seconds since the lag was last sampled, or since the start where it never was",
            value=self._monitor.age_s,
        )


class ShadowCollector(Collector):
    """Customers by where the served policy and the shadow have them; nothing where there is no shadow."""

    def __init__(self, compare: Callable[[], Comparison | None]) -> None:
        self._compare = compare

    def collect(self) -> Iterable[Metric]:
        """One sample a pair of segments."""
        found = self._compare()
        customers = GaugeMetricFamily(
            "regulars_shadow_customers",
            "Customers by where they stand and where the shadow policy would have them",
            labels=("dimension", "current", "shadow"),
        )
        for pair, count in {} if found is None else found.pairs.items():
            customers.add_metric(pair, count)
        yield customers


class CountsCollector(Collector):
    """What is counted elsewhere, by those to whom it happens, whenever the metrics are read."""

    def __init__(
        self,
        restored: Callable[[], int],
        lost: Callable[[], Mapping[str, int]],
        foreign: Callable[[], Mapping[str, int]],
        texts_cut: Callable[[], int],
        cache_failures: Callable[[], int],
    ) -> None:
        self._restored, self._lost, self._foreign = restored, lost, foreign
        self._texts_cut, self._cache_failures = texts_cut, cache_failures

    def collect(self) -> Iterable[Metric]:
        """A counter each."""
        yield CounterMetricFamily("regulars_restore_records", "Changelog records read to restore", self._restored())
        lost = CounterMetricFamily(
            "regulars_events_lost", "Input records deleted before they were read", labels=("topic",)
        )
        for topic, n in self._lost().items():
            lost.add_metric((topic,), n)
        yield lost
        foreign = CounterMetricFamily(
            "regulars_events_foreign", "Applied events in another currency than the served policy's", labels=("topic",)
        )
        for topic, n in self._foreign().items():
            foreign.add_metric((topic,), n)
        yield foreign
        yield CounterMetricFamily("regulars_texts_cut", "Texts longer than what counts of them", self._texts_cut())
        yield CounterMetricFamily(
            "regulars_text_cache_failures", "Lookups and writes that the disk refused", self._cache_failures()
        )


class Learner(NamedTuple):
    """How well a model predicts what it hasn't seen yet; None: not known."""

    log_loss: float | None
    auc: float | None


class Metrics:
    """One process's metrics in a registry of its own. Every method is cheap and none raises."""

    def __init__(self, lag: LagMonitor | None = None) -> None:
        self.registry = CollectorRegistry()
        self.events = 0  # applied since the start
        self.changes = 0
        self.texts = 0
        self.learners: dict[str, Learner] = {}
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
        self._texts = CounterMetric("regulars_encoder_texts_total", "Texts encoded", registry=self.registry)
        self._tokens = HistogramMetric(
            "regulars_encoder_batch_tokens", "Tokens of one batch", buckets=TOKEN_BUCKETS, registry=self.registry
        )
        self._texts_waiting = GaugeMetric(
            "regulars_texts_waiting", "Records that wait for their texts", registry=self.registry
        )
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
        self._customers = GaugeMetric(
            "regulars_customers", "Customers in this worker's partitions", registry=self.registry
        )
        self._ready = GaugeMetric("regulars_ready", "1: /ready answers 200; 0: 503", registry=self.registry)
        self.registry.register(self.latency)
        if lag is not None:
            self.registry.register(LagCollector(lag))

    def expect_events(self, topics: Iterable[str]) -> None:
        """Begins all counts of events at 0: Prometheus' `increase` sees no rise in a series that is born at 1."""
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
        # Silence, a policy and a model have no record that was taken off the broker: their wait is none of latency's.
        caused = sum(n for (*_, cause), n in kinds.items() if cause == "event")
        if caused:
            self.latency.observe(max(0.0, delivered_at_s - consumed_at_s), caused)

    def count_texts(self, n: int, tokens: int) -> None:
        """One encoder batch of `n` texts, `tokens` in all."""
        self._texts.inc(n)
        self._tokens.observe(tokens)
        self.texts += n

    def set_learner(self, model: str, *, log_loss: float | None, auc: float | None) -> None:
        """How well the served snapshot of `model` predicts, by its own progressive validation."""
        self.learners[model] = Learner(log_loss, auc)
        if log_loss is not None:
            self._log_loss.labels(model).set(log_loss)
        if auc is not None:
            self._auc.labels(model).set(auc)

    def set_scoreboard(
        self, losses: Mapping[str, Mapping[str, float]], *, rollbacks: int, drifts: Mapping[str, int]
    ) -> None:
        """What the served snapshot says of learning: score -> model -> loss, versions taken back, score -> alarms."""
        self._loss.clear()  # who isn't judged any more, as `previous` after a version was taken back, has no loss
        for score, by_model in losses.items():
            for model, loss in by_model.items():
                self._loss.labels(score, model).set(loss)
        self._rollbacks.set(rollbacks)
        for score, alarms in drifts.items():
            self._drifts.labels(score).set(alarms)

    def watch_ready(self, ready: Callable[[], bool]) -> None:
        """Ask `ready` whether the worker is ready whenever the metrics are read."""
        self._ready.set_function(ready)

    def watch_customers(self, count: Callable[[], int]) -> None:
        """Ask `count` for the number of customers whenever the metrics are read."""
        self._customers.set_function(count)

    def watch_texts_waiting(self, count: Callable[[], int]) -> None:
        """Ask `count` for the number of records that wait for their texts whenever the metrics are read."""
        self._texts_waiting.set_function(count)

    def watch_shadow(self, compare: Callable[[], Comparison | None]) -> None:
        """Ask `compare` whenever the metrics are read."""
        self.registry.register(ShadowCollector(compare))

    def watch_counts(
        self,
        *,
        restored: Callable[[], int],
        lost: Callable[[], Mapping[str, int]],
        foreign: Callable[[], Mapping[str, int]],
        texts_cut: Callable[[], int],
        cache_failures: Callable[[], int],
    ) -> None:
        """Ask for these whenever the metrics are read.

        Args:
            restored: changelog records read by restores.
            lost: by full name of a topic, offsets that retention deleted before they were read.
            foreign: by full name of a topic, applied events in another currency than the served policy's.
            texts_cut: texts longer than what counts of them.
            cache_failures: lookups and writes that the disk refused to the text cache.
        """
        self.registry.register(CountsCollector(restored, lost, foreign, texts_cut, cache_failures))

    def render(self) -> bytes:
        """The Prometheus text format."""
        return generate_latest(self.registry)

    def learner_rows(self) -> Mapping[str, Mapping[str, float | None]]:
        """`{model: {log_loss, auc}}`, for the dashboard."""
        return {name: learner._asdict() for name, learner in self.learners.items()}
