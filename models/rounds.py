"""Many customers stepped at once: the same laws as `models.step`, over arrays.

A round takes the next moment of every customer who has one: an event, or in the silence before it a moment at which a
segment may change or a label matures. So the k-th round holds each customer's k-th moment, and all of a round is array
arithmetic: `models.crowd` applies the events, `models.silent` says what comes next in silence. Python per customer is left
for who moves, and for exposures and labels. Whom arrays can't hold, or are too few for, is `odd`: `models.step` takes
them from where they were before the first round.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from models.columns import AT, FIRST, LANDMARK, LAST, ROW, WIDTH, FloatArray
from models.crowd import Events, observe
from models.features import FEATURE_SET, FEATURES, from_columns, halved
from models.labels import HORIZON_S, SAME_SECOND_S, matured, with_late
from models.reasons import Shift
from models.scores import wanted
from models.silent import Promised, Silence, next_learning, promised
from models.state import PURCHASE
from models.step import Customer, Move, Terms
from models.stored import BoolArray, IntArray, StoredRows
from schemas.changes import Cause, EventCause, SilenceCause
from schemas.learning import SCORES, Label
from schemas.positions import offset_of
from schemas.states import NEVER, THIRTY_S, Exposure, Held, Promise, ripe_at
from schemas.stored import encode_exposure, exposures_in
from schemas.times import DAY_S, to_rfc3339

_PURCHASES, _SPEND, _BOUGHT_AT = ROW["purchases"], ROW["spend_minor"], ROW["last_purchase_at"]


class Times(NamedTuple):
    """Of each customer, see `models.terms.Terms`: up to when silence counts, purchases are known, anybody was judged."""

    horizon: FloatArray
    purchases_known: FloatArray
    latest: FloatArray


class _Moments(NamedTuple):
    """One round: a moment each of some customers. Events stand first."""

    who: IntArray
    event: IntArray  # index of the event, of those who have one
    at: FloatArray
    timed_at: FloatArray
    judged: BoolArray
    learning: BoolArray  # kept in silence
    before: FloatArray  # (WIDTH, n): the numbers that the moment met
    after: FloatArray  # (WIDTH, n): and those that it left

    @property
    def heard(self) -> int:
        """How many are events."""
        return len(self.event)


class Rounds:
    """Customers between rounds; see the module.

    Args:
        rows: their states. Changed in place: at the end they are as of the last moment.
        customers: in the same order.
        times: in the same order.
        terms: of all; its times apart.
        least: a round of fewer customers isn't worth arrays.
    """

    def __init__(self, rows: StoredRows, customers: Sequence[Customer], times: Times, terms: Terms, least: int) -> None:
        self.rows, self.customers, self.times, self.least = rows, customers, times, least
        self.terms, self.rules, self.shop = terms, terms.rules, terms.rules.shop
        self.scorer = terms.rules.numbers(terms.scorer)
        self.wanted = wanted(self.scorer)
        self.events = Events(customers, rows)
        m = len(customers)
        head = rows.head
        self.exists = rows.known.copy()
        self.heard_last = head["as_of"].copy()  # up to which moments have been unfolded, judged or not
        self.due = head["due"].copy()
        self.taken = np.zeros(m, dtype=np.int64)  # events
        self.touched = np.zeros(m, dtype=bool)
        self.until = np.full(m, -NEVER)
        self.silent = np.zeros(m, dtype=bool)
        self.silence = Silence(rows, self.rules)
        self.moved_once = np.zeros(m, dtype=bool)
        self.settled = np.zeros(m, dtype=bool)  # the promise is as of the latest moment
        self.moves: dict[int, list[Move]] = {}
        self.labels: dict[int, list[Label]] = {}
        self.shifts: list[tuple[int, Shift]] = []  # with the customer, in the order of their moves

    def run(self) -> None:
        """Takes all rounds, then what comes next."""
        active = np.flatnonzero(~self.rows.odd)
        self._begin(active)
        while len(active):
            silent = active[self.silent[active]]
            at, judged, kept = self.silence.next(silent, self.heard_last[silent])
            goes_on = at < self.until[silent]
            self.silent[silent[~goes_on]] = False
            silent, at, judged, kept = silent[goes_on], at[goes_on], judged[goes_on], kept[goes_on]
            loud = active[~self.silent[active]]
            loud = loud[self.taken[loud] < self.events.count[loud]]
            active = np.concatenate([loud, silent])
            if 0 < len(active) < self.least:
                self.rows.odd[active] = True
                break
            if len(active):
                self._take(loud, silent, at, judged, kept)
        last = np.flatnonzero(self.touched & ~self.settled & ~self.rows.odd)
        if len(last):
            lasting = tuple([i for i in self.wanted if not FEATURES[i].passes])
            c = self.rows.table[:, last]
            self._settle(last, c, from_columns(c, self.shop, lasting))

    def _begin(self, who: IntArray) -> None:
        """What lies between each customer's latest moment and the next event, or the horizon."""
        has = self.taken[who] < self.events.count[who]
        until = self.times.horizon[who].copy()
        event = self.events.begin[who[has]] + self.taken[who[has]]
        at = self.events.at[event]
        by_purchases = np.minimum(at, self.times.purchases_known[who[has]])
        until[has] = np.where(self.events.topic[event] == PURCHASE, at, by_purchases)
        self.until[who] = until
        silent = self.exists[who] & (self.due[who] < until)
        self.silent[who] = silent
        self.silence.begin(who[silent], self.heard_last[who[silent]], self.touched[who[silent]])

    def _take(
        self, loud: IntArray, silent: IntArray, silent_at: FloatArray, judged: BoolArray, kept: BoolArray
    ) -> None:
        """One round."""
        rows = self.rows
        who = np.concatenate([loud, silent])
        event = self.events.begin[loud] + self.taken[loud]
        heard_at, topic = self.events.at[event], self.events.topic[event]
        first = ~self.exists[loud]
        heard_last = self.heard_last[loud]
        at = np.maximum(heard_at, heard_last)
        by_purchases = np.minimum(heard_at, self.times.purchases_known[loud])
        timed_at = np.where(first | (topic == PURCHASE), at, np.maximum(heard_last, np.minimum(at, by_purchases)))
        before = rows.table[:, who]
        after = before.copy()
        n = len(loud)
        observe(after[:, :n] if len(silent) else after, self.events, event, first)
        all_at = np.concatenate([at, silent_at])
        before[AT] = after[AT] = all_at
        moments = _Moments(
            who,
            event,
            all_at,
            np.concatenate([timed_at, silent_at]),
            np.concatenate([np.ones(n, dtype=bool), judged]),
            np.concatenate([np.zeros(n, dtype=bool), kept]),
            before,
            after,
        )
        rows.head["groups"][loud] |= self.events.bits[event] | 1
        self._judge(moments, first)
        rows.table[:, who] = after
        self.heard_last[who] = moments.timed_at
        self.touched[who] = True
        self.exists[loud] = True
        self.taken[loud] += 1
        self.due[loud] = self.silence.earliest(loud, self.heard_last[loud])
        self._begin(loud)

    # --- judging ------------------------------------------------------------------------------------------------

    def _judge(self, moments: _Moments, first: BoolArray) -> None:
        rows, who = self.rows, moments.who
        x = from_columns(moments.after, self.shop, self.wanted)
        scores = self.scorer.score(x)
        rows.scores[:, who] = scores[:, : len(SCORES)].T
        self._learn(moments, first, x)
        moved = np.zeros(len(who), dtype=bool)
        told: list[tuple[int, int, float, int, Held | None]] = []
        for index, ruling in enumerate(self.rules.rulings):
            current, since = rows.current[index, who], rows.since[index, who]
            if ruling.score is not None:
                numbers, judged_at = scores[:, ruling.score], moments.at
            else:
                numbers, judged_at = self._days(moments), moments.timed_at
            target = ruling.places(numbers, current)
            stays = (current >= 0) & (judged_at - since < ruling.dwell_s)
            # A purchase is news and no flutter.
            stays[: moments.heard] &= self.events.topic[moments.event] != PURCHASE
            moves = np.flatnonzero((target != current) & ~stays & moments.judged)
            if not len(moves):
                continue
            for i, number in zip(moves.tolist(), numbers[moves].tolist(), strict=True):
                had = int(current[i])
                held = None if had < 0 else Held(ruling.segments[had], float(since[i]))
                told.append((i, index, number, int(target[i]), held))
            moved[moves] = True
            rows.current[index, who[moves]] = target[moves]
            rows.since[index, who[moves]] = judged_at[moves]
        judges = np.flatnonzero(moved | moments.learning | (np.arange(len(who)) < moments.heard))
        as_of = rows.head["as_of"]
        as_of[who[judges]] = np.maximum(as_of[who[judges]], moments.timed_at[judges])
        self.settled[who] = False
        if told:
            self._move(moments, told, np.flatnonzero(moved), x, scores)

    def _days(self, moments: _Moments) -> FloatArray:
        """Days since the last purchase, as of when they are timed; nan: never bought."""
        bought_at, timed_at = moments.after[_BOUGHT_AT], moments.timed_at
        bought = moments.after[_PURCHASES] > 0
        if self.rules.local is None:
            days = np.where(timed_at > bought_at, (timed_at - bought_at) / DAY_S, 0.0)
            return np.where(bought, days, np.nan)
        days = np.full(len(bought), np.nan)
        for i in np.flatnonzero(bought).tolist():
            days[i] = self.rules.days_since(float(bought_at[i]), float(timed_at[i]))
        return days

    def _move(
        self,
        moments: _Moments,
        told: list[tuple[int, int, float, int, Held | None]],
        moved: IntArray,
        x: FloatArray,
        scores: FloatArray,
    ) -> None:
        """Notes the moves of a round, with what explains them, and what comes next as of each."""
        rows, rulings = self.rows, self.rules.rulings
        full = self._full(moments, moved, x)
        promises = self._promise(moments.who[moved], moments.after[:, moved], full)
        place = {i: j for j, i in enumerate(moved.tolist())}
        own = scores[moved, : len(SCORES)].tolist()
        told.sort(key=lambda move: (move[0], move[1]))
        for i, index, number, target, held in told:
            customer, ruling, j = int(moments.who[i]), rulings[index], place[i]
            rows.head["sequence"][customer] += 1
            at = float(moments.at[i] if ruling.score is not None else moments.timed_at[i])
            move = Move(
                int(rows.head["sequence"][customer]),
                ruling.name,
                None if held is None else held.segment,
                ruling.segments[target],
                at,
                self._cause(moments, i),
                tuple(own[j]),
                promise=promises[j],
            )
            self.moves.setdefault(customer, []).append(move)
            self.shifts.append((customer, self._shift(moments, i, index, number, move.current, held, full[j])))

    def _full(self, moments: _Moments, which: IntArray, x: FloatArray) -> FloatArray:
        """All features at some of the moments; `x` may hold only those that scores need."""
        return x[which] if len(self.wanted) == x.shape[1] else from_columns(moments.after[:, which], self.shop)

    def _cause(self, moments: _Moments, i: int) -> Cause:
        if i >= moments.heard:
            return SilenceCause(to_rfc3339(float(moments.at[i])))
        heard = self.events.heard[int(moments.event[i])]
        offset = offset_of(heard.offset)
        return EventCause(heard.topic_name, heard.partition, offset, heard.event.event_id, heard.event.type)

    def _shift(
        self,
        moments: _Moments,
        i: int,
        index: int,
        number: float,
        current: str,
        held: Held | None,
        after: FloatArray,
    ) -> Shift:
        """What is compared to explain a move; see `models.reasons`."""
        before = moments.before[:, i].copy()
        if i >= moments.heard:
            before[AT] = before[LAST]
            heard = before
        elif not self.exists[moments.who[i]]:
            before = np.zeros(WIDTH)
            before[AT] = before[LANDMARK] = moments.at[i]
            heard = before
        else:
            heard = before.copy()
            heard[AT] = before[LAST]
        ratings = int(moments.after[ROW["ratings"], i])
        ruling = self.rules.rulings[index]
        return Shift(ruling, held, current, None if np.isnan(number) else number, before, heard, after, ratings)

    # --- labels -------------------------------------------------------------------------------------------------

    def _learn(self, moments: _Moments, first: BoolArray, x: FloatArray) -> None:
        """Labels that mature, features that are kept, purchases that came late."""
        head, who, n = self.rows.head, moments.who, moments.heard
        for i in np.flatnonzero(moments.timed_at >= head["ripe_at"][who]).tolist():
            self._mature(moments, i)
        keeps = moments.learning & (moments.at <= moments.after[LAST] + HORIZON_S)
        keeps[:n] = first
        kept = np.flatnonzero(keeps)
        if len(kept):
            halves = self._full(moments, kept, x).astype(np.float16)
            for i, row in zip(kept.tolist(), halves, strict=True):
                self._keep(int(who[i]), float(moments.at[i]), row, moments.after[:, i])
        heard_at = self.events.at[moments.event]
        late = (heard_at <= head["kept_at"][who[:n]]) & (self.events.topic[moments.event] == PURCHASE) & ~first
        for i in np.flatnonzero(late).tolist():
            customer, heard = int(who[i]), self.events.heard[int(moments.event[i])]
            if count := int(head["exposures"][customer]):
                kept_before = exposures_in(self.rows.exposures[customer], count)
                self._set_exposures(customer, with_late(kept_before, heard.event, heard.at))

    def _keep(self, customer: int, at: float, row: FloatArray, numbers: FloatArray) -> None:
        head = self.rows.head
        exposure = Exposure(at, halved(row), int(numbers[_PURCHASES]), int(numbers[_SPEND]), False, FEATURE_SET)
        if head["exposures"][customer] == 255:
            self.rows.odd[customer] = True
            return
        self.rows.exposures[customer] += encode_exposure(exposure)
        head["exposures"][customer] += 1
        head["kept_at"][customer] = at
        head["ripe_at"][customer] = min(head["ripe_at"][customer], at + THIRTY_S)

    def _mature(self, moments: _Moments, i: int) -> None:
        customer = int(moments.who[i])
        count = int(self.rows.head["exposures"][customer])
        numbers, known_at = moments.after[:, i], float(moments.timed_at[i])
        if i < moments.heard:
            numbers, known_at = moments.before[:, i], known_at - SAME_SECOND_S
        waiting, labels = matured(
            exposures_in(self.rows.exposures[customer], count),
            known_at,
            (int(numbers[_PURCHASES]), int(numbers[_SPEND])),
            self.terms.pseudonym(self.customers[customer].customer_id),
            self.shop.unit_minor,
        )
        self.labels.setdefault(customer, []).extend(labels)
        self._set_exposures(customer, waiting)

    def _set_exposures(self, customer: int, exposures: tuple[Exposure, ...]) -> None:
        head = self.rows.head
        self.rows.exposures[customer] = b"".join(map(encode_exposure, exposures))
        head["exposures"][customer] = len(exposures)
        head["kept_at"][customer] = exposures[-1].at if exposures else -NEVER
        head["ripe_at"][customer] = ripe_at(exposures)

    # --- promises -----------------------------------------------------------------------------------------------

    def _promise(self, who: IntArray, c: FloatArray, x: FloatArray) -> list[Promise | None]:
        """`_settle`, and what is promised to each."""
        next_moves, rulings = self._settle(who, c, x), self.rules.rulings
        promises: list[Promise | None] = []
        for at, index, segment in zip(*(each.tolist() for each in next_moves), strict=True):
            ruling = rulings[index]
            promises.append(None if at == NEVER else Promise(at, ruling.name, ruling.segments[segment]))
        return promises

    def _settle(self, who: IntArray, c: FloatArray, x: FloatArray) -> Promised:
        """Sets what happens next in silence as of each customer's latest moment, and when to look again."""
        rows = self.rows
        as_of = rows.head["as_of"][who]
        terms = self.terms._replace(scorer=self.scorer)
        next_moves = promised(c, x, rows.current[:, who], rows.since[:, who], as_of, terms)
        rows.promise_at[who] = next_moves.at
        rows.promise[0, who], rows.promise[1, who] = next_moves.ruling, next_moves.segment
        rows.head["due"][who] = np.minimum(next_moves.at, next_learning(c[FIRST], c[LAST], as_of))
        self.settled[who] = True
        return next_moves
