"""Timelines on a real broker: every event once, where Kafka's partitioner puts it, in event-time order, resumable."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.structs import ConsumerRecord
from click.testing import CliRunner

from schemas.events import INPUT_TOPICS, decode
from schemas.times import from_rfc3339
from streams.cli import main
from streams.kafka.errors import TopicsNotReady
from streams.kafka.topics import create
from streams.settings import Settings
from streams.sources.events import ClockRecord, EventRecord
from streams.sources.pace import SendingPace
from streams.sources.replaying import NothingToReplay, ReplayPlan, run_replay
from streams.sources.sender import PartitionsDiffer, TimelineSender
from streams.sources.simulating import Simulation, run_simulation

DAYS = 40


@pytest.fixture
def shop_settings(settings: Settings, tmp_path: Path) -> Settings:
    """Settings whose replay positions are the test's own."""
    return settings.model_copy(update={"cache_dir": tmp_path / "cache"})


@pytest.fixture
def purchases(tmp_path: Path) -> Path:
    """A generic file: 20 purchases a day for 40 days, by 7 customers."""
    times = pd.date_range("2020-01-01", periods=20 * DAYS, freq="72min", tz="UTC")
    frame = pd.DataFrame(
        {"customer_id": [f"c{n % 7}" for n in range(len(times))], "purchased_at": times, "amount": 1.0}
    )
    path = tmp_path / "purchases.parquet"
    frame.to_parquet(path)
    return path


async def everything(settings: Settings) -> dict[TopicPartition, list[ConsumerRecord]]:
    """Every record of the input topics, by partition."""
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.bootstrap_servers, enable_auto_commit=False)
    await consumer.start()
    try:
        tps = [TopicPartition(settings.topic(t), p) for t in INPUT_TOPICS for p in range(settings.partitions)]
        consumer.assign(tps)
        await consumer.seek_to_beginning(*tps)
        ends = await consumer.end_offsets(tps)
        found: dict[TopicPartition, list[ConsumerRecord]] = {tp: [] for tp in tps}
        while any(len(found[tp]) < ends[tp] for tp in tps):
            for tp, records in (await consumer.getmany(timeout_ms=1000)).items():
                found[tp] += records
        return found
    finally:
        await consumer.stop()


def clock_of(record: ConsumerRecord) -> float | None:
    """The time of a clock record, None for an event."""
    headers = dict(record.headers)
    return from_rfc3339(headers["regulars-clock"].decode()) if "regulars-clock" in headers else None


def times_of(settings: Settings, tp: TopicPartition, records: list[ConsumerRecord]) -> list[float]:
    """Event or clock times of a partition's records, each checked to be valid."""
    times = []
    for record in records:
        at_s = clock_of(record)
        if at_s is None:
            event = decode(tp.topic.removeprefix(settings.topic_prefix), record.key, record.value, 4e9)
            at_s = event.event_time.timestamp()
        else:
            assert (record.key, record.value) == (None, b"")
        times.append(at_s)
    return times


def event_ids(settings: Settings, found: dict[TopicPartition, list[ConsumerRecord]]) -> list[str]:
    """Event ids of all partitions, with repeats."""
    return [
        decode(tp.topic.removeprefix(settings.topic_prefix), record.key, record.value, 4e9).event_id
        for tp, records in found.items()
        for record in records
        if record.key is not None
    ]


async def test_replay_is_ordered_complete_and_clocked_everywhere(shop_settings: Settings, purchases: Path) -> None:
    """Every event once, each partition of each topic in time order, with the same clock records from first to last."""
    await create(shop_settings)

    sent = await run_replay(shop_settings, ReplayPlan("generic", purchases))

    found = await everything(shop_settings)
    ids = event_ids(shop_settings, found)
    assert (sent.events, sent.finished) == (20 * DAYS, True)
    assert len(ids) == len(set(ids)) == 20 * DAYS
    clocks = {tp: [at for at in map(clock_of, records) if at is not None] for tp, records in found.items()}
    assert len({tuple(times) for times in clocks.values()}) == 1
    assert len(next(iter(clocks.values()))) == DAYS + 1
    for tp, records in found.items():
        times = times_of(shop_settings, tp, records)
        assert times == sorted(times)
        assert clock_of(records[0]) is not None
        assert clock_of(records[-1]) == sent.last_s


async def test_events_lie_where_kafkas_partitioner_puts_them(shop_settings: Settings) -> None:
    """A producer that leaves the choice to Kafka's default partitioner agrees, key by key."""
    await create(shop_settings)
    keys = [f"клиент-{n}".encode() for n in range(50)] + [b"17850", b"synthetic-000001"]
    async with TimelineSender.open(shop_settings) as sender:
        await sender.send(EventRecord(float(n), "purchases", key, b"{}") for n, key in enumerate(keys))

    async with AIOKafkaProducer(bootstrap_servers=shop_settings.bootstrap_servers) as producer:
        for key in keys:
            await producer.send_and_wait(shop_settings.topic("reviews"), b"{}", key=key)

    found = await everything(shop_settings)
    places: list[dict[bytes, int]] = [
        {r.key: tp.partition for tp, records in found.items() if tp.topic == shop_settings.topic(name) for r in records}
        for name in ("purchases", "reviews")
    ]
    assert places[0] == places[1]
    assert len(places[0]) == len(keys)


async def test_stopped_replay_goes_on_without_a_repeat_or_a_gap(shop_settings: Settings, purchases: Path) -> None:
    """Stopped in order, the same replay sends exactly the rest; another one begins at its own beginning."""
    await create(shop_settings)
    plan = ReplayPlan("generic", purchases, pace=SendingPace(rate=2000))

    class Stopped(Exception):
        """The test's own end of the first replay."""

    def halt(events: int, at_s: float) -> None:
        if events >= 200:
            raise Stopped

    with pytest.raises(Stopped):
        await run_replay(shop_settings, plan, progress=halt)
    part = event_ids(shop_settings, await everything(shop_settings))
    rest = await run_replay(shop_settings, plan)

    found = await everything(shop_settings)
    ids = event_ids(shop_settings, found)
    assert 200 <= len(part) < 20 * DAYS
    assert (rest.skipped, rest.events) == (len(part), 20 * DAYS - len(part))
    assert len(ids) == len(set(ids)) == 20 * DAYS
    for tp, records in found.items():
        times = times_of(shop_settings, tp, records)
        assert times == sorted(times)


async def test_finished_replay_begins_again(shop_settings: Settings, purchases: Path) -> None:
    """Nothing is left to resume, so the same call sends everything once more, under the same event ids."""
    await create(shop_settings)

    await run_replay(shop_settings, ReplayPlan("generic", purchases))
    again = await run_replay(shop_settings, ReplayPlan("generic", purchases))

    ids = event_ids(shop_settings, await everything(shop_settings))
    assert (again.skipped, again.events) == (0, 20 * DAYS)
    assert sorted(ids) == sorted(2 * list(set(ids)))


async def test_position_does_not_outlive_its_topics(
    shop_settings: Settings, purchases: Path, wait_until_async: Callable[..., Awaitable[Any]]
) -> None:
    """Topics made anew are empty: the replay starts from the beginning, though a position is on file."""
    await create(shop_settings)

    def halt(events: int, at_s: float) -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await run_replay(shop_settings, ReplayPlan("generic", purchases), progress=halt)
    assert list((shop_settings.cache_dir / "replays").iterdir())
    admin = AIOKafkaAdminClient(bootstrap_servers=shop_settings.bootstrap_servers)
    await admin.start()
    names = [shop_settings.topic(name) for name in INPUT_TOPICS]
    await admin.delete_topics(names)

    async def gone() -> bool:
        return not set(names) & set(await admin.list_topics())

    await wait_until_async(gone, 30.0)
    await admin.close()
    await create(shop_settings)

    sent = await run_replay(shop_settings, ReplayPlan("generic", purchases))

    assert (sent.skipped, sent.events) == (0, 20 * DAYS)


async def test_empty_window_is_told(shop_settings: Settings, purchases: Path) -> None:
    """A window without events names the file's first and last."""
    with pytest.raises(NothingToReplay, match="2020-01-01T00:00:00Z to 2020-02-09"):
        await run_replay(shop_settings, ReplayPlan("generic", purchases, from_s=0.0, to_s=1.0))


async def test_missing_topics_are_told_and_not_made(shop_settings: Settings, purchases: Path) -> None:
    """A replay never creates a topic with whatever number of partitions."""
    for _ in range(2):
        with pytest.raises(TopicsNotReady, match="topics create"):
            await run_replay(shop_settings, ReplayPlan("generic", purchases))


async def test_topics_partitioned_differently_are_refused(shop_settings: Settings) -> None:
    """A customer's clicks and purchases must meet in one partition number."""
    admin = AIOKafkaAdminClient(bootstrap_servers=shop_settings.bootstrap_servers)
    await admin.start()
    await admin.create_topics(
        [NewTopic(shop_settings.topic(name), count, 1) for name, count in zip(INPUT_TOPICS, (4, 3, 4), strict=True)]
    )
    # who makes a topic hears of it before every broker does
    async with asyncio.timeout(20):
        while not {shop_settings.topic(name) for name in INPUT_TOPICS} <= set(await admin.list_topics()):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    await admin.close()

    with pytest.raises(PartitionsDiffer, match="topics check"):
        async with TimelineSender.open(shop_settings):
            pass


async def test_rate_and_real_time_are_kept(shop_settings: Settings) -> None:
    """100 events at 500 a second, or spread over 20 s at a hundredfold, take 0.2 s: never less."""
    await create(shop_settings)

    def timeline() -> Iterator[EventRecord | ClockRecord]:
        return iter([EventRecord(n * 0.2, "purchases", b"a", b"{}") for n in range(101)])

    async with TimelineSender.open(shop_settings) as sender:
        for pace in (SendingPace(rate=500), SendingPace(times=100)):
            sent = await sender.send(timeline(), pace)
            assert 0.19 <= sent.elapsed_s < 5


async def test_simulation_sends_its_events_labelled_then_lives(shop_settings: Settings) -> None:
    """So many events in all, history first; every record says that it is synthetic."""
    await create(shop_settings)

    done = await run_simulation(
        shop_settings, Simulation(seed=3, customers=3, days=20, events=2_000, follow=True, live_rate=5_000)
    )

    found = await everything(shop_settings)
    ids = event_ids(shop_settings, found)
    assert done.live is not None
    assert done.events == len(ids) == len(set(ids)) == 2_000
    assert all(("regulars-synthetic", b"1") in r.headers for records in found.values() for r in records)
    for tp, records in found.items():
        times = times_of(shop_settings, tp, records)
        assert times == sorted(times)


async def test_simulation_stops_in_order(shop_settings: Settings) -> None:
    """Once told to stop, it ends by itself, with all it counted on the broker."""
    await create(shop_settings)
    stop = asyncio.Event()

    def watch(events: int, at_s: float) -> None:
        if events > 1_000:
            stop.set()

    done = await run_simulation(shop_settings, Simulation(customers=500, follow=True), progress=watch, stop=stop)

    assert not done.history.finished
    assert done.events == len(event_ids(shop_settings, await everything(shop_settings)))


async def test_cancelled_simulation_ends_at_once(shop_settings: Settings) -> None:
    """The task that runs it may be cancelled at any moment, live too."""
    await create(shop_settings)
    lives = asyncio.Event()
    seen = itertools.count()

    def watch(events: int, at_s: float) -> None:
        if next(seen) > 3:
            lives.set()

    task = asyncio.create_task(
        run_simulation(shop_settings, Simulation(customers=3, days=3, follow=True, live_rate=2_000), progress=watch)
    )
    await asyncio.wait_for(lives.wait(), 30)
    task.cancel()
    async with asyncio.timeout(10):
        with pytest.raises(asyncio.CancelledError):
            await task


def environment(settings: Settings) -> dict[str, Any]:
    """The settings as a shell would give them."""
    return {
        "REGULARS_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
        "REGULARS_TOPIC_PREFIX": settings.topic_prefix,
        "REGULARS_CACHE_DIR": str(settings.cache_dir),
    }


def test_commands_say_what_they_did(shop_settings: Settings, purchases: Path) -> None:
    """`replay` and `simulate` end with 0 and one line of figures; the replay tells which clock history needs."""
    asyncio.run(create(shop_settings))
    shell = CliRunner(env=environment(shop_settings))

    replayed = shell.invoke(main, ["replay", "generic", str(purchases), "--from", "2020-01-02", "--to", "2020-01-04"])
    simulated = shell.invoke(main, ["simulate", "--customers", "3", "--days", "5", "--events", "20"])

    assert replayed.exit_code == 0
    assert "40 events sent" in replayed.stderr
    assert "REGULARS_CLOCK=event" in replayed.stderr
    assert simulated.exit_code == 0
    assert "20 synthetic events of 3 customers" in simulated.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["replay", "unknown", "{file}"],
        ["replay", "generic", "no-such-file"],
        ["replay", "generic", "{file}", "--speed", "0"],
        ["replay", "generic", "{file}", "--speed", "fast"],
        ["replay", "generic", "{file}", "--from", "yesterday"],
        ["replay", "generic", "{file}", "--from", "2020-01-02", "--to", "2020-01-01"],
        ["replay", "generic", "{file}", "--currency", "pounds"],
        ["simulate", "--rate", "0"],
        ["simulate", "--customers", "0"],
    ],
)
def test_wrong_use_exits_with_2(shop_settings: Settings, purchases: Path, arguments: list[str]) -> None:
    """A value that can't be is told before anything is sent."""
    shell = CliRunner(env=environment(shop_settings))
    done = shell.invoke(main, [part.format(file=purchases) for part in arguments])
    assert done.exit_code == 2
