"""Laws of a partition's share of a budget."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.decisions.campaign import Campaign, parse
from models.decisions.ledger import Ledger, amount_minor, share_minor
from schemas.times import DAY_S

WINDOW_S = 30 * DAY_S


def campaign(amount: float = 10.0, days: float = 30, name: str = "win-back") -> Campaign:
    """A campaign with a budget."""
    return parse(
        f"campaign: {name}\nversion: '1'\nwhen: {{dimension: lifecycle, to: at_risk}}\n"
        "arms: [{name: coupon, cost: 1.00}]\nreward: {target: spend, days: 14}\nchoose: {by: bandit, floor: 0.05}\n"
        f"limits: {{budget: {{amount: {amount}, days: {days}}}}}\n"
    )


@given(st.integers(0, 10**9), st.integers(1, 64))
def test_the_shares_sum_to_the_budget(amount: int, partitions: int) -> None:
    """Nothing is lost to rounding, and nothing is handed out twice."""
    shares = [share_minor(amount, partition, partitions) for partition in range(partitions)]
    assert sum(shares) == amount
    assert max(shares) - min(shares) <= 1


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 4 * WINDOW_S), st.integers(0, 400)), max_size=60))
def test_all_partitions_together_never_spend_more_than_the_budget(tries: list[tuple[int, float, int]]) -> None:
    """In no window, in whatever order decisions come; a closed window stays closed."""
    served = campaign()
    ledgers = [Ledger(partition, 4) for partition in range(4)]
    spent: dict[int, int] = {}
    for partition, at, minor in tries:
        if minor <= (ledgers[partition].left_minor(served, at) or 0):
            ledgers[partition] = ledgers[partition].after(served, at, minor)
            spent[int(at // WINDOW_S)] = spent.get(int(at // WINDOW_S), 0) + minor
    assert all(total <= 1000 for total in spent.values())


def test_a_share_that_is_used_up_refuses_more() -> None:
    """A decision that overspends is a defect, and says so."""
    served = campaign()
    ledger = Ledger(0, 4).after(served, 0.0, 250)
    assert ledger.left_minor(served, 0.0) == 0
    with pytest.raises(ValueError, match="has 0 left"):
        ledger.after(served, 0.0, 1)
    assert ledger.left_minor(served, WINDOW_S) == 250


def test_another_length_of_windows_frees_no_money_at_once() -> None:
    """What was spent in a window that overlaps the new one counts again; after it ended it does not."""
    ledger = Ledger().after(campaign(), 0.0, 900)
    assert ledger.left_minor(campaign(days=7), 8 * DAY_S) == 100
    assert ledger.left_minor(campaign(days=7), 36 * DAY_S) == 1000


def test_campaigns_share_no_money() -> None:
    """Each has a row of its own; one without a budget has none."""
    ledger = Ledger().after(campaign(), 0.0, 900).after(campaign(name="other"), 0.0, 10)
    assert [(each.campaign, each.minor) for each in ledger.spends] == [("win-back", 900), ("other", 10)]
    free = parse(
        "campaign: free\nversion: '1'\nwhen: {dimension: lifecycle, to: at_risk}\narms: [{name: coupon, cost: 1.00}]\n"
        "reward: {target: spend, days: 14}\nchoose: {by: bandit, floor: 0.05}\n"
    )
    assert amount_minor(free) is None
    assert ledger.after(free, 0.0, 50) is ledger
