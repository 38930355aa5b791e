"""The product on a real broker: what goes in, what the CRM and the on-call engineer see come out."""

import json
from collections import Counter
from typing import Any

from aiokafka.partitioner import murmur2
from confluent_kafka import Producer

from shop_worker import Shop, changes_of
from streams.settings import Settings


def purchase(customer: str, number: int, at: str, amount: int = 6_000, **more: Any) -> dict[str, Any]:
    """A purchase as an upstream service writes it."""
    return {
        "event_id": f"p{number}",
        "customer_id": customer,
        "event_time": at,
        "type": "purchase",
        "order_id": f"o{number}",
        "amount_minor": amount,
        "currency": "GBP",
        **more,
    }


def click(customer: str, number: int, at: str, **more: Any) -> dict[str, Any]:
    """A click as an upstream service writes it."""
    return {
        "event_id": f"c{number}",
        "customer_id": customer,
        "event_time": at,
        "type": "view",
        "session_id": "s1",
        **more,
    }


def review(customer: str, number: int, at: str, text: str, **more: Any) -> dict[str, Any]:
    """A review as an upstream service writes it."""
    return {
        "event_id": f"r{number}",
        "customer_id": customer,
        "event_time": at,
        "type": "review",
        "text": text,
        **more,
    }


def test_whatever_producers_compress_with_is_read(shop: Shop, settings: Settings) -> None:
    """Upstream chooses the codec; a worker without one of them would stop at its first batch for good."""
    codecs = ["gzip", "lz4", "snappy", "zstd"]
    for codec in codecs:
        producer = Producer(
            {
                "bootstrap.servers": settings.bootstrap_servers,
                "partitioner": "murmur2_random",
                "compression.type": codec,
                "linger.ms": 200,
            }
        )
        for n in range(40):
            value = json.dumps(purchase(codec, n, f"2024-01-01T10:00:{n:02}Z"))
            producer.produce(settings.topic("purchases"), value, codec)
        assert producer.flush(30) == 0

    worker = shop.start()
    shop.settle(worker)

    Shop.until(lambda: {message.key().decode() for message in shop.read("segment-changes")} == set(codecs), worker)
    assert shop.stop(worker) == 0


def test_a_purchase_moves_its_customer_and_silence_moves_them_again(shop: Shop) -> None:
    """The log follows a customer from first purchase to lapsed; the table is its fold; a restart adds nothing."""
    worker = shop.start()
    for n in range(40):
        shop.send("purchases", purchase(f"anna-{n}", n, "2024-01-01T10:00:00Z", 10_000))
        shop.send("clickstream", click(f"anna-{n}", n, "2024-01-02T10:00:00Z"))
    shop.clock("2024-05-01T00:00:00Z")
    shop.settle(worker)
    Shop.until(lambda: len(shop.read("segment-changes")) >= 40 * 4, worker)
    assert shop.stop(worker) == 0

    log = shop.read("segment-changes")
    for message in log:
        body, headers = json.loads(message.value()), dict(message.headers())
        assert headers["ce_id"].decode() == body["change_id"] == f"{body['customer_id']}:{body['sequence']}"
        assert headers["ce_type"] == b"regulars.segment-change.v1"
        assert headers["ce_specversion"] == b"1.0"
        assert headers["ce_source"].decode() == f"/regulars/{shop.settings.topic_prefix}/{shop.settings.app_id}"
        assert headers["content-type"] == b"application/json"
        assert message.key().decode() == body["customer_id"] == headers["ce_subject"].decode()
    for changes in changes_of(log).values():
        assert [change["sequence"] for change in changes] == list(range(1, len(changes) + 1))
        lifecycle = [(c["current"], c["changed_at"]) for c in changes if c["dimension"] == "lifecycle"]
        assert lifecycle == [
            ("active", "2024-01-01T10:00:00Z"),
            ("at_risk", "2024-01-31T10:00:00Z"),
            ("lapsed", "2024-03-31T10:00:00Z"),
        ]
        assert changes[0]["cause"]["kind"] == "event"
        assert changes[-1]["cause"] == {"kind": "silence", "due_at": changes[-1]["changed_at"]}
        assert all(change["reasons"] for change in changes)
    fold = {
        customer: {change["dimension"]: change["current"] for change in changes}
        for customer, changes in changes_of(log).items()
    }
    table = {m.key().decode(): json.loads(m.value()) for m in shop.read("customer-segments")}
    assert {customer: standing["segments"] for customer, standing in table.items()} == fold
    assert all(table[c]["sequence"] == len(changes) for c, changes in changes_of(log).items())

    again = shop.start()
    shop.send("clickstream", click("somebody-new", 1, "2024-05-01T00:00:01Z"))
    shop.settle(again)
    assert shop.stop(again) == 0
    after = changes_of(shop.read("segment-changes"))
    assert {c: len(v) for c, v in after.items() if c != "somebody-new"} == {
        c: len(v) for c, v in changes_of(log).items()
    }


def _bad(shop: Shop) -> list[tuple[str, str, Any, Any, int]]:
    """(reason, topic, value, key, partition) of records that are no events; partition -1: the key's."""
    at = "2024-01-01T10:00:00Z"
    good = json.dumps(purchase("bad", 1, at)).encode()
    wrong = ((murmur2(b"bad") & 0x7FFFFFFF) + 1) % shop.settings.partitions

    def without(field: str) -> bytes:
        return json.dumps({k: v for k, v in purchase("bad", 1, at).items() if k != field}).encode()

    return [
        ("not-json", "purchases", b"", "bad", -1),
        ("not-json", "purchases", b"not json", "bad", -1),
        ("not-json", "purchases", good[:-5], "bad", -1),
        ("not-json", "purchases", good.replace(b"6000", b"NaN"), "bad", -1),
        ("not-json", "clickstream", b'{"x":' + b"[" * 20_000 + b"]" * 20_000 + b"}", "bad", -1),
        ("not-utf8", "purchases", good.replace(b'"o1"', b'"\xff\xfe"'), "bad", -1),
        ("no-value", "purchases", None, "bad", -1),
        ("no-key", "purchases", good, None, 0),
        ("schema", "purchases", b"[1, 2]", "bad", -1),
        ("schema", "purchases", without("order_id"), "bad", -1),
        ("schema", "purchases", without("event_id"), "bad", -1),
        ("schema", "purchases", good.replace(b"6000", b"-6000"), "bad", -1),
        ("schema", "purchases", good.replace(b"6000", b"60.5"), "bad", -1),
        ("schema", "purchases", good.replace(b"6000", b'"6000"'), "bad", -1),
        ("schema", "purchases", good.replace(b"6000", b"1e400"), "bad", -1),
        ("schema", "purchases", good.replace(b'"purchase"', b'"theft"'), "bad", -1),
        ("schema", "purchases", good.replace(b"GBP", b"pounds"), "bad", -1),
        ("schema", "purchases", good.replace(b"10:00:00Z", b"10:00:00"), "bad", -1),
        ("schema", "reviews", json.dumps(review("bad", 1, at, "nice", rating=7)).encode(), "bad", -1),
        ("schema", "clickstream", json.dumps(click("bad", 1, at, session_id=None)).encode(), "bad", -1),
        ("too-large", "reviews", json.dumps(review("bad", 1, at, "x" * 1_000_000)).encode(), "bad", -1),
        ("key-mismatch", "purchases", good, "somebody else", -1),
        ("wrong-partition", "purchases", good, "bad", wrong),
        ("future-time", "purchases", good.replace(b"2024", b"2124"), "bad", -1),
    ]


def test_every_kind_of_bad_record_is_a_dead_letter_once_and_harms_no_other(shop: Shop) -> None:
    """Each record that is no event is kept, byte for byte, with its reason; the good ones around it are untouched."""
    worker = shop.start()
    bad = _bad(shop)
    assert len(bad) >= 20
    for n, (_, topic, value, key, partition) in enumerate(bad):
        shop.send("purchases", purchase(f"good-{n}", n, "2024-01-01T10:00:00Z"))
        shop.send(topic, value, key, partition)
        shop.send("clickstream", click(f"good-{n}", n, "2024-01-01T11:00:00Z"))
    shop.settle(worker)
    assert shop.stop(worker) == 0

    letters = shop.read("dead-letters")
    told = Counter(dict(m.headers())["regulars-reason"].decode() for m in letters)
    assert told == Counter(reason for reason, *_ in bad)
    kept = Counter((m.key(), m.value()) for m in letters)
    assert kept == Counter(
        (None if key is None else key.encode(), value or (None if value is None else b""))
        for _, _, value, key, _ in bad
    )
    for letter in letters:
        headers = dict(letter.headers())
        assert headers["regulars-topic"].decode().removeprefix(shop.settings.topic_prefix) in (
            "clickstream",
            "purchases",
            "reviews",
        )
        assert headers["regulars-field"]
        assert int(headers["regulars-offset"]) >= 0
        assert headers["regulars-detail"]
    # A word of a program, not of a customer: who sent it finds it by that.
    assert sum(b"`theft`; allowed: purchase, refund" in dict(m.headers())["regulars-detail"] for m in letters) == 1
    changes = changes_of(shop.read("segment-changes"))
    assert set(changes) == {f"good-{n}" for n in range(len(bad))}
    assert {len(of_one) for of_one in changes.values()} == {2}


def test_what_customers_write_moves_them_and_is_named_as_a_reason(shop: Shop) -> None:
    """Who only ever wrote is known by it: the change says so, and the text itself is stored and sent nowhere."""
    worker = shop.start()
    angry = "Terrible quality, it fell apart after one day. I want my money back and will never order again."
    for n in range(20):
        shop.send("reviews", review(f"eva-{n}", n, "2024-01-03T10:00:00Z", f"{angry} {n % 5}", rating=1))
        shop.send("clickstream", click(f"eva-{n}", n, "2024-01-03T11:00:00Z", type="search", query="a refund form"))
    shop.settle(worker, 120)
    assert shop.stop(worker) == 0
    log = changes_of(shop.read("segment-changes"))
    assert len(log) == 20
    told = [
        reason
        for changes in log.values()
        for change in changes
        if change["cause"]["event_type"] == "review" and change["dimension"] == "value"
        for reason in change["reasons"]
        if reason["feature"] == "sentiment"
    ]
    assert told
    assert all(reason["value"] < 0 and reason["contribution"] < 0 for reason in told)
    for topic in ("segment-changes", "customer-segments", f"{shop.settings.app_id}-customers-changelog"):
        assert not any(b"fell apart" in (m.value() or b"") + str(m.headers()).encode() for m in shop.read(topic))


def test_the_worker_also_runs_by_fausts_own_command(shop: Shop) -> None:
    """`faust -A streams.app worker` is the same worker."""
    worker = shop.start("faust", "-A", "streams.app", "worker", "-l", "warn", "--without-web")
    shop.send("purchases", purchase("carl", 1, "2024-01-01T10:00:00Z"))
    shop.settle(worker)
    assert shop.stop(worker) == 0
    assert set(changes_of(shop.read("segment-changes"))) == {"carl"}


def test_a_worker_learns_from_its_own_labels_through_the_trainer(shop: Shop) -> None:
    """Labels mature by event time, the trainer publishes a snapshot, and the running worker serves it."""
    worker = shop.start()
    trainer = shop.start("streams.cli", "trainer", "--publish-every", "100", "--publish-interval", "1", name="t1")
    for n in range(200):
        shop.send("purchases", purchase(f"dora-{n}", n, "2024-01-01T10:00:00Z"))
        if n % 2:
            shop.send("purchases", purchase(f"dora-{n}", 1000 + n, "2024-01-20T10:00:00Z"))
    shop.clock("2024-06-01T00:00:00Z")
    shop.settle(worker)
    Shop.until(lambda: shop.read("model-snapshots"), trainer)

    n = 0

    def somebody_new() -> bool:
        nonlocal n
        n += 1
        shop.send("purchases", purchase(f"fresh-{n}", 5000 + n, "2024-06-02T10:00:00Z"))
        shop.flush()
        models = {c["versions"]["model"] for v in changes_of(shop.read("segment-changes")).values() for c in v}
        return any(model.startswith("dynamic-") for model in models)

    Shop.until(somebody_new, worker)
    assert shop.stop(trainer) == 0
    assert shop.stop(worker) == 0
