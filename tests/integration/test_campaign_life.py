"""A campaign's life on a real broker: previewed, published, decided once though workers are killed, paused."""

import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from models.decisions.ledger import share_minor
from models.features import FEATURE_SET, NAMES
from schemas.campaigns import MaturedReward, encode_reward
from shop_worker import Shop

NOW = datetime(2024, 5, 1, tzinfo=UTC)
CUSTOMERS = 240
BUDGET_MINOR = 9000
DOCUMENT = """campaign: win-back
version: "1"
when: {dimension: lifecycle, to: at_risk}
arms:
  - {name: coupon-10, channel: email, cost: 3.00}
  - {name: coupon-20, channel: email, cost: 6.00}
reward: {target: spend, days: 3}
choose: {by: fixed, shares: {none: 0.2, coupon-10: 0.4, coupon-20: 0.4}}
holdout: 0.1
limits: {per_customer: {actions: 1, days: 14}, budget: {amount: 90.00, days: 3650}}
consent: email
"""
ARMS = ("none", "coupon-10", "coupon-20")
CONSENT = {"REGULARS_ASSUMED_CONSENT": "email"}


def fill(shop: Shop) -> None:
    """Customers who bought once within the last days, and the time up to which all is known."""
    rnd = random.Random(7)
    for n in range(CUSTOMERS):
        at = NOW - timedelta(seconds=rnd.randrange(1, 29 * 86_400))
        shop.send("purchases", {
            "event_id": "p1", "customer_id": f"c{n:04d}", "event_time": at.isoformat(), "type": "purchase",
            "order_id": "o", "amount_minor": 2000, "currency": "GBP",
        })  # fmt: skip
    shop.clock(NOW.isoformat())


def told(shop: Shop, *arguments: str) -> str:
    """What `regulars campaign ARGUMENTS` prints."""
    done = shop.run("campaign", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def actions(shop: Shop) -> dict[str, dict[str, Any]]:
    """Every action by its id; each came with the same bytes however often it came."""
    bodies: dict[str, bytes] = {}
    for message in shop.read("actions"):
        body = message.value() or b""
        action = json.loads(body)
        assert bodies.setdefault(action["action_id"], body) == body
        assert message.key() == action["customer_id"].encode()
        assert dict(message.headers())["ce_id"].decode() == action["action_id"]
    return {name: json.loads(body) for name, body in bodies.items()}


def check_the_shops_report(shop: Shop, decided: dict[str, dict[str, Any]], folder: Path) -> None:
    """`regulars report shop` says of the whole shop what the topics have."""
    folder.mkdir()
    (folder / "notes.txt").touch()
    done = shop.run("report", "shop", "--out", str(folder), "--since", "2024-04-01")
    assert done.returncode == 0, done.stderr
    assert "notes.txt" in done.stderr
    assert sorted(each.name for each in folder.iterdir()) == [
        "campaign-1.html", "index.html", "notes.txt", "report.json",
    ]  # fmt: skip
    page, report = (folder / "index.html").read_text(), json.loads((folder / "report.json").read_text())
    assert (report["customers"], report["quality"]["purchases"]) == (CUSTOMERS, CUSTOMERS)
    changes = {json.loads(m.value() or b"")["change_id"] for m in shop.read("segment-changes")}
    assert sum(each["moves"] for each in report["migrations"]) == len(changes)
    last = [each["customers"] for each in report["courses"] if each["day"] == report["until"]]
    assert sum(last) == CUSTOMERS * len(report["dimensions"])
    bought = [each["spend_minor"] for each in report["revenue"] if each["dimension"] == "lifecycle"]
    assert sum(bought) == 2000 * sum(
        each["purchases"] for each in report["revenue"] if each["dimension"] == "lifecycle"
    )
    (campaign,) = report["campaigns"]
    assert (campaign["label"], campaign["decisions"]) == ("win-back-1", len(decided))
    assert 'href="campaign-1.html"' in page
    assert "Nothing has been learnt yet" in page


def test_what_a_preview_says_is_decided_once_though_a_worker_is_killed(shop: Shop, tmp_path: Path) -> None:
    """The same customers, arms and seconds; no budget exceeded; rewards under pseudonyms; nothing more once paused."""
    file = tmp_path / "win-back.yaml"
    file.write_text(DOCUMENT)
    worker = shop.start(**CONSENT)
    fill(shop)
    shop.settle(worker)
    assert "win-back-1 published" in told(shop, "publish", str(file))
    said = json.loads(
        told(shop, "preview", str(file), "--days", "20", "--sample", "1000", "--json", "--assumed-consent", "email")
    )
    assert said["customers"] == CUSTOMERS
    assert said["entering"] == len(said["sample"]) > CUSTOMERS / 2
    assert {each["reason"] for each in said["suppressed"]} == {"budget", "holdout"}
    assert shop.stop(worker) == 0

    shop.clock((NOW + timedelta(days=20)).isoformat())
    killed = shop.start(**CONSENT, REGULARS_CRASH_POINT="before_outputs:2")
    assert killed.wait(90) != 0
    worker = shop.start(**CONSENT)
    shop.settle(worker)
    Shop.until(lambda: len(actions(shop)) >= said["entering"], worker)
    decided = actions(shop)
    foreseen = {body["action_id"]: body for body in said["sample"]}
    assert decided.keys() == foreseen.keys()
    for name, body in decided.items():
        # Time jumped, so the money may have gone to others of the same partition than to those who come first.
        short = "budget" in (*body["suppressed"].values(), *foreseen[name]["suppressed"].values())
        same = ("decided_at", "cause", "seed", "holdout") if short else (*body,)
        assert {key: body[key] for key in same} == {key: foreseen[name][key] for key in same}
    assert any("budget" in body["suppressed"].values() for body in decided.values())

    where = {json.loads(m.value() or b"")["action_id"]: m.partition() or 0 for m in shop.read("actions")}
    partitions = shop.settings.partitions
    for partition in range(partitions):
        spent = sum(round(100 * body["cost"]) for name, body in decided.items() if where[name] == partition)
        assert 0 < spent <= share_minor(BUDGET_MINOR, partition, partitions)

    assert "win-back paused" in told(shop, "pause", "win-back")
    assert "(paused)" in told(shop, "history")
    shop.clock((NOW + timedelta(days=40)).isoformat())
    shop.settle(worker)
    rewards: dict[bytes, bytes] = {}

    def matured() -> bool:
        rewards.update({message.key(): message.value() for message in shop.read("action-rewards")})
        return len(rewards) >= len(decided)

    Shop.until(matured, worker)
    assert len(rewards) == len(decided) == len(actions(shop))
    assert all(len(key.partition(b":")[0]) == len("0123456789abcdef") for key in rewards)
    name, contacted = next((name, body) for name, body in decided.items() if body["arm"] == "coupon-10")
    outcome = {"outcome_id": "o1", "action_id": name, "customer_id": contacted["customer_id"], "kind": "unsubscribed"}
    for _ in range(2):  # an outcome that comes twice counts once
        shop.send("outcomes", outcome | {"event_time": NOW.isoformat()})
    shop.send("outcomes", b"{", "c0001")
    shop.flush()
    found = json.loads(told(shop, "report", "win-back", "--json", "--out", str(tmp_path / "page")))
    assert json.loads((tmp_path / "page" / "report.json").read_text()) == found
    assert "Campaign win-back-1 (paused)" in (tmp_path / "page" / "index.html").read_text()
    assert (found["decisions"], found["recent"]["decisions"], found["paused"]) == (len(decided), len(decided), True)
    assert sum(arm["decisions"] for arm in found["arms"].values()) < len(decided)  # the holdout is apart
    total = sum(body["cost"] for body in decided.values())
    assert sum(arm["cost"] for arm in found["arms"].values()) == found["budget"]["spent"] == total
    assert found["recent"]["outcomes"] == [{"arm": "coupon-10", "kind": "unsubscribed", "decisions": 1}]
    assert found["unreadable"] == 1
    assert "kept constant" in told(shop, "report", "win-back")
    check_the_shops_report(shop, decided, tmp_path / "shop")
    assert shop.stop(worker) == 0


@pytest.mark.slow
def test_what_is_learnt_of_rewards_reaches_the_workers_decisions(shop: Shop, tmp_path: Path) -> None:
    """From the topic alone, the same again gives nothing new, and actions carry the version that decided."""
    file = tmp_path / "win-back.yaml"
    choose = "choose: {by: fixed, shares: {none: 0.2, coupon-10: 0.4, coupon-20: 0.4}}"
    file.write_text(DOCUMENT.replace(choose, "choose: {by: bandit, floor: 0.05}"))
    told(shop, "publish", str(file))
    assert "too few decisions" in told(shop, "learn")
    rnd = random.Random(3)
    for n in range(400):
        arm = rnd.choice(("none", "coupon-10", "coupon-20"))
        reward = MaturedReward(
            f"{n:016x}:win-back:1", "win-back", "1", 1.7e9, 1.7e9 + 1, arm, dict.fromkeys(ARMS, 1 / 3), ARMS, False, 0,
            1, 3000 if arm == "coupon-20" else rnd.choice((0, 500)), FEATURE_SET, (0.0,) * len(NAMES),
        )  # fmt: skip
        shop.send("action-rewards", encode_reward(reward), reward.reward_id)
    shop.flush()
    assert "win-back-1: 400 decisions; best arm for all coupon-20" in told(shop, "learn")
    assert "400 decisions, nothing new" in told(shop, "learn", "win-back")
    assert told(shop, "history").count("win-back") == 1

    worker = shop.start(**CONSENT)
    fill(shop)
    shop.clock((NOW + timedelta(days=20)).isoformat())
    shop.settle(worker)
    decided = [body for body in actions(shop).values() if "coupon-20" in body["eligible"]]
    assert {body["model"] for body in decided} == {"win-back-400"}
    assert all(body["propensities"]["coupon-20"] > 0.8 for body in decided)
    assert len(decided) > 5
    assert shop.stop(worker) == 0


def test_a_document_that_cannot_be_served_is_refused_where_it_is_written(shop: Shop, tmp_path: Path) -> None:
    """Another campaign under a version that was published; a name that nobody knows; a trigger that is not served."""
    file = tmp_path / "win-back.yaml"
    file.write_text(DOCUMENT)
    told(shop, "publish", str(file))
    empty = shop.run("report", "shop", "--out", str(tmp_path / "shop"))
    assert (empty.returncode, empty.stderr.count("\n"), "has no standing" in empty.stderr) == (1, 1, True)
    shop.send("customer-segments", b"{", "someone")
    shop.flush()
    unread = shop.run("report", "shop", "--out", str(tmp_path / "shop"))
    assert (unread.returncode, unread.stderr.count("\n"), "cannot be read" in unread.stderr) == (1, 1, True)
    assert "published already" in told(shop, "publish", str(file))
    file.write_text(DOCUMENT.replace("days: 3}", "days: 4}"))
    refused = shop.run("campaign", "publish", str(file))
    assert (refused.returncode, "another `version`" in refused.stderr) == (1, True)
    file.write_text(DOCUMENT.replace('"1"', '"2"').replace("days: 3}", "days: 4}"))
    assert "win-back-2 published, instead of win-back-1" in told(shop, "publish", str(file))
    assert "win-back-1 published again, instead of win-back-2" in told(shop, "rollback", "win-back")
    unknown = shop.run("campaign", "pause", "winback")
    assert (unknown.returncode, "only win-back" in unknown.stderr) == (1, True)
    file.write_text(DOCUMENT.replace("when: {dimension: lifecycle, to: at_risk}", "while: {lifecycle: [at_risk]}"))
    unserved = shop.run("campaign", "publish", str(file))
    assert (unserved.returncode, "not served yet" in unserved.stderr) == (1, True)
