"""Topics that are deleted and made again, and the same records on another cluster: offsets alone do not say which."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from asking import patiently
from shop_worker import Shop, changes_of
from streams.kafka.topics import partition_of

pytestmark = pytest.mark.timeout(300)

INPUTS = ("clickstream", "purchases", "reviews")
CUSTOMERS = tuple(f"c{n}" for n in range(10))


def buy(shop: Shop, numbers: range) -> None:
    """Sends purchases of all customers in turn, one a minute."""
    for n in numbers:
        event = {
            "event_id": f"p{n}",
            "customer_id": CUSTOMERS[n % len(CUSTOMERS)],
            "event_time": f"2024-01-01T{n // 60:02}:{n % 60:02}:00Z",
            "type": "purchase",
            "order_id": f"o{n}",
            "amount_minor": 1_000,
            "currency": "GBP",
        }
        shop.send("purchases", event)
    shop.flush()


def purchases(shop: Shop) -> dict[str, int]:
    """How many purchases each customer's latest standing holds."""
    latest: dict[str, int] = {}
    for message in shop.read("customer-segments"):
        latest[(message.key() or b"").decode()] = json.loads(message.value() or b"")["profile"]["purchases"]
    return latest


def delete(shop: Shop, *topics: str) -> None:
    """Deletes topics (names without the prefix), and waits until nobody knows them any more."""
    admin = AdminClient({"bootstrap.servers": shop.settings.bootstrap_servers})
    names = [shop.settings.topic(topic) for topic in topics]
    for deleted in admin.delete_topics(names).values():
        deleted.result(30)
    end = time.monotonic() + 30
    while set(names) & set(admin.list_topics(timeout=10).topics):
        assert time.monotonic() < end, "topics are still there"
        time.sleep(0.1)


def log_of(shop: Shop, process: int) -> str:
    """What the worker that was started as number `process` said."""
    return (shop.settings.data_dir.parent / f"w1-{process}.log").read_text()


@pytest.mark.parametrize("running", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_topic_made_anew_counts_from_its_start(shop: Shop, running: bool) -> None:
    """Its first offsets are those of records that were counted before; its records are other ones."""
    worker = shop.start()
    buy(shop, range(200))
    shop.settle(worker)
    if not running:
        assert shop.stop(worker) == 0
    delete(shop, "purchases")
    assert shop.run("topics", "create").returncode == 0
    buy(shop, range(200, 250))
    if running:
        assert worker.wait(90) == 70
        assert "was made anew" in log_of(shop, 0).splitlines()[-1]
    worker = shop.start()
    shop.until(lambda: sum(purchases(shop).values()) == 250, worker)
    buy(shop, range(250, 260))
    shop.settle(worker)
    assert shop.stop(worker) == 0

    assert purchases(shop) == dict.fromkeys(CUSTOMERS, 26)
    assert "input topic was made anew" in log_of(shop, 1)
    offsets = [
        body["cause"]["offset"]
        for bodies in changes_of(shop.read("segment-changes")).values()
        for body in bodies
        if body["cause"]["kind"] == "event"
    ]
    assert max(offsets) < 200, "a cause names the offset as Kafka has it"


def test_a_restart_after_a_topic_was_made_anew_counts_nothing_twice(shop: Shop) -> None:
    """The new incarnation is remembered: what it brought comes again and changes nothing."""
    worker = shop.start()
    buy(shop, range(40))
    shop.settle(worker)
    assert shop.stop(worker) == 0
    delete(shop, "purchases")
    assert shop.run("topics", "create").returncode == 0
    buy(shop, range(40, 440))
    worker = shop.start()
    shop.settle(worker)
    assert shop.stop(worker) == 0
    to_start(shop)

    worker = shop.start()
    shop.settle(worker)
    assert shop.stop(worker) == 0

    assert purchases(shop) == dict.fromkeys(CUSTOMERS, 44)


def to_start(shop: Shop, topic: str = "purchases", left: Callable[[int, int], int] = lambda start, end: start) -> None:
    """Sets where the group stands in a topic, as `kafka-consumer-groups --reset-offsets` does."""
    asking = Consumer({"bootstrap.servers": shop.settings.bootstrap_servers, "group.id": shop.settings.consumer_group})
    name = shop.settings.topic(topic)
    for partition in range(shop.settings.partitions):
        start, end = asking.get_watermark_offsets(TopicPartition(name, partition), 10)
        at = TopicPartition(name, partition, left(start, end))
        patiently(lambda at=at: asking.commit(offsets=[at], asynchronous=False))
    asking.close()


def test_failover_to_a_mirrored_cluster_goes_on(shop: Shop) -> None:
    """The procedure of docs/operations.md: topics under other ids and offsets, the group set back a little.

    The mirror is made by hand: all topics are deleted, made again, and filled with copies, the inputs without their oldest
    records. What the mirror brought after the last committed change is among what comes again.
    """
    mirrored = (*INPUTS, "segment-changes", "customer-segments", f"{shop.settings.app_id}-customers-changelog")
    worker = shop.start()
    buy(shop, range(300))
    shop.settle(worker)
    assert shop.stop(worker) == 0
    copies = {topic: shop.read(topic) for topic in mirrored}

    delete(shop, *mirrored)
    assert shop.run("topics", "create").returncode == 0
    copies["purchases"] = copies["purchases"][7:]
    copy(shop, copies)
    for topic in INPUTS:
        to_start(shop, topic, lambda start, end: max(start, end - 5))
    buy(shop, range(300, 330))
    worker = shop.start()
    shop.settle(worker)
    assert shop.stop(worker) == 0

    assert purchases(shop) == dict.fromkeys(CUSTOMERS, 33)
    assert "local store set aside" in log_of(shop, 1)
    for customer, bodies in changes_of(shop.read("segment-changes")).items():
        numbers = [body["sequence"] for body in bodies]
        assert sorted(set(numbers)) == list(range(1, max(numbers) + 1)), customer


def copy(shop: Shop, copies: dict[str, list[Message]]) -> None:
    """Writes records as a mirror does: same key, value and headers, same partition, another offset."""
    producer = Producer({"bootstrap.servers": shop.settings.bootstrap_servers})
    for topic, records in copies.items():
        for record in records:
            headers: Any = record.headers()
            producer.produce(
                shop.settings.topic(topic), record.value(), record.key(), record.partition(), headers=headers
            )
    assert producer.flush(30) == 0


def test_customers_of_this_file_are_in_more_than_one_partition() -> None:
    """Otherwise the laws above would hold for one partition only."""
    assert len({partition_of(customer.encode(), 4) for customer in CUSTOMERS}) > 2
