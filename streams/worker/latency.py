"""A histogram of latencies to which many equal ones are added at once, with the percentiles of the latest.

prometheus-client observes one value at a time; a chunk's changes share one latency.
"""

import bisect
from collections import deque
from collections.abc import Iterable, Sequence

from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

# 2 ms to 60 s: below is the event loop itself, above is a backlog, which the lag shows better.
LATENCY_BUCKETS_S = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
# Percentiles look at so many of the latest observations: a minute at about 30 a second.
LATENCY_WINDOW = 2048


class Latency(Collector):
    """A histogram of seconds, as Prometheus collects it."""

    def __init__(self, name: str, documentation: str, buckets: Sequence[float] = LATENCY_BUCKETS_S) -> None:
        self._name, self._documentation, self._bounds = name, documentation, tuple(buckets)
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum = 0.0
        self._latest: deque[tuple[float, int]] = deque(maxlen=LATENCY_WINDOW)

    def observe(self, seconds: float, times: int) -> None:
        """Adds `seconds`, `times` times."""
        self._counts[bisect.bisect_left(self._bounds, seconds)] += times
        self._sum += seconds * times
        self._latest.append((seconds, times))

    def percentile(self, share: float) -> float | None:
        """The seconds below which `share` of the latest observations stayed; None before the first.

        >>> latency = Latency("x", "x")
        >>> latency.observe(0.1, 99); latency.observe(2.0, 1)
        >>> latency.percentile(0.5), latency.percentile(0.995)
        (0.1, 2.0)
        """
        latest = sorted(self._latest)
        remaining = share * sum(times for _, times in latest)
        for seconds, times in latest:
            remaining -= times
            if remaining <= 0:
                return seconds
        return None

    def collect(self) -> Iterable[Metric]:
        """The histogram as Prometheus reads it."""
        buckets, below = [], 0
        for bound, count in zip([*map(str, self._bounds), "+Inf"], self._counts, strict=True):
            below += count
            buckets.append((bound, below))
        yield HistogramMetricFamily(self._name, self._documentation, buckets=buckets, sum_value=self._sum)
