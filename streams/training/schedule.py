"""When the trainer publishes a snapshot."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PublishSchedule:
    """A snapshot is due after `labels` new labels, or `interval_s` seconds after the last one if a label is new."""

    labels: int
    interval_s: float

    def due(self, new_labels: int, elapsed_s: float) -> bool:
        """Whether a snapshot is due.

        >>> schedule = PublishSchedule(labels=100, interval_s=30.0)
        >>> schedule.due(100, 1.0), schedule.due(1, 30.0), schedule.due(0, 99.0)
        (True, True, False)
        """
        return new_labels >= self.labels or (new_labels > 0 and elapsed_s >= self.interval_s)
