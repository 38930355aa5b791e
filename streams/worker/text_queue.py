"""Records that wait for their texts: in which order they will be served, and which topics have too many.

A chunk's records without a text are applied at once. Those with an unread text, and later ones of the same customer and
topic, wait here while the lane reads the texts. `streams.worker.text_server` takes them out, in the order of their arrival.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

from faust.types import TP

from models.state import Reading
from schemas.events import CLICKSTREAM, REVIEWS
from streams.worker.chunk import Waiting

# Records of one topic held in one partition before it is no longer polled there. Reviews: some 4 MB of texts at 1 KB
# each; at 100 texts/s, a slow CPU, what a worker reads in 40 s. Clicks: unread searches and later clicks of the same
# customers, some 20 MB; more than of reviews, because beyond it the clicks of all others wait, too.
MOST_HELD: Mapping[str, int] = {REVIEWS: 4_000, CLICKSTREAM: 16_000}


class Lane(Protocol):
    """What the queue asks of the text lane (`streams.worker.text_lane.TextLane`)."""

    def submit(self, texts: Sequence[str]) -> "asyncio.Future[list[Reading]]":
        """Reads the texts, soon; the readings in order."""
        ...


class Reserved(NamedTuple):
    """Records that wait, and the readings that will end their wait."""

    waiting: Waiting
    texts: list[str]
    readings: "asyncio.Future[list[Reading]]"


class PartitionQueue:
    """What waits in one partition, in order. One server serves it until it is empty.

    Attributes:
        server: the task that serves it; it is cancelled when the partition goes away.
    """

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.items: deque[Reserved] = deque()
        self.server: asyncio.Task[None] | None = None

    def cancel(self) -> None:
        """Nothing of it will be served."""
        for item in self.items:
            item.readings.cancel()
        self.items.clear()
        if self.server is not None:
            self.server.cancel()


class TextQueue:
    """Waiting records of every partition that this worker owns.

    Attributes:
        arrived: set whenever records were put in; whoever looks clears it.

    Args:
        lane: reads texts.
        most_held: by full name of a topic, how many of its records one partition may hold before the topic is crowded
            there. It is crowded until half of them are left.
    """

    def __init__(self, lane: Lane, most_held: Mapping[str, int]) -> None:
        self.arrived = asyncio.Event()
        self._lane, self._most_held = lane, most_held
        self._queues: dict[int, PartitionQueue] = {}
        self._held: Counter[TP] = Counter()
        self._crowded: set[TP] = set()
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def held(self) -> int:
        """Records that wait now."""
        return self._held.total()

    @property
    def crowded(self) -> Collection[TP]:
        """Topic partitions of which so many records wait that no more should be polled."""
        return frozenset(self._crowded)

    def put(self, partition: int, waiting: Waiting) -> None:
        """Asks for the texts of `waiting`, and keeps its records behind those that wait already."""
        texts = waiting.texts
        queue = self._queues.get(partition)
        if queue is None:
            queue = self._queues[partition] = PartitionQueue(partition)
        queue.items.append(Reserved(waiting, texts, self._lane.submit(texts)))
        self._held.update(TP(record.topic, partition) for record in waiting.records)
        self._crowded.update(tp for tp in self._tps(partition) if self._held[tp] > self._most_held[tp.topic])
        self._empty.clear()
        self.arrived.set()

    def drop(self, partition: int) -> None:
        """Forgets what waits in a partition that went away; its next owner gets the records again."""
        for tp in self._tps(partition):
            self._crowded.discard(tp)
            del self._held[tp]
        queue = self._queues.pop(partition, None)
        if queue is not None:
            queue.cancel()
        self._look_if_empty()

    def unserved(self) -> list[PartitionQueue]:
        """Queues that have no server yet."""
        return [queue for queue in self._queues.values() if queue.server is None]

    def served(self, queue: PartitionQueue) -> Collection[TP]:
        """Takes the first records of `queue` out; gives the topic partitions that are no longer crowded."""
        waiting = queue.items.popleft().waiting
        self._held.subtract(TP(record.topic, queue.partition) for record in waiting.records)
        relieved = [
            tp for tp in self._tps(queue.partition) & self._crowded if self._held[tp] < self._most_held[tp.topic] // 2
        ]
        self._crowded.difference_update(relieved)
        return relieved

    def close(self, queue: PartitionQueue) -> None:
        """The server of `queue` has left. What it didn't serve is dropped; what comes next begins a new one."""
        if self._queues.get(queue.partition) is not queue:
            return
        if queue.items:
            self.drop(queue.partition)
        else:
            del self._queues[queue.partition]
            self._look_if_empty()

    async def drain(self) -> None:
        """Waits until nothing is held."""
        await self._empty.wait()

    def _look_if_empty(self) -> None:
        if not self._queues:
            self._empty.set()

    def _tps(self, partition: int) -> set[TP]:
        return {TP(topic, partition) for topic in self._most_held}
