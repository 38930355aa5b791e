"""Stored states of many customers as arrays, and back to bytes: `schemas.layout`, a chunk at once.

What the arrays can't hold is for `models.step`, customer by customer: `StoredRows.odd` says of whom that is.
"""

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from models.columns import FIRST, LANDMARK, LAST, ROW, TEXT_AT, WIDTH, FloatArray
from models.policy import Rules
from schemas.campaigns import tail_of
from schemas.groups import TEXT_DIM
from schemas.layout import CAMPAIGNS, HEAD, LAYOUT, LAYOUT_AT
from schemas.learning import SCORES
from schemas.states import NEVER
from schemas.stored import APART, BITS, FIELDS, PARTS, encode_names, names_in
from schemas.times import DAY_S

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
Bytes = NDArray[np.uint8]

HEAD_DTYPE = np.dtype(list(HEAD))
PART_DTYPES = {name: np.dtype(list(fields)) for name, fields in PARTS}
#: Rows of the table that each part fills.
_PART_ROWS = {
    name: [TEXT_AT + i for i in range(TEXT_DIM)] if name == "text" else [ROW[field] for field, _ in fields]
    for name, fields in PARTS
    if name in FIELDS or name == "text"
}
#: Numbers beyond these leave no room for what an event adds: float64 counts to 2^53, four bytes to 2^32.
_ROOM = {"<i8": 2.0**52, "<u4": 2.0**31}
_SPAN_LEFT_S = DAY_S  # see `models.decay.SPAN_S`
_FIELDS = slice(HEAD_DTYPE.fields["spending"][1], HEAD_DTYPE.fields["names"][1])  # type: ignore[index]
_EACH = bytes(FIELDS.values())
_NEW = np.zeros(1, HEAD_DTYPE)
_NEW[["due", "ripe_at"]] = (NEVER, NEVER)
_NEW[["as_of", "kept_at"]] = (-NEVER, -NEVER)
_NEW[["offset_0", "offset_1", "offset_2"]] = (-1, -1, -1)


class Order:
    """Segments' names as one stored blob has them.

    Attributes:
        current: index of the held segment, by ruling.
        places: where each ruling's dimension stands in the blob.
        odd: the blob holds dimensions or segments other than the rules'.
    """

    def __init__(self, names: Sequence[str], rules: Rules) -> None:
        held = dict(zip(names[::2], names[1::2], strict=True))
        dimensions = list(held)
        self.current = [ruling.index(held.get(ruling.name, "")) for ruling in rules.rulings]
        self.odd = set(held) != {ruling.name for ruling in rules.rulings} or -1 in self.current
        self.places = [0 if self.odd else dimensions.index(ruling.name) for ruling in rules.rulings]


class StoredRows:
    """m customers; index i is the i-th of `values`.

    Attributes:
        values: as stored; None: never heard of.
        head: (m,) of `HEAD`.
        table: (WIDTH, m), the numbers; the row `AT` is free.
        odd: (m,) whom arrays can't hold.
        known: (m,) who was heard of before.
        current, since: (rulings, m), the held segment's index, -1: in none, and since when.
        order: (m,) index into `orders` of who is known.
        promise_at: (m,) when the promised move comes; `NEVER`: none is promised.
        promise: (2, m), the ruling and the segment of a promise that was made here; those that were stored are
            `promise_names`, as bytes.
        seen: the windows of ids, by topic.
        exposures: as stored.
        kept: of each, the stored bytes of names and moments of segments.
        campaigns: what is kept of campaigns, as stored, of those who have it.
    """

    def __init__(self, values: Sequence[bytes | None], rules: Rules) -> None:
        self.values, self.rules = values, rules
        m, rulings = len(values), len(rules.rulings)
        self.known = np.array([value is not None for value in values], dtype=bool)
        self.odd: BoolArray = np.array(
            [
                value is not None and (len(value) < HEAD_DTYPE.itemsize or value[LAYOUT_AT] != LAYOUT)
                for value in values
            ],
            dtype=bool,
        )
        self.table: FloatArray = np.zeros((WIDTH, m))
        self.head = np.repeat(_NEW, m)
        self.current: IntArray = np.full((rulings, m), -1)
        self.since: FloatArray = np.full((rulings, m), -NEVER)
        #: (4, m): scores of the latest moment, to be written.
        self.scores: FloatArray = np.zeros((len(SCORES), m))
        self.order: IntArray = np.zeros(m, dtype=np.int64)
        self.orders: list[tuple[int, ...]] = [tuple(range(rulings))]
        self.promise: IntArray = np.full((2, m), -1)
        self.promise_names: list[bytes] = [b""] * m
        self.promise_at: FloatArray = np.full(m, NEVER)
        self.seen: tuple[list[bytes], ...] = ([b""] * m, [b""] * m, [b""] * m)
        self.exposures: list[bytes] = [b""] * m
        self.kept: list[bytes] = [b""] * m
        self.campaigns: dict[int, bytes] = {}
        self._leave_out_other_widths()
        there = np.flatnonzero(self.known & ~self.odd)
        if len(there):
            self._read(there)

    def _leave_out_other_widths(self) -> None:
        """Rows that were written when a group had fewer numbers are migrated one by one."""
        for i, value in enumerate(self.values):
            if value is not None and value[_FIELDS] != _EACH:
                self.odd[i] = True

    def _read(self, there: IntArray) -> None:
        chosen = [self.values[i] for i in there.tolist()]
        stored = [value for value in chosen if value is not None]
        raw = np.frombuffer(b"".join(stored), np.uint8)
        starts = np.concatenate([[0], np.cumsum([len(value) for value in stored])])[:-1]
        head = _taken(raw, starts, HEAD_DTYPE)
        self.head[there] = head
        for row, name in ((FIRST, "first"), (LAST, "last"), (LANDMARK, "landmark")):
            self.table[row, there] = head[name]
        at = starts + HEAD_DTYPE.itemsize
        for name, dtype in PART_DTYPES.items():
            have = np.flatnonzero(head["groups"] & BITS[name])
            if len(have) and name in _PART_ROWS:
                part = _taken(raw, at[have], dtype)
                self._fill(there[have], part, _PART_ROWS[name])
            at[have] += dtype.itemsize
        self.odd[there] |= (head["groups"] & BITS["erased"] > 0) | (head["ruled"] != self.rules.tag)
        promised = np.flatnonzero(head["promised"])
        self.promise_at[there[promised]] = _floats(raw, at[promised])
        self._read_tails(there, stored, head, (at - starts).tolist())
        self._read_since(there, raw, head, at)

    def _fill(self, customers: IntArray, part: NDArray[np.void], rows: list[int]) -> None:
        fields = part.dtype.names or ()
        for row, name in zip(rows, fields, strict=True):
            numbers = part[name]
            self.table[row, customers] = numbers
            room = _ROOM.get(part.dtype[name].str)
            if room is not None and (full := numbers >= room).any():
                self.odd[customers[full]] = True

    def _read_tails(self, there: IntArray, stored: list[bytes], head: NDArray[np.void], at: list[int]) -> None:
        """What has no fixed width: promises and segments by their names, ids, exposures."""
        orders: dict[bytes, int] = {}
        known: list[Order] = []
        codes = [0] * len(stored)
        counts = [head[name].tolist() for name in ("promised", "names", "dimensions", "seen_0", "seen_1", "seen_2")]
        seen_0, seen_1, seen_2 = self.seen
        for j, (i, value, begin, promised, names, dimensions, n_0, n_1, n_2) in enumerate(
            zip(there.tolist(), stored, at, *counts, strict=True)
        ):
            a = begin
            if promised:
                a += 8 + promised
                self.promise_names[i] = value[begin + 8 : a]
            blob = value[a : a + names]
            code = orders.get(blob)
            if code is None:
                code = orders[blob] = len(known)
                known.append(Order(names_in(blob), self.rules))
            codes[j] = code
            b = a + names + 8 * dimensions
            self.kept[i] = value[a:b]
            c = b + 8 * n_0
            d = c + 8 * n_1
            e = d + 8 * n_2
            seen_0[i], seen_1[i], seen_2[i], self.exposures[i] = value[b:c], value[c:d], value[d:e], value[e:]
        for j in np.flatnonzero(head["groups"] & CAMPAIGNS).tolist():
            i, tail = int(there[j]), tail_of(stored[j])
            self.campaigns[i], self.exposures[i] = tail, self.exposures[i][: -len(tail)]
        self.orders = [tuple(range(len(self.rules.rulings))), *(tuple(order.places) for order in known)]
        self.order[there] = np.array(codes) + 1
        self.current[:, there] = np.array([order.current for order in known])[codes].T
        self.odd[there] |= np.array([order.odd for order in known])[codes]

    def _read_since(self, there: IntArray, raw: Bytes, head: NDArray[np.void], at: IntArray) -> None:
        even = np.flatnonzero(~self.odd[there])
        promised = head["promised"][even].astype(np.int64)
        begin = at[even] + np.where(promised > 0, promised + 8, 0) + head["names"][even]
        customers = there[even]
        places = np.array(self.orders)[self.order[customers]]
        for ruling in range(len(self.rules.rulings)):
            self.since[ruling, customers] = _floats(raw, begin + 8 * places[:, ruling])

    def write(self, who: IntArray, moved: BoolArray) -> tuple[list[bytes], BoolArray]:
        """The stored values of `who`, and to whom another move is promised than before.

        Args:
            who: customers who had a moment.
            moved: of them, whose segments are other ones than were read.
        """
        customers = who.tolist()
        of_promise, of_segments = self._namers()
        promises = zip(self.promise_at[who].tolist(), *self.promise[:, who].tolist(), strict=True)
        names = [b"" if at == NEVER else of_promise(ruling, segment) for at, ruling, segment in promises]
        other = np.array([self.promise_names[i] != name for i, name in zip(customers, names, strict=True)], dtype=bool)
        held = [self.kept[i] for i in customers]
        movers = who[moved]
        currents, since = self.current[:, movers].T.tolist(), self.since[:, movers].T
        for j, i, current, row in zip(np.flatnonzero(moved).tolist(), movers.tolist(), currents, since, strict=True):
            place = self.orders[self.order[i]]
            order = sorted(range(len(place)), key=place.__getitem__)
            held[j] = of_segments(place, tuple(current)) + row[order].tobytes()
        seen = [[windows[i] for i in customers] for windows in self.seen]
        exposures = [self.exposures[i] for i in customers]
        tails = [[self.campaigns.get(i, b"") for i in customers]] if self.campaigns else []
        self._finish_heads(who, names, held, seen)
        head = self.head[who]
        moments = _split(self.promise_at[who].tobytes(), 8)
        promise_at = [at if name else b"" for at, name in zip(moments, names, strict=True)]
        parts = self._parts(who, head["groups"])
        heads = _split(head.tobytes(), HEAD_DTYPE.itemsize)
        return list(
            map(b"".join, zip(heads, *parts, promise_at, names, held, *seen, exposures, *tails, strict=True))
        ), other

    def _namers(self) -> tuple[Callable[[int, int], bytes], Callable[[tuple[int, ...], tuple[int, ...]], bytes]]:
        """Stored names of a promise, and of segments in an order; each is encoded once."""
        rulings = self.rules.rulings

        @cache
        def of_promise(ruling: int, segment: int) -> bytes:
            return encode_names((rulings[ruling].name, rulings[ruling].segments[segment]))

        @cache
        def of_segments(place: tuple[int, ...], current: tuple[int, ...]) -> bytes:
            named = sorted((at, ruling) for ruling, at in enumerate(place))
            return encode_names([n for _, r in named for n in (rulings[r].name, rulings[r].segments[current[r]])])

        return of_promise, of_segments

    def _finish_heads(self, who: IntArray, names: list[bytes], held: list[bytes], seen: list[list[bytes]]) -> None:
        head, dimensions = self.head, len(self.rules.rulings)
        head["layout"][who], head["ruled"][who] = LAYOUT, self.rules.tag
        for name, fields in FIELDS.items():
            head[name][who] = fields
        head["promised"][who], head["dimensions"][who] = _lengths(names), dimensions
        head["names"][who] = _lengths(held) - 8 * dimensions
        for topic, windows in enumerate(seen):
            head[f"seen_{topic}"][who] = _lengths(windows) // 8
        for row, name in ((FIRST, "first"), (LAST, "last"), (LANDMARK, "landmark")):
            head[name][who] = self.table[row, who]
        groups = head["groups"][who]
        for name in APART:
            there = (self.table[np.array(_PART_ROWS[name])[:, None], who] != 0).any(axis=0)
            groups = groups & np.uint16(~BITS[name] & 0xFFFF) | np.where(there, np.uint16(BITS[name]), np.uint16(0))
        head["groups"][who] = groups

    def _parts(self, who: IntArray, groups: NDArray[np.uint16]) -> list[list[bytes]]:
        """Of each part that of each customer; where there is none, no bytes."""
        parts = []
        for name, dtype in PART_DTYPES.items():
            have = groups & BITS[name] > 0
            of_all = [b""] * len(who)
            parts.append(of_all)
            if not have.any():
                continue
            part = np.empty(int(have.sum()), dtype)
            source = self.scores if name == "scores" else self.table
            rows = range(len(SCORES)) if name == "scores" else _PART_ROWS[name]
            for row, field in zip(rows, dtype.names or (), strict=True):
                part[field] = source[row, who[have]]
            whole = _split(part.tobytes(), dtype.itemsize)
            if len(whole) == len(who):
                parts[-1] = whole
                continue
            for j, row_bytes in zip(np.flatnonzero(have).tolist(), whole, strict=True):
                of_all[j] = row_bytes
        return parts


def _lengths(pieces: list[bytes]) -> IntArray:
    return np.fromiter(map(len, pieces), np.int64, len(pieces))


def _taken(raw: Bytes, at: IntArray, dtype: np.dtype[np.void]) -> NDArray[np.void]:
    """Rows of `dtype` that begin at `at`."""
    taken: NDArray[np.void] = raw[at[:, None] + np.arange(dtype.itemsize)].view(dtype)[:, 0]
    return taken


def _floats(raw: Bytes, at: IntArray) -> FloatArray:
    taken: FloatArray = raw[at[:, None] + np.arange(8)].view("<f8")[:, 0]
    return taken


def _split(whole: bytes, size: int) -> list[bytes]:
    return [whole[at : at + size] for at in range(0, len(whole), size)]
