"""When the watchdog ends a worker, and when it must not."""

import threading

import pytest
from aiokafka import TopicPartition

from streams.ops.lag import PartitionLag
from streams.worker.watchdog import Stuck, Watchdog

LIMIT_S = 120.0


class World:
    """A worker as its watchdog sees it, and a clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.partitions = {0, 1}
        self.lags: dict[TopicPartition, PartitionLag] = {}
        self.failures: list[BaseException] = []
        self.is_member = True
        self.held: list[TopicPartition] = []
        self.texts = 0
        self.away = False
        self.sampled_at = self.now
        self.watchdog = Watchdog(self, self, self.failures.append, LIMIT_S, clock=lambda: self.now)

    def owned(self) -> set[int]:
        """See `streams.worker.watchdog.Watched`."""
        return self.partitions

    def joined(self) -> bool:
        """See `streams.worker.watchdog.Watched`."""
        return self.is_member

    def reading(self) -> list[TopicPartition]:
        """See `streams.worker.watchdog.Watched`."""
        return self.held

    def encoded(self) -> int:
        """See `streams.worker.watchdog.Watched`."""
        return self.texts

    def stand(self, partition: int, committed: int | None, records: int) -> None:
        """Where a partition stands."""
        tp = TopicPartition("purchases", partition)
        self.lags[tp] = PartitionLag("purchases", partition, 0, 100, committed, records, 1.0, 999.0)

    def look(self, after_s: float) -> None:
        """The watchdog looks once a second, for some seconds; unless Kafka is away the lag is sampled as often."""
        until = self.now + after_s
        while True:
            self.now = min(self.now + 1, until)
            if not self.away:
                self.sampled_at = self.now
            self.watchdog.look()
            if self.now >= until or self.failures:
                return


@pytest.fixture
def world() -> World:
    """Nothing waits yet."""
    return World()


def test_no_progress_with_records_waiting_ends_the_worker(world: World) -> None:
    """After the limit and not before; the last line names the partition, the offset and the setting."""
    world.stand(1, 40, 60)
    world.look(0)
    world.look(LIMIT_S)
    assert world.failures == []

    world.look(1)

    (failure,) = world.failures
    assert isinstance(failure, Stuck)
    assert "purchases[1] has stood at offset 40" in str(failure)
    assert "60 records wait" in str(failure)
    assert "REGULARS_WATCHDOG_LIMIT_S" in str(failure)


def test_nothing_committed_yet_counts_as_standing_at_the_start(world: World) -> None:
    """The first record of all may be the one that is stuck."""
    world.stand(0, None, 100)
    world.look(0)
    world.look(LIMIT_S + 1)
    assert len(world.failures) == 1


def test_slow_progress_is_progress(world: World) -> None:
    """A partition that moves one record a minute is slow, not stuck."""
    for committed in range(20):
        world.stand(1, committed, 1000)
        world.look(60)
    assert world.failures == []


def test_a_quiet_partition_is_not_stuck(world: World) -> None:
    """Nothing waits, so nothing need move; and the time before records came doesn't count."""
    world.stand(1, 40, 0)
    world.look(0)
    world.look(10 * LIMIT_S)
    world.stand(1, 40, 5)
    world.look(1)
    world.look(LIMIT_S)
    assert world.failures == []


def test_a_backlog_of_texts_is_not_a_standstill(world: World) -> None:
    """Texts of other partitions come first for minutes; as long as some are read, the worker makes progress."""
    world.stand(1, 40, 60)
    world.stand(0, 10, 60)
    world.held = [TopicPartition("purchases", 0), TopicPartition("purchases", 1)]
    for n in range(20):
        if n % 2:
            world.texts += 1
        else:
            world.stand(0, 11 + n, 60)
        world.look(LIMIT_S - 1)
    assert world.failures == []


def test_texts_of_which_none_is_read_end_the_worker(world: World) -> None:
    """A forward pass that never returns breaks nothing; the partitions without texts get on beside it."""
    world.held = [TopicPartition("purchases", 1)]
    world.look(10 * LIMIT_S)
    world.stand(1, 40, 60)
    world.look(0)
    world.stand(0, 10, 60)
    world.look(LIMIT_S)
    assert world.failures == []
    world.stand(0, 20, 60)

    world.look(1)

    (failure,) = world.failures
    assert isinstance(failure, Stuck)
    assert "purchases[1] waits for its texts, and none was read for 121 s" in str(failure)


@pytest.mark.parametrize("reading", [False, True])
def test_time_without_kafka_is_not_a_standstill(world: World, reading: bool) -> None:
    """Three outages of 50 s in a row, 5 s apart, in which nothing can move; nor can it at once when Kafka is back."""
    world.stand(1, 40, 60)
    world.held = [TopicPartition("purchases", 1)] if reading else []
    for _ in range(3):
        world.look(5)
        world.away = True
        world.look(50)
        world.away = False

    world.look(LIMIT_S - 15)
    assert world.failures == []

    world.look(5)
    (failure,) = world.failures
    assert isinstance(failure, Stuck)
    assert "121 s" in str(failure)


def test_samples_that_come_slowly_count(world: World) -> None:
    """A broker that takes 14 s for an answer is there: a partition that stands still under it is stuck."""
    world.stand(1, 40, 60)
    world.look(0)
    for _ in range(9):
        world.away = True
        world.look(13)
        world.away = False
        world.look(1)
    assert len(world.failures) == 1


def test_a_restore_is_not_a_standstill(world: World) -> None:
    """A partition counts from the moment its state is complete; before that it is owned by nobody."""
    world.partitions = set()
    world.stand(1, 40, 60)
    world.look(0)
    world.look(20 * LIMIT_S)
    world.partitions = {1}
    world.look(1)
    world.look(LIMIT_S)
    assert world.failures == []


def test_other_workers_partitions_are_theirs(world: World) -> None:
    """One stuck worker must not end the healthy ones."""
    world.stand(7, 40, 60)
    world.look(0)
    world.look(10 * LIMIT_S)
    assert world.failures == []


def test_a_partition_that_left_and_came_back_starts_anew(world: World) -> None:
    """Time under another owner isn't this worker's."""
    world.stand(1, 40, 60)
    world.look(0)
    world.partitions = {0}
    world.look(LIMIT_S)
    world.partitions = {1}
    world.look(1)
    world.look(LIMIT_S)
    assert world.failures == []


def test_a_worker_that_the_group_never_answers_ends(world: World) -> None:
    """It owns nothing, so that nothing of its own can stand still; a spare worker has an assignment, an empty one."""
    world.partitions = set()
    world.look(10 * LIMIT_S)
    assert world.failures == []
    world.is_member = False
    world.look(LIMIT_S)
    assert world.failures == []

    world.look(1)

    assert "no assignment from the group for 121 s" in str(world.failures[0])


def test_a_loop_that_does_not_come_round_is_seen_from_outside_it(world: World) -> None:
    """The check runs in a thread of its own, since nothing on a stuck loop can notice."""
    world.look(0)

    def watch() -> None:
        while not world.failures and world.now < 2000:
            world.now += 1
            world.watchdog.check_loop()

    thread = threading.Thread(target=watch)
    thread.start()
    thread.join(10)

    assert "event loop has not come round for 121 s" in str(world.failures[0])


@pytest.mark.parametrize("joined", [True, False])
def test_a_process_that_was_stopped_and_wakes_is_not_stuck(world: World, joined: bool) -> None:
    """Its thread, its loop and its membership stood still together, for ten minutes; who wakes first makes no difference."""
    world.is_member = joined
    world.stand(1, 40, 60)
    world.look(2)
    world.watchdog.check_loop()

    world.now += 600
    world.watchdog.check_loop()
    world.look(1)
    world.watchdog.check_loop()

    assert world.failures == []
