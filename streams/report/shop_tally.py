"""Counts a shop's report from records, one partition after the other. Pure: records in, figures out.

Per partition first the standings, then the changes, then the purchases; what is kept of single customers is dropped at the
partition's end. All else is counted by day, so the window may be chosen at the end.
"""

import heapq
from collections import Counter, defaultdict, deque
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple, TypeVar

from models.state import REMEMBERED_IDS
from schemas.changes import Change, SilenceCause, Standing
from schemas.events import Purchase
from schemas.times import DAY_S, from_rfc3339, to_rfc3339
from streams.report.shop_figures import (
    NO_SEGMENT,
    UNKNOWN_SEGMENT,
    InputQuality,
    LostCustomer,
    Migration,
    ReasonCount,
    SegmentCount,
    SegmentRevenue,
    ShopReport,
    SilentMove,
)

K = TypeVar("K")

RISK_DAYS = 14
DEFAULT_DAYS = 28
LOST_CUSTOMERS = 20
# Stands for all reasons that are not named; it is no reason that can be told.
OTHERS = "others"


class NothingToReport(Exception):
    """The topics hold no standing; the message says which topic and what to do."""


class _KnownChange(NamedTuple):
    at: float
    dimension: str
    previous: str | None
    current: str
    silent: bool


class _KnownCustomer:
    """What is kept of one customer while their partition is counted."""

    __slots__ = ("changes", "latest_s", "sequence", "standing")

    def __init__(self, standing: Standing) -> None:
        self.standing = standing
        self.sequence = 0
        self.changes: list[_KnownChange] = []
        self.latest_s = float("-inf")

    def segment_before(self, dimension: str, at: float) -> str:
        """The segment just before `at` (epoch seconds)."""
        own = [change for change in self.changes if change.dimension == dimension]
        for change in reversed(own):
            if change.at < at:
                return change.current
        if own:
            return own[0].previous or NO_SEGMENT
        since = self.standing.since.get(dimension)
        if since is not None and from_rfc3339(since) >= at:
            return UNKNOWN_SEGMENT
        return self.standing.segments[dimension]


class ShopTally:
    """Counts; `report` gives the figures.

    Attributes:
        customers: how many standings.
    """

    def __init__(self) -> None:
        self._known: dict[str, _KnownCustomer] = {}
        self._ids: dict[str, deque[str]] = {}
        self.customers = 0
        self._as_of = float("-inf")
        self._known_from = float("-inf")
        self._first_at = float("inf")
        self._money: Counter[tuple[str, int]] = Counter()
        self._ranks: dict[str, dict[str, int]] = defaultdict(dict)
        self._now: Counter[tuple[str, str]] = Counter()
        self._net: dict[int, Counter[tuple[str, str]]] = defaultdict(Counter)
        self._moves: dict[int, Counter[tuple[str, str, str]]] = defaultdict(Counter)
        self._reasons: dict[int, Counter[tuple[str, str, bool]]] = defaultdict(Counter)
        self._revenue: dict[int, Counter[tuple[str, str, str, str]]] = defaultdict(Counter)
        self._promised: dict[int, Counter[tuple[str, str, str, str]]] = defaultdict(Counter)
        self._lost: dict[int, list[tuple[int, str, LostCustomer]]] = defaultdict(list)
        self._foreign: Counter[str] = Counter()
        self._repeated = self._late = self._refused = self._purchases = 0

    def standing(self, standing: Standing) -> None:
        """A customer's latest standing: once per customer, before their changes and purchases."""
        self._known[standing.customer_id] = _KnownCustomer(standing)
        self.customers += 1
        self._as_of = max(self._as_of, from_rfc3339(standing.as_of))
        self._money[standing.currency or "", standing.unit_minor or 100] += 1
        for dimension, segment in standing.segments.items():
            self._now[dimension, segment] += 1
            if dimension in standing.ranks:
                self._ranks[dimension][segment] = standing.ranks[dimension]
        if standing.next is not None and standing.next.dimension in standing.segments:
            due = int(from_rfc3339(standing.next.at) // DAY_S)
            dimension = standing.next.dimension
            move = dimension, standing.segments[dimension], standing.next.segment
            self._promised[due][*move, "customers"] += 1
            self._promised[due][*move, "net"] += _net_spend(standing)
            # In millionths, so that sums do not depend on the order.
            self._promised[due][*move, "expected"] += round(1e6 * standing.scores.get("expected_spend_90d", 0.0))

    def change(self, change: Change) -> None:
        """A change, in the order of the log; one that came before, or that the standing does not have yet, counts not."""
        known = self._known.get(change.customer_id)
        if known is None or not known.sequence < change.sequence <= known.standing.sequence:
            return
        known.sequence = change.sequence
        at = from_rfc3339(change.changed_at)
        day = int(at // DAY_S)
        self._first_at = min(self._first_at, at)
        dimension, previous = change.dimension, change.previous
        if previous is None:  # new, or back after an erasure: then the life before ends here
            before = [each.current for each in known.changes if each.dimension == dimension]
            if before:
                self._net[day][dimension, before[-1]] -= 1
        else:
            self._net[day][dimension, previous] -= 1
        self._net[day][dimension, change.current] += 1
        self._moves[day][dimension, previous or NO_SEGMENT, change.current] += 1
        known.changes.append(
            _KnownChange(at, dimension, previous, change.current, isinstance(change.cause, SilenceCause))
        )
        reasons = [reason for reason in change.reasons if reason.feature != OTHERS and reason.contribution]
        if reasons:
            strongest = max(reasons, key=lambda reason: abs(reason.contribution))
            self._reasons[day][dimension, strongest.feature, strongest.contribution > 0] += 1

    def purchase(self, purchase: Purchase) -> None:
        """A valid purchase or refund, in the order of its partition."""
        self._purchases += 1
        ids = self._ids.setdefault(purchase.customer_id, deque(maxlen=REMEMBERED_IDS))
        if purchase.event_id in ids:
            self._repeated += 1
            return
        ids.append(purchase.event_id)
        known = self._known.get(purchase.customer_id)
        if known is None:
            return
        at = purchase.event_time.timestamp()
        self._late += at < known.latest_s
        known.latest_s = max(known.latest_s, at)
        standing = known.standing
        if purchase.currency != (standing.currency or purchase.currency):
            self._foreign[purchase.currency] += 1
            return
        for dimension in standing.segments:
            segment = known.segment_before(dimension, at)
            counts = self._revenue[int(at // DAY_S)]
            counts[dimension, segment, purchase.type, "count"] += 1
            counts[dimension, segment, purchase.type, "minor"] += purchase.amount_minor

    def refused(self) -> None:
        """A record of `purchases` that is no event."""
        self._refused += 1

    def end_partition(self, whole: bool) -> None:
        """Drops what is kept of single customers, and keeps the largest of those who went silent, by day.

        Args:
            whole: no change of this partition was deleted; else its moves are known from its first change on.
        """
        if not whole:
            self._known_from = max(self._known_from, min(self._first_at, self._as_of))
        self._first_at = float("inf")
        for customer_id, known in self._known.items():
            bought = known.standing.profile.last_purchase_at
            if not known.changes or not known.changes[-1].silent or bought is None:
                continue
            last = known.changes[-1]
            if from_rfc3339(bought) >= last.at:
                continue
            net = _net_spend(known.standing)
            lost = LostCustomer(customer_id, last.dimension, last.current, to_rfc3339(last.at), net, bought)
            heap = self._lost[int(last.at // DAY_S)]
            (heapq.heappush if len(heap) < LOST_CUSTOMERS else heapq.heappushpop)(heap, (net, customer_id, lost))
        self._known, self._ids = {}, {}

    def report(self, since: int | None, until: int | None) -> ShopReport:
        """The figures of the days from `since` to `until`, both included.

        Args:
            since: days since 1970-01-01; None: `DEFAULT_DAYS` days up to `until`.
            until: None: the day of the latest standing.

        Raises:
            NothingToReport: there is no standing, or `since` is after `until`.
        """
        if not self.customers:
            raise NothingToReport("there is no standing: no worker has judged a customer yet")
        until = int(self._as_of // DAY_S) if until is None else until
        since = until - DEFAULT_DAYS + 1 if since is None else since
        if since > until:
            raise NothingToReport(f"the window is empty: it would begin on {day_of(since)} and end on {day_of(until)}")
        (currency, unit_minor), _ = self._money.most_common(1)[0]
        dimensions = self._dimensions()
        known_from = None if self._known_from == float("-inf") else int(self._known_from // DAY_S)
        return ShopReport(
            day_of(since),
            day_of(until),
            "" if known_from is None else day_of(known_from),
            to_rfc3339(self._as_of),
            currency,
            unit_minor,
            self.customers,
            dimensions,
            [Migration(*move, count) for move, count in sorted(_within(self._moves, since, until).items())],
            list(self._courses(dimensions, since if known_from is None else max(since, known_from - 1), until)),
            self._by_segment(since, until),
            RISK_DAYS,
            self._at_risk(),
            [each for _, _, each in heapq.nlargest(LOST_CUSTOMERS, self._lost_between(since, until))],
            self._weighty(since, until),
            InputQuality(self._purchases, self._repeated, self._late, self._refused, self._foreign.total()),
            {},
        )

    def _dimensions(self) -> dict[str, list[str]]:
        segments: dict[str, set[str]] = defaultdict(set)
        for dimension, segment in self._now:
            segments[dimension].add(segment)
        for moves in self._moves.values():
            for dimension, previous, current in moves:
                segments[dimension] |= {previous, current} - {NO_SEGMENT}
        return {
            dimension: sorted(names, key=lambda name: (self._ranks[dimension].get(name, len(names)), name))
            for dimension, names in sorted(segments.items())
        }

    def _courses(self, dimensions: dict[str, list[str]], since: int, until: int) -> Iterable[SegmentCount]:
        """Back from now: what a day's moves brought is taken off to get the day before."""
        counts = Counter(self._now)
        latest = max([*self._net, until, since])
        shown: dict[tuple[str, str, int], int] = {}
        for day in range(latest, since - 1, -1):
            if day <= until:
                shown |= {(name, each, day): counts[name, each] for name in dimensions for each in dimensions[name]}
            counts.subtract(self._net.get(day, {}))
        for name, segments in dimensions.items():
            for segment in segments:
                for day in range(since, until + 1):
                    yield SegmentCount(name, segment, day_of(day), shown[name, segment, day])

    def _by_segment(self, since: int, until: int) -> list[SegmentRevenue]:
        sums = _within(self._revenue, since, until)
        places = sorted({key[:2] for key in sums})
        return [
            SegmentRevenue(
                *place,
                sums[*place, "purchase", "count"],
                sums[*place, "purchase", "minor"],
                sums[*place, "refund", "count"],
                sums[*place, "refund", "minor"],
            )
            for place in places
        ]

    def _at_risk(self) -> list[SilentMove]:
        sums = _within(self._promised, None, int(self._as_of // DAY_S) + RISK_DAYS)
        moves = [
            SilentMove(*move, sums[*move, "customers"], sums[*move, "net"], sums[*move, "expected"] / 1e6)
            for move in sorted({key[:3] for key in sums})
        ]
        return sorted(moves, key=lambda move: -move.net_spend_minor)

    def _lost_between(self, since: int, until: int) -> list[tuple[int, str, LostCustomer]]:
        return [each for day, heap in self._lost.items() if since <= day <= until for each in heap]

    def _weighty(self, since: int, until: int) -> list[ReasonCount]:
        sums = _within(self._reasons, since, until)
        counts = [
            ReasonCount(*place, sums[*place, True], sums[*place, False]) for place in sorted({key[:2] for key in sums})
        ]
        return sorted(counts, key=lambda each: (each.dimension, -(each.up + each.down), each.feature))


def day_of(number: int) -> str:
    """A day by its number since 1970-01-01.

    >>> day_of(19_844)
    '2024-05-01'
    """
    return f"{datetime.fromtimestamp(number * DAY_S, UTC):%Y-%m-%d}"


def _net_spend(standing: Standing) -> int:
    return standing.profile.spend_minor - standing.profile.refunded_minor


def _within(counts: dict[int, Counter[K]], since: int | None, until: int) -> Counter[K]:
    total: Counter[K] = Counter()
    for day, each in counts.items():
        if (since is None or since <= day) and day <= until:
            total.update(each)
    return total
