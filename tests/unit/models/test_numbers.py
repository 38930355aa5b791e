"""Laws of every number that is declared: those of its kind, whatever it is called."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from histories import START_S, histories, state_of
from models.columns import HALF_LIFE, ROW, columns
from models.features import COLUMN, FEATURES, rows
from models.ingredients import Numbers, Shop
from models.observing import READING, quantities
from models.step import Heard
from schemas.groups import GROUPS
from schemas.numbers import Adds, Decays
from schemas.times import DAY_S

SCALARS = [number for numbers in GROUPS.values() for number in numbers if number.dtype]
DECAYED = [number for number in SCALARS if isinstance(number.rule, Decays)]
SUMS = [number for number in SCALARS if isinstance(number.rule, Adds)]


def brought(heard: Heard, of: str, on: tuple[str, ...]) -> list[float]:
    """What an event brings of a quantity, by the kinds that it is."""
    found = []
    if heard.event.type in on:
        found.append(float(quantities(heard.topic, heard.event)[of]))
    if heard.reading is not None and READING in on:
        found.append(heard.reading.sentiment if of == "sentiment" else 1.0)
    return found


@pytest.mark.parametrize("number", DECAYED, ids=lambda number: number.name)
@given(events=histories(most=6), after=st.integers(0, 400))
def test_a_decayed_sum_halves_each_half_life(number, events: list[Heard], after: int) -> None:
    """At any time it is the sum over the events that count, each halved as often as its half-life has passed since."""
    flow = number.rule.flow
    if flow.of == "new_session":
        return
    now = events[-1].at + after * DAY_S
    expected = sum(
        each * 2.0 ** (-(now - heard.at) / DAY_S / number.rule.days)
        for heard in events
        for each in brought(heard, flow.of, flow.on)
    )
    c = columns([(now, state_of(events))])
    assert float(Numbers(c, c[0], Shop()).decayed(number.name)[0]) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("number", SUMS, ids=lambda number: number.name)
@given(events=histories(most=6))
def test_a_plain_sum_is_what_its_events_bring(number, events: list[Heard]) -> None:
    """Nothing else changes it."""
    if number.rule.of == "new_session":
        return
    expected = sum(each for heard in events for each in brought(heard, number.rule.of, number.rule.on))
    assert columns([(0.0, state_of(events))])[ROW[number.name], 0] == expected


def test_every_decayed_sum_that_says_what_it_means_is_a_feature() -> None:
    """One line adds a half-life: stored, summed, moved with the landmark, a feature with words."""
    meant = [number.name for number in DECAYED if number.rule.flow.meaning]
    assert meant == [feature.name for feature in FEATURES if feature.decayed]
    assert set(meant) < set(HALF_LIFE)
    assert all(feature.words for feature in FEATURES if feature.decayed)


@given(histories(), st.floats(1, 2000))
def test_what_time_alone_does_not_change_stays(events: list[Heard], days: float) -> None:
    """A feature that isn't declared to pass is the same at any later moment."""
    state = state_of(events)
    sooner, later = rows([state, state], [START_S + 300 * DAY_S, START_S + (300 + days) * DAY_S])
    lasting = [COLUMN[feature.name] for feature in FEATURES if not feature.passes]
    assert np.array_equal(sooner[lasting], later[lasting])
