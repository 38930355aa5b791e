"""How a CRM starts beside a shop that is open, as docs/guarantees.md says it: the table to its end, then the log."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from confluent_kafka import Message

from shop_worker import Shop
from streams.settings import Settings

CUSTOMERS = 40


@pytest.fixture
def shop(settings: Settings) -> Iterator[Shop]:
    """A shop of its own."""
    shop = Shop(settings)
    yield shop
    shop.close()


class Crm:
    """Segments and sequence of each customer, by the rules of the document."""

    def __init__(self) -> None:
        self.segments: dict[str, dict[str, str]] = {}
        self.sequence: dict[str, int] = {}
        self.applied = 0

    def read_table(self, records: Sequence[Message]) -> None:
        """`customer-segments` from its beginning to its end at that moment."""
        for record in records:
            customer = record.key().decode()
            if record.value() is None:
                self.segments.pop(customer, None)
                self.sequence.pop(customer, None)
                continue
            body = json.loads(record.value())
            self.segments[customer], self.sequence[customer] = body["segments"], body["sequence"]

    def follow(self, log: Sequence[Message], has_standing: set[str]) -> None:
        """`segment-changes` from its beginning; changes of who has no standing stay aside."""
        for record in log:
            change = json.loads(record.value())
            customer, sequence = change["customer_id"], change["sequence"]
            if customer not in has_standing or sequence <= self.sequence.get(customer, 0):
                continue
            assert sequence == self.sequence.get(customer, 0) + 1, "a hole"
            self.segments.setdefault(customer, {})[change["dimension"]] = change["current"]
            self.sequence[customer] = sequence
            self.applied += 1


def _buy(shop: Shop, day: str, customers: range) -> None:
    for n in customers:
        event: dict[str, Any] = {
            "event_id": f"till-{day}-{n}",
            "customer_id": f"c{n}",
            "event_time": f"{day}T10:00:00Z",
        }
        event |= {"type": "purchase", "order_id": f"o{day}-{n}", "amount_minor": 30_000, "currency": "GBP"}
        shop.send("purchases", event)


def test_the_table_then_the_log_is_where_everybody_stands(shop: Shop) -> None:
    """The table is read while a worker writes and is killed; who was erased stays so, though the log still has them."""
    worker = shop.start()
    _buy(shop, "2024-01-01", range(CUSTOMERS // 2))
    shop.flush()
    Shop.until(lambda: len(shop.read("customer-segments")) >= CUSTOMERS // 4, worker)
    crm = Crm()

    crm.read_table(shop.read("customer-segments"))
    worker.kill()
    _buy(shop, "2024-01-20", range(CUSTOMERS // 4, CUSTOMERS))
    shop.clock("2024-03-05T00:00:00Z")
    worker = shop.start()
    shop.settle(worker)
    assert shop.stop(worker) == 0
    shop.send("customer-segments", None, "c0")
    shop.flush()
    table = Crm()
    table.read_table(shop.read("customer-segments"))
    crm.read_table([record for record in shop.read("customer-segments") if record.value() is None])
    crm.follow(shop.read("segment-changes"), set(table.segments))

    assert crm.applied > CUSTOMERS // 2
    assert set(crm.segments) == {f"c{n}" for n in range(1, CUSTOMERS)}
    assert (crm.segments, crm.sequence) == (table.segments, table.sequence)
