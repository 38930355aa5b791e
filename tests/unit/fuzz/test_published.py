"""A fuzz of what reaches every process in full: policies, snapshots, orders. It is served, or refused with a reason."""

import json
from dataclasses import replace
from functools import cache
from typing import Any

import msgspec
import numpy as np
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from models.features import FEATURE_SET, NAMES
from models.learning.learner import Learner
from models.learning.snapshots import Snapshot, SnapshotError, encode_snapshot, version_of
from models.policy import PolicyError
from models.policy.document import NUMBERS
from models.policy.loading import read
from models.scores import PriorScorer
from schemas.orders import decode_orders
from streams.policy.published import readable
from streams.training.checkpoint import Beginner, take_over
from tests.support.scoring_desk import AT, Desk, Record
from tests.support.training import direct
from tests.unit.streams.worker.test_serving import Stand, published

TREE = yaml.safe_load(read())
PURCHASE = {"type": "purchase", "order_id": "o", "amount_minor": 9_900, "currency": "GBP", "customer_id": "ada"}

numbers = (
    st.sampled_from([0, -1, 1e-308, 1e308, -1e308, float("inf"), float("-inf"), float("nan"), 10**40, 30, 90, 0.5])
    | st.floats()
    | st.integers()
)
anything = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=10) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | numbers, inner, max_size=3),
    max_leaves=4,
)
segments = st.lists(
    st.fixed_dictionaries({"name": st.sampled_from(["low", "mid", "high", "", "x" * 65])}, optional={"from": numbers}),
    min_size=1,
    max_size=4,
)
rising = st.lists(
    st.floats(-1e6, 1e6) | st.sampled_from([1e308, 1e18, 1e-300]), min_size=1, max_size=3, unique=True
).map(lambda bounds: [{"name": "none"}, *({"name": f"s{n}", "from": bound} for n, bound in enumerate(sorted(bounds)))])
dimensions = st.fixed_dictionaries(
    {"name": st.text(min_size=1, max_size=3), "over": st.sampled_from(NUMBERS), "segments": rising | rising | segments},
    optional={
        "exit_margin": st.floats(0, 0.99) | numbers,
        "dwell_days": st.sampled_from([0, 1, 1e308]) | numbers,
    },
)
zones = st.sampled_from(["Europe/London", "Pacific/Kiritimati", "UTC", "", "../etc/passwd", "No/Where", "Factory"])


@st.composite
def documents(draw: st.DrawFn) -> str:
    """A policy that is nearly one."""
    tree = dict(TREE)
    if draw(st.booleans()):
        tree["dimensions"] = draw(st.lists(dimensions, min_size=1, max_size=2))
    if draw(st.booleans()):
        tree["time_zone"] = draw(zones)
    if draw(st.integers(0, 3)) == 0:
        tree["season"] = draw(st.lists(st.floats(0.01, 100), min_size=12, max_size=12))
    for name in draw(st.lists(st.sampled_from([*tree, "new"]), max_size=1)):
        tree[name] = draw(anything)
    text = yaml.safe_dump(tree, allow_unicode=True) if draw(st.booleans()) else json.dumps(tree, default=str)
    if draw(st.integers(0, 3)) == 0:
        at, what = (
            draw(st.integers(0, len(text))),
            draw(st.sampled_from(["{", "[" * 5000, "&a", "*a", "!!", "\t", "\0", "- " * 99])),
        )
        text = text[:at] + what + text[at:]
    return text


@settings(max_examples=250)
@given(documents() | st.text(max_size=30))
def test_whatever_is_published_as_a_policy_a_worker_goes_on(document: str) -> None:
    """A policy that is not refused judges events, ten years of silence, and events after them."""
    try:
        rules = readable(document.encode(errors="surrogatepass"))
    except PolicyError as exc:
        assert str(exc)
        return
    desk = Desk()
    for number in range(2):
        event = PURCHASE | {"event_id": str(number), "event_time": AT.format(number)}
        desk.take(Record("purchases", 0, number, b"ada", json.dumps(event).encode()))
        desk.job.rules = rules
        for topic in ("clickstream", "purchases", "reviews"):
            moment = [("regulars-clock", b"2026-0%d-01T00:00:00Z" % (number + 1))]
            desk.take(Record(topic, 0, 10 + number, None, None, moment))
        desk.silence()
        while (work := desk.job.sweep(0)) is not None:
            desk.step(work)
    desk.start()


@given(
    st.binary(max_size=100)
    | st.lists(st.tuples(st.floats() | st.integers(-(2**63), 2**63), st.text(max_size=9))).map(msgspec.msgpack.encode)
)
def test_whatever_a_history_header_holds_a_worker_goes_on(header: bytes) -> None:
    """The document beside it is served."""
    fresh = Stand()
    fresh.serving.serve_published([published(read().replace('"1"', '"2"').encode(), (("regulars-history", header),))])
    assert fresh.desk.rules.policy.version == "2"


@cache
def good() -> tuple[Snapshot, bytes]:
    """A snapshot of a learner that has learnt."""
    snapshot = direct(range(300), 300)
    return snapshot, encode_snapshot(snapshot)


@cache
def stand() -> Stand:
    """A worker's serving, for all examples: what is refused leaves nothing behind."""
    return Stand()


def check_served(data: bytes) -> None:
    """Serves it: it forecasts, or it is refused."""
    assert stand().serving.serve_snapshot(b"dynamic", data) in (True, False)
    forecasts = stand().desk.scorer.score(np.zeros((1, len(NAMES))))
    assert np.isfinite(forecasts).all()


extremes = st.sampled_from([1e308, -1e308, 1e99, -1e99, 1e30, -1e30, 0.0, 1e-308, -1.0, 700.0, -700.0])


@settings(max_examples=120)
@given(st.sampled_from(sorted(good()[0].arrays)), extremes, st.integers(0, 10**6), st.booleans())
def test_whatever_numbers_a_snapshot_has_a_worker_goes_on(name: str, number: float, place: int, whole: bool) -> None:
    """One number, or all of an array."""
    snapshot, _ = good()
    array = snapshot.arrays[name].copy()
    if array.size:
        value = min(max(int(number), 0), np.iinfo(array.dtype).max) if array.dtype.kind in "iu" else number
        if whole:
            array[...] = value
        else:
            array.reshape(-1)[place % array.size] = value
    arrays = {**snapshot.arrays, name: array}
    try:
        data = encode_snapshot(
            replace(snapshot, arrays=arrays, version=version_of(snapshot.kind, snapshot.labels, arrays))
        )
    except SnapshotError as exc:
        assert str(exc)
        return
    check_served(data)


@settings(max_examples=100)
@given(st.integers(0, 10**7), st.binary(min_size=1, max_size=20), st.booleans())
def test_whatever_bytes_a_snapshot_has_a_worker_goes_on(place: int, patch: bytes, is_cut: bool) -> None:
    """Overwritten anywhere, most often in the header; or cut."""
    data = good()[1]
    at = place % (len(data) if place % 2 else 4_000)
    check_served(data[:at] if is_cut else data[:at] + patch + data[at + len(patch) :])


states = st.dictionaries(
    st.sampled_from(["served", "pinned", "judged", "at", "trials", "records", "failures"]),
    st.recursive(
        st.none()
        | st.integers(-(2**60), 2**60)
        | st.sampled_from(["p_purchase_30d", "prior", "adagrad", ""])
        | st.floats(-1e9, 1e9),
        lambda inner: (
            st.lists(inner, max_size=9) | st.dictionaries(st.sampled_from(["p_purchase_30d", "x"]), inner, max_size=2)
        ),
        max_leaves=9,
    ),
)


class Cluster:
    """Topics with one snapshot."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def check_partitions(self) -> None:
        """There is one."""

    async def snapshots(self) -> dict[bytes, list[bytes]]:
        """This one."""
        return {b"dynamic": [self._data]}

    async def start_offset(self) -> int:
        """The first."""
        return 0

    async def end(self) -> int:
        """The next."""
        return 10

    async def topic_id(self) -> str:
        """None."""
        return ""


@settings(max_examples=100)
@given(states)
async def test_whatever_a_contest_says_worker_and_trainer_go_on(state: dict[str, Any]) -> None:
    """Who is served, pinned, judged; it is served or refused, restored or begun anew."""
    snapshot, _ = good()
    data = encode_snapshot(replace(snapshot, contest=state))
    check_served(data)
    beginner = Beginner(NAMES, FEATURE_SET, PriorScorer())
    course, _ = await take_over(Cluster(data), beginner)
    assert course.learner.labels in (0, 300)


@given(anything.map(lambda value: json.dumps(value, default=str).encode()) | st.binary(max_size=30))
def test_whatever_orders_say_the_trainer_goes_on(value: bytes) -> None:
    """They can be read, or they are refused; a deep nest as well."""
    for data in (value, b"[" * 100_000):
        orders = decode_orders(data)
        assert orders is None or isinstance(orders.pinned, dict)


def test_a_learner_that_has_learnt_nothing_passes_the_trial() -> None:
    """What is refused is no matter of an ordinary snapshot."""
    for snapshot in (good()[0], Learner(NAMES, FEATURE_SET, PriorScorer()).snapshot()):
        assert stand().serving.serve_snapshot(b"dynamic", encode_snapshot(snapshot))
        assert stand().desk.scorer.version.startswith(snapshot.version)
