"""The data plane on a real Kafka: what was sent in is in the states once, and every output is there."""

import asyncio
import itertools
import shutil
import signal
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from streams.kafka.clients import restoring_consumer
from streams.plane.crash import POINTS
from streams.plane.progress import Progress
from streams.plane.restore import TURNS_OF_A_PAGE, Restorer
from streams.plane.runtime import build_app
from streams.plane.store import BulkStore
from tests.support.plane import Plane
from tests.support.plane_worker import Adder

Wait = Callable[..., Any]
WaitAsync = Callable[..., Awaitable[Any]]


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


@pytest.mark.slow
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


async def test_a_restore_lets_the_loop_come_round_between_partitions(plane: Plane) -> None:
    """A worker with many must not look stuck to who asks meanwhile."""
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

        def changelog_id(self) -> str:
            return ""

        async def resend(self, partition: int, outputs: Any) -> None:
            """Nothing was left."""

        async def open(self, partition: int, confirmed: int, check: Callable[[], None]) -> None:
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
