"""Laws of records that wait for their texts: how many, in which order, and which topics are left out of polls."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import NamedTuple

import pytest
from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from histories import click, review
from models.state import Reading
from schemas.groups import TEXT_DIM
from streams.plane.records import PartitionGone
from streams.worker.chunk import ChunkWork, Waiting
from streams.worker.text_queue import TextQueue
from streams.worker.text_server import TextServer

MOST = {"clickstream": 8, "reviews": 3}


class Record(NamedTuple):
    """What the queue reads of a ConsumerRecord."""

    topic: str
    offset: int
    key: bytes = b"a"


class Room:
    """A queue and its server, a lane that answers when `read` is called, and a pipeline whose polls can be slowed."""

    def __init__(self) -> None:
        self.asked: list[asyncio.Future[list[Reading]]] = []
        self.left_out: set[TP] = set()
        self.held: Counter[str] = Counter()
        self.released: list[int] = []  # offsets
        self.gone: set[int] = set()
        self.queue = TextQueue(self, MOST)
        self.server = TextServer(self.queue, self)

    def submit(self, texts: Sequence[str]) -> "asyncio.Future[list[Reading]]":
        """See `streams.worker.text_queue.Lane`."""
        self.asked.append(asyncio.get_running_loop().create_future())
        return self.asked[-1]

    def throttle(self, tps: Collection[TP]) -> None:
        """See `streams.worker.text_server.Releases`."""
        self.left_out.update(tps)

    def unthrottle(self, tps: Collection[TP]) -> None:
        """See `streams.worker.text_server.Releases`; none that isn't left out."""
        assert self.left_out.issuperset(tps)
        self.left_out.difference_update(tps)

    async def release(self, partition: int, records: Sequence[Record], work: ChunkWork) -> None:  # type: ignore[override]
        """As the pipeline's."""
        if partition in self.gone:
            raise PartitionGone(partition)
        self.held.subtract(record.topic for record in records)
        self.released += [record.offset for record in records]

    def hold(self, topic: str, count: int, partition: int = 0) -> None:
        """So many records come, all behind one text."""
        heard = click(0, 0.0, "search") if topic == "clickstream" else review(0, 0.0)
        self.held[topic] += count
        records = [Record(topic, n) for n in range(count)]
        entries = [(b"a", heard, "red shoes" if n == 0 else None) for n in range(count)]
        self.queue.put(partition, Waiting(records, entries, 0.0))  # type: ignore[arg-type]

    def read(self) -> None:
        """The oldest text has been read."""
        if self.asked:
            self.asked.pop(0).set_result([Reading((0.1,) * TEXT_DIM, 0.5)])


async def while_serving(room: Room, live: Callable[[], Awaitable[None]]) -> None:
    """Runs `live` with a server beside it."""
    serving = asyncio.create_task(room.server.run())
    try:
        await live()
    finally:
        serving.cancel()
        await asyncio.wait({serving})


async def settle() -> None:
    """Lets the server do what it can now."""
    for _ in range(8):
        await asyncio.sleep(0)


@given(st.lists(st.none() | st.tuples(st.sampled_from(sorted(MOST)), st.integers(1, 5)), max_size=30))
def test_a_topic_is_left_out_of_polls_from_its_bound_until_half_is_served(
    comings: list[tuple[str, int] | None],
) -> None:
    """Each topic by how many of its own records wait, so that neither keeps the other away; None: a text is read."""

    async def live() -> None:
        left_out = set[str]()
        for coming in [*comings, *[None] * len(comings)]:
            if coming is None:
                room.read()
                await settle()
                left_out -= {topic for topic in left_out if room.held[topic] < MOST[topic] // 2}
            else:
                room.hold(*coming)
                await settle()
                left_out |= {topic for topic, most in MOST.items() if room.held[topic] > most}
            assert room.left_out == {TP(topic, 0) for topic in left_out}
            assert room.queue.held == room.held.total()
        assert not room.left_out
        await room.queue.drain()

    room = Room()
    asyncio.run(while_serving(room, live))


async def test_a_partition_that_goes_away_leaves_nothing_behind() -> None:
    """Its records come again where it goes, so they don't count here, and their texts are no longer asked for."""
    room = Room()

    async def live() -> None:
        room.hold("clickstream", 9)
        await settle()
        room.queue.drop(0)
        assert room.queue.held == 0
        assert all(future.cancelled() for future in room.asked)
        room.left_out.clear()  # as a rebalance does
        room.hold("clickstream", 8)
        await settle()
        assert not room.left_out

    await while_serving(room, live)


async def test_a_partition_that_goes_away_while_it_is_served_ends_no_other() -> None:
    """Its server leaves quietly; the other partition is served, and nothing keeps a drain waiting."""
    room = Room()

    async def live() -> None:
        room.hold("clickstream", 2, partition=0)
        room.hold("reviews", 3, partition=1)
        await settle()
        room.gone.add(0)
        room.read()
        room.read()
        await settle()
        assert room.released == [0, 1, 2]
        assert room.queue.held == 0
        await room.queue.drain()

    await while_serving(room, live)


async def test_records_are_served_in_the_order_in_which_they_came() -> None:
    """However the texts come: the ones behind wait for the first."""
    room = Room()

    async def live() -> None:
        room.hold("reviews", 1)
        room.hold("reviews", 2)
        await settle()
        first, second = room.asked
        second.set_result([Reading((0.1,) * TEXT_DIM, 0.5)])
        await settle()
        assert room.released == []
        first.set_result([Reading((0.1,) * TEXT_DIM, 0.5)])
        await settle()
        assert room.released == [0, 0, 1]

    await while_serving(room, live)


async def test_what_broke_the_lane_ends_the_server() -> None:
    """The server raises it as it is, so that the worker can end with its message."""
    room = Room()
    serving = asyncio.create_task(room.server.run())
    room.hold("reviews", 1)
    await settle()
    room.asked[0].set_exception(OSError("the model's file is gone"))
    with pytest.raises(OSError, match="the model's file is gone"):
        await serving
