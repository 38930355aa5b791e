"""Laws of the trainer on a real broker: labels in, snapshots out, nothing lost or counted twice over restarts."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
import structlog.testing
from aiohttp import ClientSession
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from confluent_kafka import Producer

from models import features
from models.learning.course import Course
from models.learning.learner import Learner
from models.learning.snapshots import Snapshot, encode_snapshot, version_of
from models.scores import PriorScorer
from schemas.learning import Label, encode_label
from schemas.times import DAY_S
from schemas.topics import MODEL_SNAPSHOTS
from streams.kafka.errors import TopicsNotReady
from streams.kafka.topics import create
from streams.settings import Settings
from streams.training.checkpoint import SNAPSHOT_KEY, Beginner
from streams.training.schedule import PublishSchedule
from streams.training.trainer import Trainer
from tests.support.training import (
    EACH,
    FEATURES,
    NEVER,
    direct,
    label,
    last_snapshot,
    running,
    send,
    send_labels,
    trainer_of,
)

WaitAsync = Callable[..., Awaitable[Any]]


async def records_of(settings: Settings, topic: str) -> list[Any]:
    """Everything in a topic now."""
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.bootstrap_servers, auto_offset_reset="earliest")
    await consumer.start()
    try:
        name = settings.topic(topic)
        partitions = [TopicPartition(name, i) for i in range(settings.partitions if topic == "dead-letters" else 1)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        await consumer.seek_to_beginning(*partitions)
        found: list[Any] = []
        while any([await consumer.position(tp) < end for tp, end in ends.items()]):
            for batch in (await consumer.getmany(timeout_ms=100)).values():
                found += batch
        return found
    finally:
        await consumer.stop()


async def test_every_label_is_learnt_in_order(settings: Settings, wait_until_async: WaitAsync) -> None:
    """What the trainer publishes is, to the bit, what a learner fed by hand would be."""
    await create(settings)
    await send_labels(settings, range(40))

    async with running(settings, PublishSchedule(40, 60.0)) as trainer:
        await wait_until_async(lambda: trainer.published)

    found = await last_snapshot(settings)
    assert found is not None
    assert found.version == direct(range(40), 40).version
    assert found.next_offset == 40


async def test_a_restart_goes_on_from_the_last_snapshot(settings: Settings, wait_until_async: WaitAsync) -> None:
    """Two trainers, one after the other, with labels before, between and repeated, learn what one would."""
    await create(settings)
    await send_labels(settings, range(20))
    async with running(settings, NEVER) as first:
        await wait_until_async(lambda: first.learning)
    # It may have stopped at any label: what it left is a snapshot of a whole number of labels, or none.

    await send_labels(settings, [*range(15, 20), *range(20, 30)])
    async with running(settings, EACH) as second:
        await wait_until_async(lambda: second.published is not None and second.published.labels == 30)

    found = await last_snapshot(settings)
    assert found is not None
    assert found.version == direct(range(30), 35).version
    assert found.next_offset == 35


async def test_a_trainer_that_dies_loses_nothing(settings: Settings, wait_until_async: WaitAsync) -> None:
    """Killed after it learnt more than it published, the next one learns that again, once."""
    await create(settings)
    await send_labels(settings, range(10))
    async with running(settings, PublishSchedule(10, 60.0)) as first:
        await wait_until_async(lambda: first.published)
    await send_labels(settings, range(10, 15))

    killed = trainer_of(settings, NEVER)
    task = asyncio.create_task(killed.run(asyncio.Event()))
    await wait_until_async(lambda: killed.learning)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with running(settings, PublishSchedule(5, 60.0)) as second:
        await wait_until_async(lambda: second.published)

    found = await last_snapshot(settings)
    assert found is not None
    assert found.version == direct(range(15), 15).version


async def test_the_interval_publishes_what_is_new(settings: Settings, wait_until_async: WaitAsync) -> None:
    """One label is enough once the interval has passed, and no label publishes nothing."""
    await create(settings)
    async with running(settings, PublishSchedule(10**9, 0.2)) as trainer:
        await wait_until_async(lambda: trainer.learning)
        assert trainer.published is None
        await send_labels(settings, [1])
        await wait_until_async(lambda: trainer.published)

    assert len(await records_of(settings, MODEL_SNAPSHOTS)) == 1


async def test_bad_labels_become_dead_letters_and_the_others_are_learnt(
    settings: Settings, wait_until_async: WaitAsync
) -> None:
    """No JSON, a missing field, too few features: each as it came, with where and why; a foreign one is passed over."""
    await create(settings)
    short, foreign = encode_label(label(1, width=3)), encode_label(label(2, feature_set="beef"))
    bad = [b"no json", b'{"label_id":"x"}', b"\xff\xfe", short]
    await send(settings, [encode_label(label(0)), *bad, foreign, encode_label(label(1))])

    async with running(settings, PublishSchedule(2, 60.0)) as trainer:
        await wait_until_async(lambda: trainer.published)

    found = await last_snapshot(settings)
    assert found is not None
    assert (found.labels, found.next_offset, found.version) == (2, 7, direct([0, 1], 7).version)
    letters = sorted(
        await records_of(settings, "dead-letters"), key=lambda record: int(dict(record.headers)["regulars-offset"])
    )
    assert [letter.value for letter in letters] == bad
    reasons = [(dict(letter.headers)["regulars-reason"], dict(letter.headers)["regulars-field"]) for letter in letters]
    not_json, schema = (b"not-json", b"$"), (b"schema", b"$")
    assert reasons == [not_json, schema, not_json, (b"schema", b"$.features")]


async def test_a_label_larger_than_dead_letters_takes_stops_no_trainer(
    settings: Settings, wait_until_async: WaitAsync
) -> None:
    """Compressed it passes the broker; its letter is cut and says so, and the labels after it are learnt."""
    await create(settings)
    producer = Producer(
        {
            "bootstrap.servers": settings.bootstrap_servers,
            "compression.type": "gzip",
            "message.max.bytes": 30_000_000,
        }
    )
    producer.produce(settings.topic("model-train"), b"x" * 20_000_000, key=b"large")
    assert producer.flush(30) == 0
    await send(settings, [encode_label(label(0)), encode_label(label(1))])

    async with running(settings, PublishSchedule(2, 60.0)) as trainer:
        await wait_until_async(lambda: trainer.published)

    letters = await records_of(settings, "dead-letters")  # more than one where the trainer was sent away in between
    assert {letter.value for letter in letters} == {b"x" * 65_536}
    assert {dict(letter.headers)["regulars-truncated"] for letter in letters} == {b"key=5 value=20000000 headers=0"}


async def test_a_second_trainer_waits_until_the_first_leaves(settings: Settings, wait_until_async: WaitAsync) -> None:
    """Only one learns at any time; the other goes on where the first stopped."""
    await create(settings)
    await send_labels(settings, range(10))
    async with running(settings, EACH) as first:
        await wait_until_async(lambda: first.published is not None and first.published.labels == 10)
        async with running(settings, EACH) as second:
            await send_labels(settings, range(10, 20))
            learning = await wait_until_async(
                lambda: [t for t in (first, second) if t.published is not None and t.published.labels == 20]
            )
            assert len(learning) == 1
            assert not (first.learning and second.learning)
            # while the second is still joining, nobody learns
            await wait_until_async(lambda: first.learning or second.learning)
            assert [first.learning, second.learning].count(True) == 1

    found = await last_snapshot(settings)
    assert found is not None
    assert found.version == direct(range(20), 20).version


async def test_a_snapshot_of_other_features_is_not_restored(settings: Settings, wait_until_async: WaitAsync) -> None:
    """After a release with other features, learning starts anew from what model-train holds."""
    await create(settings)
    await send_labels(settings, range(5))
    other = Trainer(settings, Beginner(("x",), "beef", OneFeature()), EACH)
    stopping = asyncio.Event()
    task = asyncio.create_task(other.run(stopping))
    await send(settings, [encode_label(label(9, feature_set="beef", width=1))])
    await wait_until_async(lambda: other.published)
    stopping.set()
    await task

    async with running(settings, PublishSchedule(5, 60.0)) as trainer:
        await wait_until_async(lambda: trainer.published)

    found = await last_snapshot(settings)
    assert found is not None
    assert found.version == direct(range(5), 6).version


class OneFeature(PriorScorer):
    """A prior for another set of features."""

    def score(self, x: features.FloatArray) -> features.FloatArray:
        """A half, whatever comes."""
        return x[:, [0, 0, 0, 0]] * 0.0 + 0.5


def days_of(first: int, count: int) -> list[Label]:
    """Sixty labels a day of customers who buy by two of their features."""
    rng = np.random.default_rng(first)
    found = []
    for i in range(count * 60):
        horizon: Literal[30, 90] = 30 if i % 2 else 90
        x = rng.gamma(1.0, 1.0, size=FEATURES)
        n = int(rng.poisson(0.4 * np.exp(x[0] - x[1] / 2) * horizon / 90))
        of, at = f"c{first}-{i}:0:{horizon}", (first + i / 60) * DAY_S
        found.append(Label(of, 0.0, at, horizon, features.FEATURE_SET, tuple(x.tolist()), n > 0, n, 20.0 * n))
    return found


async def test_a_spoiled_version_is_rolled_back_and_said_so(settings: Settings, wait_until_async: WaitAsync) -> None:
    """Taken over from a snapshot whose weights were turned round, the trainer publishes the previous weights by itself."""
    await create(settings)
    course = Course(Learner(features.NAMES, features.FEATURE_SET, PriorScorer()))
    course.learn(days_of(0, 70), 0)
    before = course.snapshot()
    arrays = {**before.arrays, "weights": -3.0 * before.arrays["weights"]}
    spoiled = replace(before, arrays=arrays, version=version_of(before.kind, before.labels, arrays))
    await publish(settings, spoiled)
    await send(settings, [encode_label(label) for label in days_of(70, 32)])

    with structlog.testing.capture_logs() as said:
        async with running(settings, PublishSchedule(200, 60.0)) as trainer:
            await wait_until_async(lambda: trainer.published is not None and trainer.published.rollbacks == 1, 60.0)

    (told,) = [line for line in said if line["event"].startswith("rolled back")]
    assert told["withdrawn"] is None or told["withdrawn"].startswith("dynamic-")
    assert told["loss"] > told["previous_loss"]
    assert 0 < told["back_to_labels"] < 70 * 60
    found = await last_snapshot(settings)
    assert found is not None
    assert found.rollbacks == 1
    assert set(found.scoreboard["p_purchase_30d"]) >= {"served", "rfm", "bgnbd"}


async def publish(settings: Settings, snapshot: Snapshot) -> None:
    """A snapshot as another trainer left it."""
    producer = AIOKafkaProducer(bootstrap_servers=settings.bootstrap_servers, acks="all")
    await producer.start()
    try:
        await producer.send_and_wait(settings.topic(MODEL_SNAPSHOTS), encode_snapshot(snapshot), key=SNAPSHOT_KEY)
    finally:
        await producer.stop()


async def test_missing_topics_are_named(settings: Settings) -> None:
    """The way out is in the error."""
    with pytest.raises(TopicsNotReady, match=r"model-train is missing; make it with `regulars topics create`"):
        await trainer_of(settings, EACH).run(asyncio.Event())


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
async def test_a_signal_ends_the_command_with_all_published(
    settings: Settings, free_port: int, wait_until_async: WaitAsync, number: signal.Signals
) -> None:
    """Exit code 0, and the last snapshot holds every label; until then its pages tell that it learns."""
    await create(settings)
    await send_labels(settings, range(10))
    arguments = ["--bootstrap-servers", settings.bootstrap_servers, "--topic-prefix", settings.topic_prefix]
    pages = ["--web-port", str(free_port)]
    command = subprocess.Popen(
        [sys.executable, "-m", "streams.cli", "trainer", *arguments, "--publish-every", "1", *pages],
        env={**os.environ, "REGULARS_APP_ID": settings.app_id},
        stderr=subprocess.PIPE,
    )
    try:
        await wait_until_async(lambda: last_snapshot(settings), 60.0)
        page = await page_of(free_port, "/metrics")
        assert (await page_of(free_port, "/ready")).startswith('{"ready":true')
        await send_labels(settings, range(10, 13))
        command.send_signal(number)
        _, said = await asyncio.to_thread(command.communicate, timeout=30)
    finally:
        command.kill()
        command.wait()

    found = await last_snapshot(settings)
    assert command.returncode == 0, said.decode()
    assert found is not None
    assert found.version == direct(range(found.labels), found.labels).version
    assert found.labels >= 10
    assert b"published" in said
    assert b"c1:0" not in said
    labels = f'{{app_id="{settings.app_id}"}}'
    assert f"regulars_trainer_learning{labels} 1.0" in page
    assert f"regulars_trainer_labels_total{labels} 10.0" in page
    assert f"regulars_trainer_last_publish_timestamp_seconds{labels} " in page


async def page_of(port: int, path: str) -> str:
    """What a page says."""
    async with ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as answer:
        return await answer.text()


def test_a_port_that_is_taken_ends_the_command_in_one_line(settings: Settings) -> None:
    """Exit code 1, before Kafka is asked for anything; the broker's own port is surely taken."""
    taken = settings.bootstrap_servers.rpartition(":")[2]
    command = subprocess.run(
        [sys.executable, "-m", "streams.cli", "trainer", "--web-port", taken, "--bootstrap-servers", "127.0.0.1:1"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert command.returncode == 1
    assert "choose another --web-port" in command.stderr.splitlines()[-1]
