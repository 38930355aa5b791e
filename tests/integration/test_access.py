"""What is held about a customer is found, all of it, on a real broker with a real worker."""

import json
import stat
from pathlib import Path
from typing import Any

from schemas.topics import CHANGELOG, TOPICS
from shop_worker import Shop
from streams.keys import pseudonym, pseudonym_key
from whole_topic import read_whole


def event(customer: str, number: int, at: str, **fields: Any) -> dict[str, Any]:
    """One event, without what its topic wants."""
    return {"event_id": f"{customer}{number}", "customer_id": customer, "event_time": at, **fields}


def purchase(customer: str, number: int, at: str) -> dict[str, Any]:
    """A purchase."""
    bought = {"type": "purchase", "order_id": f"o{number}", "amount_minor": 6_000, "currency": "GBP"}
    return event(customer, number, at, **bought)


def test_access_finds_what_a_scan_of_every_topic_finds(shop: Shop, tmp_path: Path) -> None:
    """By key, by what a refused record says, and under the pseudonym; of others nothing."""
    worker = shop.start()
    for customer in ("anna", "bert"):
        for number in (1, 2, 3):
            shop.send("purchases", purchase(customer, number, f"2024-0{number}-01T10:00:00Z"))
        shop.send("clickstream", event(customer, 4, "2024-03-02T10:00:00Z", type="view", session_id="s"))
        shop.send("reviews", event(customer, 5, "2024-03-03T10:00:00Z", type="review", text="as always"))
        shop.send("purchases", purchase(customer, 6, "2024-04-01T10:00:00Z") | {"amount_minor": "60"})
        shop.send("purchases", purchase(customer, 7, "2024-04-01T10:00:00Z"), key="nobody")
    shop.clock("2024-12-01T00:00:00Z")
    shop.settle(worker)
    assert shop.stop(worker) == 0

    out = tmp_path / "anna.json"
    done = shop.run("access", "anna", "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    document = json.loads(out.read_text())

    settings = shop.settings.model_copy(update={"cache_dir": shop.settings.data_dir / "cache"})
    name = pseudonym(pseudonym_key(settings), "anna").encode()
    for topic in TOPICS:
        full = settings.changelog_topic if topic.name == CHANGELOG else settings.topic(topic.name)
        scanned = {
            (message.partition(), message.offset())
            for message in read_whole(settings.bootstrap_servers, full)
            if b"anna" in (message.key() or b"")
            or b"anna" in (message.value() or b"")
            or (message.key() or b"").startswith(name)
        }
        found = [each["records"] for each in document["topics"] if each["topic"] == full]
        assert {(record["partition"], record["offset"]) for records in found for record in records} == scanned, full
    held = {each["topic"].removeprefix(settings.topic_prefix): len(each["records"]) for each in document["topics"]}
    assert held["purchases"] == 5
    assert held["dead-letters"] == 2
    assert held["model-train"] > 0
    assert "bert" not in out.read_text()
