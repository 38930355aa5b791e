"""Events of many customers as arrays, and what they do to columns of numbers by the plans of `models.observing`."""

from collections.abc import Sequence
from math import exp2

import numpy as np

from models.columns import FIRST, LANDMARK, LAST, ROWS_OF, TEXT_AT, FloatArray
from models.decay import SPAN_S
from models.observing import GROUP_OF_TOPIC, PLANS, QUANTITIES, READING, UpdatePlan, id_hash
from models.state import CLICK, WINDOW, is_repeat
from models.step import Customer, Heard
from models.stored import BoolArray, IntArray, StoredRows
from schemas.groups import TEXT_DIM
from schemas.stored import BITS
from schemas.times import DAY_S

# A customer's sums leave the arrays at 2^52 (`models.stored`); with fewer than 2^14 events of less than this in one chunk
# they stay below 2^53, up to which float64 counts whole.
_LARGEST = 2.0**38

_BITS_OF_TOPIC = np.array([BITS[group] for group in GROUP_OF_TOPIC], dtype=np.uint16)


class Events:
    """Every customer's events, one customer after another, each in the order of time.

    A customer is marked `odd` of whom an event was seen before, lies too far from the landmark of their sums, or brings more
    than arrays count whole.

    Attributes:
        heard: the events.
        at, topic: of each event.
        bits: which groups of numbers it changes.
        begin, count: where each customer's first event stands, and how many there are.
    """

    def __init__(self, customers: Sequence[Customer], rows: StoredRows) -> None:
        self.heard: list[Heard] = []
        self._gather(customers, rows)
        self.at: FloatArray = np.array([h.at for h in self.heard], dtype=np.float64)
        self.topic: IntArray = np.array([h.topic for h in self.heard], dtype=np.int64)
        self.bits = _BITS_OF_TOPIC[self.topic]
        #: (m,): of whom more than clicks was heard.
        self.beyond_clicks = np.zeros(len(customers), dtype=bool)
        self.beyond_clicks[np.repeat(np.arange(len(customers)), self.count)[self.topic != CLICK]] = True
        self._describe()
        self._apply_offsets(rows)

    def _gather(self, customers: Sequence[Customer], rows: StoredRows) -> None:
        """Events in order, and the ids that are remembered."""
        begin, count, everything = [], [], self.heard
        odd, seen = rows.odd, rows.seen
        offsets = [rows.head[f"offset_{topic}"].tolist() for topic in range(3)]
        for i, (customer, is_odd) in enumerate(zip(customers, odd.tolist(), strict=True)):
            heard = customer.heard
            begin.append(len(everything))
            if is_odd or not heard:
                count.append(0)
                continue
            if len(heard) > 1:
                heard = sorted(heard, key=_by_time)
            count.append(len(heard))
            everything += heard
            for h in heard:
                topic = h.topic
                windows = seen[topic]
                window, hashed = windows[i], id_hash(h.event.event_id)
                if h.offset <= offsets[topic][i] or (hashed in window and is_repeat(window, hashed)):
                    odd[i] = True
                windows[i] = window + hashed if len(window) < WINDOW else (window + hashed)[-WINDOW:]
        self.begin, self.count = np.array(begin, dtype=np.int64), np.array(count, dtype=np.int64)

    def _describe(self) -> None:
        """Kinds and quantities."""
        codes: dict[tuple[int, str], int] = {}
        kinds = [codes.setdefault((h.topic, h.event.type), len(codes)) for h in self.heard]
        self.kind: IntArray = np.array(kinds, dtype=np.int64)
        self.plans = [(topic, PLANS[GROUP_OF_TOPIC[topic]][kind]) for topic, kind in codes]
        self.brought: dict[str, FloatArray] = {}
        for topic, takes in enumerate(QUANTITIES):
            of_topic = np.flatnonzero(self.topic == topic)
            events = [self.heard[e].event for e in of_topic.tolist()]
            for name, take in takes.items():
                values = self.brought[name] = np.zeros(len(self.heard))
                values[of_topic] = list(map(take, events))
        read = [(e, h.reading) for e, h in enumerate(self.heard) if h.reading is not None]
        self.is_read = np.zeros(len(self.heard), dtype=bool)
        if read:
            which = np.array([e for e, _ in read])
            self.is_read[which] = True
            self.bits[which] |= BITS["voice"]
            self.brought["sentiment"] = np.zeros(len(self.heard))
            self.brought["sentiment"][which] = [reading.sentiment for _, reading in read]
            self.vectors: FloatArray = np.zeros((TEXT_DIM, len(self.heard)))
            self.vectors[:, which] = np.array([reading.vector for _, reading in read]).T

    def _apply_offsets(self, rows: StoredRows) -> None:
        """Each topic's last applied record; and whose events lie too far from the landmark."""
        customer = np.repeat(np.arange(len(self.begin)), self.count)
        offset = np.array([h.offset for h in self.heard], dtype=np.int64)
        for topic in range(3):
            of_topic = self.topic == topic
            np.maximum.at(rows.head[f"offset_{topic}"], customer[of_topic], offset[of_topic])
        heard = np.flatnonzero(self.count)
        origin = rows.table[LANDMARK].copy()
        new = heard[~rows.known[heard]]
        origin[new] = self.at[self.begin[new]]
        far = self.at - origin[customer] > SPAN_S
        large = np.maximum(self.brought["amount"], self.brought["units"]) > _LARGEST
        rows.odd[customer[far | large]] = True


def _by_time(heard: Heard) -> tuple[float, int, int]:
    return heard.at, heard.topic, heard.offset


def observe(numbers: FloatArray, events: Events, event: IntArray, first: BoolArray) -> None:
    """Applies an event each to columns of numbers, in place.

    Args:
        numbers: (WIDTH, n), and maybe more columns behind.
        events: all there are.
        event: (n,), which.
        first: (n,), whose first event it is.
    """
    n, at = len(event), events.at[event]
    for row in (FIRST, LAST, LANDMARK):
        numbers[row, :n] = np.where(first, at, numbers[row, :n])
    np.minimum(numbers[FIRST, :n], at, out=numbers[FIRST, :n])
    np.maximum(numbers[LAST, :n], at, out=numbers[LAST, :n])
    age_days = (at - numbers[LANDMARK, :n]) / DAY_S
    kinds = events.kind[event]
    for code, (topic, plan) in enumerate(events.plans):
        where = np.flatnonzero(kinds == code)
        if len(where):
            base = ROWS_OF[GROUP_OF_TOPIC[topic]].start
            _apply(numbers, base, plan, where, events, event[where], age_days[where])
    where = np.flatnonzero(events.is_read[event])
    if len(where):
        plan = PLANS["voice"][READING]
        _apply(numbers, ROWS_OF["voice"].start, plan, where, events, event[where], age_days[where])


def _apply(
    numbers: FloatArray,
    base: int,
    plan: UpdatePlan,
    where: IntArray,
    events: Events,
    event: IntArray,
    age_days: FloatArray,
) -> None:
    """`models.observing.after_event` for many, whose group begins at the row `base`."""
    at = events.at[event]
    brought = {name: values[event] for name, values in events.brought.items()}
    brought["one"] = np.ones(len(event))
    for i, since in plan.gaps:
        last = numbers[base + since, where]
        gap_days = np.where((last != 0.0) & (at >= last), (at - last) / DAY_S, 0.0)
        numbers[base + i, where] += gap_days * gap_days
    for i, of, since in plan.newest:
        newest = at >= numbers[base + since, where]
        numbers[base + i, where[newest]] = brought[of][newest]
    for i, streak in plan.session:
        before = numbers[base + streak, where]
        same = (numbers[base + i, where] == brought["session"]) & (before > 0)
        numbers[base + i, where] = brought["session"]
        numbers[base + streak, where] = np.where(same, before + 1, 1.0)
        brought["new_session"] = np.where(same, 0.0, 1.0)
    for i, of in plan.sums:
        numbers[base + i, where] += brought[of]
    weights: dict[float, FloatArray] = {}
    for i, of, days in plan.decays:
        numbers[base + i, where] += brought[of] * _weights(weights, age_days, days)
    for _, _, days in plan.vectors:
        numbers[TEXT_AT:, where] += _weights(weights, age_days, days) * events.vectors[:, event]
    for i, of in plan.largest:
        numbers[base + i, where] = np.maximum(numbers[base + i, where], brought[of])
    for i in plan.earliest:
        first = numbers[base + i, where]
        numbers[base + i, where] = np.where(first != 0.0, np.minimum(first, at), at)
    for i in plan.latest:
        numbers[base + i, where] = np.maximum(numbers[base + i, where], at)


def _weights(kept: dict[float, FloatArray], age_days: FloatArray, days: float) -> FloatArray:
    if days not in kept:
        kept[days] = np.array([exp2(age) for age in (age_days / days).tolist()])
    return kept[days]
