"""Records that are no events, many in a row and of every kind that hypothesis thinks of: none of them stalls anything."""

import json
import time
from typing import Any

from confluent_kafka import Producer
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from streams.kafka.topics import partition_of
from tests.faults.load import Load
from tests.faults.oracle import INPUTS
from tests.faults.report import Row
from tests.faults.stage import Stage

COUNT = 600
MB = 1_000_000

_json: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)
_fields = (
    "event_id",
    "event_time",
    "type",
    "amount_minor",
    "currency",
    "text",
    "rating",
    "order_id",
    "session_id",
    "items",
)
_values = st.one_of(
    st.none(),
    st.binary(max_size=200),
    _json.map(lambda value: json.dumps(value).encode()),
    # an event with fields of the wrong kind; its customer is real
    st.dictionaries(st.sampled_from(_fields), _json, min_size=1).map(
        lambda wrong: json.dumps({"customer_id": "c00001", "event_id": "x", "type": "view", **wrong}).encode()
    ),
)
_keys = st.one_of(st.none(), st.binary(max_size=40), st.just(b"c00001"))
# none of them a time that counts: a time would let silence move customers whom the load moves
_header_values = st.one_of(st.none(), st.binary(max_size=40), st.just(b"9999-12-31T23:59:59Z"))
_headers = st.lists(
    st.tuples(st.sampled_from(("regulars-clock", "regulars-topic", "trace")), _header_values), max_size=2
)


def in_a_row(stage: Stage, load: Load) -> Row:
    """A thousand poison records between two hundred events before and after them, in every partition."""
    began = time.monotonic()
    Load(stage.servers, stage.prefix, seed=1).send(200)
    Load(stage.servers, stage.prefix, seed=2, poison=1).send(1000)
    Load(stage.servers, stage.prefix, seed=3, poison=10**9).send(200)
    worker = stage.start()
    stage.drained()
    verdict = stage.judge()
    return Row("1,000 poison records in a row", 1, verdict, time.monotonic() - began, f"alive: {worker.alive}")


def made_up(stage: Stage, load: Load) -> Row:
    """Keys, values and headers by hypothesis, thrown at every topic and partition while a good load runs."""
    began = time.monotonic()
    load.run(200)
    worker = stage.start()
    producer = Producer({"bootstrap.servers": stage.servers, "linger.ms": 2, "log_level": 0})
    sent = 0

    @seed(20261124)
    @settings(max_examples=COUNT, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(INPUTS), st.integers(0, stage.partitions - 1), _keys, _values, _headers)
    def throw(
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        headers: list[tuple[str, bytes | None]],
    ) -> None:
        nonlocal sent
        sent += 1
        producer.produce(stage.prefix + topic, value, key, partition=partition, headers=headers)
        producer.poll(0)

    throw()
    producer.flush(30)
    load.stop()
    stage.drained()
    verdict = stage.judge()
    return Row(
        "poison made by hypothesis", 1, verdict, time.monotonic() - began, f"{sent} made up; alive: {worker.alive}"
    )


def oversized(stage: Stage, load: Load) -> Row:
    """What compression lets past the broker: values, keys and headers of 20 MB, one value of 90, and many of 1.9 at once.

    An event with such a header is an event.
    """
    began = time.monotonic()
    load.run(100)
    producer = Producer(
        {
            "bootstrap.servers": stage.servers,
            "compression.type": "gzip",
            "message.max.bytes": 100 * MB,
            "queue.buffering.max.kbytes": 1 << 20,
            "linger.ms": 0,
            "log_level": 0,
        }
    )

    def throw(key: bytes, more: int = 0, *, header: int = 0, valid: bool = True) -> None:
        named = {"customer_id": key.decode()} if valid else {}
        fields = {"event_time": "2005-01-01T00:00:00Z", "type": "purchase", "order_id": "o", "amount_minor": 5}
        event = {"event_id": "large", "currency": "GBP", **fields, **named, "note": "x" * more}
        headers = [("trace", b"t"), ("regulars-truncated", b"mine"), ("large", b"h" * header)]
        partition = partition_of(key, stage.partitions)
        producer.produce(stage.prefix + "purchases", json.dumps(event), key, partition=partition, headers=headers)
        assert producer.flush(60) == 0

    throw(b"large-1", 20 * MB)
    throw(b"large-2", header=20 * MB, valid=False)
    throw(b"large-3", header=20 * MB)  # an event, for all its headers
    throw(b"k" * (20 * MB))
    throw(b"large-4", 90 * MB)
    for _ in range(40):
        throw(b"large-5", 1_900_000)
    for _ in range(4):
        throw(b"large-6", 20 * MB)
    worker = stage.start()
    stage.until(lambda: stage.lag() < 1000 or not worker.alive, "it gets past them")
    load.stop()
    stage.drained()
    verdict = stage.judge()
    note = f"alive: {worker.alive}; at most {worker.peak_mib()} MiB"
    return Row("poison larger than any topic takes", 1, verdict, time.monotonic() - began, note)
