"""A policy's life on a real broker: checked, previewed, published, taken back, calibrated; each customer moved once."""

import json
import random
import socket
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from models.policy import parse, read
from schemas.stored import decode_state
from shop_worker import Shop, changes_of

NOW = datetime(2024, 5, 1, tzinfo=UTC)
CUSTOMERS = 400
Move = tuple[str, str, str | None, str]  # customer, dimension, previous, current


@pytest.fixture
def strict(tmp_path: Path) -> Path:
    """A policy that moves many: other bounds in both dimensions, a new segment, new dimensions, days of a time zone."""
    document = read().replace('version: "1"', 'version: "2"').replace("at_risk, from: 30", "at_risk, from: 20")
    document = document.replace("from: 50.00", "from: 20.00").replace(
        "{name: high, from: 250.00}", "{name: top, from: 90}"
    )
    file = tmp_path / "strict.yaml"
    more = "  - name: soon\n    over: p_purchase_30d\n    segments: [{name: unlikely}, {name: likely, from: 0.3}]\n"
    more += "  - name: loyalty\n    over: purchases\n    segments: [{name: new}, {name: loyal, from: 2}]\n"
    file.write_text(document + "\n" + more + "time_zone: Europe/London\n")
    return file


def fill(shop: Shop, seed: int = 5) -> None:
    """Customers of every kind, and the time up to which all is known."""
    rnd = random.Random(seed)
    for n in range(CUSTOMERS):
        customer = f"c{n:04d}"
        for k in range(rnd.choice([0, 1, 1, 2, 4])):
            at = NOW - timedelta(seconds=rnd.randrange(1, 130 * 86_400))
            shop.send(
                "purchases", event(customer, k, at, "purchase", order_id="o", amount_minor=rnd.randrange(100, 30_000))
            )
        for k in range(rnd.randrange(1, 4)):
            at = NOW - timedelta(seconds=rnd.randrange(1, 100 * 86_400))
            kind = rnd.choice(["view", "add_to_cart", "checkout"])
            shop.send("clickstream", event(customer, k, at, kind, session_id=f"s{k}"))
    shop.clock(NOW.isoformat())


def event(customer: str, number: int, at: datetime, kind: str, **more: Any) -> dict[str, Any]:
    """An event as an upstream service writes it; fields that a kind doesn't have are ignored."""
    common = {"event_id": f"{kind}{number}", "customer_id": customer, "event_time": at.isoformat(), "currency": "GBP"}
    return {**common, "type": kind, **more}


def preview(shop: Shop, file: Path, *, back: bool = False) -> tuple[set[Move], dict[str, Any]]:
    """Who would move, as the command says; and all that it says. `back`: by a rollback."""
    asked = ("rollback", "--preview") if back else ("preview", str(file))
    told = shop.run("policy", *asked, "--sample", "10000", "--json")
    assert told.returncode == 0, told.stderr
    found = json.loads(told.stdout)
    moves = {(m["customer_id"], m["dimension"], m["previous"], m["current"]) for m in found["sample"]}
    assert sum(kind["customers"] for kind in found["moves"]) == len(found["sample"]) == len(moves)
    assert found["moving"] == len({move[0] for move in moves})
    return moves, found


def policy_moves(shop: Shop, label: str) -> list[Move]:
    """Moves by a policy in the log, each change once however often it was delivered."""
    bodies = {
        body["change_id"]: body for changes in changes_of(shop.read("segment-changes")).values() for body in changes
    }
    caused = [body for body in bodies.values() if body["cause"] == {"kind": "policy", "version": label}]
    for body in caused:
        assert body["versions"]["policy"] == label
        assert body["reasons"]
    return [(body["customer_id"], body["dimension"], body["previous"], body["current"]) for body in caused]


def judged_by(shop: Shop) -> Counter[int]:
    """Customers by the policy that judged them last, from the changelog."""
    states: dict[bytes, bytes] = {}
    for message in shop.read(f"{shop.settings.app_id}-customers-changelog"):
        if message.key()[:1] != b"\xff":
            states[message.key()] = message.value()
    return Counter(decode_state(value).ruled for value in states.values())


def segments_of(shop: Shop) -> dict[str, dict[str, str]]:
    """Where each customer stands, from the table."""
    return {m.key().decode(): json.loads(m.value())["segments"] for m in shop.read("customer-segments")}


def stays(said: dict[str, Any]) -> list[dict[str, Any]]:
    """Where a preview says that all would stand, dropped dimensions included."""
    kept = {place["dimension"] for place in said["places"]}
    return [*said["places"], *(place for place in said["before"] if place["dimension"] not in kept)]


def swept(shop: Shop, document: str) -> Callable[[], bool]:
    """Whether nobody is left under another policy."""
    tag = parse(document).tag
    return lambda: set(judged_by(shop)) == {tag}


def assert_log_is_sound(shop: Shop) -> None:
    """No holes, one body a change, and the table is the fold of the log."""
    fold: dict[str, dict[str, str]] = {}
    for customer, changes in changes_of(shop.read("segment-changes")).items():
        bodies = {change["sequence"]: change for change in changes}
        assert all(bodies[change["sequence"]] == change for change in changes)
        assert sorted(bodies) == list(range(1, len(bodies) + 1))
        fold[customer] = {}
        for sequence in sorted(bodies):
            assert bodies[sequence]["previous"] == fold[customer].get(bodies[sequence]["dimension"])
            fold[customer][bodies[sequence]["dimension"]] = bodies[sequence]["current"]
    table = {m.key().decode(): json.loads(m.value()) for m in shop.read("customer-segments")}
    assert {customer: standing["segments"] for customer, standing in table.items()} == fold


def test_what_a_preview_says_is_what_happens(shop: Shop, strict: Path) -> None:
    """On a frozen model: the customers who are named move, each as said and once, nobody else does; so back again."""
    worker = shop.start()
    fill(shop)
    shop.settle(worker)
    default = strict.with_name("default.yaml")
    default.write_text(read())
    for file, label in ((strict, "default-2"), (default, "default-1")):
        expected, said = preview(shop, file)
        if label == "default-1":
            again, by_rollback = preview(shop, file, back=True)
            assert again == expected
            assert by_rollback | {"seconds": 0} == said | {"seconds": 0}
        assert said["customers"] == CUSTOMERS
        assert len(expected) > CUSTOMERS / 4
        told = shop.run("policy", "publish", str(file)) if label == "default-2" else shop.run("policy", "rollback")
        assert told.returncode == 0, told.stderr
        Shop.until(swept(shop, read(file)), worker)
        assert sorted(policy_moves(shop, label), key=repr) == sorted(expected, key=repr)
        assert_log_is_sound(shop)
        stands = Counter(place for state in segments_of(shop).values() for place in state.items())
        assert stands == {(p["dimension"], p["segment"]): p["customers"] for p in stays(said)}
        assert preview(shop, file)[0] == set()
    assert shop.stop(worker) == 0


def test_what_a_new_policy_loses_is_said_before_it_is_published(shop: Shop, tmp_path: Path) -> None:
    """A dropped dimension and another currency: warned of by check, preview and publish; the currency needs a yes."""
    worker = shop.start()
    fill(shop)
    shop.settle(worker)
    served, same, fewer = tmp_path / "served.yaml", tmp_path / "same.yaml", tmp_path / "fewer.yaml"
    served.write_text(read())
    same.write_text(read().replace('version: "1"', 'version: "2"').replace("name: default", "name: twin"))
    head, _, rest = read().partition("  - name: lifecycle")
    document = head.replace('version: "1"', 'version: "9"') + "  - name: value" + rest.partition("  - name: value")[2]
    fewer.write_text(document.replace("currency: GBP", "currency: EUR"))

    _, said = preview(shop, same)
    assert all(kind["lifted_dwells"] == kind["customers"] for kind in said["moves"])
    assert {(p["dimension"], p["segment"]) for p in said["before"]} <= {
        (p["dimension"], p["segment"]) for p in said["places"]
    }

    warned = [
        shop.run("policy", "check", str(fewer), "--against", str(served)),
        shop.run("policy", "preview", str(fewer)),
        shop.run("policy", "publish", str(fewer)),
    ]
    for told in warned:
        assert "no dimension lifecycle" in told.stderr
        assert "EUR" in told.stderr
    assert [told.returncode for told in warned] == [0, 0, 1]
    assert "--yes" in warned[-1].stderr
    assert "nothing was published" in shop.run("policy", "history").stdout
    assert "stays, retired" in warned[1].stdout

    assert shop.run("policy", "publish", str(fewer), "--yes").returncode == 0
    Shop.until(swept(shop, document.replace("currency: GBP", "currency: EUR")), worker)
    assert shop.stop(worker) == 0


@pytest.mark.parametrize(
    "point",
    [
        pytest.param("before_changelog:3", marks=pytest.mark.slow),
        "between_changelog_and_ack:3",
        pytest.param("before_store:3", marks=pytest.mark.slow),
    ],
)
def test_a_sweep_that_is_killed_moves_everybody_once_all_the_same(shop: Shop, strict: Path, point: str) -> None:
    """Killed in the middle of it and started again, with events in between: as previewed, nobody twice, nobody left."""
    worker = shop.start()
    fill(shop)
    shop.settle(worker)
    assert shop.stop(worker) == 0
    expected, _ = preview(shop, strict)
    assert shop.run("policy", "publish", str(strict)).returncode == 0

    killed = shop.start(REGULARS_CRASH_POINT=point)
    assert killed.wait(90) != 0
    assert len(set(judged_by(shop))) == 2 or point.startswith("before_changelog")
    for n in range(0, CUSTOMERS, 7):
        shop.send("clickstream", event(f"c{n:04d}", 99, NOW, "view", session_id="late"))
    shop.flush()
    again = shop.start()
    Shop.until(swept(shop, read(strict)), again)
    shop.settle(again)
    assert shop.stop(again) == 0

    moved = policy_moves(shop, "default-2")
    assert len(moved) == len(set(moved))
    assert set(moved) == expected
    assert_log_is_sound(shop)


def test_versions_are_kept_and_taken_back(shop: Shop, strict: Path) -> None:
    """The topic is compacted, the history isn't lost; a label stands for one policy; mistakes are never published."""
    assert shop.run("policy", "rollback").returncode == 1
    assert shop.run("policy", "publish", str(strict)).stdout == "default-2 published\n"
    assert "served already" in shop.run("policy", "publish", str(strict)).stdout

    third = strict.with_name("third.yaml")
    third.write_text(read(strict).replace('version: "2"', 'version: "3"'))
    assert shop.run("policy", "publish", str(third)).stdout == "default-3 published, instead of default-2\n"
    strict.write_text(read(strict).replace("from: 20.00", "from: 21.00"))
    told = shop.run("policy", "publish", str(strict))
    assert (told.returncode, told.stderr.count("\n")) == (1, 1)
    assert "default-2 names another policy already" in told.stderr
    strict.write_text(read(strict).replace("from: 21.00", "from: x"))
    told = shop.run("policy", "publish", str(strict))
    assert told.returncode == 1
    assert "line 22, column 27" in told.stderr

    assert shop.run("policy", "rollback").stdout == "default-2 published again, instead of default-3\n"
    assert shop.run("policy", "rollback").stdout == "default-3 published again, instead of default-2\n"
    assert shop.run("policy", "rollback", "--to", "1").stdout == "default-1 published again, instead of default-3\n"
    assert shop.run("policy", "rollback", "--to", "9").returncode == 1
    lines = shop.run("policy", "history").stdout.splitlines()
    assert [line.split()[1] for line in lines] == ["default-1", "default-3", "default-2"]
    assert lines[0].endswith("(served)")
    latest = {message.key(): message.value() for message in shop.read("policies")}
    assert latest == {b"default": read().encode()}


def test_a_worker_that_restarts_under_a_policy_it_refuses_serves_on(shop: Shop, strict: Path) -> None:
    """As one that ran on: what was served before, and nobody moves."""
    assert shop.run("policy", "publish", str(strict)).returncode == 0
    worker = shop.start()
    fill(shop)
    shop.settle(worker)
    tag = parse(read(strict)).tag
    assert set(judged_by(shop)) == {tag}
    shop.send("policies", (read(strict) + "\nof_a_later_release: 1\n").encode(), "default")
    shop.flush()
    assert shop.stop(worker) == 0

    again = shop.start()
    for n in range(0, CUSTOMERS, 7):
        shop.send("clickstream", event(f"c{n:04d}", 99, NOW, "view", session_id="late"))
    shop.settle(again)
    assert shop.stop(again) == 0
    assert set(judged_by(shop)) == {tag}
    assert policy_moves(shop, "default-1") == policy_moves(shop, "default-2") == []


def test_a_worker_does_not_start_where_nobody_can_tell_what_was_served(shop: Shop) -> None:
    """The default would move everybody; the last line says what to do, and that helps."""
    shop.send("policies", b"name: default", "default")
    shop.flush()
    worker = shop.start()
    assert worker.wait(60) == 70
    (log,) = shop.settings.data_dir.parent.glob("w1-*.log")
    assert "none of the policies that were published can be read" in read(log).splitlines()[-1]

    default = shop.settings.data_dir.parent / "default.yaml"
    default.write_text(read())
    assert shop.run("policy", "publish", str(default)).returncode == 0
    again = shop.start()
    fill(shop)
    shop.settle(again)
    assert shop.stop(again) == 0


def test_a_shadow_is_compared_and_moves_nobody(shop: Shop, strict: Path) -> None:
    """The worker's comparison of the lifecycle is the preview's; the log, the history and the served policy know nothing."""
    taken = strict.with_name("taken.yaml")
    taken.write_text(read(strict).replace('version: "2"', 'version: "1"'))
    told = shop.run("policy", "shadow", str(taken))
    assert (told.returncode, "default-1 names another policy already" in told.stderr) == (1, True)
    told = shop.run("policy", "shadow", str(strict))
    assert told.returncode == 0, told.stderr
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        pages = f"http://127.0.0.1:{listener.getsockname()[1]}"
    worker = shop.start(REGULARS_WEB_PORT=pages.rpartition(":")[2])
    fill(shop)
    shop.settle(worker)
    moves, _ = preview(shop, strict)
    expected = Counter((previous, current) for _, name, previous, current in moves if name == "lifecycle")
    assert expected

    def compared() -> Counter[tuple[str, str]]:
        told = shop.run("policy", "shadow", "--worker", pages, "--json")
        assert told.returncode == 0, told.stderr
        found = json.loads(told.stdout)
        assert (found["policy"], found["served"], found["customers"]) == ("default-2", "default-1", CUSTOMERS)
        rows = [row for row in found["pairs"] if row["dimension"] == "lifecycle"]
        assert sum(row["customers"] for row in rows) == CUSTOMERS
        return Counter(
            {(row["current"], row["shadow"]): row["customers"] for row in rows if row["current"] != row["shadow"]}
        )

    Shop.until(lambda: compared() == expected, worker)
    assert "would stand elsewhere" in shop.run("policy", "shadow", "--worker", pages).stdout
    bodies = [body for changes in changes_of(shop.read("segment-changes")).values() for body in changes]
    assert {body["versions"]["policy"] for body in bodies} == {"default-1"}
    assert "soon" not in {body["dimension"] for body in bodies}
    assert "nothing was published" in shop.run("policy", "history").stdout

    assert shop.run("policy", "shadow", "--off").returncode == 0
    Shop.until(lambda: "has no shadow policy" in shop.run("policy", "shadow", "--worker", pages).stderr, worker)
    assert shop.stop(worker) == 0
    told = shop.run("policy", "shadow", "--worker", pages)
    assert (told.returncode, told.stderr.count("\n")) == (1, 1)
    strict.write_text(read(strict).replace("name: default", "name: shadow"))
    told = shop.run("policy", "publish", str(strict))
    assert (told.returncode, "cannot have the name 'shadow'" in told.stderr) == (1, True)


def test_quantiles_become_numbers_of_the_live_customers(shop: Shop, strict: Path) -> None:
    """Calibrated, the segments have the shares that were asked for; comments stay; before that nothing is served."""
    worker = shop.start()
    fill(shop)
    shop.settle(worker)
    assert shop.stop(worker) == 0
    document = read().replace("from: 50.00", "from_quantile: 0.5").replace("from: 250.00", "from_quantile: 0.9")
    strict.write_text(document.replace('version: "1"', 'version: "q"'))
    told = shop.run("policy", "publish", str(strict))
    assert told.returncode == 1
    assert "regulars policy calibrate" in told.stderr

    out = strict.with_name("calibrated.yaml")
    told = shop.run("policy", "calibrate", str(strict), "--out", str(out))
    assert told.returncode == 0, told.stderr
    assert read(out).count("#") == document.count("#")
    assert shop.run("policy", "check", str(out)).returncode == 0
    _, said = preview(shop, out)
    share = {p["segment"]: p["customers"] / CUSTOMERS for p in said["places"] if p["dimension"] == "value"}
    # A margin keeps those who are just below a bound in the segment that they hold.
    assert share["high"] == pytest.approx(0.1, abs=0.04)
    assert share["low"] == pytest.approx(0.5, abs=0.1)


def test_a_preview_without_states_says_what_makes_them(shop: Shop, strict: Path) -> None:
    """One line with the way out."""
    told = shop.run("policy", "preview", str(strict), "--app-id", "nobody")
    assert (told.returncode, told.stderr.count("\n")) == (1, 1)
    assert "nobody-customers-changelog" in told.stderr


def test_a_policy_in_another_currency_is_warned_of(shop: Shop, strict: Path) -> None:
    """Amounts are never converted: who changes the currency is told, before and as it is served."""
    euros = strict.with_name("euros.yaml")
    euros.write_text(read(strict).replace("currency: GBP", "currency: EUR"))

    commands = (("preview", "--json"), ("publish",), ("publish", "--yes"), ("publish",))
    told = [shop.run("policy", *words, str(euros)) for words in commands]

    assert [each.returncode for each in told] == [0, 1, 0, 0]
    assert "nothing was published; answer yes, or give --yes" in told[1].stderr
    assert [each.stderr.count("is in EUR, default-1, served until now, in GBP") for each in told] == [1, 1, 1, 0]
    assert json.loads(told[0].stdout)["moving"] == 0
