"""What silence brings many customers: the next moment at which something may change, and the next move.

The arrays' side of `models.policy.Rules.moments` and of promises. A moment is the same float64 sum there and here.
"""

from typing import NamedTuple

import numpy as np

from models.columns import FIRST, LAST, ROW, FloatArray
from models.features import in_silence
from models.labels import EXPOSE_S, MATURED_S
from models.policy import Rules, Ruling
from models.scores import score_some, wanted
from models.step import Terms
from models.stored import BoolArray, IntArray, StoredRows
from schemas.states import NEVER
from schemas.times import DAY_S

_PURCHASES, _BOUGHT_AT = ROW["purchases"], ROW["last_purchase_at"]


class Silence:
    """Which moments of silence each customer has before them.

    Args:
        rows: the customers; their promises are those of before the first event.
        rules: by which they are judged.
    """

    def __init__(self, rows: StoredRows, rules: Rules) -> None:
        self._rows, self._rules = rows, rules
        m = rows.table.shape[1]
        self._promise_at = rows.promise_at.copy()
        self._k = np.zeros(m)  # of the next learning moment

    def begin(self, who: IntArray, after: FloatArray, heard: BoolArray) -> None:
        """Silence begins after `after`; `heard`: whom something was heard of, so what was promised is void."""
        first = self._rows.table[FIRST, who]
        self._k[who] = np.floor_divide(after - first, EXPOSE_S) + 1
        self._promise_at[who[heard]] = NEVER

    def next(self, who: IntArray, after: FloatArray) -> tuple[FloatArray, BoolArray, BoolArray]:
        """Each customer's next moment after `after`, whether segments are judged then, and whether features are kept."""
        first, last, bought_at = self._times(who)
        promise_at = self._promise_at[who]
        segment = np.where(promise_at > after, promise_at, NEVER)
        for s in self._rules.review_s:
            at = last + s
            np.minimum(segment, np.where(at > after, at, NEVER), out=segment)
        np.minimum(segment, _crossing_after(bought_at, after, self._rules), out=segment)
        learning = first + self._k[who] * EXPOSE_S
        learning[learning > last + MATURED_S] = NEVER
        at = np.minimum(segment, learning)
        self._k[who[(learning <= at) & (learning < NEVER)]] += 1
        some = at < NEVER
        since = np.where(some, at, first) - first
        k = np.rint(since / EXPOSE_S)
        kept = some & (k >= 1) & (np.abs(since - k * EXPOSE_S) < 0.001)
        return at, segment <= at, kept

    def earliest(self, who: IntArray, after: FloatArray) -> FloatArray:
        """No moment of silence after `after` comes before this one."""
        first, last, bought_at = self._times(who)
        at = first + (np.floor_divide(after - first, EXPOSE_S) + 1) * EXPOSE_S
        if self._rules.review_s:
            at = np.minimum(at, last + self._rules.review_s[0])
        return np.minimum(at, _crossing_after(bought_at, after, self._rules))

    def _times(self, who: IntArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        table = self._rows.table
        bought_at = np.where(table[_PURCHASES, who] > 0, table[_BOUGHT_AT, who], NEVER)
        return table[FIRST, who], table[LAST, who], bought_at


class Promised(NamedTuple):
    """The next move of each customer in silence; `at` is `NEVER` where there is none."""

    at: FloatArray
    ruling: IntArray
    segment: IntArray


def _crossings(bought_at: FloatArray, rules: Rules) -> FloatArray:
    """(bounds, n): when each customer crosses each bound on the days since a purchase; `NEVER`: never bought."""
    moments = np.full((len(rules.crossing_s), len(bought_at)), NEVER)
    if rules.local is None:
        for row, s in zip(moments, rules.crossing_s, strict=True):
            row[:] = bought_at + s
        return moments
    for i in np.flatnonzero(bought_at < NEVER).tolist():
        moments[:, i] = rules.crossings(float(bought_at[i]))
    return moments


def _crossing_after(bought_at: FloatArray, after: FloatArray, rules: Rules) -> FloatArray:
    """The first crossing after `after`; `NEVER`: there is none."""
    at = _crossings(bought_at, rules)
    first: FloatArray = np.where(at > after, at, NEVER).min(axis=0, initial=NEVER)
    return first


def next_learning(first: FloatArray, last: FloatArray, as_of: FloatArray) -> FloatArray:
    """`models.labels.next_learning_moment` for many."""
    at = first + (np.floor_divide(as_of + 0.001 - first, EXPOSE_S) + 1) * EXPOSE_S
    return np.where(at <= last + MATURED_S, at, NEVER)


def promised(
    c: FloatArray, x: FloatArray, current: IntArray, since: FloatArray, as_of: FloatArray, terms: Terms
) -> Promised:
    """What comes next if nothing more is heard.

    Args:
        c: (WIDTH, n), numbers.
        x: (n, features), what time doesn't touch of them.
        current: (rulings, n), held segments.
        since: (rulings, n), since when.
        as_of: (n,), only moments after it count.
        terms: with the scorer that gives the numbers dimensions are cut on.
    """
    n = c.shape[1]
    first = Promised(np.full(n, NEVER), np.full(n, -1), np.full(n, -1))
    rank = _ranks(terms.rules)
    if terms.rules.review_s:
        _by_scores(first, c, x, current, since, as_of, terms, rank)
    _by_days(first, c, current, since, as_of, terms.rules, rank)
    return first


def _by_scores(
    first: Promised,
    c: FloatArray,
    x: FloatArray,
    current: IntArray,
    since: FloatArray,
    as_of: FloatArray,
    terms: Terms,
    rank: list[IntArray],
) -> None:
    rules, n = terms.rules, c.shape[1]
    at = c[LAST][:, None] + np.array(rules.review_s)
    later_x = in_silence(c, x, at, rules.shop, wanted(terms.scorer))
    scores = score_some(terms.scorer, later_x, rules.judged_scores).reshape(*at.shape, -1)
    later = at > as_of[:, None]
    for index, ruling in enumerate(rules.rulings):
        if ruling.score is None:
            continue
        target = ruling.places(scores[:, :, ruling.score], current[index][:, None])
        free = since[index] + ruling.dwell_s
        flips = (target != current[index][:, None]) & later & (at >= free[:, None])
        j, everyone = flips.argmax(axis=1), np.arange(n)
        flip_at = np.where(flips[everyone, j], at[everyone, j], NEVER)
        _keep_earlier(first, flip_at, index, target[everyone, j], rank)


def _by_days(
    first: Promised,
    c: FloatArray,
    current: IntArray,
    since: FloatArray,
    as_of: FloatArray,
    rules: Rules,
    rank: list[IntArray],
) -> None:
    """At the first crossing that moves anybody, the first dimension that it moves."""
    timed = [(index, ruling) for index, ruling in enumerate(rules.rulings) if ruling.score is None]
    if not timed:
        return
    open_yet = np.ones(c.shape[1], dtype=bool)
    bought_at = np.where(c[_PURCHASES] > 0, c[_BOUGHT_AT], NEVER)
    for at in _crossings(bought_at, rules):
        for index, ruling in timed:
            target = ruling.places(_days(c, at, rules), current[index])
            stays = (current[index] >= 0) & (at - since[index] < ruling.dwell_s)
            flips = open_yet & (at > as_of) & (at < NEVER) & (target != current[index]) & ~stays
            if flips.any():
                _keep_earlier(first, np.where(flips, at, NEVER), index, target, rank)
                open_yet &= ~flips


def _days(c: FloatArray, at: FloatArray, rules: Rules) -> FloatArray:
    bought_at = c[_BOUGHT_AT]
    if rules.local is None:
        return np.where(at > bought_at, (at - bought_at) / DAY_S, 0.0)
    there = np.flatnonzero(at < NEVER)
    days = np.zeros(len(at))
    for i in there.tolist():
        days[i] = rules.days_since(float(bought_at[i]), float(at[i]))
    return days


def _keep_earlier(first: Promised, at: FloatArray, index: int, segment: IntArray, rank: list[IntArray]) -> None:
    """Puts in what comes before what is there; of two at one moment, the one whose names come first."""
    tied = np.flatnonzero((at == first.at) & (at < NEVER))
    earlier = at < first.at
    for i in tied.tolist():
        earlier[i] = rank[index][segment[i]] < rank[first.ruling[i]][first.segment[i]]
    first.at[earlier], first.ruling[earlier], first.segment[earlier] = at[earlier], index, segment[earlier]


def _ranks(rules: Rules) -> list[IntArray]:
    """Of each ruling's segments, the order of (dimension, segment) among all."""

    def names(ruling: Ruling) -> list[tuple[str, str]]:
        return [(ruling.name, segment) for segment in ruling.segments]

    ordered = sorted(name for ruling in rules.rulings for name in names(ruling))
    return [np.array([ordered.index(name) for name in names(ruling)]) for ruling in rules.rulings]
