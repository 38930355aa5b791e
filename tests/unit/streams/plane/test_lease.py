"""Laws of the lease: whether a worker may still write."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.plane.lease import Lease


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """The time."""
        return self.now


def test_a_lease_is_not_held_before_the_first_answer() -> None:
    """A worker that was never confirmed writes nothing."""
    assert not Lease(10, 20, Clock()).held


def test_a_lease_lasts_half_a_session_from_when_the_heartbeat_left() -> None:
    """The other half is left for the write to arrive before the broker gives the partition away."""
    clock = Clock()
    lease = Lease(10, 20, clock)
    lease.renew(98.0)
    clock.now = 102.9
    assert lease.held
    clock.now = 103.0
    assert not lease.held
    assert not lease.lost


def test_a_rebalance_in_progress_does_not_keep_a_lease_for_ever() -> None:
    """Answers that ask for a rejoin renew membership, but the broker drops who doesn't rejoin in time."""
    clock = Clock()
    lease = Lease(10, 20, clock)
    lease.renew(100.0)
    for clock.now in (103.0, 106.0, 109.0):
        lease.renew(clock.now, rebalancing=True)
        assert lease.held
    clock.now = 110.0
    lease.renew(110.0, rebalancing=True)
    assert not lease.held


def test_a_lost_membership_ends_the_lease_until_the_next_one() -> None:
    """Once the coordinator said that this worker is out, only a new membership helps."""
    clock = Clock()
    lease = Lease(10, 20, clock)
    lease.renew(100.0)
    lease.lose()
    assert lease.lost
    assert not lease.held
    lease.renew(100.0)
    assert lease.held


def _looking(lease: Lease, clock: Clock, seconds: float) -> None:
    for _ in range(int(seconds)):
        clock.now += 1
        lease.look()


def test_kafkas_silence_ends_patience() -> None:
    """A loop that looks every second hears that nothing comes."""
    clock = Clock()
    lease = Lease(10, 20, clock)
    lease.renew(clock.now)
    _looking(lease, clock, lease.patience_s)
    assert not lease.hopeless

    _looking(lease, clock, 1)

    assert lease.hopeless


@pytest.mark.parametrize("first", ["the watcher", "another"])
def test_time_in_which_the_process_stood_still_is_not_kafkas_silence(first: str) -> None:
    """Stopped for an hour after 30 s of silence, it has the rest of its patience, whoever asks first; and may not write."""
    clock = Clock()
    lease = Lease(10, 20, clock)
    lease.renew(clock.now)
    _looking(lease, clock, 30)

    clock.now += 3600
    assert first == "another" or lease.look() == 3600

    assert lease.silence_s == 30
    assert not lease.hopeless
    assert not lease.held
    lease.look()
    _looking(lease, clock, lease.patience_s - 30)
    assert not lease.hopeless
    _looking(lease, clock, 1)
    assert lease.hopeless


def test_an_answer_from_before_a_standstill_leaves_patience() -> None:
    """It is read when the process wakes, of a heartbeat that left before; it doesn't let anyone write."""
    clock = Clock()
    lease = Lease(10, 20, clock)
    lease.renew(clock.now)
    _looking(lease, clock, 10)
    sent_at = clock.now
    clock.now += 92
    lease.look()

    lease.renew(sent_at)

    assert lease.silence_s == 0
    assert not lease.hopeless
    assert not lease.held


def test_a_loop_that_nobody_watches_stands_for_nothing() -> None:
    """Before the watching began, all time counts."""
    clock = Clock()
    lease = Lease(10, 20, clock)
    lease.renew(clock.now)
    clock.now += lease.patience_s + 1
    assert lease.hopeless


@given(st.lists(st.tuples(st.floats(0.1, 200.0), st.sampled_from(["look", "renew", "rejoin", "lose"]))))
def test_looking_never_lets_anyone_write(steps: list[tuple[float, str]]) -> None:
    """Whether a worker may write is the same with a watcher that looks, whatever stood still, and with none."""
    clock = Clock()
    watched, bare = Lease(10, 20, clock), Lease(10, 20, clock)
    for passed_s, step in steps:
        clock.now += passed_s
        if step == "look":
            watched.look()
        for lease in (watched, bare):
            if step == "renew":
                lease.renew(clock.now)
            elif step == "rejoin":
                lease.renew(clock.now, rebalancing=True)
            elif step == "lose":
                lease.lose()
        assert watched.held == bare.held
        assert watched.lost == bare.lost
        assert watched.silence_s >= 0
