"""Which offsets of an input partition have no record, and whether a record is lost there.

An offset without a record is explained by a transaction's marker, and in a compacted topic by a later record of its key. All
other ones are lost records: retention or somebody else deleted them before this worker read them.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import structlog
from aiokafka.structs import ConsumerRecord
from faust.types import TP

from streams.plane.counters import Counters
from streams.plane.progress import Span

log = structlog.get_logger(__name__)


class ExplainedOffsets:
    """Offsets without a record that fetches passed, and that are no loss.

    Attributes:
        compacted: full names of compacted topics. What is missing within what a fetch brought of them was replaced.
    """

    def __init__(self) -> None:
        self.compacted: frozenset[str] = frozenset()
        self._spans: dict[TP, set[Span]] = {}

    def watch(self, records: Any) -> None:
        """Notes the markers among what a fetch brought of one partition (aiokafka's `PartitionRecords`)."""
        batches = records._records
        if not isinstance(batches, _Watched):
            tp = TP(records._tp.topic, records._tp.partition)
            records._records = _Watched(batches, self, tp, records.next_fetch_offset, tp.topic in self.compacted)

    def note(self, tp: TP, span: Span) -> None:
        """The offsets of `span` may have no record."""
        self._spans.setdefault(tp, set()).add(span)

    def holes(self, tp: TP, span: Span, records: Sequence[ConsumerRecord] = ()) -> list[Span]:
        """The offsets of `span` that neither a record nor an explanation covers, in order."""
        if len(records) == span.end - span.start:
            return []
        covered = [Span(record.offset, record.offset + 1) for record in records]
        covered += self._spans.get(tp, ())
        found, at = [], span.start
        for each in sorted(covered):
            if each.start > at:
                found.append(Span(at, min(each.start, span.end)))
            at = max(at, each.end)
            if at >= span.end:
                return found
        return [*found, Span(at, span.end)]

    def forget(self, tp: TP, end: int) -> None:
        """What lies below the offset `end` is not asked for any more."""
        if spans := self._spans.get(tp):
            self._spans[tp] = {span for span in spans if span.end > end}


class _Watched:
    """The batches of a fetch, in the form in which aiokafka reads them; each is looked at as it is taken."""

    def __init__(self, batches: Any, explained: ExplainedOffsets, tp: TP, start: int, is_compacted: bool) -> None:
        self._batches, self._explained, self._tp = batches, explained, tp
        self._at, self._is_compacted = start, is_compacted

    def has_next(self) -> bool:
        """Whether there is one more batch."""
        more: bool = self._batches.has_next()
        return more

    def next_batch(self) -> Any:
        """The next batch."""
        batch = self._batches.next_batch()
        if batch is None:
            return None
        if self._is_compacted:
            self._explained.note(self._tp, Span(self._at, batch.next_offset))
        elif batch.is_control_batch:
            self._explained.note(self._tp, Span(batch.base_offset, batch.next_offset))
        self._at = batch.next_offset
        return batch


class Losses:
    """Counts and logs lost records, each once in the life of the process."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._counted: dict[TP, int] = {}  # offset up to which losses are counted

    def count(self, tp: TP, holes: Iterable[Span]) -> None:
        """Counts the records of `holes`, which are in order; those that were counted before are left out."""
        counted = self._counted.get(tp, 0)
        fresh = [Span(max(hole.start, counted), hole.end) for hole in holes if hole.end > counted]
        if not fresh:
            return
        self._counted[tp] = fresh[-1].end
        lost = sum(hole.end - hole.start for hole in fresh)
        self._counters.lost[tp.topic] += lost
        log.error(
            "records deleted before they were read: retention is shorter than this group was behind, or they were removed",
            topic=tp.topic,
            partition=tp.partition,
            stood_at=fresh[0].start,
            goes_on_at=fresh[-1].end,
            lost=lost,
        )
