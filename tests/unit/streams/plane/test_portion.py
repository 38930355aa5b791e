"""Laws of a poll's portion: it ends, nothing is left out, and other consumers don't know of it."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.consumer.fetcher import FetchResult
from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from streams.plane.gaps import ExplainedOffsets
from streams.plane.portion import PORTION_BYTES, portion, taking_portions


@pytest.fixture(scope="module", autouse=True)
def _portions() -> Iterator[None]:
    """As a worker's process has it; afterwards aiokafka is what it was."""
    before = FetchResult.getall
    taking_portions()
    yield
    FetchResult.getall = before


def _fetched(sizes: list[int]) -> tuple[FetchResult, Any]:
    """What a fetch brought of one partition, as aiokafka keeps it: records of such sizes from offset 0 on."""

    class Records:
        next_fetch_offset = 0
        _tp, _records = TP("tp", 0), None

        def __iter__(self) -> Any:
            return self

        def __next__(self) -> Any:
            if self.next_fetch_offset == len(sizes):
                raise StopIteration
            self.next_fetch_offset += 1
            size = sizes[self.next_fetch_offset - 1]
            return SimpleNamespace(
                offset=self.next_fetch_offset - 1,
                serialized_key_size=-1,
                serialized_value_size=1,
                headers=(("h", b"x" * size),),
            )

    class Assignment:
        active, paused, position = True, False, 0

        def state_value(self, tp: Any) -> Any:
            return self

        def consumed_to(self, position: int) -> None:
            self.position = position

    assignment = Assignment()
    return FetchResult("tp", assignment=assignment, partition_records=Records(), backoff=0.0), assignment


@given(st.lists(st.integers(0, 9 << 20), min_size=1, max_size=12), st.integers(1, 5))
def test_portions_give_every_record_once_and_are_exceeded_by_one_at_most(sizes: list[int], most: int) -> None:
    """Poll after poll, in order; at least one record each, and the position is after the last one given."""
    result, assignment = _fetched(sizes)
    found: list[int] = []
    while result.has_more():
        with portion(ExplainedOffsets()):
            records = result.getall(most)
        if not records:
            break
        offsets = [record.offset for record in records]
        assert sum(sizes[offset] for offset in offsets[:-1]) < PORTION_BYTES
        found += offsets
        assert assignment.position == found[-1] + 1
    assert found == list(range(len(sizes)))


def test_a_used_up_portion_leaves_the_next_partition_for_the_next_poll() -> None:
    """All partitions share it; what is left stays where it is."""
    first, _ = _fetched([PORTION_BYTES, 1])
    second, _ = _fetched([1])
    with portion(ExplainedOffsets()):
        assert len(first.getall(100)) == 1
        assert second.getall(100) == []
    assert second.has_more()
    with portion(ExplainedOffsets()) as taking:
        assert len(first.getall(100)) == len(second.getall(100)) == 1
    assert 0 < taking.taken < 100


def test_without_a_portion_a_consumer_takes_everything() -> None:
    """A reader of another topic in the same process."""
    result, _ = _fetched([9 << 20] * 9)
    assert len(result.getall()) == 9
