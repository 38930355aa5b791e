"""Laws of cutting batches."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.text.batching import batches

lengths = st.lists(st.integers(0, 300), max_size=60)
budgets = st.integers(1, 2_000)


@given(lengths, budgets)
def test_every_text_is_in_exactly_one_batch(lengths: list[int], budget: int) -> None:
    """The batches hold each index once, and none is empty."""
    cut = batches(lengths, budget)

    assert sorted(index for batch in cut for index in batch) == list(range(len(lengths)))
    assert all(cut)


@given(lengths, budgets)
def test_a_padded_batch_stays_within_the_budget_unless_one_text_exceeds_it(lengths: list[int], budget: int) -> None:
    """Texts times the longest of them is at most the budget; an overlong text is alone."""
    for batch in batches(lengths, budget):
        assert len(batch) == 1 or len(batch) * max(lengths[index] for index in batch) <= budget


@given(lengths, budgets)
def test_batches_go_from_the_longest_texts_to_the_shortest(lengths: list[int], budget: int) -> None:
    """Read one after another, the batches are sorted by length, so that like sits with like."""
    order = [lengths[index] for batch in batches(lengths, budget) for index in batch]

    assert order == sorted(lengths, reverse=True)


def test_a_budget_below_one_token_is_refused() -> None:
    """A budget of nothing can't hold any text."""
    with pytest.raises(ValueError, match="budget 0 tokens"):
        batches([1], 0)
