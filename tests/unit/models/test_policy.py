"""Laws of policies: what a document may say, and where a number puts a customer."""

import math
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.features import COLUMN, NAMES, counted
from models.policy import PolicyError, Rules, Ruling, Segment, load, parse, read
from models.scores import PriorScorer
from policies import featured
from schemas.states import NEVER, Held
from schemas.times import DAY_S
from streams.policy.published import Version

PRIOR = PriorScorer()
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


VALUE_TEXT = DEFAULT.read_text()[DEFAULT.read_text().index("over: expected_spend_90d") :]
FROM_ONCE = "over: {over}\n    segments:\n      - {{name: low}}\n      - {{name: high, from: ~{bound}}}\n"


def over(number: str, bound: str) -> tuple[str, str]:
    """The last dimension of the default policy, cut at one bound over another number."""
    return VALUE_TEXT, FROM_ONCE.format(over=number, bound=bound)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("over: days_since_purchase", "over: ~moon_phase"), "dimensions[0].over: 'moon_phase' is none of"),
        (("lapsed, from: 90}", "lapsed, from: ~25}"), "must rise from segment to segment: 25.0 after 30.0"),
        (("- {name: at_risk, from: 30}", "- ~{name: at_risk}"), "`from` is missing"),
        (("{name: low}", "{name: low, ~from: 1}"), "the first segment takes all lower numbers"),
        (("{name: mid,", "{name: ~low,"), "'low' stands twice"),
        (("exit_margin: 0.10", "exit_margin: ~1.5"), "exit_margin"),
        (("exit_margin: 0.10", "exit_margin: ~a tenth"), "Expected `float`, got `str`"),
        (("dwell_days: 1", "~dwel_days: 1"), "unknown field `dwel_days`"),
        (("currency: GBP", "currency: ~pounds"), "currency"),
        (("currency: GBP", "currency: GBP\ntime_zone: ~Europe/Lundon"), "'Europe/Lundon' is no time zone"),
        (("over: days_since_purchase", "over: ~purchase"), "did you mean purchases?"),
        (("over: days_since_purchase", "over: ~text_3"), "no feature in docs/features.md"),
        (("from: 50.00", "from: ~-1"), "expected_spend_90d is never below 0"),
        (('version: "1"', "version: ~1"), "$.version: Expected `str`, got `int`"),
        (("dimensions:", "dimensions: ]"), "not YAML"),
        (("name: value", "name: ~lifecycle"), "'lifecycle' stands twice"),
        (("from: 250.00", "from: ~.inf"), "inf is not a bound"),
        (("from: 250.00", "~from_quantile: 0.9"), "regulars policy calibrate"),
        (("currency: GBP", "currency: GBP\n~currency: USD"), "'currency' stands twice"),
        (("currency: GBP", "currency: &c GBP\nunit: ~*c"), "an alias"),
        (("  - name: lifecycle", "  - ~dwell_days: 3\n    name: lifecycle"), "has no dwell"),
        (("unit_minor: 100", "unit_minor: ~1"), "a unit of GBP has 100 minor units, not 1: write `unit_minor: 100`"),
        (("currency: GBP\nunit_minor: 100", "currency: JPY\nunit_minor: ~100"), "`unit_minor: 1`"),
        (("currency: GBP\nunit_minor: 100", "currency: ~JPY"), "a unit of JPY has 1 minor units, not 100"),
        (("currency: GBP", "currency: KWD"), "`unit_minor: 1000`"),
        (over("p_purchase_90d", "30"), "p_purchase_90d lies between 0 and 1, so 30 is not a bound; did you mean 0.3?"),
        (over("p_purchase_30d", "1.01"), "p_purchase_30d lies between 0 and 1, so 1.01 is not a bound"),
        (over("coupon_share", "50"), "did you mean 0.5?"),
        (over("refunded_share", "-0.1"), "refunded_share lies between 0 and 1, so -0.1 is not a bound"),
        (over("sentiment", "-20"), "sentiment lies between -1 and 1, so -20 is not a bound; did you mean -0.2?"),
        (over("sentiment", "2000"), "sentiment lies between -1 and 1, so 2000 is not a bound"),
    ],
)
def test_a_mistake_is_named_with_its_place(change: tuple[str, str], says: str) -> None:
    """Whoever edits a policy is told what is wrong, and its line and column (here where ~ stands)."""
    document = DEFAULT.read_text()
    assert change[0] in document
    document = document.replace(change[0], change[1])
    place = document.find("~")
    document = document.replace("~", "")
    with pytest.raises(PolicyError) as refused:
        parse(document)
    assert says in str(refused.value)
    if place >= 0:
        line, column = document[:place].count("\n") + 1, place - document.rfind("\n", 0, place)
        assert refused.value.mark == (line, column)
        assert str(refused.value).startswith(f"line {line}, column {column}: ")


@pytest.mark.parametrize(
    "change",
    [
        over("p_purchase_90d", "1"),
        over("sentiment", "-1"),
        over("purchases", "30"),
        over("monetary", "50"),
        ("currency: GBP\nunit_minor: 100", "currency: JPY\nunit_minor: 1"),
        ("currency: GBP\nunit_minor: 100", "currency: PTS\nunit_minor: 7"),
    ],
)
def test_what_can_be_meant_is_taken(change: tuple[str, str]) -> None:
    """Bounds at the ends, numbers without ends, the right minor units, and points that no bank knows."""
    assert parse(DEFAULT.read_text().replace(change[0], change[1].replace("~", "")))


@pytest.mark.parametrize("change", [over("p_purchase_90d", "30"), ("unit_minor: 100", "unit_minor: 1")])
def test_a_slip_that_was_published_once_is_served_on(change: tuple[str, str]) -> None:
    """A worker that is upgraded moves nobody for it; people are told, when they check or publish."""
    document = DEFAULT.read_text().replace(change[0], change[1].replace("~", ""))

    assert parse(document, published=True).label == "default-1"
    assert Version(0.0, document).policy == parse(document, published=True)
    with pytest.raises(PolicyError):
        parse(document)


def test_a_document_that_is_too_large_is_refused() -> None:
    """Its history must fit into one record of the topic."""
    with pytest.raises(PolicyError, match="at most 32,768"):
        parse("#" * 32_769)


def test_two_policies_that_differ_have_different_tags() -> None:
    """A number that was changed makes another policy, though its name and version were left; comments don't."""
    document = DEFAULT.read_text()
    other = parse(document.replace("from: 250.00", "from: 251.00"))
    assert (parse(document + "# more\n").tag, other.label) == (load().tag, load().label)
    assert other.tag != load().tag


@given(
    st.lists(st.one_of(st.floats(0, 400), st.just(math.nan)), min_size=1, max_size=8),
    st.sampled_from(["low", "mid", "high", "of another policy"]),
)
def test_placing_many_is_placing_each(numbers: list[float], held: str) -> None:
    """The vectorised form says what the plain one says, dwell aside."""
    places = VALUE.places(np.array(numbers), np.array(VALUE.index(held)))
    one_by_one = [VALUE.place(None if math.isnan(n) else n, Held(held, -NEVER), 0.0) for n in numbers]
    assert [VALUE.segments[i] for i in places] == one_by_one


@given(st.floats(0, 1e6), st.sampled_from(["low", "mid", "high"]))
def test_a_segment_is_kept_exactly_between_its_ends(number: float, held: str) -> None:
    """What a counterfactual must reach."""
    low, high = VALUE.kept_between(held)
    assert (VALUE.place(number, Held(held, -NEVER), 0.0) == held) == (low <= number < high)


def test_a_segment_that_the_policy_no_longer_has_is_not_held_by_its_dwell() -> None:
    """Nobody stays in a segment that doesn't exist."""
    assert VALUE.place(60.0, Held("gold", 0.0), 1.0) == "mid"


def test_a_policy_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The error begins with the path."""
    with pytest.raises(PolicyError, match=r"nowhere\.yaml"):
        load(tmp_path / "nowhere.yaml")


def test_who_never_bought_is_in_the_first_segment() -> None:
    """No number means the segment without a bound."""
    assert LIFECYCLE.place(None, None, 0.0) == "prospect"


def test_rulings_know_their_segments_by_order() -> None:
    """An unknown segment has no place; known ones count from 0."""
    assert isinstance(VALUE, Ruling)
    assert [VALUE.index(name) for name in ("low", "mid", "high", "gone")] == [0, 1, 2, -1]


FEATURED = {ruling.name: ruling for ruling in Rules(featured()).rulings}


@given(st.integers(0, 10**9))
def test_a_bound_on_a_count_is_reached_by_that_count(count: int) -> None:
    """Features are kept as logarithms; no rounding on the way there and back makes five purchases fewer than five."""
    dimension = msgspec.structs.replace(
        featured().dimensions[2], segments=(Segment("fewer"), Segment("enough", float(count) + 1.0))
    )
    ruling = Ruling(dimension, ("purchases",))
    for n, expected in ((count, "fewer"), (count + 1, "enough")):
        x = np.zeros((1, len(NAMES)))
        x[0, COLUMN["purchases"]] = np.log1p(n)
        assert ruling.place(float(counted(x, [COLUMN["purchases"]])[0, 0]), None, 0.0) == expected


def test_a_margin_below_zero_lies_below_the_bound() -> None:
    """A bound of -0.2 with a margin of 30 % is left at -0.26, not above itself."""
    assert FEATURED["mood"].lowered[1:] == pytest.approx((-0.26, 0.14))
    assert FEATURED["mood"].place(-0.25, Held("even", 0.0), DAY_S) == "even"
    assert FEATURED["mood"].place(-0.27, Held("even", 0.0), DAY_S) == "sour"


def test_bounds_on_days_of_silence_are_moments_of_their_own() -> None:
    """Whoever is away from 45 days on is so on day 45, not at the next moment of review."""
    assert {45 * DAY_S, 100 * DAY_S} < set(Rules(featured()).review_s)
    assert Rules(load()).features == ()
    assert Rules(load()).numbers(PRIOR) is PRIOR


def test_what_a_policy_says_is_known_by_the_tag_it_had() -> None:
    """States carry the tag of the policy that judged them: one that says what it said before sweeps nobody."""
    assert load().tag == 1746377666


@pytest.mark.parametrize(
    ("good", "bad", "line", "words"),
    [
        ("from: 250.00", "from: 600,00", 23, "write 600.00 instead of 600,00"),
        ("from: 250.00", "from: 1.250,50", 23, "write 1250.50 instead of 1.250,50"),
        ("from: 250.00", "from: £250", 23, "write the number alone: 250"),
        ("from: 250.00", "from: 250 GBP", 23, "write the number alone: 250"),
        ("from: 250.00", "from:250", 23, "a space must follow the colon"),
        ("exit_margin: 0.10", "exit_margin: 10%", 24, "write 0.1"),
        ("exit_margin: 0.10", "exit_margin: 0,10", 24, "write 0.10"),
        ("dwell_days: 1 ", "dwell_days: 1 day ", 25, "write the number alone: 1"),
        ('version: "1"', "version: 2", 4, 'put it in quotes: "2"'),
        ('version: "1"', "version: 2026-03-01", 4, 'put it in quotes: "2026-03-01"'),
        ("name: high", "name: yes", 23, 'put it in quotes: "yes"'),
        ("name: high", "name: 1", 23, 'put it in quotes: "1"'),
        ("currency: GBP", "currency: gbp", 5, "three capital letters"),
        ("currency: GBP", "currency: NO", 5, 'put it in quotes: "NO"'),
    ],
)
def test_a_slip_of_the_pen_is_named_by_its_line_with_a_hint(good: str, bad: str, line: int, words: str) -> None:
    """A marketer who writes a comma, a percent sign or `yes` reads what to write instead."""
    document = read()
    assert good in document

    with pytest.raises(PolicyError) as refused:
        parse(document.replace(good, bad, 1))

    assert f"line {line}," in str(refused.value)
    assert words in str(refused.value)
