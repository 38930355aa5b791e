"""Laws of the decision: what is never done, what is recorded, and that chance is what it says it is."""

from datetime import UTC, datetime

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from models.decisions.campaign import Campaign, parse
from models.decisions.decide import Cell, Decider, Recipient, Values
from models.decisions.draw import drawn, fraction, seed_of
from schemas.actions import Action, decode_action, encode_action
from schemas.changes import SilenceCause
from schemas.times import DAY_S

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC).timestamp()
CAUSE = SilenceCause("2024-05-01T12:00:00Z")
DOCUMENT = """campaign: win-back
version: "3"
when: {dimension: lifecycle, to: at_risk}
arms:
  - {name: coupon-10, channel: email, cost: 3.00}
  - {name: call, channel: phone, cost: 6.00}
reward: {target: spend, days: 14}
choose: {by: bandit, floor: 0.05}
limits: {per_customer: {actions: 1, days: 14}, budget: {amount: 5000.00, days: 30}, quiet_hours: "21:00-08:00"}
consent: email
"""
CAMPAIGN = parse(DOCUMENT)
WILLING = {"email": True}
RICH = 1_000_000


def decide(
    recipient: Recipient,
    at: float = NOON,
    lease: int | None = RICH,
    campaign: Campaign = CAMPAIGN,
    values: Values | None = None,
    held_out_everywhere: float = 0.0,
) -> Action:
    """One decision."""
    return Decider(campaign, held_out_everywhere).decide(Cell(recipient, at, CAUSE), lease_minor=lease, values=values)


recipients = st.builds(
    Recipient,
    st.text(min_size=1, max_size=8),
    st.integers(0, 5),
    st.lists(st.floats(NOON - 20 * DAY_S, NOON + DAY_S), max_size=3).map(tuple),
    st.dictionaries(st.sampled_from(["email", "sms", "profiling"]), st.booleans()),
    st.sampled_from([None, "Europe/London", "America/Sao_Paulo", "Asia/Kolkata"]),
)


@given(recipients, st.floats(NOON - DAY_S, NOON + DAY_S), st.integers(0, 700), st.sampled_from([0.0, 0.5]))
def test_nothing_is_done_against_a_limit(who: Recipient, at: float, lease: int, held_out: float) -> None:
    """Whatever the draw: no contact without consent, over the cap, in quiet hours, over the lease, or of a holdout."""
    campaign = msgspec.structs.replace(CAMPAIGN, holdout=held_out)
    action = decide(who, at, lease, campaign)

    assert set(action.eligible) | set(action.suppressed) == set(campaign.arm_names)
    assert not set(action.eligible) & set(action.suppressed)
    assert action.eligible[0] == "none"
    assert sum(action.propensities.values()) == pytest.approx(1.0, abs=1e-12)
    assert tuple(action.propensities) == action.eligible
    if action.arm != "none":
        assert not action.holdout
        assert who.consent.get("email")
        assert who.consent.get("profiling", True)
        assert not any(contact > at - 14 * DAY_S for contact in who.contacts)
        assert action.cost * 100 <= lease


@given(recipients, st.floats(NOON - DAY_S, NOON + DAY_S))
def test_the_same_input_gives_the_same_bytes(who: Recipient, at: float) -> None:
    """A decision that is made again after a crash is the one that was made, and its bytes are read back."""
    values = Values(np.random.default_rng(1).normal(size=(64, 3)), "m-1")
    action = decide(who, at, values=values)
    assert encode_action(action) == encode_action(decide(who, at, values=values))
    assert decode_action(encode_action(action)) == action


@given(recipients)
def test_a_reader_can_repeat_the_draw(who: Recipient) -> None:
    """Seed, eligible arms and propensities of a record lead to its arm."""
    action = decide(who, values=Values(np.random.default_rng(2).normal(size=(64, 3)), "m-1"))
    chances = np.array(list(action.propensities.values()))
    assert action.eligible[drawn(chances, fraction(action.seed))] == action.arm


@pytest.mark.parametrize(
    ("who", "at", "lease", "why"),
    [
        (Recipient("c", consent=WILLING), NOON, RICH, {}),
        (Recipient("c"), NOON, RICH, {"coupon-10": "consent", "call": "consent"}),
        (
            Recipient("c", consent={"email": True, "profiling": False}),
            NOON,
            RICH,
            {"coupon-10": "consent", "call": "consent"},
        ),
        (Recipient("c", 1, (NOON - 13 * DAY_S,), WILLING), NOON, RICH, {"coupon-10": "cap", "call": "cap"}),
        (Recipient("c", 1, (NOON - 14 * DAY_S,), WILLING), NOON, RICH, {}),
        (Recipient("c", consent=WILLING), NOON, 300, {"call": "budget"}),
        (Recipient("c", consent=WILLING), NOON, 299, {"coupon-10": "budget", "call": "budget"}),
        (Recipient("c", consent=WILLING), NOON, None, {"coupon-10": "budget", "call": "budget"}),
        (Recipient("c", consent=WILLING), NOON + 9 * 3600 - 1, RICH, {}),
        (Recipient("c", consent=WILLING), NOON + 9 * 3600, RICH, {"coupon-10": "quiet_hours", "call": "quiet_hours"}),
        (
            Recipient("c", consent=WILLING, time_zone="Asia/Tokyo"),
            NOON,
            RICH,
            {"coupon-10": "quiet_hours", "call": "quiet_hours"},
        ),
        (Recipient("c", consent=WILLING), NOON - 4 * 3600, RICH, {}),
    ],
)
def test_the_reason_is_recorded(who: Recipient, at: float, lease: int | None, why: dict[str, str]) -> None:
    """Each limit at its edge: the last second of quiet, the cap's last day, the last penny."""
    assert decide(who, at, lease).suppressed == why


def test_a_holdout_is_sticky_and_of_its_size() -> None:
    """The same customers whatever the version; a larger holdout keeps the smaller; campaigns hold out independently."""
    names = [f"customer-{i}" for i in range(20_000)]

    def held(campaign: Campaign) -> set[str]:
        decider = Decider(campaign)
        return {name for name in names if decider.in_holdout(name)}

    tenth = held(msgspec.structs.replace(CAMPAIGN, holdout=0.1))
    assert len(tenth) == pytest.approx(2000, abs=4 * 42)
    assert tenth == held(msgspec.structs.replace(CAMPAIGN, holdout=0.1, version="4"))
    assert tenth < held(msgspec.structs.replace(CAMPAIGN, holdout=0.2))
    other = held(msgspec.structs.replace(CAMPAIGN, holdout=0.1, name="other"))
    assert len(tenth & other) == pytest.approx(200, abs=60)
    assert {name for name in names if Decider(CAMPAIGN, 0.1).in_holdout(name)} != tenth


def test_who_is_held_out_is_recorded_with_none() -> None:
    """The holdout is the yardstick: its decisions are recorded like everybody's."""
    action = decide(Recipient("c", consent=WILLING), held_out_everywhere=0.999999)
    assert (action.holdout, action.arm, action.propensities) == (True, "none", {"none": 1.0})
    assert set(action.suppressed.values()) == {"holdout"}


@pytest.mark.parametrize("seed", range(20))
def test_arms_are_drawn_as_often_as_their_probabilities_say(seed: int) -> None:
    """20 campaigns: a chi-square test over 5,000 customers each finds nothing."""
    campaign = msgspec.structs.replace(CAMPAIGN, name=f"campaign-{seed}")
    values = Values(np.random.default_rng(seed).normal(size=(100, 3)), "m-1")
    actions = [decide(Recipient(f"c-{i}", consent=WILLING), campaign=campaign, values=values) for i in range(5000)]
    chances = actions[0].propensities
    assert min(chances.values()) >= 0.05
    counts = [sum(action.arm == arm for action in actions) for arm in chances]
    assert chisquare(counts, [5000 * chance for chance in chances.values()]).pvalue > 0.05 / 20 / 10


def test_a_better_arm_is_drawn_more_often_and_the_worst_at_the_floor() -> None:
    """Thompson sampling written out: the share of samples in which an arm wins, above the floor."""
    samples = np.array([[0.0, 1.0, -1.0]] * 75 + [[0.0, -1.0, -1.0]] * 25)
    action = decide(Recipient("c", consent=WILLING), values=Values(samples, "m-7"))
    expected = {"none": 0.05 + 0.85 * 0.25, "coupon-10": 0.05 + 0.85 * 0.75, "call": 0.05}
    assert action.propensities == pytest.approx(expected)
    assert action.model == "m-7"


def test_fixed_shares_are_kept_in_proportion_among_who_is_eligible() -> None:
    """An A/B test: what is suppressed leaves its share to the others; without any other nothing is done."""
    fixed = parse(
        DOCUMENT.replace("{by: bandit, floor: 0.05}", "{by: fixed, shares: {none: 0.2, coupon-10: 0.2, call: 0.6}}")
    )
    assert decide(Recipient("c", consent=WILLING), campaign=fixed).propensities == {
        "none": 0.2,
        "coupon-10": 0.2,
        "call": 0.6,
    }
    assert decide(Recipient("c", consent=WILLING), campaign=fixed, lease=300).propensities == {
        "none": 0.5,
        "coupon-10": 0.5,
    }
    only = parse(DOCUMENT.replace("{by: bandit, floor: 0.05}", "{by: fixed, shares: {call: 1.0}}"))
    assert decide(Recipient("c", consent=WILLING), campaign=only, lease=300).propensities == {
        "none": 1.0,
        "coupon-10": 0.0,
    }


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=6).filter(lambda p: sum(p) > 0.01), st.floats(0, 1, exclude_max=True)
)
def test_an_arm_of_probability_zero_is_never_drawn(parts: list[float], at: float) -> None:
    """Not at either end, not by rounding."""
    chances = np.array(parts) / sum(parts)
    assert chances[drawn(chances, at)] > 0


@given(st.lists(st.text(max_size=3), max_size=4), st.lists(st.text(max_size=3), max_size=4))
def test_different_parts_have_different_seeds(one: list[str], other: list[str]) -> None:
    """A customer whose id ends as the next part begins shares no draw with another."""
    assert (seed_of(*one) == seed_of(*other)) == (one == other)
