"""A policy compiled for judging: which segment a number lies in, and every moment at which silence may change it."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.features import COLUMN, NAMES, Shop
from models.localdays import LocalDays
from models.policy.document import DAYS_SINCE_PURCHASE, Dimension, Policy
from models.scores import Counted, Scorer
from models.season import USUAL, Season
from schemas.learning import SCORES
from schemas.states import NEVER, Held
from schemas.times import DAY_S

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

# A silent customer is judged again this many days after their latest event, in each dimension over scores. The moments
# are fixed, so "what happens next, and when" is found by evaluating the served model at them: with the same result live,
# in a replay and in advance. They lie close together where scores move fast.
REVIEW_DAYS = (1.0, 3.0, 7.0, 14.0, 30.0, 60.0, 90.0, 180.0, 365.0)

# A feature comes back from its logarithm with an error in the last places: five purchases are reached at 4.9999999999.
_FEATURE_TOLERANCE = 1e-9

# Event times are float64 seconds: at 2^31 s a step is 2.4e-7 s. A bound counts as reached within a millisecond, so that
# the moment computed for it is also the moment at which it is crossed.
_TOLERANCE_DAYS = 0.001 / DAY_S


class Ruling:
    """One dimension, compiled for judging.

    Attributes:
        name: of the dimension.
        segments: names, lowest first.
        bounds: where each segment begins; the first is -inf. In days for a timed dimension, else in the number's unit.
        lowered: the same bounds, each lower by the exit margin.
        dwell_s: how long a customer stays in a segment at least.
        score: place among the numbers that `Rules.numbers` gives; None for a timed dimension.
        feature: column in `models.features.FEATURES`; None where the dimension isn't cut on a feature.
        local: the time zone whose days a timed dimension counts; None: days of 86,400 s.
    """

    __slots__ = ("_index", "bounds", "dwell_s", "feature", "local", "lowered", "name", "score", "segments")

    def __init__(self, dimension: Dimension, numbers: Sequence[str] = SCORES, local: LocalDays | None = None) -> None:
        """Args: numbers: the names among which `score` is a place."""
        self.local = local
        self.name = dimension.name
        self.segments = tuple(segment.name for segment in dimension.segments)
        self.score = None if dimension.over == DAYS_SINCE_PURCHASE else numbers.index(dimension.over)
        self.feature = COLUMN.get(dimension.over)
        known = [segment.bound for segment in dimension.segments if segment.bound is not None]
        self.bounds = (-NEVER, *(bound - self._tolerance(bound) for bound in known))
        margin = dimension.exit_margin
        lowered = [(bound * (1.0 - margin if bound >= 0 else 1.0 + margin), bound) for bound in known]
        self.lowered = (-NEVER, *(low - self._tolerance(bound) for low, bound in lowered))
        self.dwell_s = dimension.dwell_days * DAY_S - 0.001 if dimension.dwell_days else 0.0
        self._index = {name: i for i, name in enumerate(self.segments)}

    def _tolerance(self, bound: float) -> float:
        if self.score is None:
            return _TOLERANCE_DAYS
        return 0.0 if self.feature is None else _FEATURE_TOLERANCE * max(abs(bound), 1.0)

    def index(self, segment: str) -> int:
        """The place of `segment` in the order; -1 where the policy has no such segment."""
        return self._index.get(segment, -1)

    def place(self, number: float | None, held: Held | None, at: float) -> str:
        """The segment of a customer at a moment.

        To rise, the number must reach the bound of a higher segment. To fall, it must come below the lowered bound of the
        held segment. Within the dwell the held segment stays, if the policy has it.

        Args:
            number: None: the customer never bought.
            held: the segment so far, and since when; None: the customer was in none.
            at: the moment, epoch seconds.
        """
        segments = self.segments
        current = -1
        if held is not None:
            current = self._index.get(held.segment, -1)
            if at - held.since < self.dwell_s and current >= 0:
                return held.segment
        if number is None:
            return segments[0]
        bounds, lowered = self.bounds, self.lowered
        for i in range(len(segments) - 1, 0, -1):
            if number >= (lowered[i] if i <= current else bounds[i]):
                return segments[i]
        return segments[0]

    def places(self, numbers: FloatArray, current: IntArray) -> IntArray:
        """Indices of the segments of many customers, as `place` gives them but without the dwell.

        Args:
            numbers: nan: the customer never bought.
            current: index of the segment so far; -1: in none, or in one that the policy doesn't have. Broadcast against
                `numbers`.
        """
        target = np.zeros(np.broadcast_shapes(numbers.shape, current.shape), dtype=np.int64)
        for k in range(1, len(self.segments)):
            target[numbers >= np.where(current >= k, self.lowered[k], self.bounds[k])] = k
        return target

    def kept_between(self, segment: str) -> tuple[float, float]:
        """The range [low, high) of numbers that keep a customer in `segment`; (nan, nan): no number does."""
        i = self.index(segment)
        if i < 0:
            return math.nan, math.nan
        return self.lowered[i], self.bounds[i + 1] if i + 1 < len(self.segments) else NEVER

    def passed(self, previous: str, current: str) -> float | None:
        """The bound that a move from `previous` to `current` crossed last; None: the two have no order."""
        i, j = self.index(previous), self.index(current)
        if i < 0 or i == j:
            return None
        return self.bounds[j] if j > i else self.lowered[j + 1]


class Rules:
    """A policy compiled for judging, once per version.

    Attributes:
        shop: what the features know about the shop.
        local: the days of the policy's time zone; None: days are 86,400 s, counted from the purchase.
        features: columns of the features that dimensions are cut on.
        rulings: the dimensions, in the policy's order.
        crossing_s: seconds after the last purchase at which a silent customer crosses a bound, without a time zone; 0 is
            the purchase itself.
        review_s: seconds after the latest event at which dimensions over scores and features are judged again. The days
            since that event are themselves a feature: its bounds are moments of their own, crossed to the second.
    """

    __slots__ = (
        "_crossing_days",
        "crossing_s",
        "features",
        "judged_scores",
        "label",
        "local",
        "policy",
        "review_s",
        "rulings",
        "shop",
        "tag",
    )

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.label = policy.label
        self.tag = policy.tag
        self.shop = Shop(policy.unit_minor, USUAL if policy.season is None else Season(policy.season))
        self.local = None if policy.time_zone is None else LocalDays(policy.time_zone)
        over = dict.fromkeys(dimension.over for dimension in policy.dimensions)
        self.features = tuple(COLUMN[name] for name in over if name in COLUMN)
        numbers = (*SCORES, *(NAMES[column] for column in self.features))
        self.rulings = tuple(Ruling(dimension, numbers, self.local) for dimension in policy.dimensions)
        #: Which of the numbers that `numbers` gives segments are cut on.
        self.judged_scores = frozenset(ruling.score for ruling in self.rulings if ruling.score is not None)
        self._crossing_days = sorted(bound for bound in _bounds_over(policy, DAYS_SINCE_PURCHASE) if bound)
        self.crossing_s = tuple(days * DAY_S for days in self._crossing_days)
        scored = any(ruling.score is not None for ruling in self.rulings)
        quiet = {bound for bound in _bounds_over(policy, "quiet_days") if bound > 0}
        self.review_s = tuple(days * DAY_S for days in sorted(quiet.union(REVIEW_DAYS))) if scored else ()

    def numbers(self, scorer: Scorer) -> Scorer:
        """A scorer that gives, after the scores of `scorer`, the features that dimensions are cut on.

        `scorer` itself where there are none.
        """
        return Counted(scorer, self.features) if self.features else scorer

    def days_since(self, bought_at: float, at: float) -> float:
        """Days since the last purchase, as dimensions count them; 0 before it."""
        if self.local is not None:
            return float(self.local.between(bought_at, at))
        return (at - bought_at) / DAY_S if at > bought_at else 0.0

    def crossings(self, bought_at: float) -> list[float]:
        """The moments at which a customer who is silent after a purchase crosses each bound, earliest first."""
        if self.local is None:
            return [bought_at + s for s in self.crossing_s]
        return [self.local.after(bought_at, days) for days in self._crossing_days]

    def crossing_after(self, bought_at: float, after: float) -> float:
        """The first moment of `crossings` after `after`; `NEVER`: there is none."""
        if self.local is None:
            for s in self.crossing_s:
                if (at := bought_at + s) > after:
                    return at
            return NEVER
        return next((at for at in self.crossings(bought_at) if at > after), NEVER)

    def moments(self, last_event_at: float, last_purchase_at: float | None, after: float, until: float) -> set[float]:
        """Every moment of silence in (after, until) at which a segment may change."""
        moments = {at for s in self.review_s if after < (at := last_event_at + s) < until}
        if last_purchase_at is not None:
            moments.update(at for at in self.crossings(last_purchase_at) if after < at < until)
        return moments


def _bounds_over(policy: Policy, number: str) -> set[float]:
    """The bounds of all dimensions over `number`."""
    return {
        segment.bound
        for dimension in policy.dimensions
        if dimension.over == number
        for segment in dimension.segments
        if segment.bound is not None
    }
