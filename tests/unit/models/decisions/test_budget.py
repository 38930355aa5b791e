"""The law of budgets: whatever is late, lost or doubled, no window's budget is exceeded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.decisions.budget import Budget, BudgetLease

PARTITIONS = range(3)
STEPS = st.tuples(
    st.sampled_from(["spend", "report", "grant", "take", "take_old", "give_back", "report_old"]),
    st.integers(0, 2),
    st.integers(1, 60),
)


@given(st.integers(0, 500), st.lists(STEPS, max_size=120))
def test_a_budget_is_never_exceeded(amount: int, steps: list[tuple[str, int, int]]) -> None:
    """Words between coordinator and partitions may come late, twice, or never."""
    book = Budget(7, amount)
    leases = {partition: BudgetLease(7, 0) for partition in PARTITIONS}
    words: list[Budget] = [book]
    reports: list[tuple[int, BudgetLease]] = []
    for step, partition, number in steps:
        if step == "spend" and number <= leases[partition].left(7):
            leases[partition] = leases[partition].spend(number)
        elif step == "give_back":
            leases[partition] = leases[partition].given_back()
            reports.append((partition, leases[partition]))
        elif step == "report":
            reports.append((partition, leases[partition]))
            book = book.heard(*reports[-1])
        elif step == "report_old" and reports:
            book = book.heard(*reports[number % len(reports)])
        elif step == "grant":
            book = book.leased(PARTITIONS)
            words.append(book)
        elif step == "take":
            leases[partition] = leases[partition].taken(book.lease(partition))
        elif step == "take_old":
            leases[partition] = leases[partition].taken(words[number % len(words)].lease(partition))
        assert book.free >= 0
        assert (
            sum(lease.spent for lease in leases.values()) <= sum(lease.granted for lease in leases.values()) <= amount
        )


def test_a_budget_can_be_spent_to_the_last_unit() -> None:
    """What is given back is granted again, so one busy partition may spend everything."""
    book, busy = Budget(0, 1000).leased(PARTITIONS), BudgetLease(0, 0)
    for idle in (1, 2):
        book = book.heard(idle, BudgetLease(0, 0).taken(book.lease(idle)).given_back())
    for _ in range(200):
        busy = busy.taken(book.lease(0))
        busy = busy.spend(busy.left(0))
        book = book.heard(0, busy).leased(range(1))
    assert busy.spent == 1000


def test_a_lease_ends_with_its_window() -> None:
    """A partition that hears nothing new spends nothing in the next window, and begins anew with its word."""
    lease = BudgetLease(3, 100, 40)
    assert (lease.left(3), lease.left(4)) == (60, 0)
    assert lease.taken(BudgetLease(4, 70)).left(4) == 70
    assert lease.taken(BudgetLease(2, 900)) == lease
    with pytest.raises(ValueError, match="60 left"):
        lease.spend(61)
