"""Metrics that are asked of their owners whenever Prometheus reads the page: the lag, the shadow policy, counts."""

from collections.abc import Callable, Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from models.shadow import Comparison
from streams.ops.lag import LagMonitor
from streams.worker.status import Counts


class LagCollector(Collector):
    """The last sample of a `LagMonitor`: every partition of the group, and the sample's age."""

    def __init__(self, monitor: LagMonitor) -> None:
        self._monitor = monitor

    def collect(self) -> Iterable[Metric]:
        """The gauges; no lag when the last sample is too old, no seconds when the oldest record's age isn't known."""
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
    """Customers by their segment under the served policy and under the shadow; nothing without a shadow."""

    def __init__(self, compare: Callable[[], Comparison | None]) -> None:
        self._compare = compare

    def collect(self) -> Iterable[Metric]:
        """One sample per pair of segments."""
        comparison = self._compare()
        customers = GaugeMetricFamily(
            "regulars_shadow_customers",
            "Customers by where they stand and where the shadow policy would have them",
            labels=("dimension", "current", "shadow"),
        )
        for pair, count in {} if comparison is None else comparison.pairs.items():
            customers.add_metric(pair, count)
        yield customers


class CountsCollector(Collector):
    """What the worker's parts count for themselves."""

    def __init__(self, counts: Callable[[], Counts]) -> None:
        self._counts = counts

    def collect(self) -> Iterable[Metric]:
        """One counter each."""
        counts = self._counts()
        yield CounterMetricFamily("regulars_restore_records", "Changelog records read to restore", counts.restored)
        lost = CounterMetricFamily(
            "regulars_events_lost", "Input records deleted before they were read", labels=("topic",)
        )
        for topic, n in counts.lost.items():
            lost.add_metric((topic,), n)
        yield lost
        foreign = CounterMetricFamily(
            "regulars_events_foreign", "Applied events in another currency than the served policy's", labels=("topic",)
        )
        for topic, n in counts.foreign.items():
            foreign.add_metric((topic,), n)
        yield foreign
        set_aside = CounterMetricFamily(
            "regulars_events_set_aside",
            "Input records that made the worker fail and are dead letters",
            labels=("topic",),
        )
        for topic, n in counts.set_aside.items():
            set_aside.add_metric((topic,), n)
        yield set_aside
        yield CounterMetricFamily("regulars_texts_cut", "Texts longer than what counts of them", counts.texts_cut)
        yield CounterMetricFamily(
            "regulars_text_cache_failures", "Lookups and writes that the disk refused", counts.cache_failures
        )
