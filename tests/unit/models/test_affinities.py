"""Laws of the sketch of what a customer is drawn to."""

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.affinities import KINDS, WEIGHTS, Affinities

CAPACITY, HALF_LIFE_DAYS = 4, 10.0

Event = tuple[int, float, float]
EVENTS = st.lists(
    st.tuples(st.integers(0, 9), st.sampled_from([0.0, 0.5, 1.0, 4.0]), st.floats(0.0, 100.0)), min_size=1, max_size=40
)


def _sketch(events: list[Event], capacity: int = CAPACITY) -> Affinities:
    sketch = Affinities(capacity, HALF_LIFE_DAYS)
    for item, weight, at_days in events:
        sketch = sketch.added(item, weight, at_days)
    return sketch


def _truth(events: list[Event], as_of_days: float) -> dict[int, float]:
    """Decayed weights, as somebody with unlimited memory adds them up."""
    weights: dict[int, float] = defaultdict(float)
    for item, weight, at_days in events:
        weights[item] += weight * 0.5 ** ((as_of_days - at_days) / HALF_LIFE_DAYS)
    return weights


@given(EVENTS)
def test_the_sketch_stays_bounded_and_its_weights_are_never_negative(events: list[Event]) -> None:
    """After each event, also a late one or one without weight."""
    for length in range(1, len(events) + 1):
        sketch = _sketch(events[:length])
        assert len(sketch.items) <= CAPACITY
        assert sketch.total >= 0.0
        assert all(0.0 <= drawn.error <= drawn.weight for drawn in sketch.items.values())


@given(EVENTS)
def test_each_weight_exceeds_the_truth_by_at_most_its_error(events: list[Event]) -> None:
    """And no error is above total / capacity."""
    sketch = _sketch(events)
    assert sketch.as_of_days == max(at_days for _, _, at_days in events)
    truth = _truth(events, sketch.as_of_days)
    slack = 1e-9 * max(sketch.total, 1.0)
    assert sketch.total == pytest.approx(sum(truth.values()))
    for item, (weight, error) in sketch.items.items():
        assert truth[item] - slack <= weight <= truth[item] + error + slack  # type: ignore[index]
        assert error <= sketch.total / CAPACITY + slack


@given(EVENTS)
def test_heavy_hitters_are_held(events: list[Event]) -> None:
    """An item with more than total / capacity is never put out for good."""
    sketch = _sketch(events)
    assert sketch.as_of_days is not None
    for item, weight in _truth(events, sketch.as_of_days).items():
        if weight > sketch.total / CAPACITY * (1 + 1e-9):
            assert item in sketch.items


@given(EVENTS, st.lists(st.floats(100.0, 200.0), min_size=1, max_size=5))
def test_many_decays_are_one_decay_in_any_order(events: list[Event], moments: list[float]) -> None:
    """Only the latest moment counts."""
    step_by_step = _sketch(events)
    for moment in moments:
        step_by_step = step_by_step.decayed(moment)
    at_once = _sketch(events).decayed(max(moments))
    assert step_by_step.as_of_days == at_once.as_of_days
    assert step_by_step.total == pytest.approx(at_once.total)
    for item, drawn in at_once.items.items():
        assert step_by_step.items[item] == pytest.approx(drawn)


@given(st.permutations([(item, 1.0 + item, 7.0 * item) for item in range(CAPACITY)] * 2))
def test_while_there_is_room_the_order_of_events_changes_nothing(events: list[Event]) -> None:
    """A late event joins with the weight that is left of it."""
    sketch, truth = _sketch(events), _truth(events, 7.0 * (CAPACITY - 1))
    assert sketch.items.keys() == truth.keys()
    for item, (weight, error) in sketch.items.items():
        assert weight == pytest.approx(truth[item])  # type: ignore[index]
        assert error == 0.0


def test_the_top_is_what_weighs_most_now() -> None:
    """Yesterday's click is above four clicks of a quarter ago; of an unknown brand there is nothing."""
    sketch = _sketch([(1, 4.0, 0.0), (2, 1.0, 89.0)]).decayed(90.0)
    assert sketch.top(10) == [2, 1]
    assert sketch.top(1) == [2]
    assert sketch.weight_of(3) == 0.0


def test_each_kind_of_event_has_a_weight() -> None:
    """And no kind tells less than a click."""
    assert set(WEIGHTS) == set(KINDS)
    assert min(WEIGHTS.values()) == WEIGHTS["click"] > 0


@pytest.mark.parametrize("wrong", [-1.0, float("nan"), float("inf")])
def test_a_weight_that_is_none_is_refused(wrong: float) -> None:
    """With the number."""
    with pytest.raises(ValueError, match=f"{wrong}"):
        Affinities().added("a", wrong, 0.0)
    with pytest.raises(ValueError, match="not 0 and 14"):
        Affinities(capacity=0)
