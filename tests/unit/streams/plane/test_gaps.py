"""Laws of missing offsets: each is a record, explained, or lost; and each loss counts once."""

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from streams.plane.counters import Counters
from streams.plane.gaps import ExplainedOffsets, Losses
from streams.plane.progress import Span

HERE = TP("clicks", 3)


def batch(offsets: Iterable[int]) -> bytes:
    """Bytes of one batch as a broker sends it, with records at `offsets`."""
    builder = DefaultRecordBatchBuilder(
        magic=2, compression_type=0, is_transactional=0, producer_id=-1, producer_epoch=-1, base_sequence=-1,
        batch_size=1 << 20,
    )  # fmt: skip
    first, *rest = offsets
    builder.append(0, 1, b"k", b"v", [])
    for offset in rest:
        builder.append(offset - first, 1, b"k", b"v", [])
    raw = bytearray(builder.build())
    raw[:8] = first.to_bytes(8, "big")  # base offset: what the broker writes
    return bytes(raw)


def fetched(start: int, *batches: bytes) -> PartitionRecords:
    """What aiokafka makes of a fetch from offset `start`."""
    return PartitionRecords(HERE, MemoryRecords(b"".join(batches)), [], start, None, None, True, 0)


def record(offset: int) -> Any:
    """A record of which only the offset counts."""
    return SimpleNamespace(offset=offset)


@given(st.sets(st.integers(0, 60)), st.sets(st.integers(0, 60)), st.integers(0, 30), st.integers(0, 30))
def test_holes_are_what_neither_records_nor_explanations_cover(
    present: set[int], marked: set[int], start: int, length: int
) -> None:
    """Compared offset by offset."""
    explained, span = ExplainedOffsets(), Span(start, start + length)
    for offset in marked - present:
        explained.note(HERE, Span(offset, offset + 1))
    inside = sorted(present & set(range(*span)))

    holes = explained.holes(HERE, span, [record(offset) for offset in inside])

    assert [each for hole in holes for each in range(*hole)] == sorted(set(range(*span)) - present - marked)


@pytest.mark.parametrize(("compacted", "holes"), [(False, [Span(4, 7), Span(8, 12)]), (True, [])])
def test_what_a_fetch_lacks_is_lost_unless_the_topic_is_compacted(compacted: bool, holes: list[Span]) -> None:
    """Within a batch, between batches and at a batch's end."""
    explained = ExplainedOffsets()
    explained.compacted = frozenset({HERE.topic} if compacted else ())
    records = fetched(2, batch([2, 3, 7]), batch([12, 13]))

    explained.watch(records)
    taken = list(records)

    assert [each.offset for each in taken] == [2, 3, 7, 12, 13]
    assert explained.holes(HERE, Span(2, 14), taken) == holes


def test_a_jump_between_two_fetches_is_lost_also_in_a_compacted_topic() -> None:
    """A fetch that begins beyond where the last one ended: what lay between was deleted, not replaced."""
    explained = ExplainedOffsets()
    explained.compacted = frozenset({HERE.topic})
    first, second = fetched(0, batch([0, 2])), fetched(9, batch([9, 11]))
    explained.watch(first)
    explained.watch(second)

    taken = [*first, *second]

    assert explained.holes(HERE, Span(0, 12), taken) == [Span(3, 9)]


def test_a_poll_that_stops_within_a_fetch_and_goes_on_watches_it_once() -> None:
    """The second look at the same fetch changes nothing."""
    explained = ExplainedOffsets()
    records = fetched(0, batch([0, 1]), batch([2]))
    explained.watch(records)
    taken = [next(records)]
    explained.watch(records)
    taken += list(records)
    assert explained.holes(HERE, Span(0, 3), taken) == []


def test_what_is_forgotten_is_no_explanation_any_more() -> None:
    """What lies beyond stays one."""
    explained = ExplainedOffsets()
    explained.note(HERE, Span(1, 2))
    explained.note(HERE, Span(5, 6))
    explained.forget(HERE, 4)
    assert explained.holes(HERE, Span(1, 2)) == [Span(1, 2)]
    assert explained.holes(HERE, Span(5, 6)) == []


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 9)), max_size=8))
def test_a_loss_counts_once_however_often_it_is_met(met: list[tuple[int, int]]) -> None:
    """A rewind or a rebalance meets the same offsets again."""
    counters = Counters()
    losses = Losses(counters)
    spans = sorted(Span(start, start + length) for start, length in met)
    for _ in range(2):
        for span in spans:
            losses.count(HERE, [span])
    assert counters.lost[HERE.topic] == len({offset for span in spans for offset in range(*span)})
