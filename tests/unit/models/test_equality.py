"""The step over arrays and the step that it replaces agree, event by event, in every number and byte."""

import pytest

from equality import agree
from models.policy import Rules, load, parse, read
from models.scores import PriorScorer
from policies import featured, zoned

OTHER = parse(
    read()
    .replace('version: "1"', 'version: "2"')
    .replace("at_risk, from: 30", "at_risk, from: 20")
    .replace("{name: mid, from: 50.00}", "{name: middle, from: 30.00}")
)
POLICIES = {
    "default": [load()],
    "featured": [featured()],
    "zoned": [zoned()],
    "one after another": [load(), OTHER, featured()],
}


@pytest.mark.parametrize("policies", POLICIES)
@pytest.mark.parametrize("least", [1, 8], ids=["always arrays", "few one by one"])
def test_arrays_and_the_reference_agree(policies: str, least: int) -> None:
    """Random histories: late, repeated, erased, silent for years; states of either layout, chunk after chunk."""
    rules = [Rules(policy) for policy in POLICIES[policies]]
    assert sum(agree(1, rules, PriorScorer(), customers=30, chunks=6, most=3, least=least)) > 100
