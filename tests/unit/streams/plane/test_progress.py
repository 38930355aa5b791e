"""Laws of what may be committed."""

import pytest
from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from streams.plane.progress import Hole, Progress, Span, Stale

A, B = TP("clicks", 0), TP("purchases", 0)


def begun(**positions: int) -> Progress:
    """Progress at positions of A (`a`) and B (`b`)."""
    progress = Progress()
    progress.begin({{"a": A, "b": B}[name]: position for name, position in positions.items()})
    return progress


def test_nothing_is_committable_beyond_what_is_done() -> None:
    """The committable offset is the end of the last span that was done."""
    progress = begun(a=5, b=0)
    progress.done(0, {A: Span(5, 9)})
    assert progress.committable() == {A: 9, B: 0}


def test_a_hole_is_refused_and_changes_nothing() -> None:
    """A span that doesn't continue what is done would commit past records nobody processed."""
    progress = begun(a=5, b=0)
    with pytest.raises(Hole, match=r"clicks\[0\]: done up to 5, but the next records begin at 9"):
        progress.done(0, {B: Span(0, 4), A: Span(9, 12)})
    assert progress.committable() == {A: 5, B: 0}


def test_records_that_come_again_change_nothing() -> None:
    """After a rewind a span may overlap what is done; it never moves backwards."""
    progress = begun(a=0)
    progress.done(0, {A: Span(0, 10)})
    progress.done(0, {A: Span(0, 6)})
    progress.done(0, {A: Span(6, 12)})
    assert progress.committable() == {A: 12}


def test_an_earlier_assignment_counts_for_nothing() -> None:
    """A batch in flight over a rebalance is refused: its records come again."""
    progress = begun(a=0)
    progress.forget()
    progress.begin({A: 0})
    with pytest.raises(Stale):
        progress.done(0, {A: Span(0, 10)})
    with pytest.raises(Stale):
        progress.release(0, [(A, 3)])
    assert progress.committable() == {A: 0}


def test_a_held_record_holds_its_partition_back_and_nothing_else() -> None:
    """Commits stop at the lowest held record of a topic partition; others go on."""
    progress = begun(a=0, b=0)
    progress.done(0, {A: Span(0, 10), B: Span(0, 10)}, [(A, 7), (A, 3)])
    assert progress.committable() == {A: 3, B: 10}
    assert progress.held(A) == 2
    progress.release(0, [(A, 3)])
    assert progress.committable() == {A: 7, B: 10}
    progress.release(0, [(A, 7), (A, 8)])
    assert progress.committable() == {A: 10, B: 10}


def test_holds_end_with_the_assignment() -> None:
    """After a rebalance the held records come again: their old holds are gone."""
    progress = begun(a=0)
    progress.done(0, {A: Span(0, 10)}, [(A, 0)])
    progress.forget()
    assert progress.committable() == {}
    assert progress.held(A) == 0


def test_an_assignment_keeps_the_position_it_has() -> None:
    """A second seek within an assignment reads older committed offsets; they don't rewind what is done."""
    progress = begun(a=0)
    progress.done(0, {A: Span(0, 10)})
    progress.begin({A: 2, B: 1})
    assert progress.committable() == {A: 10, B: 1}


@given(st.data())
def test_what_is_committed_was_processed_and_is_not_held(data: st.DataObject) -> None:
    """Over any course of polls, rewinds, holds and releases: commits never decrease and never pass a held record."""
    progress = begun(a=0)
    end, held, processed, committed = 0, set[int](), set[int](), 0
    for _ in range(data.draw(st.integers(1, 20))):
        if data.draw(st.booleans()):
            start = data.draw(st.integers(0, end))
            stop = data.draw(st.integers(start, end + 5))
            keep = data.draw(st.sets(st.sampled_from(range(end, stop)))) if stop > end else set()
            progress.done(0, {A: Span(start, stop)}, [(A, offset) for offset in keep])
            processed |= set(range(start, stop))
            held |= keep
            end = max(end, stop)
        elif held:
            free = data.draw(st.sets(st.sampled_from(sorted(held))))
            progress.release(0, [(A, offset) for offset in free])
            held -= free
        now = progress.committable()[A]
        assert now >= committed
        assert set(range(now)) <= processed - held
        assert now == min(held | {end})
        committed = now
