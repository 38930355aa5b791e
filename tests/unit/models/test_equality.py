"""The step over arrays and the step that it replaces agree, event by event, in every number and byte."""

import pytest

from equality import POLICIES, ROUNDING, agree, learned_scorer
from models.policy import Rules
from models.scores import PriorScorer


@pytest.mark.parametrize("policies", POLICIES)
@pytest.mark.parametrize("least", [1, 8], ids=["always arrays", "few one by one"])
def test_arrays_and_the_reference_agree(policies: str, least: int) -> None:
    """Random histories: late, repeated, erased, silent for years; states of either layout, chunk after chunk."""
    rules = [Rules(policy) for policy in POLICIES[policies]]
    assert sum(agree(1, rules, PriorScorer(), customers=30, chunks=5, most=3, least=least)) > 100


@pytest.mark.parametrize("policies", ["default", "featured"])
def test_they_agree_on_what_a_learned_scorer_says(policies: str) -> None:
    """To the rounding of a matrix product, which depends on how many rows stand beside."""
    rules = [Rules(policy) for policy in POLICIES[policies]]
    assert sum(agree(2, rules, learned_scorer(), 30, chunks=5, most=3, least=8, tolerance=ROUNDING)) > 100
