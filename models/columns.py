"""Customers' numbers as columns: one contiguous row of float64 per number of the state, one column per customer.

Whole numbers up to 2^53 are exact in float64; `models.rounds` takes customers beyond that one by one.
"""

from collections.abc import Sequence
from itertools import chain

import numpy as np
from msgspec.structs import astuple
from numpy.typing import NDArray

from schemas.groups import GROUPS, TEXT_DIM, Voice
from schemas.numbers import Decays
from schemas.states import CustomerState
from schemas.times import DAY_S

FloatArray = NDArray[np.float64]

# One customer at one moment (epoch seconds).
Row = tuple[float, CustomerState]

#: Rows beside the groups' numbers: the moment that features are computed for, then those of every state.
AT, FIRST, LAST, LANDMARK = range(4)

#: Where each scalar number stands, by its name; the text vector follows at `TEXT_AT`.
ROW: dict[str, int] = {"at": AT, "first": FIRST, "last": LAST, "landmark": LANDMARK}
#: Rows of each group.
ROWS_OF: dict[str, slice] = {}
for _group, _numbers in GROUPS.items():
    _start = len(ROW)
    for _number in _numbers:
        if _number.dtype:
            ROW[_number.name] = len(ROW)
    ROWS_OF[_group] = slice(_start, len(ROW))
TEXT_AT = len(ROW)
WIDTH = TEXT_AT + TEXT_DIM

#: Half-life in days of each decayed number.
HALF_LIFE: dict[str, float] = {
    number.name: float(number.rule.days)
    for numbers in GROUPS.values()
    for number in numbers
    if isinstance(number.rule, Decays)
}
HALF_LIVES: tuple[float, ...] = tuple(sorted(set(HALF_LIFE.values())))
#: Decay per second, by the order of `HALF_LIVES`, in halvings.
RATES = tuple(1.0 / (days * DAY_S) for days in HALF_LIVES)


def columns(rows: Sequence[Row]) -> FloatArray:
    """`rows` as (WIDTH, n) float64."""
    table: FloatArray = np.zeros((WIDTH, len(rows)))
    table[AT] = [at for at, _ in rows]
    table[FIRST] = [state.first_event_at for _, state in rows]
    table[LAST] = [state.last_event_at for _, state in rows]
    table[LANDMARK] = [state.landmark for _, state in rows]
    spending = [(i, s) for i, (_, state) in enumerate(rows) if (s := state.spending) is not None]
    browsing = [(i, b) for i, (_, state) in enumerate(rows) if (b := state.browsing) is not None]
    voice = [(i, v) for i, (_, state) in enumerate(rows) if (v := state.voice) is not None]
    _fill(table[ROWS_OF["spending"]], [i for i, _ in spending], [astuple(s) for _, s in spending])
    _fill(table[ROWS_OF["browsing"]], [i for i, _ in browsing], [astuple(b) for _, b in browsing])
    if voice:
        _fill(table[ROWS_OF["voice"]], [i for i, _ in voice], [_scalars(v) for _, v in voice])
        _fill(table[TEXT_AT:], [i for i, _ in voice], [v.text_60d for _, v in voice])
    return table


def _scalars(voice: Voice) -> tuple[float, ...]:
    numbers = astuple(voice)
    return tuple([numbers[i] for i in _SCALARS_OF_VOICE])


_SCALARS_OF_VOICE = [i for i, number in enumerate(GROUPS["voice"]) if number.dtype]


def _fill(table: FloatArray, at: list[int], numbers: list[tuple[float, ...]]) -> None:
    """Puts each tuple into its column of `table`."""
    if numbers:
        width = len(table)
        flat = np.fromiter(chain.from_iterable(numbers), np.float64, width * len(numbers))
        table[:, slice(None) if len(at) == table.shape[1] else at] = flat.reshape(-1, width).T
