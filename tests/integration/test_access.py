"""`regulars access` on a real broker finds everything that a scan of every topic finds, and nothing of anybody else."""

import asyncio
import json
import re
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from pathlib import Path
from typing import Any

from confluent_kafka.admin import AdminClient

from schemas.campaigns import reward_id
from shop_worker import Shop
from streams.kafka.topics import partition_of
from streams.keys import pseudonym_key
from streams.ops.access import write_access
from whole_topic import read_whole

NOW = datetime(2024, 5, 1, tzinfo=UTC)
ANNA, NAMESAKE = "anna-q7", "anna-q7-b"
CAMPAIGN = """campaign: win-back
version: "1"
when: {dimension: lifecycle, to: at_risk}
arms: [{name: coupon, channel: email, cost: 3.00}]
reward: {target: spend, days: 3}
choose: {by: fixed, shares: {none: 0.5, coupon: 0.5}}
consent: email
"""


def event(customer: str, number: int, days: float) -> dict[str, Any]:
    """A purchase so many days after `NOW`."""
    at = (NOW + timedelta(days=days)).isoformat()
    common = {"event_id": f"p{number}", "customer_id": customer, "event_time": at, "type": "purchase"}
    return common | {"order_id": "o", "amount_minor": 6_000, "currency": "GBP"}


def scan(shop: Shop) -> dict[str, set[tuple[int, int]]]:
    """Where any topic has Anna's id in key, value or headers, or one of her pseudonyms in the key."""
    settings = shop.settings
    topics = AdminClient({"bootstrap.servers": settings.bootstrap_servers}).list_topics(timeout=20).topics
    key = pseudonym_key(settings)

    def pseudonym(name: str) -> str:
        return blake2b(name.encode(), key=key, digest_size=8).hexdigest()

    theirs = (f"{pseudonym(ANNA)}:".encode(), reward_id(pseudonym, ANNA, "win-back", 1).encode())
    exact = re.compile(rf"{ANNA}(?![\w-])".encode())
    found: dict[str, set[tuple[int, int]]] = defaultdict(set)
    for topic in topics:
        if not topic.startswith(settings.topic_prefix):
            continue
        for message in read_whole(settings.bootstrap_servers, topic):
            raw = message.key() or b""
            parts = [raw, message.value() or b"", *(value or b"" for _, value in message.headers() or [])]
            if raw.startswith(theirs) or any(exact.search(part) for part in parts):
                found[topic].add((message.partition() or 0, message.offset() or 0))
    return found


def test_access_finds_everything_that_a_scan_of_every_topic_finds(shop: Shop, tmp_path: Path) -> None:
    """Events, refused and misplaced ones too; states, standings, changes, decisions, labels, rewards, outcomes."""
    (tmp_path / "campaign.yaml").write_text(CAMPAIGN)
    published = shop.run("campaign", "publish", str(tmp_path / "campaign.yaml"))
    assert published.returncode == 0, published.stderr
    worker = shop.start(REGULARS_ASSUMED_CONSENT="email")
    for customer in (ANNA, NAMESAKE):
        for number, days in enumerate((0, 1, 12)):
            shop.send("purchases", event(customer, number, days))
    shop.send("clickstream", event(ANNA, 7, 12) | {"type": "view", "session_id": "s"})
    partitions = shop.settings.partitions
    elsewhere = (partition_of(ANNA.encode(), partitions) + 1) % partitions
    shop.send("purchases", event(ANNA, 8, 12), partition=elsewhere)
    shop.send("purchases", event(ANNA, 9, 12), key="somebody")
    shop.send("reviews", b'{"customer_id": "%s", broken' % ANNA.encode(), "somebody")
    shop.clock((NOW + timedelta(days=120)).isoformat())
    shop.settle(worker)
    Shop.until(lambda: len(shop.read("action-rewards")) == 2 and len(shop.read("dead-letters")) == 3, worker)
    worker.kill()  # what waits to be read below stays unread
    worker.wait()
    action = next(m for m in shop.read("actions") if m.key() == ANNA.encode())
    name = json.loads(action.value() or b"")["action_id"]
    outcome = {"outcome_id": "o", "action_id": name, "kind": "sent", "event_time": NOW.isoformat()}
    shop.send("outcomes", outcome | {"customer_id": ANNA})
    shop.send("reviews", event(ANNA, 1, 130) | {"type": "review", "text": "good", "rating": 5})  # waits to be read
    shop.send("erasures", None, ANNA, headers={"regulars-erase": b"2020-01-01T00:00:00Z"})  # waits, too
    shop.flush()

    done = shop.run("access", ANNA, "--out", str(tmp_path / "anna.json"))
    assert done.returncode == 0, done.stderr

    file = tmp_path / "anna.json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.glob("*anna*")) == ["anna.json"]
    told = json.loads(file.read_text())
    scanned = scan(shop)
    assert {place["topic"] for place in told["places"] if place["count"]} == scanned.keys()
    assert len(scanned) == len(told["places"])  # each place holds something of her
    for place in told["places"]:
        records = {(record["partition"], record["offset"]) for record in place["records"]}
        assert len(records) == place["count"]
        assert records <= scanned[place["topic"]]
        assert len(records) + place["replaced"] == len(scanned[place["topic"]]), place["topic"]
        assert place["used_for"]
        assert NAMESAKE not in json.dumps(place)
    assert {each["place"] for each in told["not_read"]} >= {"logs", "brokers' disks", "memory of workers"}

    held = asyncio.run(write_access(shop.settings, "nobody", tmp_path / "nobody.json"))
    assert not any(each.records for each in held)
    assert all(place["count"] == 0 for place in json.loads((tmp_path / "nobody.json").read_text())["places"])
