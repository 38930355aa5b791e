"""Laws of outboxes in the changelog: each output comes back once, in order, and no record is too large."""

from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from streams.kafka.changelog import PLANE_PREFIX
from streams.plane.outbox import PART_BYTES, PART_KEY, Unconfirmed, state_records
from streams.plane.records import Output, Put

# A body of this size makes two of three outboxes of a few outputs too large for one record.
BODY = b"x" * (PART_BYTES // 4)


def put(key: bytes, count: int) -> Put:
    """A state that causes `count` large outputs."""
    return Put(key, b"state", [Output("changes", key, b"%d" % n + BODY, []) for n in range(count)])


def read(puts: list[Put], confirmed: int = -1, skipped: int = 0) -> list[Output]:
    """What a restore sends again that reads the records of `puts` from the one with number `skipped` on."""
    tail = Unconfirmed(confirmed)
    for offset, (key, value, headers) in enumerate(state_records(puts)):
        record = SimpleNamespace(offset=offset, key=key, value=value, headers=headers)
        if offset < skipped:
            continue
        if key.startswith(PLANE_PREFIX):
            tail.add_part(record)
        else:
            tail.add(offset, headers)
    return tail.outputs()


@given(st.lists(st.integers(0, 9), max_size=4))
def test_every_output_comes_back_in_order_however_many_a_state_causes(counts: list[int]) -> None:
    """Over parts and states; records stay below what the changelog takes."""
    puts = [put(b"k%d" % n, count) for n, count in enumerate(counts)]

    assert read(puts) == [output for each in puts for output in each.outputs]

    sizes = [sum(len(value) for _, value in headers) for _, _, headers in state_records(puts)]
    assert max(sizes, default=0) < PART_BYTES + 100
    keys = [key for key, _, _ in state_records(puts)]
    assert len(set(keys)) == len(keys), "compaction keeps all parts of a chunk"


def test_a_small_outbox_takes_no_record_of_its_own() -> None:
    """The usual case is as it was."""
    (record,) = state_records([put(b"k", 1)])
    assert record[0] == b"k"


def test_parts_whose_state_was_not_written_are_never_sent() -> None:
    """A worker died between the two: its work is done again, with other bytes."""
    cut = [record for record in state_records([put(b"gone", 9)]) if record[0].startswith(PART_KEY)]
    assert len(cut) > 1
    tail = Unconfirmed(-1)
    for offset, (key, value, headers) in enumerate(cut):
        tail.add_part(SimpleNamespace(offset=offset, key=key, value=value, headers=headers))
    (small,) = state_records([put(b"next", 1)])
    tail.add(len(cut), small[2])
    assert [output.key for output in tail.outputs()] == [b"next"]


def test_the_parts_of_a_confirmed_state_are_left_out() -> None:
    """They are confirmed with it, and do not go to the next one."""
    puts = [put(b"a", 9), put(b"b", 9)]
    last_of_a = [key for key, _, _ in state_records(puts)].index(b"a")
    assert read(puts, confirmed=last_of_a) == puts[1].outputs
