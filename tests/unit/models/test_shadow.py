"""Laws of the shadow: it places as the step would under its policy, and its counts are those of its customers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from histories import START_S, histories, purchase
from models.policy import Policy, Rules, load, parse, read
from models.scores import PriorScorer
from models.shadow import Shadow
from models.state import Erasure
from models.step import Customer, Heard, Outcome, Terms, step
from policies import featured, zoned
from schemas.states import NEVER, CustomerState
from schemas.times import DAY_S
from streams.policy.comparison import NoComparison, added, as_text

OTHER = Rules(parse(read().replace('version: "1"', 'version: "2"').replace("at_risk, from: 30", "at_risk, from: 20")))


class Follower:
    """One customer under one policy, moment by moment; `shadow` looks on."""

    def __init__(self, rules: Rules, shadow: Shadow | None = None) -> None:
        self.rules, self.shadow = rules, shadow
        self.state: CustomerState | None = None
        self.due = NEVER

    def take(self, heard: list[Heard], until: float) -> None:
        """Silence until then, one moment at a time, then what was heard."""
        while self.due < until:
            self._step([], min(until, self.due + 0.5))
        if heard:
            self._step(heard, -NEVER)

    def _step(self, heard: list[Heard], horizon: float) -> None:
        outcome: Outcome = step(Customer("c", self.state, self.due, heard), Terms(self.rules, PriorScorer(), horizon))
        if outcome.state is not None:
            self.state, self.due = outcome.state, outcome.due
        if self.shadow is not None:
            self.shadow.see(0, [outcome])


@pytest.mark.parametrize("policy", [load(), featured(), zoned()], ids=["default", "featured", "zoned"])
@given(events=histories(), days=st.lists(st.floats(0, 400), max_size=4))
def test_a_policy_beside_itself_differs_in_nobody(policy: Policy, events: list[Heard], days: list[float]) -> None:
    """Margins, dwells and features included: the same policy on the same looks places alike."""
    rules, shadow = Rules(policy), Shadow(Rules(policy))
    follower = Follower(rules, shadow)
    for heard in events:
        follower.take([heard], heard.at)
    for day in sorted(days):
        follower.take([], events[-1].at + day * DAY_S)
    comparison = shadow.comparison()
    assert (comparison.customers, comparison.elsewhere) == (1, 0)
    assert follower.state is not None
    assert {(name, current) for name, current, _ in comparison.pairs} == {
        (name, held.segment) for name, held in follower.state.segments.items()
    }


@given(histories(), st.lists(st.floats(0, 400), max_size=4))
def test_days_since_a_purchase_are_judged_in_silence_too(events: list[Heard], days: list[float]) -> None:
    """At every time, whatever was looked at: the lifecycle is the one that the shadow's policy would have served."""
    shadow = Shadow(OTHER)
    live, other = Follower(Rules(load()), shadow), Follower(OTHER)
    for heard in events:
        for follower in (live, other):
            follower.take([heard], heard.at)
    for day in sorted(days):
        now = events[-1].at + day * DAY_S
        for follower in (live, other):
            follower.take([], now)
        shadow.reach(0, now)
        assert other.state is not None
        placed = {name: own for name, _, own in shadow.comparison().pairs}
        assert placed["lifecycle"] == other.state.segments["lifecycle"].segment


def test_counts_follow_customers_as_they_move() -> None:
    """Each customer is counted once a dimension, where they are now; what came later replaces what was."""
    shadow = Shadow(OTHER)
    terms = Terms(Rules(load()), PriorScorer(), -NEVER)
    shadow.see(0, [step(Customer(f"c{n}", None, NEVER, [purchase(0, START_S + n * DAY_S)]), terms) for n in range(5)])
    shadow.see(1, [step(Customer("d", None, NEVER, [purchase(0, START_S)]), terms)])
    assert shadow.comparison().elsewhere == 0
    shadow.reach(0, START_S + 22.5 * DAY_S)
    comparison = shadow.comparison()
    assert (comparison.policy, comparison.customers, comparison.elsewhere) == ("default-2", 6, 3)
    assert comparison.pairs["lifecycle", "active", "at_risk"] == 3
    assert comparison.pairs["lifecycle", "active", "active"] == 3
    shadow.see(0, [step(Customer("c0", None, NEVER, [], Erasure(START_S)), terms)])
    comparison = shadow.comparison()
    assert (comparison.customers, comparison.elsewhere, comparison.pairs["lifecycle", "active", "at_risk"]) == (5, 2, 2)
    shadow.reach(0, START_S + 400 * DAY_S)
    assert shadow.comparison().customers == 5
    shadow.forget(0)
    assert (shadow.comparison().customers, shadow.comparison().elsewhere) == (1, 0)


def page(policy: str | None, customers: int) -> dict[str, object]:
    """What a worker says."""
    pairs = [{"dimension": "lifecycle", "current": "active", "shadow": "at_risk", "customers": customers}]
    return {"policy": policy, "served": "default-1", "customers": 10, "elsewhere": customers, "pairs": pairs}


def test_workers_are_added_up() -> None:
    """Each has its partitions' customers."""
    comparison = added({"a": page("p-2", 3), "b": page("p-2", 4)})
    assert (comparison.customers, comparison.elsewhere, comparison.pairs.total()) == (20, 7, 7)
    assert "7 would stand elsewhere (35.0%)" in as_text(comparison)
    assert "lifecycle: at_risk instead of active" in as_text(comparison)


@pytest.mark.parametrize("other", [page(None, 0), page("p-3", 1)])
def test_workers_that_compare_other_things_are_not_added_up(other: dict[str, object]) -> None:
    """One without a shadow, or with a newer one, would make a sum of nothing."""
    with pytest.raises(NoComparison):
        added({"a": page("p-2", 3), "b": other})
