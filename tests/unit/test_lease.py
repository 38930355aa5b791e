"""Laws of the lease: whether a worker may still write."""

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
