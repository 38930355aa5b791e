"""The fault suite's oracle, tried on itself: it says nothing of a good run and catches every kind of damage."""

import random

import pytest

from tests.faults.damages import DAMAGES, Damage, good_run
from tests.faults.oracle import CLASSES, judge


@pytest.mark.parametrize("seed", range(5))
def test_a_good_run_has_no_faults(seed: int) -> None:
    """Retries, repeated deliveries and dead letters of what is no event are as they should be."""
    verdict = judge(good_run(seed))

    assert str(verdict) == "nothing wrong"
    assert verdict.repeated > 0
    assert verdict.letters > 0
    assert verdict.events == 120


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("damage", "kind"), DAMAGES.items(), ids=lambda part: getattr(part, "__name__", part))
def test_every_kind_of_damage_is_caught(damage: Damage, kind: str, seed: int) -> None:
    """One promise broken in one place is found, and under its own name."""
    run = good_run(seed)
    damage(run, random.Random(seed))

    assert kind in judge(run).counts


def test_every_class_of_fault_has_a_damage() -> None:
    """No class is only words."""
    assert set(DAMAGES.values()) == set(CLASSES)
