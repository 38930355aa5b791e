"""The CRM's own tables in SQLite: where each customer stands, which changes were applied, how far each topic was read.

The rules are those of docs/guarantees.md, "How the CRM starts". `Book.take` applies a batch of records and their offsets in
one transaction, so a process that is killed goes on from what it had committed.
"""

import json
import sqlite3
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

TABLES = """
create table if not exists standings (customer text primary key, sequence int, as_of text, body text, pass int);
create table if not exists applied (customer text primary key, sequence int);
create table if not exists aside (customer text, sequence int, body text, primary key (customer, sequence));
create table if not exists effects (number integer primary key, customer text, sequence int, body text);
create table if not exists offsets (topic text, partition int, next int, primary key (topic, partition));
create table if not exists facts (name text primary key, value int);
"""


class Record(NamedTuple):
    """A record of one of the two topics. `erased` is the header `regulars-sequence` of a null, else 0."""

    topic: str
    partition: int
    offset: int
    customer: str
    value: bytes | None
    erased: int = 0


class Hole(Exception):
    """A change is missing before this one. The reader was away for longer than the log is kept: begin a new database."""


class Book:
    """Standings by the table, effects by the log; neither is decided by the other's sequence."""

    def __init__(self, path: Path, table: str, log: str) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("pragma journal_mode = wal")
        self._db.executescript(TABLES)
        self._table, self._log = table, log

    def close(self) -> None:
        """Closes the database."""
        self._db.close()

    # --- reading records

    def take(self, records: Iterable[Record], now_s: float) -> None:
        """Applies records, in the order in which they came, and their offsets in one transaction.

        Raises:
            Hole: see there; nothing of the batch is kept.
        """
        with self._db:
            self._db.execute("begin")
            for record in records:
                if record.topic == self._table:
                    self._take_standing(record)
                elif record.topic == self._log:
                    self._take_change(record.customer, record.value or b"")
                self.go_on_from(record.topic, record.partition, record.offset + 1)
            self._set_fact("read_at", int(now_s))

    def _take_standing(self, record: Record) -> None:
        customer = record.customer
        kept = self._db.execute("select sequence, as_of from standings where customer = ?", (customer,)).fetchone()
        if record.value is None:
            self._erase(customer, record.erased, kept)
            return
        standing = json.loads(record.value)
        if kept and (standing["sequence"], _time(standing["as_of"])) < (kept[0], _time(kept[1])):
            self._db.execute("update standings set pass = ? where customer = ?", (self.fact("pass"), customer))
            return  # an older one came again
        if not kept and standing["sequence"] <= self._applied(customer):
            return  # without a row but with a sequence: erased; this is from before that and came again
        self._db.execute(
            "insert or replace into standings values (?, ?, ?, ?, ?)",
            (customer, standing["sequence"], standing["as_of"], record.value.decode(), self.fact("pass")),
        )
        waiting = self._db.execute(
            "select body from aside where customer = ? order by sequence", (customer,)
        ).fetchall()
        self._db.execute("delete from aside where customer = ?", (customer,))
        for body in _of_the_latest_life([body for (body,) in waiting]):
            self._apply(customer, body)

    def _erase(self, customer: str, sequence: int, kept: tuple[int, str] | None) -> None:
        if kept and kept[0] > sequence > 0:
            return  # an older null came again, the customer is a new one already
        reached = max(sequence, kept[0] if kept else 0, self._applied(customer))
        self._db.execute("delete from standings where customer = ?", (customer,))
        self._db.execute("delete from aside where customer = ? and sequence <= ?", (customer, reached))
        self._db.execute("delete from effects where customer = ?", (customer,))
        self._db.execute("insert or replace into applied values (?, ?)", (customer, reached))

    def _take_change(self, customer: str, body: bytes) -> None:
        known = self._db.execute("select 1 from standings where customer = ?", (customer,)).fetchone()
        if known:
            self._apply(customer, body.decode())
        elif (sequence := json.loads(body)["sequence"]) > self._applied(customer):
            self._db.execute("insert or replace into aside values (?, ?, ?)", (customer, sequence, body.decode()))

    def _apply(self, customer: str, body: str) -> None:
        change, applied = json.loads(body), self._applied(customer)
        sequence = change["sequence"]
        if sequence <= applied:
            return  # it came again
        if applied and sequence > applied + 1 and change["previous"] is not None:
            raise Hole(f"after change {applied} comes change {sequence}: begin a new database")
        self._db.execute("insert into effects (customer, sequence, body) values (?, ?, ?)", (customer, sequence, body))
        self._db.execute("insert or replace into applied values (?, ?)", (customer, sequence))

    def _applied(self, customer: str) -> int:
        kept = self._db.execute("select sequence from applied where customer = ?", (customer,)).fetchone()
        return 0 if kept is None else int(kept[0])

    # --- where to read

    def offsets(self, topic: str) -> dict[int, int]:
        """The next offset of each partition; empty at the first start."""
        return dict(self._db.execute("select partition, next from offsets where topic = ?", (topic,)))

    def go_on_from(self, topic: str, partition: int, offset: int) -> None:
        """Sets the next offset of a partition."""
        self._db.execute("insert or replace into offsets values (?, ?, ?)", (topic, partition, offset))

    # --- a table that was away for too long

    def begin_pass(self) -> None:
        """The table is read from its beginning again. Rows that it does not have any more go at `end_pass`."""
        with self._db:
            self._db.execute("begin")
            self._db.execute("delete from offsets where topic = ?", (self._table,))
            self._set_fact("pass", self.fact("pass") + 1)
            self._set_fact("in_pass", 1)

    def end_pass(self) -> None:
        """Deletes the rows that the last pass over the table has not met: their null has been compacted away."""
        gone = self._db.execute("select customer from standings where pass < ?", (self.fact("pass"),)).fetchall()
        with self._db:
            self._db.execute("begin")
            for (customer,) in gone:
                kept = self._db.execute(
                    "select sequence, as_of from standings where customer = ?", (customer,)
                ).fetchone()
                self._erase(customer, 0, kept)
            self._set_fact("in_pass", 0)

    def fact(self, name: str) -> int:
        """A number that was kept; 0 where there is none."""
        kept = self._db.execute("select value from facts where name = ?", (name,)).fetchone()
        return 0 if kept is None else int(kept[0])

    def _set_fact(self, name: str, value: int) -> None:
        self._db.execute("insert or replace into facts values (?, ?)", (name, value))

    # --- what a CRM does with it

    def standings(self) -> dict[str, dict[str, Any]]:
        """Where each customer stands."""
        return {name: json.loads(body) for name, body in self._db.execute("select customer, body from standings")}

    def effects(self) -> list[tuple[str, int]]:
        """Customer and sequence of each change that was applied, in order."""
        return self._db.execute("select customer, sequence from effects order by number").fetchall()

    def aside(self) -> int:
        """How many changes wait for their customer's first standing."""
        return int(self._db.execute("select count(*) from aside").fetchone()[0])


def _time(text: str) -> datetime:
    """A time to compare. As text, `00:00:00.5Z` would come before `00:00:00Z`: only times with a fraction show one."""
    return datetime.fromisoformat(text)


def _of_the_latest_life(bodies: list[str]) -> list[str]:
    """Changes since a customer was erased last: `previous` is null again in a dimension that had a segment before."""
    life: list[dict[str, Any]] = []
    for change in map(json.loads, bodies):
        if change["previous"] is None and any(change["dimension"] == earlier["dimension"] for earlier in life):
            life = []
        life.append(change)
    return bodies[len(bodies) - len(life) :]
