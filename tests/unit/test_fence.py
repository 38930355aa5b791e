"""Laws of the partitions' writers, with producers that note what is done to them."""

import asyncio

import pytest
from aiokafka.errors import KafkaConnectionError

from streams.plane.fence import Writers


class Manager:
    """What a producer keeps of its identity."""

    def __init__(self, name: str) -> None:
        self.transactional_id: str | None = name


class Writer:
    """A producer as far as `Writers` knows one."""

    def __init__(self, name: str, log: list[str], *, fails: type[Exception] | None = None) -> None:
        self.name, self.log, self.fails = name, log, fails
        self._txn_manager = Manager(name)

    async def start(self) -> None:
        """Asks for the epoch."""
        self.log.append(f"start {self.name} as {self._txn_manager.transactional_id}")
        if self.fails is not None:
            raise self.fails

    async def stop(self) -> None:
        """Closes."""
        self.log.append(f"stop {self.name}")


def _writers(log: list[str]) -> Writers:
    return Writers(lambda name: Writer(name, log), "shop")


async def test_a_writer_starts_under_its_partitions_name_and_goes_on_without_transactions() -> None:
    """The id is asked for the epoch, which fences; then it is dropped, so that no transaction is needed to send."""
    log: list[str] = []
    writers = _writers(log)

    await writers.take(3)

    assert log == ["start shop-3 as shop-3"]
    writer = writers.of(3)
    assert writer is not None
    assert writer._txn_manager.transactional_id is None
    assert writers.of(2) is None


async def test_taking_a_partition_again_replaces_its_writer() -> None:
    """Each claim has an epoch of its own; the writer before is ended."""
    log: list[str] = []
    writers = _writers(log)
    await writers.take(3)
    first = writers.of(3)

    await writers.take(3)
    await writers.close()

    assert first is not None
    assert log == ["start shop-3 as shop-3", "start shop-3 as shop-3", "stop shop-3", "stop shop-3"]


async def test_a_forgotten_partition_has_no_writer() -> None:
    """After a revoke nothing can be sent to it by mistake, and every connection is closed in the end."""
    log: list[str] = []
    writers = _writers(log)
    await asyncio.gather(writers.take(0), writers.take(1))

    writers.forget()

    assert writers.of(0) is writers.of(1) is None
    await writers.close()
    assert sorted(log[2:]) == ["stop shop-0", "stop shop-1"]


@pytest.mark.parametrize(
    ("fails", "seen"), [(ConnectionError, ConnectionError), (AssertionError, KafkaConnectionError)]
)
async def test_a_writer_that_can_not_start_is_closed_and_not_kept(
    fails: type[Exception], seen: type[Exception]
) -> None:
    """The failure is the caller's to see, one that waiting mends as such; nothing is left open."""
    log: list[str] = []
    writers = Writers(lambda name: Writer(name, log, fails=fails), "shop")

    with pytest.raises(seen):
        await writers.take(0)
    await writers.close()

    assert writers.of(0) is None
    assert log == ["start shop-0 as shop-0", "stop shop-0"]


async def test_a_claim_that_fails_leaves_the_writer_before() -> None:
    """It may go on writing: nobody has claimed the partition since."""
    log: list[str] = []
    fails: list[type[Exception] | None] = [None, ConnectionError]
    writers = Writers(lambda name: Writer(name, log, fails=fails.pop(0)), "shop")
    await writers.take(0)
    first = writers.of(0)

    with pytest.raises(ConnectionError):
        await writers.take(0)

    assert writers.of(0) is first
    await writers.close()
