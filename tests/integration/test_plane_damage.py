"""The data plane on a real Kafka: stores, changelogs and topics that are damaged, cut, or not what they must be."""

import asyncio
import re
import shutil
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

from streams.settings import Settings
from tests.support.plane import Plane

Wait = Callable[..., Any]
WaitAsync = Callable[..., Awaitable[Any]]


@pytest.mark.parametrize("damage", ["cut", "overwritten", "gone"])
def test_a_damaged_store_is_set_aside_and_restored(plane: Plane, wait_until: Wait, damage: str) -> None:
    """A partition whose database can't be read is restored from the changelog; what was there is kept aside."""
    plane.send_numbers(400)
    worker = plane.start()
    wait_until(lambda: plane.lag() == 0, 60)
    assert worker.stop() == 0
    (database,) = plane.settings.data_dir.glob("w1/**/states-0.db")
    for file in database.glob("MANIFEST-*" if damage != "gone" else "CURRENT"):
        if damage == "gone":
            for part in (*database.glob("MANIFEST-*"),):
                part.unlink()
        elif damage == "cut":
            file.write_bytes(file.read_bytes()[:20])
        else:
            file.write_bytes(b"\0" * 100)
    second = plane.start()
    second.wait_for("ready")
    assert any("set aside" in line for line in second.lines)
    plane.send_numbers(400)
    wait_until(lambda: plane.lag() == 0, 60)
    assert second.stop() == 0
    assert plane.verify().wrong == []
    assert database.with_name(database.name + ".set-aside").exists()


def test_a_store_of_another_changelog_gives_way_to_it(plane: Plane, wait_until: Wait) -> None:
    """The changelog was made anew: the local store of another time doesn't speak for it."""
    plane.send_numbers(200)
    worker = plane.start()
    wait_until(lambda: plane.lag() == 0, 60)
    assert worker.stop() == 0
    topic = plane.settings.changelog_topic
    plane.admin.delete_topics([topic])[topic].result(30)
    wait_until(lambda: topic not in plane.admin.list_topics(timeout=10).topics, 30)
    plane.make_changelog()
    second = plane.start()
    second.wait_for("ready")
    assert sum(int(line.split()[2]) for line in second.lines if line.startswith("restored")) == 0
    assert any("it is of the changelog with id" in line for line in second.lines)
    assert second.stop() == 0


def test_deleted_changelog_records_that_the_store_has_not_seen_stop_the_worker(plane: Plane, wait_until: Wait) -> None:
    """Neither going on nor starting over would be right: a person chooses, and the line says between what."""
    plane.send_numbers(200)
    worker = plane.start()
    wait_until(lambda: plane.lag() == 0, 60)
    assert worker.stop() == 0
    kept = plane.settings.data_dir / "w1"
    aside = plane.settings.data_dir / "aside"
    shutil.copytree(kept, aside)
    plane.send_numbers(200)
    second = plane.start()
    wait_until(lambda: plane.lag() == 0, 60)
    assert second.stop() == 0
    plane.delete_changelog_records()
    third = plane.start(data_dir=aside)
    assert third.wait() == 70
    assert "were deleted and the local store has not seen them" in third.lines[-1]
    fourth = plane.start("w4")
    assert fourth.wait() == 70
    assert "there is no local store" in fourth.lines[-1]
    fifth = plane.start("w5", REGULARS_ACCEPT_TRUNCATED_CHANGELOG="true")
    fifth.wait_for("ready")
    assert fifth.stop() == 0


def test_a_changelog_that_is_not_compacted_stops_a_worker(plane: Plane) -> None:
    """Kafka would delete the states of whoever is silent for longer than its retention."""
    topic = plane.settings.changelog_topic
    plane.configure(topic, "cleanup.policy", "delete")
    worker = plane.start()
    assert worker.wait() == 70
    assert f"the changelog {topic} has cleanup.policy delete" in worker.lines[-1]
    assert "--add-config cleanup.policy=compact" in worker.lines[-1]


def test_input_that_was_deleted_before_it_was_read_is_said_and_counted(plane: Plane, wait_until: Wait) -> None:
    """Each partition with the offsets that are gone, once; what is left counts."""
    plane.send_numbers(200)
    worker = plane.start()
    wait_until(lambda: plane.lag() == 0, 60)
    assert worker.stop() == 0
    before, read = plane.committed("a"), len(plane.sent)
    for n in range(100):
        plane.send("a", b"k%d" % n, b"1")
    plane.flush()
    after = plane.ends("a")
    plane.delete_records(plane.topic("a"))
    del plane.sent[read:]
    plane.send_numbers(200)

    second = plane.start()
    wait_until(lambda: plane.lag() == 0, 60)
    assert second.stop() == 0
    assert plane.verify().wrong == []
    said = [line for line in second.lines if "records deleted before they were read" in line]
    assert len(said) == sum(after[partition] > before[partition] for partition in after) > 1
    for partition in after:
        where = f"partition={partition} stood_at={before[partition]}"
        assert f"goes_on_at={after[partition]}" in next(line for line in said if where in line)
    assert sum(int(line.rpartition("lost=")[2].split()[0]) for line in said) == 100

    third = plane.start()
    third.wait_for("ready")
    assert third.stop() == 0
    assert not [line for line in third.lines if "records deleted" in line]


async def test_a_record_that_no_client_can_read_is_named(plane: Plane, wait_until_async: WaitAsync) -> None:
    """The last line says where it is and how to go on, and what that leaves out; all that comes after it counts."""
    for n in range(40):
        plane.send("a", b"k%d" % n, b"1", partition=0)
    plane.flush()
    await send_unreadable(plane.settings, plane.topic("a"))
    for n in range(40):
        plane.send("a", b"k%d" % n, b"2", partition=0)
    plane.flush()
    worker = plane.start()
    assert await asyncio.to_thread(worker.wait) == 70
    said = worker.lines[-1]
    assert f"{plane.topic('a')}[0]: the name of a header of the record at offset 41 is not UTF-8" in said
    (end,) = re.findall(r"--to-offset (\d+) ", said)
    await wait_until_async(lambda: plane.commit("a", 0, int(end)), 60)

    second = plane.start()
    await wait_until_async(lambda: plane.lag() == 0, 60)
    assert second.stop() == 0
    sums = {key: total for key, (_, total, _) in plane.states().items()}
    assert sums == {b"k%d" % n: 2 for n in range(40)}


async def send_unreadable(settings: Settings, topic: str) -> None:
    """Three records in one batch of partition 0, the second with a header whose name is no UTF-8."""

    class Bytes(str):
        """A name that is written as other bytes."""

        __slots__ = ()

        def encode(self, *_: Any) -> bytes:
            """They are no text."""
            return b"\xff\xfe"

    producer = AIOKafkaProducer(bootstrap_servers=settings.bootstrap_servers)
    await producer.start()
    try:
        batch = producer.create_batch()
        batch._builder = _DefaultRecordBatchBuilderPy(2, 0, 0, -1, -1, 0, 16_384)
        for name in "good", Bytes("bad"), "good":
            batch.append(timestamp=None, key=b"lost", value=b"1", headers=[(name, b"")])
        batch.close()
        await (await producer.send_batch(batch, topic, partition=0))
    finally:
        await producer.stop()


def test_missing_topics_and_wrong_partition_counts_stop_a_worker(plane: Plane) -> None:
    """The last line names the topics and the command that makes or checks them."""
    missing = plane.start(REGULARS_TOPIC_PREFIX=plane.settings.topic_prefix + "x-")
    assert missing.wait() == 70
    assert "missing topics" in missing.lines[-1]
    assert "regulars topics create" in missing.lines[-1]
    wrong = plane.start(REGULARS_PARTITIONS="3")
    assert wrong.wait() == 70
    assert "REGULARS_PARTITIONS is 3" in wrong.lines[-1]
    assert "regulars topics check" in wrong.lines[-1]


def test_an_output_of_one_partition_stops_a_worker(settings: Settings) -> None:
    """Who lost a partition could still write there; the last line says so."""
    unfenced = Plane(settings, changes=1)
    worker = unfenced.start()
    try:
        assert worker.wait() == 70
        assert f"{unfenced.topic('changes')} has 1, but REGULARS_PARTITIONS is 4" in worker.lines[-1]
        assert "a worker that was replaced could still write there" in worker.lines[-1]
    finally:
        unfenced.close()
