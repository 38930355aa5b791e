"""The example CRM follows "How the CRM starts" in docs/guarantees.md: nothing is lost, nothing comes twice, over kills.

Judged here by the topics alone: the latest standing of each customer, and every change of the log once.
"""

import json
import os
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from examples.crm.python.book import Book, Hole, Record
from shop_worker import ROOT, Shop

CUSTOMERS = 40
TABLE, LOG = "customer-segments", "segment-changes"


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Book]:
    """An empty database."""
    book = Book(tmp_path / "crm.sqlite", TABLE, LOG)
    yield book
    book.close()


def _crm(shop: Shop, database: Path, *options: str) -> "subprocess.Popen[bytes]":
    settings = shop.settings
    process = subprocess.Popen(
        [
            *(sys.executable, "examples/crm/python/crm.py", "--bootstrap-servers", settings.bootstrap_servers),
            *("--topic-prefix", settings.topic_prefix, "--database", str(database), *options),
        ],
        cwd=ROOT,
        env=os.environ,
    )
    shop.processes.append(process)
    return process


def _buy(shop: Shop, day: str, customers: range) -> None:
    for n in customers:
        event = {"event_id": f"till-{day}-{n}", "customer_id": f"c{n}", "event_time": f"{day}T10:00:00Z"}
        shop.send(
            "purchases",
            event | {"type": "purchase", "order_id": f"o{day}-{n}", "amount_minor": 30_000, "currency": "GBP"},
        )
    shop.flush()


def _table(shop: Shop) -> dict[str, Any]:
    bodies = {m.key().decode(): m.value() for m in shop.read(TABLE)}
    return {customer: json.loads(body) for customer, body in bodies.items() if body is not None}


def _changes(shop: Shop) -> set[tuple[str, int]]:
    return {(body["customer_id"], body["sequence"]) for body in (json.loads(m.value()) for m in shop.read(LOG))}


def _effects_beyond(database: Path, seen: int) -> int:
    """How many effects the database has, if those are more than `seen`."""
    with closing(sqlite3.connect(database)) as db:
        try:
            count = int(db.execute("select count(*) from effects").fetchone()[0])
        except sqlite3.OperationalError:  # the first process has not made its tables yet
            return 0
    return count if count > seen else 0


def _read_to_the_end(shop: Shop, database: Path) -> Book:
    assert _crm(shop, database, "--until-end").wait(60) == 0
    prefix = shop.settings.topic_prefix
    return Book(database, prefix + TABLE, prefix + LOG)


def test_state_is_the_table_and_each_change_has_one_effect_over_kills(shop: Shop, tmp_path: Path) -> None:
    """Worker and CRM are killed at any moment while new and known customers move: 0 lost, 0 twice, 0 differences."""
    database = tmp_path / "crm.sqlite"
    worker, crm, seen = shop.start(), _crm(shop, database, "--effects-from", "earliest"), 0
    days = [f"2024-01-{day:02d}" for day in range(1, 25, 4)]
    for kill, day in enumerate(days):
        _buy(shop, day, range(CUSTOMERS * kill // len(days), CUSTOMERS * (kill + 2) // len(days)))
        shop.clock(f"{day}T12:00:00Z")
        seen = Shop.until(partial(_effects_beyond, database, seen), worker)
        crm.kill()
        crm.wait()
        if kill % 3 == 2:
            worker.kill()
            worker.wait()
            worker = shop.start()
        crm = _crm(shop, database, "--effects-from", "earliest")
    shop.clock("2024-06-05T00:00:00Z")
    shop.settle(worker)
    assert shop.stop(worker) == 0
    crm.kill()
    crm.wait()
    book = _read_to_the_end(shop, database)

    effects = Counter(book.effects())
    told = _changes(shop)
    assert len(told) > 3 * CUSTOMERS
    assert set(effects) == told, "lost, or invented"
    assert set(effects.values()) == {1}, "twice"
    assert book.aside() == 0
    assert book.standings() == _table(shop)
    book.close()


def test_a_reader_that_starts_now_has_everybodys_state_and_only_later_effects(shop: Shop, tmp_path: Path) -> None:
    """`--effects-from now`: what the log had at the start has no effect, what comes later has one; the erased are gone."""
    worker = shop.start()
    _buy(shop, "2024-01-01", range(CUSTOMERS // 2))
    shop.settle(worker)
    before = _changes(shop)
    database = tmp_path / "crm.sqlite"

    _read_to_the_end(shop, database).close()
    _buy(shop, "2024-01-20", range(CUSTOMERS // 4, CUSTOMERS))
    shop.clock("2024-03-05T00:00:00Z")
    shop.settle(worker)
    assert shop.run("erase", "c0", "--at", "2024-03-05T00:00:00Z").returncode == 0
    shop.settle(worker)
    assert shop.stop(worker) == 0
    book = _read_to_the_end(shop, database)

    assert {at for at in _changes(shop) - before if at[0] != "c0"} == set(book.effects())
    assert len(book.effects()) == len(set(book.effects())) > CUSTOMERS // 2
    assert book.standings() == _table(shop)
    assert "c0" not in book.standings()
    book.close()


class Topics:
    """Records by hand, each at the next offset of its topic."""

    def __init__(self) -> None:
        self._next = Counter[str]()

    def _record(self, topic: str, customer: str, body: dict[str, Any] | None, erased: int = 0) -> Record:
        self._next[topic] += 1
        value = None if body is None else json.dumps(body).encode()
        return Record(topic, 0, self._next[topic], customer, value, erased)

    def standing(self, customer: str, sequence: int, as_of: str = "2024-01-01T00:00:00Z", clicks: int = 0) -> Record:
        """A record of the table."""
        return self._record(TABLE, customer, {"sequence": sequence, "as_of": as_of, "profile": {"clicks": clicks}})

    def erased(self, customer: str, sequence: int) -> Record:
        """A null of the table."""
        return self._record(TABLE, customer, None, sequence)

    def change(self, customer: str, sequence: int, previous: str | None = "low", dimension: str = "value") -> Record:
        """A record of the log."""
        return self._record(LOG, customer, {"sequence": sequence, "previous": previous, "dimension": dimension})


def test_a_standing_that_overtakes_its_changes_takes_no_effect_away(book: Book) -> None:
    """A new customer's first standing has sequence 2 already: both of its changes still have their effect, once."""
    topics = Topics()
    first, second = topics.change("anna", 1, None), topics.change("anna", 2, None, "lifecycle")

    book.take([first, topics.standing("anna", 2), second], 0.0)
    book.take([first, second], 0.0)

    assert book.effects() == [("anna", 1), ("anna", 2)]


def test_an_equal_sequence_with_a_newer_profile_replaces_the_row(book: Book) -> None:
    """The later record of one sequence counts, an older one that comes again doesn't."""
    topics = Topics()
    older, newer = (
        topics.standing("anna", 2, "2024-01-01T00:00:00Z", 1),
        topics.standing("anna", 2, "2024-01-02T00:00:00Z", 2),
    )
    late = topics.standing("anna", 2, "2024-01-02T00:00:00.5Z", 3)  # compared as times: as text it would be older

    book.take([older, newer, late, older, topics.standing("anna", 1, "2024-01-03T00:00:00Z", 4)], 0.0)

    assert book.standings()["anna"]["profile"] == {"clicks": 3}


def test_a_null_ends_a_life_and_the_next_sequence_begins_another(book: Book) -> None:
    """What comes again from before the erasure counts for nothing; who comes back is new, at the next sequence."""
    topics = Topics()
    old = [topics.change("anna", 1, None), topics.standing("anna", 1), topics.change("anna", 2)]
    null = topics.erased("anna", 2)

    book.take([*old, null, *old], 0.0)
    assert (book.standings(), book.effects(), book.aside()) == ({}, [], 0)
    book.take([topics.change("anna", 3, None), topics.standing("anna", 3), null], 0.0)

    assert set(book.standings()) == {"anna"}
    assert book.effects() == [("anna", 3)]


def test_the_log_of_an_erased_customer_has_no_effect_though_the_null_is_gone(book: Book) -> None:
    """Changes wait for a standing; of two lives that wait, the later one counts."""
    topics = Topics()

    book.take([topics.change("anna", 1, None), topics.change("anna", 2), topics.change("bert", 1, None)], 0.0)
    assert (book.effects(), book.aside()) == ([], 3)
    book.take([topics.change("anna", 3, None), topics.standing("anna", 3)], 0.0)

    assert book.effects() == [("anna", 3)]
    assert book.aside() == 1


def test_rows_that_the_table_no_longer_has_go_when_it_was_read_anew(book: Book) -> None:
    """A reader that was away while a null was compacted deletes the customer all the same."""
    topics = Topics()
    book.take([topics.standing("anna", 1), topics.standing("bert", 1)], 0.0)

    book.begin_pass()
    book.take([topics.standing("bert", 1)], 0.0)
    book.end_pass()

    assert set(book.standings()) == {"bert"}


def test_a_hole_stops_the_reader_and_keeps_nothing_of_its_batch(book: Book) -> None:
    """A change that Kafka no longer has can't be passed over in silence."""
    topics = Topics()
    book.take([topics.standing("anna", 1), topics.change("anna", 1, None)], 0.0)

    with pytest.raises(Hole, match="after change 1 comes change 3"):
        book.take([topics.standing("bert", 1), topics.change("anna", 3)], 0.0)

    assert set(book.standings()) == {"anna"}
    assert book.offsets(LOG) == {0: 2}
