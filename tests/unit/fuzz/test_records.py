"""A fuzz of everything that producers can write to an input topic: nothing that arrives ends a worker.

Each record is applied, or becomes a dead letter with a reason. What the worker then keeps can be stored, read and exported.
"""

import contextlib
import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.events import INPUT_TOPICS
from schemas.headers import CLOCK_HEADER, ERASE_HEADER, REASON_HEADER, REPLAYED_HEADER
from schemas.patterns import id_mistake
from schemas.stored import decode_state
from streams.kafka.changelog import PARTITION_KEY, PLANE_PREFIX
from streams.ops.export import tables
from tests.support.scoring_desk import AT, Desk, Record

REASONS = {
    *("no-key", "no-value", "too-large", "not-utf8", "not-json", "schema", "key-mismatch"),
    *("wrong-partition", "future-time", "clock", "erase"),
}
LARGEST, LOWEST = 1 << 64, -(1 << 63)

ids = st.sampled_from(["ada", "Zoë", "a b", "x" * 128, "1"])
# What the store and the plane keep for themselves, what no id may be, and anything at all.
odd_keys = st.sampled_from(
    [
        b"__faust\0offset__",
        PARTITION_KEY,
        PLANE_PREFIX + b"confirmed",
        PLANE_PREFIX,
        b"\0",
        b"a\nb",
        b"x" * 129,
        b"\xff",
        b"",
    ]
)
keys = ids.map(str.encode) | odd_keys | st.binary(max_size=200) | st.none()

offsets = st.sampled_from(["Z", "+00:00", "+14:00", "-14:00", "+23:59", "-23:59", "", "+24:00"])
years = st.sampled_from(["0000", "0001", "1677", "1969", "1970", "1989", "1990", "2024", "2262", "9999", "99999"])
moments = st.builds(
    "{}-{}T{}{}".format, years, st.sampled_from(["01-01", "12-31", "02-30"]), st.just("00:00:00"), offsets
)
# Outside of the years 1 to 9999 in UTC.
edges = st.sampled_from(["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
times = moments | edges | st.sampled_from([AT.format(n) for n in range(5)]) | st.text(max_size=30)
names = st.sampled_from([CLOCK_HEADER, ERASE_HEADER, REPLAYED_HEADER, REASON_HEADER, "x", ""]) | st.text(max_size=5)
contents = times.map(str.encode) | st.binary(max_size=50) | st.none()
headers = st.lists(st.tuples(names, contents), max_size=3)

numbers = (
    st.integers(LOWEST, LARGEST)
    | st.sampled_from([0, -1, 10**13, 10**13 + 1, 10**30, 1e308, 1.5, float("inf"), float("nan")])
    | st.booleans()
)
anything = st.recursive(
    st.none() | numbers | st.text(max_size=20) | times,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
fields = {
    "event_id": st.text(min_size=1, max_size=3) | st.text(max_size=70),
    "event_time": times,
    "type": st.sampled_from(
        ["view", "search", "add_to_cart", "checkout", "purchase", "refund", "review", "support", "", "no"]
    ),
    "session_id": st.text(max_size=5),
    "query": st.text(max_size=20),
    "order_id": st.text(min_size=1, max_size=5),
    "amount_minor": st.integers(1, 10**13),
    "currency": st.sampled_from(["GBP", "XXX", "gbp", "€"]),
    "items": st.lists(
        st.fixed_dictionaries(
            {"product_id": st.text(min_size=1, max_size=3), "quantity": st.integers(1, 10**9)},
            optional={"unit_price_minor": st.integers(0, 10**13), "category": st.text(max_size=5)},
        ),
        max_size=3,
    ),
    "coupon_id": st.text(max_size=5),
    "text": st.text(max_size=30),
    "rating": st.integers(1, 5),
    "language": st.text(max_size=3),
}


@st.composite
def events(draw: st.DrawFn) -> dict[str, Any]:
    """An event that is nearly one: its own fields, some others, and here and there something that doesn't belong."""
    event = {name: draw(values) for name, values in fields.items() if draw(st.integers(0, 9)) < 9}
    event["customer_id"] = draw(ids)
    if draw(st.booleans()):
        event["event_time"] = AT.format(draw(st.integers(0, 9)))
    for name in draw(st.lists(st.sampled_from([*event, "new"]), max_size=2)):
        event[name] = draw(anything)
    return event


def as_json(value: Any) -> bytes:
    """As a producer might write it, also where JSON has no such number."""
    return json.dumps(value, ensure_ascii=False).encode(errors="surrogatepass")


odd_values = st.sampled_from(
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"[" * 70,
        b"[" * 60_000,
        b'{"a":' * 20_000,
        b"\xef\xbb\xbf{}",
        b"x" * 70_000,
        b'"\\ud83d"',
    ]
)
values = events().map(as_json) | odd_values | anything.map(as_json) | st.binary(max_size=50) | st.none()


@st.composite
def records(draw: st.DrawFn) -> Record:
    """A record of any input topic; often its key is the customer's."""
    value, key = draw(values), draw(keys)
    if value and draw(st.integers(0, 9)) < 8:
        with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError, RecursionError):
            key = json.loads(value)["customer_id"].encode()
    return Record(draw(st.sampled_from(INPUT_TOPICS)), 0, 0, key, value, draw(headers))


def run(desk: Desk, chunk: Sequence[Record], first: int) -> None:
    """Takes a chunk, has its texts read, and checks what became of each record."""
    outcomes: Counter[str] = Counter()

    def count(partition: int, counts: Mapping[tuple[int, str], int]) -> None:
        for (_, outcome), number in counts.items():
            outcomes[outcome] += number

    desk.witness.events = count  # type: ignore[method-assign]
    numbered = [record._replace(offset=first + number) for number, record in enumerate(chunk)]
    work = desk.take(*sorted(numbered, key=lambda record: INPUT_TOPICS.index(record.topic)))
    dead = list(work.dead_letters)
    while desk.waiting:
        desk.serve()
    for letter in dead:
        said = [value for name, value in letter.headers if name == REASON_HEADER]
        assert said[-1].decode() in REASONS
    assert outcomes["rejected"] == len(dead)
    assert sum(outcomes.values()) == len(chunk)


@settings(max_examples=250)
@given(st.lists(st.lists(records(), max_size=4), min_size=1, max_size=3))
def test_whatever_producers_send_a_worker_goes_on(chunks: list[list[Record]]) -> None:
    """Every record is counted once; what is kept is of customers, and can be stored, read, looked at and exported."""
    desk = Desk()
    first = 0
    for chunk in chunks:
        run(desk, chunk, first)
        first += len(chunk)
    desk.silence()
    for key, value in desk.states.items():
        if key != PARTITION_KEY:
            assert id_mistake(key.decode()) is None
            decode_state(value)
    list(tables([[(key, value) for key, value in desk.states.items() if key != PARTITION_KEY]]))
    desk.start()  # as the next worker does
    run(desk, [record for chunk in chunks for record in chunk], 0)


@settings(max_examples=200)
@given(
    st.lists(st.tuples(odd_keys | ids.map(str.encode), contents, st.sampled_from([b"", None])), min_size=1, max_size=4)
)
def test_whatever_an_erasure_says_a_worker_goes_on(erasures: list[tuple[bytes, bytes | None, bytes | None]]) -> None:
    """An erasure is done, or becomes a dead letter; those who bought before can buy again."""
    desk = Desk()
    bought = {"type": "purchase", "order_id": "o", "amount_minor": 1, "currency": "GBP"}
    for number, (key, moment, value) in enumerate(erasures):
        event = {"event_id": str(number), "customer_id": "ada", "event_time": AT.format(number), **bought}
        run(desk, [Record("purchases", 0, 0, b"ada", as_json(event))], 2 * number)
        run(desk, [Record("purchases", 0, 0, key, value, [(ERASE_HEADER, moment)])], 2 * number + 1)
    for key in desk.states:
        assert key == PARTITION_KEY or id_mistake(key.decode()) is None


@settings(max_examples=200)
@given(st.lists(st.tuples(st.sampled_from(INPUT_TOPICS), st.none() | st.just(b""), contents), min_size=1, max_size=6))
def test_whatever_a_clock_record_says_a_worker_goes_on(clocks: list[tuple[str, bytes | None, bytes | None]]) -> None:
    """Partition time never leaves the years in which events can be, nor runs ahead of what a worker accepts."""
    desk = Desk()
    chunk = [Record(topic, 0, 0, key, None, [(CLOCK_HEADER, moment)]) for topic, key, moment in clocks]
    run(desk, chunk, 0)
    now = desk.job.parts[0].now()
    assert now == float("-inf") or now <= time.time() + 3600.0
    desk.silence()
