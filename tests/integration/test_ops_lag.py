"""Laws of the lag, measured on a real broker."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from click.testing import CliRunner

from schemas.events import GROUP_TOPICS
from streams.cli import main
from streams.kafka.errors import BrokerLost, TopicsNotReady
from streams.kafka.topics import create
from streams.ops.lag import LagMonitor, PartitionLag
from streams.settings import Settings

WaitAsync = Callable[..., Any]
PURCHASES = 3  # records of the test in purchases [0]


async def produce(settings: Settings, topic: str, partition: int, n: int) -> None:
    """`n` records, acked."""
    producer = AIOKafkaProducer(bootstrap_servers=settings.bootstrap_servers)
    await producer.start()
    try:
        for number in range(n):
            await producer.send_and_wait(settings.topic(topic), b"x", key=b"%d" % number, partition=partition)
    finally:
        await producer.stop()


async def commit(settings: Settings, topic: str, partition: int, offset: int) -> None:
    """The group's commit, as a worker makes it."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.bootstrap_servers, group_id=settings.consumer_group, enable_auto_commit=False
    )
    await consumer.start()
    try:
        tp = TopicPartition(settings.topic(topic), partition)
        consumer.assign([tp])
        await consumer.commit({tp: offset})
    finally:
        await consumer.stop()


@pytest.fixture
async def group(settings: Settings) -> Settings:
    """A group of its own with records in purchases [0]."""
    own = settings.model_copy(update={"app_id": f"{settings.topic_prefix}group"})
    await create(own)
    await produce(own, "purchases", 0, PURCHASES)
    return own


async def test_every_partition_of_every_input_topic_is_measured(group: Settings) -> None:
    """Assigned to anyone or not."""
    monitor = LagMonitor(group)
    try:
        lags = await monitor.sample()
    finally:
        await monitor.close()

    topics = {group.topic(name) for name in GROUP_TOPICS}
    assert {(tp.topic, tp.partition) for tp in lags} == {(t, p) for t in topics for p in range(group.partitions)}
    assert sum(row.records for row in lags.values()) == PURCHASES


async def test_lag_is_counted_from_the_commit_and_its_age_from_the_record_there(group: Settings) -> None:
    """Without a commit from the earliest; with one from there; caught up, nothing."""
    tp = TopicPartition(group.topic("purchases"), 0)
    monitor = LagMonitor(group)
    try:
        found = []
        for committed in (None, 1, PURCHASES):
            if committed is not None:
                await commit(group, "purchases", 0, committed)
            found.append((await monitor.sample())[tp])
    finally:
        await monitor.close()

    assert [row.records for row in found] == [PURCHASES, PURCHASES - 1, 0]
    assert [row.committed for row in found] == [None, 1, PURCHASES]
    assert all(row.seconds is not None and 0.0 < row.seconds < 60.0 for row in found[:2])
    assert found[2].seconds == 0.0


async def test_age_grows_and_stall_is_noticed_while_nothing_is_committed(
    group: Settings, wait_until_async: Callable[..., Any]
) -> None:
    """A worker that stands still shows as one."""
    tp = TopicPartition(group.topic("purchases"), 0)
    monitor = LagMonitor(group)
    try:
        first = (await monitor.sample())[tp]

        async def later() -> PartitionLag | None:
            row = (await monitor.sample())[tp]
            return row if row.stalled_s > 0.2 else None

        second = await wait_until_async(later)
        await commit(group, "purchases", 0, 1)
        third = (await monitor.sample())[tp]
    finally:
        await monitor.close()

    assert second.seconds > (first.seconds or 0.0) + 0.1
    assert (first.stalled_s, third.stalled_s) == (0.0, 0.0)


async def test_observed_end_covers_all_that_was_appended_before_it(group: Settings) -> None:
    """Whoever has processed up to `end` has seen everything up to `at_s`."""
    tp = TopicPartition(group.topic("purchases"), 0)
    monitor = LagMonitor(group)
    try:
        await monitor.sample()
        acked_at = time.time()
        await produce(group, "purchases", 0, 1)
        before = monitor.ends[tp]
        await monitor.sample()
    finally:
        await monitor.close()

    assert before.at_s <= acked_at
    assert before.end == PURCHASES
    assert monitor.ends[tp].end == PURCHASES + 1


async def test_missing_topics_say_what_makes_them(settings: Settings) -> None:
    """A fresh cluster is told apart from a broken one, and asking does not make the topic."""
    monitor = LagMonitor(settings)
    for _ in range(2):
        with pytest.raises(TopicsNotReady, match="regulars topics create"):
            await monitor.sample()
    await monitor.close()


async def test_monitor_keeps_its_figures_and_says_why_when_the_broker_is_away(
    group: Settings, free_port: int, wait_until_async: Callable[..., Any]
) -> None:
    """A broker that can't be reached is an error to show, not an end."""
    monitor = LagMonitor(group.model_copy(update={"bootstrap_servers": f"127.0.0.1:{free_port}"}), every_s=0.05)
    task = asyncio.create_task(monitor.run())
    try:
        await wait_until_async(lambda: monitor.error)
        assert "no Kafka broker answers" in str(monitor.error)
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_away_broker_is_one_error(settings: Settings, free_port: int) -> None:
    """With the way out in it."""
    monitor = LagMonitor(settings.model_copy(update={"bootstrap_servers": f"127.0.0.1:{free_port}"}))

    with pytest.raises(BrokerLost, match="regulars broker start"):
        await monitor.sample()


def test_command_gives_every_partition_as_json(group: Settings) -> None:
    """For scripts."""
    told = CliRunner().invoke(main, ["lag", *connection(group), "--json"])

    found = json.loads(told.stdout)
    assert told.exit_code == 0
    assert found["records"] == PURCHASES
    assert len(found["partitions"]) == len(GROUP_TOPICS) * group.partitions


async def test_a_partition_names_the_worker_that_reads_it(group: Settings, wait_until_async: WaitAsync) -> None:
    """By its instance id and host; one that nobody reads has none."""
    monitor, topic = LagMonitor(group), group.topic("purchases")
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=group.bootstrap_servers, group_id=group.consumer_group, group_instance_id="w1"
    )
    try:
        await monitor.sample()
        assert await monitor.owners() == {}
        await consumer.start()
        await wait_until_async(lambda: len(consumer.assignment()) == group.partitions, 30)
        owners = await monitor.owners()
    finally:
        await consumer.stop()
        await monitor.close()
    assert {(tp.topic, tp.partition) for tp in owners} == {(topic, number) for number in range(group.partitions)}
    assert set(owners.values()) == {"w1 at 127.0.0.1"}


def test_command_says_when_the_group_has_never_committed(group: Settings) -> None:
    """A wrong --app-id shows."""
    told = CliRunner().invoke(main, ["lag", *connection(group)], terminal_width=120)

    assert told.exit_code == 0
    assert "has committed nothing here" in told.stdout


def test_command_fails_with_one_line_when_the_broker_is_away(free_port: int) -> None:
    """Exit code 1, why, and the way out."""
    told = CliRunner().invoke(main, ["lag", "--bootstrap-servers", f"127.0.0.1:{free_port}"])

    assert told.exit_code == 1
    *logged, last = told.stderr.splitlines()
    assert "regulars broker start" in last
    assert all(json.loads(line)["level"] in ("warning", "error") for line in logged)


def connection(settings: Settings) -> list[str]:
    """The options that name the broker and the group."""
    options = {"bootstrap-servers": settings.bootstrap_servers, "topic-prefix": settings.topic_prefix}
    return [f"--{name}={value}" for name, value in {**options, "app-id": settings.app_id}.items()]
