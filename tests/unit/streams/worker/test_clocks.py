"""Laws of the watch on the clock: it says what surely differs, and while it does nothing is judged by the clock."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.clock import PartitionClock
from models.state import CLICK, PURCHASE, REVIEW
from streams.worker import clocks
from streams.worker.clocks import LIMIT_S, ClockWatch, Stamped
from tests.support.scoring_desk import Desk, Record

NOW = 1.7e9
HOUR = 3600.0


@given(st.floats(-1e6, 1e6), st.floats(0, 100), st.floats(0, 100))
def test_a_slow_answer_never_makes_clocks_differ(off: float, before: float, after: float) -> None:
    """What is said to differ is never more than the truth, and never of the other sign."""
    appended = NOW - off
    found = Stamped(NOW - before, appended, NOW + after).difference_s
    assert abs(found) <= abs(off) + 1e-6
    assert found * off >= 0
    assert abs(abs(found) - abs(off)) <= before + after + 1e-6


@pytest.mark.parametrize("off", [-2 * HOUR, -61.0, -59.0, 0.0, 59.0, 61.0, 2 * HOUR])
async def test_a_clock_that_is_off_by_more_than_a_minute_is_not_judged_by(
    off: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it was compared neither; set right, it is used again."""
    monkeypatch.setattr(clocks, "COMPARE_EVERY_S", -1.0)
    truth = [NOW]

    async def stamp() -> float | None:
        return truth[0]

    watch = ClockWatch(stamp, clock=lambda: NOW + off)
    assert not watch.is_right
    await watch.compare()
    assert watch.is_right == (abs(off) <= LIMIT_S)
    assert watch.difference_s == pytest.approx(off)
    truth[0] = NOW + off
    await watch.compare()
    assert watch.is_right


def test_an_event_ahead_does_not_move_a_partition_of_which_nothing_else_was_heard() -> None:
    """59 minutes ahead, in one topic; the others never had a record."""
    clock = PartitionClock("wall", 5.0)
    clock.heard(PURCHASE, NOW + 59 * 60.0)
    for topic in (CLICK, PURCHASE, REVIEW):
        clock.idle(topic, NOW)
    assert clock.now() == NOW - 5.0
    for topic in (CLICK, PURCHASE, REVIEW):
        clock.idle(topic, NOW + 10.0)
    assert clock.now() == NOW + 5.0


def test_a_worker_whose_clock_is_behind_takes_what_the_broker_has_just_stamped() -> None:
    """Two hours ahead of this machine: applied where the broker stamped it, a dead letter where a producer did."""
    at = datetime.now(UTC).timestamp() + 2 * HOUR
    event = {
        "event_id": "1",
        "customer_id": "ada",
        "type": "purchase",
        "order_id": "o",
        "amount_minor": 1,
        "currency": "GBP",
    }
    event["event_time"] = datetime.fromtimestamp(at, UTC).isoformat()
    for kind, letters in ((1, 0), (0, 1)):
        record = Record("purchases", 0, 0, b"ada", json.dumps(event).encode(), (), int(at * 1000), kind)
        assert len(Desk().take(record).dead_letters) == letters
