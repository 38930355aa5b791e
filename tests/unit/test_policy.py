"""Laws of policies: what a document may say, and where a number puts a customer."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.policy import PolicyError, Rules, Ruling, load, parse
from schemas.states import Held
from schemas.times import DAY_S

DEFAULT = Path("models/policies/default.yaml")
VALUE = next(ruling for ruling in Rules(load()).rulings if ruling.name == "value")
LIFECYCLE = next(ruling for ruling in Rules(load()).rulings if ruling.name == "lifecycle")


def test_the_default_policy_is_the_contracts() -> None:
    """Bounds, margin and dwell of the shipped policy are what the CRM was told."""
    assert LIFECYCLE.segments == ("prospect", "active", "at_risk", "lapsed")
    assert [round(bound, 6) for bound in LIFECYCLE.bounds[1:]] == [0, 30, 90]
    assert VALUE.segments == ("low", "mid", "high")
    assert VALUE.bounds[1:] == (50.0, 250.0)
    assert VALUE.lowered[1:] == (45.0, 225.0)
    assert Rules(load()).crossing_s == (30 * DAY_S, 90 * DAY_S)


@pytest.mark.parametrize(
    ("number", "held", "expected"),
    [
        (49.99, "low", "low"),
        (50.0, "low", "mid"),
        (250.0, "low", "high"),
        (45.0, "mid", "mid"),
        (44.99, "mid", "low"),
        (225.0, "high", "high"),
        (224.99, "high", "mid"),
        (44.0, "high", "low"),
        (46.0, "high", "mid"),
        (10.0, "of an older policy", "low"),
    ],
)
def test_a_bound_is_left_only_below_its_margin(number: float, held: str, expected: str) -> None:
    """Upwards a bound counts as it stands, downwards less the exit margin."""
    assert VALUE.place(number, Held(held, 0.0), at=10 * DAY_S) == expected


@given(st.floats(0, 1e6), st.sampled_from(["low", "mid", "high"]), st.floats(0, DAY_S - 1))
def test_a_segment_is_held_through_its_dwell(number: float, held: str, after: float) -> None:
    """Within a day of the last change, no number moves a customer."""
    assert VALUE.place(number, Held(held, 1e9), at=1e9 + after) == held


@given(st.floats(0, 1e6), st.sampled_from(["low", "mid", "high"]))
def test_placing_twice_is_placing_once(number: float, held: str) -> None:
    """A customer who was just moved stays: the new segment accepts the number that led to it."""
    once = VALUE.place(number, Held(held, 0.0), at=2 * DAY_S)
    assert VALUE.place(number, Held(once, 0.0), at=2 * DAY_S) == once


@given(st.floats(0, 1000), st.floats(0, 1000), st.sampled_from(["prospect", "active", "at_risk", "lapsed"]))
def test_a_higher_number_never_means_a_lower_segment(one: float, other: float, held: str) -> None:
    """Placing is monotone in the number, whatever is held."""
    low, high = sorted((one, other))
    places = [LIFECYCLE.index(LIFECYCLE.place(number, Held(held, 0.0), at=0.0)) for number in (low, high)]
    assert places[0] <= places[1]


@given(st.floats(0, 2e9), st.sampled_from(Rules(load()).crossing_s))
def test_the_moment_computed_for_a_bound_is_the_moment_it_is_crossed(bought_at: float, crossing: float) -> None:
    """Rounding of float64 seconds can't make a due moment miss its own bound."""
    at = bought_at + crossing
    bound = crossing / DAY_S
    segment = LIFECYCLE.place((at - bought_at) / DAY_S, Held("active", bought_at), at)
    assert segment == {30: "at_risk", 90: "lapsed"}[round(bound)]
    early = LIFECYCLE.place((at - 0.1 - bought_at) / DAY_S, Held("active", bought_at), at)
    assert segment != early or round(bound) == 90


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("over: days_since_purchase", "over: moon_phase"), "dimensions[0].over: 'moon_phase' is none of"),
        (("from: 30}", "from: 95}"), "must rise from segment to segment"),
        (("{name: at_risk, from: 30}", "{name: at_risk}"), "`from` is missing"),
        (("{name: low}", "{name: low, from: 1}"), "the first segment takes what is left"),
        (("{name: mid,", "{name: low,"), "a name stands twice"),
        (("exit_margin: 0.10", "exit_margin: 1.5"), "exit_margin"),
        (("dwell_days: 1", "dwel_days: 1"), "unknown field `dwel_days`"),
        (("currency: GBP", "currency: pounds"), "currency"),
        (("dimensions:", "dimensions: ["), "not YAML"),
        (("name: value", "name: lifecycle"), "$.dimensions: a name stands twice"),
    ],
)
def test_a_mistake_is_named_with_its_place(change: tuple[str, str], says: str) -> None:
    """Whoever edits a policy is told what is wrong and where."""
    document = DEFAULT.read_text()
    assert change[0] in document
    with pytest.raises(PolicyError) as refused:
        parse(document.replace(*change))
    assert says in str(refused.value)


def test_a_policy_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The error begins with the path."""
    with pytest.raises(PolicyError, match="nowhere.yaml"):
        load(tmp_path / "nowhere.yaml")


def test_who_never_bought_is_in_the_first_segment() -> None:
    """No number means the segment without a bound."""
    assert LIFECYCLE.place(None, None, 0.0) == "prospect"


def test_rulings_know_their_segments_by_order() -> None:
    """An unknown segment has no place; known ones count from 0."""
    assert isinstance(VALUE, Ruling)
    assert [VALUE.index(name) for name in ("low", "mid", "high", "gone")] == [0, 1, 2, -1]
