"""Laws of the moments at which customers are looked at again."""

from hypothesis import given
from hypothesis import strategies as st

from schemas.states import NEVER
from streams.worker.due import SHARDS, SPARE, DueTimes

KEYS = st.sampled_from([f"customer-{number}".encode() for number in range(3 * SHARDS)])
MOMENTS = st.sampled_from([1.0, 2.0, 3.0, 4.0, NEVER])
PUTS = st.tuples(st.just("put"), KEYS, MOMENTS)
DROPS = st.tuples(st.just("drop"), KEYS, st.none())
POPS = st.tuples(st.just("pop"), st.integers(1, 9), st.floats(0.5, 5.0))


@given(st.lists(PUTS | DROPS | POPS, max_size=80))
def test_keys_come_in_the_order_of_their_moments_whatever_their_shard(doings: list[tuple[str, object, object]]) -> None:
    """As from one sorted table: earliest first, then by key; only the moment put last counts."""
    due, table = DueTimes(), dict[bytes, float]()
    for what, subject, moment in doings:
        match what, subject, moment:
            case "put", bytes(key), float(at):
                due.put(key, at)
                table[key] = at
            case "drop", bytes(key), _:
                due.drop(key)
                table.pop(key, None)
            case "pop", int(most), float(until):
                expected = sorted((at, key) for key, at in table.items() if at < until)[:most]
                assert due.pop(until, most) == [key for _, key in expected]
                table |= {key: NEVER for _, key in expected}
    assert set(due) == set(table)
    assert len(due) == len(table)


def test_moments_that_were_put_off_do_not_pile_up() -> None:
    """A customer who is put off with every event has one moment, and few entries are kept of the others."""
    due = DueTimes()
    for moment in range(10 * SPARE):
        due.put(b"a", float(moment))
    assert max(map(len, due._queues)) <= SPARE + 2
    assert due.pop(1e9, 10) == [b"a"]
    assert due.pop(1e9, 10) == []
