"""Laws of what is read from the topics alone: the state export, a customer explained, ratings to learn from."""

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from aiokafka import AIOKafkaProducer
from click.testing import CliRunner

from models.features import FEATURE_SET, NAMES
from models.learning.learner import Learner
from models.learning.scorer import SnapshotScorer
from models.learning.snapshots import encode_snapshot
from models.scores import PriorScorer
from models.standing import standing
from schemas.changes import (
    Change,
    Contribution,
    Counterfactual,
    EventCause,
    Next,
    Profile,
    Standing,
    Trace,
    Versions,
    encode_change,
    encode_standing,
)
from schemas.groups import Browsing, Spending
from schemas.learning import SCORES
from schemas.states import NEVER, CustomerState, Held, Promise
from schemas.stored import encode_state
from schemas.times import from_rfc3339
from streams.cli import main
from streams.kafka.changelog import PARTITION_KEY
from streams.kafka.topics import create, partition_of
from streams.ops.explain import look_up, spend_interval
from streams.settings import Settings
from streams.teaching.ratings import read_ratings

AT = "2024-05-01T10:00:00Z"
VERSIONS = Versions("policy-1", "model-1", "encoder-1")


async def produce(settings: Settings, topic: str, records: list[tuple[str | bytes, bytes | None]]) -> None:
    """Records in order, each in its key's partition."""
    producer = AIOKafkaProducer(bootstrap_servers=settings.bootstrap_servers)
    await producer.start()
    try:
        for key, value in records:
            raw = key if isinstance(key, bytes) else key.encode()
            partition = 0 if isinstance(key, bytes) else partition_of(raw, settings.partitions)
            await producer.send(topic, value, key=raw, partition=partition)
        await producer.flush()
    finally:
        await producer.stop()


@pytest.fixture
def own(settings: Settings) -> Settings:
    """Topics and a group of its own, made."""
    own = settings.model_copy(update={"app_id": f"{settings.topic_prefix}group"})
    asyncio.run(create(own))
    return own


def connection(settings: Settings) -> list[str]:
    """The options that name the broker and the group."""
    options = {"bootstrap-servers": settings.bootstrap_servers, "topic-prefix": settings.topic_prefix}
    return [f"--{name}={value}" for name, value in {**options, "app-id": settings.app_id}.items()]


def a_state(clicks: int) -> bytes:
    """A stored state with so many clicks."""
    segments = {"value": Held("low", 1.7e9)}
    return encode_state(CustomerState(sequence=1, segments=segments, browsing=Browsing(clicks=clicks)), NEVER)


def test_export_has_the_last_state_of_every_customer(own: Settings, tmp_path: Path) -> None:
    """The last value wins, an erased customer is gone, the data plane's own keys are no customers."""
    records = [(f"c{i}", a_state(1)) for i in range(50)]
    records += [(f"c{i}", a_state(2)) for i in range(25)]
    erased: list[tuple[str | bytes, bytes | None]] = [("c0", None)]
    own_keys: list[tuple[str | bytes, bytes | None]] = [(PARTITION_KEY, b"?"), (b"\xff\x00confirmed", b"7")]
    asyncio.run(produce(own, own.changelog_topic, [*records, *erased, *own_keys]))
    out = tmp_path / "states.parquet"

    told = CliRunner().invoke(main, ["state", "export", "--out", str(out), *connection(own)])

    assert told.exit_code == 0, told.output
    rows = {row["customer_id"]: row["clicks"] for row in pq.read_table(out).to_pylist()}
    assert rows == {f"c{i}": 2 if i < 25 else 1 for i in range(1, 50)}
    assert [path.name for path in tmp_path.glob("*") if path.is_file()] == ["states.parquet"]


def test_export_that_fails_leaves_the_old_file(own: Settings, tmp_path: Path) -> None:
    """A state that can't be read fails the export; what was there stays, no half file beside it."""
    asyncio.run(produce(own, own.changelog_topic, [("c0", b"not a state")]))
    out = tmp_path / "states.parquet"
    out.write_bytes(b"old")

    told = CliRunner().invoke(main, ["state", "export", "--out", str(out), *connection(own)])

    assert told.exit_code == 1
    assert "cannot be read" in told.stderr
    assert out.read_bytes() == b"old"
    assert [path.name for path in tmp_path.glob("*") if path.is_file()] + [
        path.name for path in tmp_path.glob(".*") if path.is_file()
    ] == ["states.parquet"]


def test_export_without_a_changelog_says_what_to_do(settings: Settings, tmp_path: Path) -> None:
    """No worker has ever run."""
    told = CliRunner().invoke(main, ["state", "export", "--out", str(tmp_path / "x.parquet"), *connection(settings)])

    assert told.exit_code == 1
    assert "regulars worker" in told.stderr
    assert list(tmp_path.glob("*.parquet")) == []


def a_change(customer: str, number: int, **fields: Any) -> Change:
    """Change `number` of `customer`."""
    cause = EventCause("purchases", 0, number, "e", "purchase")
    values: dict[str, Any] = {"reasons": (), "counterfactual": None, "next": None} | fields
    return Change(
        f"{customer}:{number}",
        customer,
        number,
        "value",
        "low",
        "mid",
        AT,
        cause,
        {},
        values["reasons"],
        values["counterfactual"],
        values["next"],
        VERSIONS,
        Trace(AT, AT, AT),
    )


@pytest.fixture
def ada(own: Settings) -> Settings:
    """Ada, with changes, a standing and a state, among others' records."""
    reasons = (Contribution("purchases", 3.0, 21.5),)
    latest = a_change("ada", 3, reasons=reasons, counterfactual=Counterfactual("purchases", 3.0, 2.0))
    changes = [a_change("ada", 1), a_change("ada", 2), a_change("ada", 2), latest]
    others = [(f"other{i}", encode_change(a_change(f"other{i}", 1))) for i in range(40)]
    profile = Profile(2.0, 3, 1234.0, 3, 1, 3702, 100, 7, 0, AT, AT, AT)
    coming = Next("2024-06-01T10:00:00Z", "lifecycle", "at_risk")
    published = Standing("ada", 3, {"value": "mid"}, {"expected_spend_90d": 61.5}, profile, coming, VERSIONS, AT)
    at = from_rfc3339(AT)
    spending = Spending(purchases=3, refunds=1, spend_minor=3702, refunded_minor=100, last_purchase_at=at)
    stored = CustomerState(
        sequence=3,
        segments={"value": Held("mid", 1.7e9)},
        first_event_at=at,
        last_event_at=at,
        spending=spending,
        browsing=Browsing(clicks=8),
        scores=(0.3, 0.55, 1.2, 63.0),
        promise=Promise(from_rfc3339(coming.at), coming.dimension, coming.segment),
    )
    asyncio.run(
        produce(
            own,
            own.topic("segment-changes"),
            [*others, *(("ada", encode_change(change)) for change in changes), *others],
        )
    )
    asyncio.run(produce(own, own.topic("customer-segments"), [("ada", b"{}"), ("ada", encode_standing(published))]))
    asyncio.run(produce(own, own.changelog_topic, [("ada", a_state(1)), ("ada", encode_state(stored, NEVER))]))
    return own


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_latest_of_a_customer_is_found_in_blocks_of_any_size(ada: Settings, block: int) -> None:
    """Read backwards, a change that was delivered twice counts once, newest first."""
    found = asyncio.run(look_up(ada, "ada", 10, first_block=block))

    assert [change.sequence for change in found.changes] == [3, 2, 1]
    assert found.standing is not None
    assert found.standing.segments == {"value": "mid"}
    assert found.state is not None
    assert found.state.purchases == 3


def test_the_standing_is_as_of_the_latest_click(ada: Settings) -> None:
    """Its record was written before a click that moved a score; a worker's page answers from the state, so does this."""
    history = asyncio.run(look_up(ada, "ada", 10))

    assert history.state is not None
    assert history.standing == standing("ada", history.state, VERSIONS)
    assert history.standing.scores["expected_spend_90d"] == 63.0
    assert history.standing.profile.clicks == 8


def test_the_interval_of_spend_is_the_served_snapshots(ada: Settings) -> None:
    """None before a snapshot is published; then the bounds that its scorer gives for the scores of the standing."""
    profile = Profile(2.0, 3, 1234.0, 3, 1, 3702, 100, 7, 0, AT, AT, AT)
    scores = dict(zip(SCORES, (0.3, 0.55, 1.2, 61.5), strict=True))
    ada_now = Standing("ada", 3, {"value": "mid"}, scores, profile, None, VERSIONS, AT)
    assert asyncio.run(spend_interval(ada, ada_now)) is None
    snapshot = Learner(NAMES, FEATURE_SET, PriorScorer()).snapshot()
    one_partition = ada.model_copy(update={"partitions": 1})
    asyncio.run(produce(one_partition, ada.topic("model-snapshots"), [("dynamic", encode_snapshot(snapshot))]))

    interval = asyncio.run(spend_interval(ada, ada_now))

    ((low, high),) = SnapshotScorer(snapshot, PriorScorer()).intervals(np.array([list(scores.values())]))
    assert interval == (low, high)
    assert 0 <= low < 61.5 < high


def test_history_is_cut_to_what_was_asked_for(ada: Settings) -> None:
    """The latest so many."""
    assert [change.sequence for change in asyncio.run(look_up(ada, "ada", 2)).changes] == [3, 2]


def test_explain_says_standing_reasons_what_would_change_it_and_next(ada: Settings) -> None:
    """In words."""
    told = CliRunner().invoke(main, ["explain", "ada", *connection(ada)])
    said = " ".join(told.output.split())

    assert told.exit_code == 0, told.output
    for words in (
        "value mid since 2023-11-14",
        "a purchase; 3 purchases (+21.50)",
        "still low with purchases at 2 instead of 3",
        "lifecycle becomes at_risk on 2024-06-01",
        "37.02 in all",
    ):
        assert words in said


def test_unknown_customer_fails_with_a_hint(ada: Settings) -> None:
    """Exit code 1, one line."""
    told = CliRunner().invoke(main, ["explain", "Ada", *connection(ada)])

    assert told.exit_code == 1
    assert told.stderr.count("\n") == 1
    assert "regulars lag" in told.stderr


def rated(number: int, rating: int | None, text: str | None = None) -> tuple[str, bytes]:
    """A record of `reviews`, one a minute."""
    event = {
        "event_id": f"e{number}",
        "customer_id": f"c{number % 7}",
        "event_time": f"2024-05-01T{number // 60:02}:{number % 60:02}:00Z",
        "type": "review",
        "text": f"text {number}" if text is None else text,
        **({} if rating is None else {"rating": rating}),
    }
    return f"c{number % 7}", json.dumps(event).encode()


def test_ratings_are_read_once_each_in_order_of_time(own: Settings) -> None:
    """Repeats, neutral, unrated and blank ones and rubbish are left out; the latest are kept when there are more."""
    records: list[tuple[str | bytes, bytes | None]] = [rated(i, 1 + i % 5) for i in reversed(range(40))]
    others = [rated(7, 3, "again"), rated(50, None), rated(51, 5, " "), ("c1", b"{"), ("c1", None)]
    asyncio.run(produce(own, own.topic("reviews"), [*records, *others]))

    found = asyncio.run(read_ratings(own, 100))
    latest = asyncio.run(read_ratings(own, 3))

    telling = [i for i in range(40) if i % 5 != 2]
    assert found.texts == [f"text {i}" for i in telling]
    assert found.positive.tolist() == [int(i % 5 > 2) for i in telling]
    assert found.left_out == 45 - len(telling)
    assert (latest.texts, latest.positive.tolist()) == (found.texts[-3:], found.positive.tolist()[-3:])


def test_two_customers_events_of_one_id_are_two(own: Settings) -> None:
    """A shop may number each customer's reviews from 1: both texts teach, and each only once."""
    mine, other = (
        json.dumps(
            {
                "event_id": "1", "customer_id": customer, "event_time": f"2024-05-01T00:0{minute}:00Z", "type": "review",
                "text": f"of {customer}", "rating": rating,
            }
        ).encode()
        for minute, (customer, rating) in enumerate((("mine", 5), ("other", 1)))
    )  # fmt: skip
    asyncio.run(produce(own, own.topic("reviews"), [("mine", mine), ("other", other), ("mine", mine)]))

    found = asyncio.run(read_ratings(own, 100))

    assert found.texts == ["of mine", "of other"]
    assert found.left_out == 1


def test_ratings_all_alike_teach_nothing(own: Settings, tmp_path: Path) -> None:
    """The command says so and writes no head; nor without the topic."""
    asyncio.run(produce(own, own.topic("reviews"), [rated(i, 5) for i in range(3)]))
    out = tmp_path / "head.safetensors"
    command = ["encoder", "head", "train", "--from-topic", "--out", str(out), *connection(own)[:2]]

    told = CliRunner().invoke(main, command)
    untold = CliRunner().invoke(main, [*command, "--topic-prefix", "nobody-"])

    assert (told.exit_code, untold.exit_code) == (1, 1)
    assert "3 texts have a label, all the same one" in told.stderr
    assert "nobody-reviews does not exist" in untold.stderr
    assert not out.exists()
