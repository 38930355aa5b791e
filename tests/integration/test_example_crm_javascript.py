"""The CRM in JavaScript follows the same procedure into PostgreSQL: nothing lost, nothing twice, over kills."""

import json
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from node import installed
from postgres import query, server
from shop_worker import ROOT, Shop

CUSTOMERS = 40
TABLE, LOG = "customer-segments", "segment-changes"


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """The example, with its packages."""
    source = ROOT / "examples" / "crm" / "javascript"
    folder = installed(tmp_path / "crm", json.loads((source / "package.json").read_text())["dependencies"])
    for name in ("book.mjs", "crm.mjs", "tables.sql"):
        shutil.copy(source / name, folder)
    return folder


@pytest.fixture
def database(tmp_path: Path, free_port: int, wait_until: Callable[..., Any]) -> Iterator[str]:
    """An empty database."""
    with server(tmp_path / "postgres", free_port) as address:
        wait_until(lambda: query(address, "select 1"))
        yield address


def _crm(shop: Shop, example: Path, database: str, *options: str) -> "subprocess.Popen[bytes]":
    command = ["node", "crm.mjs", "--bootstrap-servers", shop.settings.bootstrap_servers, "--database", database]
    command += ["--topic-prefix", shop.settings.topic_prefix, *options]
    process = subprocess.Popen(command, cwd=example, env=os.environ)
    shop.processes.append(process)
    return process


def _buy(shop: Shop, day: str, customers: range) -> None:
    for n in customers:
        event = {"event_id": f"till-{day}-{n}", "customer_id": f"c{n}", "event_time": f"{day}T10:00:00Z"}
        event |= {"type": "purchase", "order_id": f"o{day}-{n}", "currency": "GBP"}
        shop.send("purchases", event | {"amount_minor": 30_000})
    shop.flush()


def _beyond(database: str, seen: int) -> int:
    rows = query(database, "select count(*) from effects")
    return count if rows and (count := int(rows[0][0])) > seen else 0


def _table(shop: Shop) -> dict[str, Any]:
    bodies = {m.key().decode(): m.value() for m in shop.read(TABLE)}
    return {customer: json.loads(body) for customer, body in bodies.items() if body is not None}


@pytest.mark.slow
def test_postgres_is_the_table_and_each_change_has_one_effect_over_kills(
    shop: Shop, example: Path, database: str
) -> None:
    """Worker and CRM are killed while customers come, move and are erased: 0 lost, 0 twice, 0 differences."""
    worker, crm, seen = shop.start(), _crm(shop, example, database, "--effects-from", "earliest"), 0
    days = [f"2024-01-{day:02d}" for day in range(1, 25, 4)]
    for kill, day in enumerate(days):
        _buy(shop, day, range(CUSTOMERS * kill // len(days), CUSTOMERS * (kill + 2) // len(days)))
        shop.clock(f"{day}T12:00:00Z")
        seen = Shop.until(partial(_beyond, database, seen), worker)
        crm.kill()
        crm.wait()
        if kill % 3 == 2:
            worker.kill()
            worker.wait()
            worker = shop.start()
        crm = _crm(shop, example, database, "--effects-from", "earliest")
    shop.clock("2024-06-05T00:00:00Z")
    shop.settle(worker)
    assert shop.run("erase", "c0", "--at", "2024-06-05T00:00:00Z").returncode == 0
    shop.settle(worker)
    assert shop.stop(worker) == 0
    crm.kill()
    crm.wait()
    assert _crm(shop, example, database, "--until-end").wait(90) == 0

    effects = Counter((row[0], int(row[1])) for row in query(database, "select customer, sequence from effects"))
    bodies = (json.loads(m.value()) for m in shop.read(LOG))
    told = {(body["customer_id"], body["sequence"]) for body in bodies if body["customer_id"] != "c0"}
    assert len(told) > 3 * CUSTOMERS
    assert set(effects) == told, "lost, or invented"
    assert set(effects.values()) == {1}, "twice"
    assert query(database, "select * from aside") == []
    rows = query(database, "select customer, body from standings")
    assert {customer: json.loads(body) for customer, body in rows} == _table(shop)
    assert "c0" not in dict(rows)
