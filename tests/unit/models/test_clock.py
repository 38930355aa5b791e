"""Laws of partition time: it never runs ahead of the backlog and never goes back."""

from hypothesis import given
from hypothesis import strategies as st

from models.clock import UNKNOWN, PartitionClock
from models.state import CLICK, PURCHASE, REVIEW

TOPICS = (CLICK, PURCHASE, REVIEW)


def test_time_is_the_lowest_of_the_topics() -> None:
    """The topic that lags furthest behind says how far time has surely come."""
    clock = PartitionClock("event", 0.0)
    for topic, at in zip(TOPICS, (300.0, 100.0, 200.0), strict=True):
        clock.heard(topic, at)
    assert clock.now() == 100.0


def test_a_topic_that_was_not_looked_at_holds_time_back() -> None:
    """Nothing is known of it: it may have a backlog."""
    clock = PartitionClock("event", 0.0)
    clock.heard(PURCHASE, 100.0)
    assert clock.now() == UNKNOWN


def test_an_empty_topic_holds_nothing_back() -> None:
    """A shop without reviews still has a time."""
    clock = PartitionClock("event", 0.0)
    clock.heard(PURCHASE, 100.0)
    clock.idle(CLICK, 5000.0)
    clock.idle(REVIEW, 5000.0)
    assert clock.now() == 100.0


def test_a_quiet_topic_that_once_spoke_holds_time_back_in_event_mode() -> None:
    """Only its events or clock records can say that its time has come further."""
    clock = PartitionClock("event", 0.0)
    for topic in TOPICS:
        clock.heard(topic, 50.0)
        clock.idle(topic, 9000.0)
    clock.heard(PURCHASE, 100.0)
    assert clock.now() == 50.0


def test_wall_time_counts_only_when_every_topic_is_caught_up() -> None:
    """Caught up in wall mode, silence is measured by the wall clock less the grace; with a backlog it isn't."""
    clock = PartitionClock("wall", 5.0)
    for topic in TOPICS:
        clock.heard(topic, 50.0)
    clock.idle(CLICK, 1000.0)
    clock.idle(PURCHASE, 1002.0)
    assert clock.now() == 50.0
    clock.idle(REVIEW, 1001.0)
    assert clock.now() == 995.0


def test_time_waits_for_texts_that_are_being_read() -> None:
    """A record that is held back hasn't been heard yet."""
    clock = PartitionClock("event", 0.0)
    for topic in TOPICS:
        clock.heard(topic, 500.0)
    clock.hold(CLICK, 180.0)
    clock.hold(REVIEW, 120.0)
    assert clock.now() == 120.0
    clock.serve(REVIEW, 120.0)
    assert clock.now() == 180.0
    clock.serve(CLICK, 180.0)
    assert clock.now() == 500.0


@given(
    st.sampled_from(["wall", "event"]),
    st.lists(
        st.tuples(
            st.sampled_from(TOPICS), st.sampled_from(["heard", "idle", "busy"]), st.floats(0, 1e6, allow_nan=False)
        )
    ),
)
def test_time_never_goes_back(mode: str, moves: list[tuple[int, str, float]]) -> None:
    """Whatever is heard and in whatever order."""
    clock = PartitionClock(mode, 1.0)  # type: ignore[arg-type]
    before = clock.now()
    for topic, kind, at in moves:
        if kind == "heard":
            clock.heard(topic, at)
        elif kind == "idle":
            clock.idle(topic, at)
        else:
            clock.busy(topic)
        now = clock.now()
        assert now >= before
        before = now


@given(st.lists(st.tuples(st.sampled_from(TOPICS), st.integers(0, 20), st.sampled_from(["heard", "hold", "serve"]))))
def test_a_restart_goes_on_at_the_same_time(moves: list[tuple[int, int, str]]) -> None:
    """What is kept says neither more than what was heard and isn't held back, nor less than what was judged."""
    clock, restarted = PartitionClock("event", 0.0), PartitionClock("event", 0.0)
    held: list[tuple[int, float]] = []
    for topic, at, kind in moves:
        if kind == "hold":
            held.append((topic, float(at)))
            clock.hold(*held[-1])
        elif kind == "serve" and held:
            clock.serve(*held.pop(at % len(held)))
        else:
            clock.heard(topic, float(at))
        clock.now()
    for topic in TOPICS:
        if (kept := clock.kept(topic)) is not None:
            restarted.heard(topic, kept)
    assert restarted.now() == clock.now()


@given(st.lists(st.tuples(st.sampled_from(TOPICS), st.floats(0, 1e6, allow_nan=False)), min_size=1))
def test_event_time_never_passes_the_slowest_topic(heard: list[tuple[int, float]]) -> None:
    """In event mode it is exactly the minimum over topics of the maximum heard."""
    clock = PartitionClock("event", 1.0)
    for topic, at in heard:
        clock.heard(topic, at)
    times = [max((at for t, at in heard if t == topic), default=None) for topic in TOPICS]
    known = [at for at in times if at is not None]
    assert clock.now() == (min(known) if len(known) == len(TOPICS) else UNKNOWN)
