"""Passes what the scoring job did to the metrics and the pages: the job's `Observer`."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import cast

from schemas.actions import Action
from schemas.changes import Change
from schemas.states import Held
from streams.worker.feed import ChangeFeed, SegmentCounts
from streams.worker.metrics import Metrics, Outcome


class ViewObserver:
    """Keeps one worker's metrics, change feed and segment counts up to date."""

    def __init__(self, topics: Sequence[str], metrics: Metrics, changes: ChangeFeed, segments: SegmentCounts) -> None:
        """`topics`: the full names of the input topics, in the order of their indexes."""
        self._topics, self._metrics, self._changes, self._segments = tuple(topics), metrics, changes, segments

    def events(self, partition: int, counts: Mapping[tuple[int, str], int]) -> None:
        """Input records by (topic index, outcome)."""
        for (topic, outcome), n in counts.items():
            if n > 0:
                self._metrics.count_events(self._topics[topic], cast(Outcome, outcome), n)

    def changes(
        self,
        partition: int,
        changes: Sequence[Change],
        bodies: Sequence[bytes],
        consumed_at: float,
        delivered_at: float,
    ) -> None:
        """Changes that Kafka has acknowledged."""
        self._metrics.count_changes(changes, consumed_at_s=consumed_at, delivered_at_s=delivered_at)
        self._changes.publish(bodies)
        for change in changes:
            self._segments.moved(partition, change.dimension, change.previous, change.current)

    def decided(self, partition: int, actions: Sequence[Action]) -> None:
        """Actions that Kafka has acknowledged."""
        self._metrics.count_actions(actions)

    def erased(self, partition: int, segments: Iterable[Mapping[str, Held]]) -> None:
        """The segments that erased customers were in."""
        self._segments.erased(partition, map(_segments, segments))

    def restored(self, partition: int, places: Counter[tuple[str, str]]) -> None:
        """How many customers of the partition are where; replaces the counts of that partition."""
        self._segments.restored(partition, places)

    def revoked(self, partition: int) -> None:
        """Another worker owns the partition now."""
        self._segments.revoked(partition)


def _segments(places: Mapping[str, Held]) -> dict[str, str]:
    return {name: held.segment for name, held in places.items()}
