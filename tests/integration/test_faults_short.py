"""The short part of the fault suite: `make test-faults` breaks more, more often and the broker as well."""

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.crashes import at_point, at_random
from tests.faults.load import Load
from tests.faults.oracle import INPUTS
from tests.faults.poison import in_a_row, made_up, oversized
from tests.faults.rebalances import zombie
from tests.faults.stage import Stage, metrics
from tests.faults.standstill import hangs

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Text vectors of all these tests: the encoder's anchors are read once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def stage(broker: str, tmp_path: Path, cache_dir: Path) -> Iterator[Stage]:
    """Topics of their own; no worker is left behind."""
    with Stage(broker, tmp_path, cache_dir=cache_dir) as made:
        yield made


@pytest.fixture
def load(stage: Stage) -> Load:
    """A careless shop."""
    return Load(stage.servers, stage.prefix)


@pytest.mark.parametrize(
    ("point", "store"),
    [
        ("between_changelog_and_ack", "wiped"),
        pytest.param("before_outputs", "kept", marks=pytest.mark.slow),
        pytest.param("between_output_acks", "wiped", marks=pytest.mark.slow),
    ],
)
def test_killed_at_the_worst_points_nothing_is_lost_or_doubled(
    stage: Stage, load: Load, point: str, store: str
) -> None:
    """Where a changelog write and its outputs are torn apart, the restart sends what was missing, byte for byte."""
    row = at_point(stage, load, point, store)
    assert row.good, str(row.verdict)


@pytest.mark.slow
def test_killed_at_random_moments_nothing_is_lost_or_doubled(stage: Stage, load: Load) -> None:
    """Four kills under load, one of them with the local store gone."""
    row = at_random(stage, load, tries=4, seed=7)
    assert row.good, str(row.verdict)
    assert row.verdict is not None
    assert row.verdict.actions > 50


def test_without_the_outputs_of_a_crash_the_oracle_speaks_up(stage: Stage, load: Load) -> None:
    """The negative control: a crash before the outputs that nobody makes good is seen as lost changes."""
    load.send(300)
    worker = stage.start(REGULARS_CRASH_POINT="before_outputs:1")
    assert worker.wait() == -9
    verdict = stage.judge()
    assert {"lost", "fold"} <= verdict.counts.keys()


def test_a_worker_that_slept_past_its_session_does_not_win(stage: Stage, load: Load) -> None:
    """It wakes past its lease with a chunk in its hands whose partition another worker has: the broker refuses it."""
    row = zombie(stage, load, "after_lease")
    assert row.good, str(row.verdict)
    assert "goes on" in row.note  # it gives the partition up, and takes part again
    assert any("another worker has claimed it" in line for line in stage.workers["z1"].lines)


def test_a_thousand_poison_records_in_a_row_stall_nothing(stage: Stage, load: Load) -> None:
    """Each is a dead letter with its bytes, and the events around them count."""
    row = in_a_row(stage, load)
    assert row.good, str(row.verdict)
    assert row.verdict is not None
    assert row.verdict.letters >= 1000
    assert stage.workers["w1"].alive


def test_records_that_hypothesis_makes_up_stall_nothing(stage: Stage, load: Load) -> None:
    """Whatever key and bytes, in whatever partition: a dead letter with those bytes, while events go on counting."""
    row = made_up(stage, load)
    assert row.good, str(row.verdict)
    assert stage.workers["w1"].alive


@pytest.mark.slow
def test_records_larger_than_any_topic_takes_stall_nothing(stage: Stage, load: Load) -> None:
    """Compressed they pass the broker: each is a dead letter that says what it lacks, and its neighbours count."""
    row = oversized(stage, load)
    assert row.good, str(row.verdict)
    assert stage.workers["w1"].alive
    assert stage.workers["w1"].peak_mib() < 1500


@pytest.mark.slow
def test_a_worker_that_hangs_is_ended_by_its_watchdog(stage: Stage, load: Load, free_port: int) -> None:
    """A chunk that never gets its answer: not ready after half a minute, then code 70, and the next worker goes on."""
    row = hangs(stage, load, "between_changelog_and_ack", free_port)
    assert row.good, str(row.verdict)


def test_a_mended_dead_letter_counts_after_its_replay(stage: Stage, load: Load) -> None:
    """Sent back unmended it is refused again, under its new place; the old letter stays."""
    load.send(100)
    Load(stage.servers, stage.prefix, seed=2, poison=1).send(20)
    stage.start()
    stage.drained()
    before = stage.judge()
    said = stage.command("dead-letters", "replay", "--reason", "schema", "--reason", "not-json", "--send")
    stage.drained()
    after = stage.judge()
    assert before.good, str(before)
    assert after.good, str(after)
    assert "sent" in said
    assert after.letters > before.letters


def test_after_a_graceful_stop_nothing_is_replayed(stage: Stage, load: Load, free_port: int) -> None:
    """SIGTERM under load, a commit always under way: the next start reads exactly what the first had not taken."""
    load.run(500)
    first = stage.start(REGULARS_COMMIT_INTERVAL_S="0.005")
    stage.until(lambda: sum(stage.committed().values()) > 500, "it works")
    assert first.stop() == 0
    load.stop()
    left = stage.lag()
    assert left > 0
    stage.start(REGULARS_WEB_PORT=str(free_port))
    stage.drained()
    taken = {name: n for name, n in metrics(free_port).items() if name.startswith("regulars_events_total")}
    assert sum(taken.values()) == left
    assert sum(n for name, n in taken.items() if 'outcome="replayed"' in name) == 0
    assert stage.judge().good


def test_a_deleted_store_and_a_sleeping_worker_at_once(stage: Stage, load: Load) -> None:
    """Two workers: one sleeps and dies, the other loses its store; the third has only Kafka to go by."""
    load.run(300)
    first, second = (stage.start(name, static=False) for name in ("w1", "w2"))
    stage.until(lambda: sum(stage.committed().values()) > 300, "they work")
    first.signal(signal.SIGSTOP)
    second.kill()
    shutil.rmtree(stage.data_dir("w2"), ignore_errors=True)
    stage.start("w3", static=False)
    stage.until(lambda: min(stage.committed()[name, p] for name in INPUTS for p in range(4)) > 0, "all move", 60)
    first.kill()
    load.stop()
    stage.drained()
    verdict = stage.judge()
    assert verdict.good, str(verdict)
