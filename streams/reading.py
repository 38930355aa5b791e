"""Records whose texts are being read: who waits, in which order they are served, and when polls are slowed.

A chunk's clicks and purchases go on at once. Its records with an unread text, and later ones of the same customer and
topic, wait here until the lane has read the texts, then go through the pipeline in the order in which they came.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from aiokafka.structs import ConsumerRecord
from faust.types import TP

from models.state import Reading
from streams.plane.records import PartitionGone
from streams.scoring import ChunkWork, ScoringJob, Waiting

# Records held in one partition before its texts are no longer polled. Some 4 MB of texts at 1 KB each; at 100 texts/s,
# a slow CPU, what a worker reads in 40 s.
MOST_HELD = 4_000

Release = Callable[[int, Sequence[ConsumerRecord], ChunkWork], Awaitable[None]]


class Lane(Protocol):
    """What the desk needs of the text lane (`streams.encoding.TextLane`)."""

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
        text_topics: full names of the topics that are no longer polled when too much waits.
    """

    def __init__(
        self, job: ScoringJob, lane: Lane, release: Release, throttle: Throttle, text_topics: Sequence[str]
    ) -> None:
        self._job, self._lane, self._release, self._throttle = job, lane, release, throttle
        self._text_topics = text_topics
        self._queues: dict[int, deque[tuple[Waiting, list[str], asyncio.Future[list[Reading]]]]] = {}
        self._servers: dict[int, asyncio.Task[None]] = {}
        self._slowed: set[int] = set()
        self.failure: BaseException | None = None

    @property
    def held(self) -> int:
        """Records that wait now."""
        return sum(self._held(partition) for partition in self._queues)

    def take(self, partition: int, waiting: Waiting) -> None:
        """Has the texts of `waiting` read and then the records served."""
        texts = list(dict.fromkeys(text for _, _, text in waiting.entries if text is not None))
        future = self._lane.submit(texts)
        self._queues.setdefault(partition, deque()).append((waiting, texts, future))
        if self._held(partition) > MOST_HELD and partition not in self._slowed:
            self._slowed.add(partition)
            self._throttle.throttle(self._tps(partition))
        if partition not in self._servers:
            self._servers[partition] = asyncio.create_task(
                self._serve(partition), name=f"texts of partition {partition}"
            )

    def forget(self, partition: int) -> None:
        """Drops what waits in a partition that went away; the records come again where it goes."""
        self._slowed.discard(partition)
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
                if partition in self._slowed and self._held(partition) < MOST_HELD // 2:
                    self._slowed.discard(partition)
                    self._throttle.unthrottle(self._tps(partition))
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

    def _held(self, partition: int) -> int:
        return sum(len(waiting.records) for waiting, _, _ in self._queues.get(partition, ()))

    def _tps(self, partition: int) -> list[TP]:
        return [TP(topic, partition) for topic in self._text_topics]
