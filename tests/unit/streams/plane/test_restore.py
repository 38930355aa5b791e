"""Laws of the restore's decisions: what is read again, what is sent again, and which store is void."""

import pytest

from streams.plane.errors import ChangelogTruncated
from streams.plane.records import Output, encode_outbox
from streams.plane.restore import STALE_AFTER_S, Unconfirmed, plan
from streams.plane.store import Saved

NOW = 1_000_000_000.0


def test_without_a_local_store_everything_is_read() -> None:
    """From the changelog's beginning, with nothing taken for sent."""
    assert plan(None, 0, 50, NOW)[:2] == (0, -1)


def test_a_complete_store_reads_nothing() -> None:
    """The usual restart: the store is where the changelog ends."""
    assert plan(Saved(49, 49, NOW), 0, 50, NOW) == (50, 49, None)


def test_a_store_behind_reads_the_rest() -> None:
    """Only what came after the store's last chunk."""
    assert plan(Saved(29, 29, NOW), 0, 50, NOW) == (30, 29, None)


def test_states_ahead_of_the_confirmed_offset_are_read_again() -> None:
    """A killed restore has states whose outputs were never sent: their outboxes are only in the changelog."""
    assert plan(Saved(40, 12, NOW), 0, 50, NOW) == (13, 12, None)
    assert plan(Saved(40, -1, NOW), 5, 50, NOW) == (5, -1, None)


def test_a_store_ahead_of_the_changelog_is_void() -> None:
    """The changelog is what everybody else reads: it decides."""
    start, confirmed, void = plan(Saved(50, 50, NOW), 0, 50, NOW)
    assert (start, confirmed) == (0, -1)
    assert void == "at offset 50 it is ahead of the changelog, which ends at 50"


def test_deleted_records_that_the_store_has_not_seen_stop_the_worker() -> None:
    """Neither reading on nor starting over gives right states."""
    with pytest.raises(ChangelogTruncated, match="records 30 to 34 were deleted"):
        plan(Saved(29, 29, NOW), 35, 50, NOW)
    assert plan(Saved(34, 34, NOW), 35, 50, NOW).start == 35


def test_a_store_older_than_a_tombstones_life_is_void() -> None:
    """A deletion may have been forgotten by Kafka meanwhile; the old store would bring the key back."""
    old = NOW - STALE_AFTER_S - 3600
    assert plan(Saved(29, 29, old), 0, 50, NOW).void is not None
    assert plan(Saved(49, 49, old), 0, 50, NOW).void is None, "nothing came since"


def output(name: bytes) -> Output:
    """An output that can be told from others."""
    return Output("changes", name, name, [])


def test_outputs_beyond_the_confirmed_offset_are_sent_again_in_order() -> None:
    """Whatever a marker confirmed before or after is left out."""
    tail = Unconfirmed(10)
    for offset in (9, 10, 11, 12, 13):
        tail.add(offset, encode_outbox([output(b"%d" % offset)]))
    assert [sent.key for sent in tail.outputs()] == [b"11", b"12", b"13"]
    tail.confirm(12)
    assert [sent.key for sent in tail.outputs()] == [b"13"]
    tail.confirm(5)
    assert tail.confirmed == 12, "a late marker of a former owner takes nothing back"
