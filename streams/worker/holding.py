"""Records whose texts are being read: who waits, in which order they are served, and when polls are slowed.

A chunk's clicks and purchases go on at once. Its records with an unread text, and later ones of the same customer and
topic, wait here until the lane has read the texts, then go through the pipeline in the order in which they came.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from aiokafka.structs import ConsumerRecord
from faust.types import TP

from models.state import Reading
from schemas.events import CLICKSTREAM, REVIEWS
from streams.plane.records import PartitionGone
from streams.worker.scoring import ChunkWork, ScoringJob, Waiting

# Records of one topic held in one partition before it is no longer polled there. Reviews: some 4 MB of texts at 1 KB
# each; at 100 texts/s, a slow CPU, what a worker reads in 40 s. Clicks: unread searches and what follows of the same
# customers, some 20 MB; more than of reviews, as beyond it the clicks of all others wait, too.
MOST_HELD: Mapping[str, int] = {REVIEWS: 4_000, CLICKSTREAM: 16_000}

Release = Callable[[int, Sequence[ConsumerRecord], ChunkWork], Awaitable[None]]


class Lane(Protocol):
    """What the desk needs of the text lane (`streams.worker.encoding.TextLane`)."""

    def submit(self, texts: Sequence[str]) -> "asyncio.Future[list[Reading]]":
        """Reads the texts, soon; the readings in order."""
        ...


class Throttle(Protocol):
    """Slows polls; see `streams.plane.pipeline.Pipeline`."""

    def throttle(self, tps: Sequence[TP]) -> None:
        """Leaves topic partitions out of polls."""
        ...

    def unthrottle(self, tps: Sequence[TP]) -> None:
        """Takes them in again."""
        ...


class Desk:
    """Serves waiting records, a partition at a time in order.

    Args:
        job: decoded them and takes them back.
        lane: reads texts.
        release: `Pipeline.release`.
        throttle: the pipeline.
        most_held: by full name of a topic, held records of a partition beyond which it is no longer polled there, until
            half of them are left.
    """

    def __init__(
        self, job: ScoringJob, lane: Lane, release: Release, throttle: Throttle, most_held: Mapping[str, int]
    ) -> None:
        self._job, self._lane, self._release, self._throttle = job, lane, release, throttle
        self._most_held = most_held
        self._held: Counter[TP] = Counter()
        self._queues: dict[int, deque[tuple[Waiting, list[str], asyncio.Future[list[Reading]]]]] = {}
        self._servers: dict[int, asyncio.Task[None]] = {}
        self._slowed: set[TP] = set()
        self.failure: BaseException | None = None

    @property
    def held(self) -> int:
        """Records that wait now."""
        return self._held.total()

    def take(self, partition: int, waiting: Waiting) -> None:
        """Has the texts of `waiting` read and then the records served."""
        texts = list(dict.fromkeys(text for _, _, text in waiting.entries if text is not None))
        future = self._lane.submit(texts)
        self._queues.setdefault(partition, deque()).append((waiting, texts, future))
        self._held.update(TP(record.topic, partition) for record in waiting.records)
        for tp in self._tps(partition) - self._slowed:
            if self._held[tp] > self._most_held[tp.topic]:
                self._slowed.add(tp)
                self._throttle.throttle([tp])
        if partition not in self._servers:
            self._servers[partition] = asyncio.create_task(
                self._serve(partition), name=f"texts of partition {partition}"
            )

    def forget(self, partition: int) -> None:
        """Drops what waits in a partition that went away; the records come again where it goes."""
        for tp in self._tps(partition):
            self._slowed.discard(tp)
            del self._held[tp]
        for _, _, future in self._queues.pop(partition, ()):
            future.cancel()
        server = self._servers.pop(partition, None)
        if server is not None:
            server.cancel()

    async def drain(self) -> None:
        """Waits until nothing is held."""
        while self._servers:
            await asyncio.wait(list(self._servers.values()))

    async def _serve(self, partition: int) -> None:
        queue = self._queues[partition]
        try:
            while queue:
                waiting, texts, future = queue[0]
                readings = dict(zip(texts, await future, strict=True))
                await self._release(partition, waiting.records, self._job.read(waiting, readings))
                queue.popleft()
                self._held.subtract(TP(record.topic, partition) for record in waiting.records)
                for tp in self._tps(partition) & self._slowed:
                    if self._held[tp] < self._most_held[tp.topic] // 2:
                        self._slowed.discard(tp)
                        self._throttle.unthrottle([tp])
        except PartitionGone:
            pass
        except asyncio.CancelledError:
            raise
        except BaseException as exc:
            self.failure = exc  # raised by `check`, in the pipeline's tick, which ends the process
        finally:
            if self._queues.get(partition) is queue:
                self._servers.pop(partition, None)

    def check(self) -> None:
        """Raises what broke the lane, if anything did."""
        if self.failure is not None:
            raise self.failure

    def _tps(self, partition: int) -> set[TP]:
        return {TP(topic, partition) for topic in self._most_held}
