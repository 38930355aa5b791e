"""Laws of what waits for its texts: how much, and which topics are then left out of polls."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from histories import click, review
from models.policy import Rules, load
from models.scores import PriorScorer
from models.state import Reading
from schemas.states import TEXT_DIM
from streams.plane.records import Work
from streams.settings import Settings
from streams.worker.holding import Desk
from streams.worker.scoring import ScoringJob, Waiting

SETTINGS, RULES = Settings(partitions=1), Rules(load())
MOST = {"clickstream": 8, "reviews": 3}


class Record(NamedTuple):
    """What the desk reads of a ConsumerRecord."""

    topic: str
    offset: int
    key: bytes = b"a"


class Room:
    """A desk with a lane that answers when told, and polls that can be slowed."""

    version = "fake"

    def __init__(self) -> None:
        self.asked: list[asyncio.Future[list[Reading]]] = []
        self.left_out: set[TP] = set()
        self.held: Counter[str] = Counter()
        job = ScoringJob(SETTINGS, RULES, PriorScorer(), self, self)  # type: ignore[arg-type]
        self.desk = Desk(job, self, self.release, self, MOST)

    def submit(self, texts: Sequence[str]) -> "asyncio.Future[list[Reading]]":
        """See `streams.worker.holding.Lane`."""
        self.asked.append(asyncio.get_running_loop().create_future())
        return self.asked[-1]

    def throttle(self, tps: Sequence[TP]) -> None:
        """See `streams.worker.holding.Throttle`; none twice."""
        assert self.left_out.isdisjoint(tps)
        self.left_out.update(tps)

    def unthrottle(self, tps: Sequence[TP]) -> None:
        """See `streams.worker.holding.Throttle`; none that isn't left out."""
        assert self.left_out.issuperset(tps)
        self.left_out.difference_update(tps)

    async def release(self, partition: int, records: Sequence[Record], work: Work) -> None:
        """As the pipeline's."""
        self.held.subtract(record.topic for record in records)

    def hold(self, topic: str, count: int) -> None:
        """So many records come, all behind one text."""
        heard = click(0, 0.0, "search") if topic == "clickstream" else review(0, 0.0)
        self.held[topic] += count
        records = [Record(topic, n) for n in range(count)]
        entries = [(b"a", heard, "red shoes" if n == 0 else None) for n in range(count)]
        self.desk.take(0, Waiting(records, entries, 0.0))  # type: ignore[arg-type]

    async def read(self) -> None:
        """The oldest text has been read, and its records are served."""
        if self.asked:
            self.asked.pop(0).set_result([Reading((0.1,) * TEXT_DIM, 0.5)])
            for _ in range(5):
                await asyncio.sleep(0)


@given(st.lists(st.none() | st.tuples(st.sampled_from(sorted(MOST)), st.integers(1, 5)), max_size=30))
def test_a_topic_is_left_out_of_polls_from_its_bound_until_half_is_served(
    comings: list[tuple[str, int] | None],
) -> None:
    """Each by what is held of its own, so that neither can keep the other away; None: a text is read."""

    async def live() -> None:
        room, left_out = Room(), set[str]()
        for coming in [*comings, *[None] * len(comings)]:
            if coming is None:
                await room.read()
                left_out -= {topic for topic in left_out if room.held[topic] < MOST[topic] // 2}
            else:
                room.hold(*coming)
                left_out |= {topic for topic, most in MOST.items() if room.held[topic] > most}
            assert room.left_out == {TP(topic, 0) for topic in left_out}
            assert room.desk.held == room.held.total()
        assert not room.left_out
        room.desk.check()

    asyncio.run(live())


async def test_a_partition_that_goes_away_leaves_nothing_behind() -> None:
    """What comes again where it goes isn't counted here."""
    room = Room()
    room.hold("clickstream", 9)
    room.desk.forget(0)
    assert room.desk.held == 0
    room.left_out.clear()  # as a rebalance does
    room.hold("clickstream", 8)
    assert not room.left_out
