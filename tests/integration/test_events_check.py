"""`regulars events check` on a topic: key, partition, headers and value of each record."""

import asyncio
import json

from click.testing import CliRunner
from confluent_kafka import Producer

import mistakes as table
from schemas.events import PURCHASES
from streams.cli import main
from streams.kafka.topics import create, partition_of
from streams.settings import Settings


def test_records_of_a_topic_are_checked_with_key_partition_and_headers(settings: Settings) -> None:
    """What a worker would refuse is named with its place; clock records and erasures are none of it."""
    asyncio.run(create(settings))
    producer = Producer({"bootstrap.servers": settings.bootstrap_servers})
    topic, value = settings.topic(PURCHASES), json.dumps(table.EVENTS[PURCHASES]).encode()
    right = partition_of(table.KEY, settings.partitions)
    wrong = (right + 1) % settings.partitions
    producer.produce(topic, value, table.KEY, partition=right)
    producer.produce(topic, value, table.KEY, partition=wrong)
    producer.produce(topic, value, b'"Anna-7"', partition=partition_of(b'"Anna-7"', settings.partitions))
    producer.produce(topic, b"", None, partition=0, headers=[("regulars-clock", b"2024-05-01T00:00:00Z")])
    producer.produce(topic, None, table.KEY, partition=right, headers=[("regulars-erase", b"2024-05-01T00:00:00Z")])
    assert producer.flush(20) == 0

    given = {"REGULARS_BOOTSTRAP_SERVERS": settings.bootstrap_servers, "REGULARS_TOPIC_PREFIX": settings.topic_prefix}
    done = CliRunner().invoke(main, ["events", "check", "purchases", "--json"], env=given)

    *found, totals = (json.loads(line) for line in done.output.splitlines() if line.startswith("{"))
    assert done.exit_code == 1
    assert {(each["reason"], each["partition"]) for each in found if "reason" in each} == {
        ("wrong-partition", wrong),
        ("key-mismatch", partition_of(b'"Anna-7"', settings.partitions)),
    }
    assert (totals["records"], totals["valid"]) == (5, 3)
