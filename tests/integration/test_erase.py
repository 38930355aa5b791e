"""Erasing customers on a real broker: what is gone, what can't bring them back, and what follows when they come back."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from shop_worker import Shop, changes_of
from tests.faults.load import Load

ERASED_AT = "2024-03-01T00:00:00Z"
GONE = ("anna", "bert")


def event(customer: str, number: int, at: str) -> dict[str, Any]:
    """A purchase."""
    common = {"event_id": f"p{number}", "customer_id": customer, "event_time": at, "type": "purchase"}
    return common | {"order_id": f"o{number}", "amount_minor": 6_000, "currency": "GBP"}


def table(shop: Shop) -> dict[str, Any]:
    """`customer-segments` as the CRM holds it; None: erased."""
    return {m.key().decode(): json.loads(m.value() or b"null") for m in shop.read("customer-segments")}


def exported(shop: Shop, folder: Path) -> set[str]:
    """Customers of `regulars state export`."""
    done = shop.run("state", "export", "--out", str(folder / "states.parquet"))
    assert done.returncode == 0, done.stderr
    return set(pq.read_table(folder / "states.parquet")["customer_id"].to_pylist())


@pytest.mark.parametrize("point", ["between_changelog_and_ack", pytest.param("before_outputs", marks=pytest.mark.slow)])
def test_who_is_erased_in_a_crash_stays_away_until_heard_of_later(shop: Shop, tmp_path: Path, point: str) -> None:
    """A kill -9 as the erasure is written, retries and late events: null; then a new customer at the next sequence."""
    before = [event(customer, n, f"2024-0{n}-01T10:00:00Z") for customer in (*GONE, "carl") for n in (1, 2)]
    worker = shop.start()
    for each in before:
        shop.send("purchases", each)
    shop.settle(worker)
    assert shop.stop(worker) == 0
    told = {customer: len(changes) for customer, changes in changes_of(shop.read("segment-changes")).items()}

    asked = shop.run("erase", *GONE, "--at", ERASED_AT)
    assert asked.returncode == 0, asked.stderr
    assert "30 days" in asked.stdout
    assert shop.start(REGULARS_CRASH_POINT=f"{point}:1").wait(90) == -9
    worker = shop.start()
    for each in before:
        shop.send("purchases", each)  # their producer's retries
    shop.send("clickstream", event("anna", 3, "2024-02-29T10:00:00Z") | {"type": "view", "session_id": "s"})  # late
    shop.settle(worker)

    nulls = {m.key().decode(): dict(m.headers()) for m in shop.read("customer-segments") if m.value() is None}
    assert nulls == {
        name: {"regulars-erased-at": ERASED_AT.encode(), "regulars-sequence": b"%d" % told[name]} for name in GONE
    }
    assert {name for name, standing in table(shop).items() if standing is None} == set(GONE)
    assert exported(shop, tmp_path) == {"carl"}
    assert "anna was erased" in shop.run("explain", "anna").stdout
    assert {c: len(v) for c, v in changes_of(shop.read("segment-changes")).items()} == told

    shop.send("purchases", event("anna", 9, "2024-03-02T10:00:00Z"))
    shop.settle(worker)
    assert shop.stop(worker) == 0

    again = {change["sequence"]: change for change in changes_of(shop.read("segment-changes"))["anna"]}
    assert sorted(again) == list(range(1, len(again) + 1))
    first = again[told["anna"] + 1]
    assert (first["previous"], first["changed_at"]) == (None, "2024-03-02T10:00:00Z")
    assert table(shop)["anna"]["profile"]["purchases"] == 1
    assert exported(shop, tmp_path) == {"anna", "carl"}
    assert "was erased" not in shop.run("explain", "anna").stdout


@pytest.mark.slow
def test_customers_are_erased_under_load(shop: Shop, tmp_path: Path) -> None:
    """Killed and started again while events come in: the command waits until the table says so, and a restart agrees."""
    load = Load(shop.settings.bootstrap_servers, shop.settings.topic_prefix, customers=20, poison=10**9)
    load.run(200)
    worker = shop.start()
    Shop.until(lambda: len(table(shop)) == 20, worker)
    worker.kill()
    worker.wait()
    someone, other = "c00000", "c00001"

    assert shop.run("erase", someone, "--wait", "0.1").returncode == 1
    worker = shop.start()
    asked = shop.run("erase", someone, other, "--wait", "60")
    worker.kill()
    worker.wait()
    worker = shop.start()
    load.stop()
    shop.settle(worker)

    assert asked.returncode == 0, asked.stderr
    assert f"erased: {someone} (partition " in asked.stdout
    assert "read by regulars" in asked.stdout or "read by t" in asked.stdout
    left = {name for name, standing in table(shop).items() if standing is not None}
    assert left == {f"c{n:05d}" for n in range(2, 20)}
    assert exported(shop, tmp_path) == left
    assert shop.read("dead-letters") == []
    for changes in changes_of(shop.read("segment-changes")).values():
        sequences = sorted({change["sequence"] for change in changes})
        assert sequences == list(range(1, len(sequences) + 1))
