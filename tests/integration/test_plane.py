"""The data plane on a real Kafka: what was sent in is in the states once, and every output is there."""

import asyncio
import itertools
import re
import shutil
import signal
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

from streams.kafka.clients import restoring_consumer
from streams.plane.crash import POINTS
from streams.plane.progress import Progress
from streams.plane.restore import TURNS_OF_A_PAGE, Restorer
from streams.plane.runtime import build_app
from streams.plane.store import BulkStore
from streams.settings import Settings
from tests.support.plane import Plane
from tests.support.plane_worker import Adder

Wait = Callable[..., Any]
WaitAsync = Callable[..., Awaitable[Any]]


@pytest.fixture
def plane(settings: Settings) -> Iterator[Plane]:
    """Topics of their own, and no worker left behind."""
    made = Plane(settings)
    yield made
    made.close()


def test_every_record_is_in_the_states_and_every_change_in_the_outputs(plane: Plane, wait_until: Wait) -> None:
    """What goes in comes out, also where a key's records come from two topics."""
    plane.send_numbers(2000)
    worker = plane.start()
    wait_until(lambda: plane.lag() == 0, 60)
    assert worker.stop() == 0
    verdict = plane.verify()
    assert verdict.wrong == []
    assert verdict.repeated == 0


def test_a_graceful_stop_leaves_nothing_to_replay_or_to_send_again(plane: Plane, wait_until: Wait) -> None:
    """SIGTERM under load commits everything that was processed: the next start begins exactly there."""
    plane.send_numbers(5000)
    worker = plane.start(REGULARS_COMMIT_INTERVAL_S="30")
    wait_until(lambda: sum(plane.ends("changes").values()) > 300, 60)
    assert worker.stop() == 0
    done = sum(plane.committed("a").values()) + sum(plane.committed("b").values())
    assert worker.last_line("records") == f"records {done} resent 0"
    assert 0 < done <= 5000

    second = plane.start()
    wait_until(lambda: plane.lag() == 0, 60)
    assert second.stop() == 0
    assert second.last_line("records") == f"records {5000 - done} resent 0"
    assert plane.verify().wrong == []
    assert plane.verify().repeated == 0


@pytest.mark.parametrize("store", ["kept", "wiped"])
def test_a_restart_has_the_same_states(plane: Plane, wait_until: Wait, store: str) -> None:
    """With the local store kept nothing is read again; with it gone, the changelog gives the same states."""
    plane.send_numbers(500)
    worker = plane.start()
    wait_until(lambda: plane.lag() == 0, 60)
    assert worker.stop() == 0
    if store == "wiped":
        shutil.rmtree(plane.settings.data_dir)
    second = plane.start()
    restored = int(second.wait_for("ready").split()[-3])
    assert (restored >= 40) if store == "wiped" else (restored == 0)
    assert sum(int(line.split()[2]) for line in second.lines if line.startswith("restored")) == 40
    plane.send_numbers(500)
    wait_until(lambda: plane.lag() == 0, 60)
    assert second.stop() == 0
    assert plane.verify().wrong == []


@pytest.mark.timeout(600)
@pytest.mark.parametrize("store", ["kept", "wiped"])
def test_killed_at_any_point_nothing_is_lost_or_doubled(plane: Plane, wait_until: Wait, store: str) -> None:
    """SIGKILL at every crash point in turn; in the end every state is right and every output is there, same bytes."""
    for point in POINTS:
        if point == "during_restore" and store == "kept":
            continue  # nothing to restore
        plane.send_numbers(400)
        # a crash right before the outputs leaves some to be sent again
        if point == "during_resend":
            assert plane.start(REGULARS_CRASH_POINT="before_outputs:2").wait() == -9
        if store == "wiped":
            shutil.rmtree(plane.settings.data_dir, ignore_errors=True)
        once = ("before_commit", "after_commit", "during_restore", "during_resend", "during_revoke")
        worker = plane.start(REGULARS_CRASH_POINT=f"{point}:{1 if point in once else 2}")
        if point == "during_revoke":
            worker.wait_for("ready")
            worker.process.terminate()
        assert worker.wait() == -9, (point, worker.lines[-20:])
        assert worker.last_line(f"crash point {point}")
    if store == "wiped":
        shutil.rmtree(plane.settings.data_dir, ignore_errors=True)
    last = plane.start()
    last.wait_for("ready")
    wait_until(lambda: plane.lag() == 0, 60)
    assert last.stop() == 0
    assert plane.verify().wrong == []


def test_outputs_that_were_never_sent_are_sent_by_the_restart(plane: Plane, wait_until: Wait) -> None:
    """Killed between the changelog and the outputs, with no source record left to replay: the outbox has them."""
    plane.send_numbers(100)
    worker = plane.start(REGULARS_CRASH_POINT="before_outputs:1")
    assert worker.wait() == -9
    assert sum(plane.ends("changes").values()) == 0
    second = plane.start()
    assert int(second.wait_for("ready").split()[-1]) > 0
    wait_until(lambda: plane.lag() == 0, 60)
    assert second.stop() == 0
    assert plane.verify().wrong == []


def test_a_restore_that_is_killed_does_not_lose_the_outputs_it_had_not_sent(plane: Plane, wait_until: Wait) -> None:
    """Half a restore leaves states in the local store whose outputs were never sent: they are not taken for sent."""
    plane.send_numbers(100)
    assert plane.start(REGULARS_CRASH_POINT="before_outputs:1").wait() == -9
    shutil.rmtree(plane.settings.data_dir)
    assert plane.start(REGULARS_CRASH_POINT="during_resend:1").wait() == -9
    worker = plane.start()
    wait_until(lambda: plane.lag() == 0, 60)
    assert worker.stop() == 0
    assert plane.verify().wrong == []


def test_held_records_hold_commits_back_and_come_again(plane: Plane, wait_until: Wait, tmp_path: Path) -> None:
    """What a job keeps for later isn't committed past; after a restart it comes again, released it counts once."""
    flag = tmp_path / "release"
    plane.send("a", b"k1", b"hold")
    plane.send_numbers(300)
    worker = plane.start(PLANE_RELEASE=str(flag))
    wait_until(lambda: sum(plane.ends("changes").values()) == 300, 60)
    assert worker.stop() == 0
    assert plane.lag() > 0
    flag.touch()
    second = plane.start(PLANE_RELEASE=str(flag))
    wait_until(lambda: plane.lag() == 0, 60)
    assert second.stop() == 0
    assert plane.verify().wrong == []


def test_bad_records_are_dead_letters_and_stop_nobody(plane: Plane, wait_until: Wait) -> None:
    """A dead letter keeps key, bytes and partition; good records around it are untouched."""
    plane.send_numbers(50)
    plane.send("a", b"k1", b"not a number")
    plane.send_numbers(50)
    worker = plane.start()
    wait_until(lambda: plane.lag() == 0, 60)
    assert worker.stop() == 0
    (letter,) = plane.records(plane.topic("dead"))
    assert (letter.key(), letter.value(), letter.headers()) == (b"k1", b"not a number", [("why", b"not a number")])
    assert plane.verify().wrong == []


def test_an_erased_state_stays_erased(plane: Plane, wait_until: Wait) -> None:
    """A tombstone in the changelog deletes the key, in the kept store as in a restored one."""
    plane.send_numbers(100)
    worker = plane.start()
    wait_until(lambda: plane.lag() == 0, 60)
    plane.send("a", b"k7", b"erase")
    plane.flush()
    wait_until(lambda: plane.lag() == 0, 60)
    assert worker.stop() == 0
    assert b"k7" not in plane.states()
    shutil.rmtree(plane.settings.data_dir)
    second = plane.start()
    second.wait_for("ready")
    assert sum(int(line.split()[2]) for line in second.lines if line.startswith("restored")) == 39
    assert second.stop() == 0


def test_an_exception_in_the_job_ends_the_process_and_commits_nothing_past_it(plane: Plane, wait_until: Wait) -> None:
    """Exit code 70, one clear last line, and the record that caused it is still there to be processed."""
    plane.send("a", b"k1", b"1", partition=0)
    plane.flush()
    worker = plane.start()
    wait_until(lambda: plane.committed("a")[0] == 1, 60)
    plane.send("a", b"k1", b"boom", partition=0)
    plane.send("a", b"k1", b"1", partition=0)
    plane.flush()
    assert worker.wait() == 70
    assert worker.lines[-1].startswith("regulars worker stopped: ZeroDivisionError: a bug in the job")
    assert plane.committed("a")[0] == 1


def test_a_second_worker_takes_over_and_gives_back(plane: Plane, wait_until: Wait) -> None:
    """A worker that joins under load gets partitions, one that leaves gives them back; nothing is lost or doubled."""
    plane.send_numbers(3000)
    first = plane.start("w1", static=False)
    first.wait_for("ready")
    second = plane.start("w2", static=False)
    second.wait_for("ready")
    plane.send_numbers(3000)
    assert second.last_line("ready") != "ready []"
    assert second.stop() == 0
    plane.send_numbers(1000)
    third = plane.start("w3", static=False)
    third.wait_for("ready")
    plane.send_numbers(1000)
    third.kill()
    wait_until(lambda: plane.lag() == 0, 90)
    assert first.stop() == 0
    assert plane.verify().wrong == []


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


def test_a_store_ahead_of_the_changelog_gives_way_to_it(plane: Plane, wait_until: Wait) -> None:
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
    assert any("ahead of the changelog" in line for line in second.lines)
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


async def test_a_restore_lets_the_loop_come_round_between_partitions(plane: Plane) -> None:
    """States are decoded without a pause; a worker with many must not look stuck to who asks meanwhile."""
    settings, turns, opened = plane.settings, 0, list[tuple[int, int]]()
    app = build_app(settings, Adder(settings.topic_prefix))
    app._create_directories()
    store = app.tables["states"].data

    class Alone:
        """A process that nobody else disturbs; it notes when each partition was opened."""

        progress = Progress()

        def states(self) -> BulkStore:
            return store

        async def claim(self, partition: int) -> None:
            """Nobody else is there."""

        async def resend(self, partition: int, outputs: Any) -> None:
            """Nothing was left."""

        def open(self, partition: int, confirmed: int) -> None:
            opened.append((partition, turns))

        def count_restore(self, records: int, seconds: float) -> None:
            """Not looked at."""

        def fail(self, exc: BaseException) -> None:
            raise exc

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    alone = Alone()
    restorer = Restorer(alone, alone, partial(restoring_consumer, settings), settings.changelog_topic)
    counting = asyncio.create_task(count())
    await restorer.restore(range(settings.partitions))
    counting.cancel()
    await store.stop()
    assert [partition for partition, _ in opened] == list(range(settings.partitions))
    assert all(after - before >= TURNS_OF_A_PAGE for (_, before), (_, after) in itertools.pairwise(opened))


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


def test_a_worker_that_was_stopped_writes_nothing_when_it_wakes(plane: Plane, wait_until: Wait) -> None:
    """Stopped right before its changelog write for longer than the session: its chunk is dropped, it joins again."""
    plane.send_numbers(2000)
    zombie = plane.start("w1", static=False, REGULARS_CRASH_POINT="before_changelog:4", REGULARS_CRASH_SIGNAL="19")
    zombie.wait_for("crash point before_changelog")
    heir = plane.start("w2", static=False)
    heir.wait_for("ready")
    wait_until(lambda: plane.lag() == 0, 60)
    zombie.process.send_signal(signal.SIGCONT)
    zombie.wait_for("revoked")
    plane.send_numbers(1000)
    wait_until(lambda: plane.lag() == 0, 60)
    assert zombie.stop() == 0
    assert heir.stop() == 0
    assert plane.verify().wrong == []
