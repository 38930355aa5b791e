"""Serves the text queue: waits until the texts of its records have been read, then puts the records through the pipeline.

    queue.put (from `ScoringJob.decode`) -> readings of the lane -> `work_of` -> pipeline.release -> queue.served

One task serves a partition's records in their order. Partitions don't wait for each other.
"""

import asyncio
from collections.abc import Collection, Sequence
from typing import Protocol

from aiokafka.structs import ConsumerRecord
from faust.types import TP

from streams.plane.records import PartitionGone
from streams.worker.chunk import ChunkWork
from streams.worker.decoding import work_of
from streams.worker.text_queue import PartitionQueue, TextQueue


class Releases(Protocol):
    """What the server asks of the pipeline (`streams.plane.pipeline.Pipeline`)."""

    async def release(self, partition: int, records: Sequence[ConsumerRecord], work: ChunkWork) -> None:
        """Steps `work`, and lets the offsets of `records` be committed."""
        ...

    def throttle(self, tps: Collection[TP]) -> None:
        """Leaves topic partitions out of polls."""
        ...

    def unthrottle(self, tps: Collection[TP]) -> None:
        """Takes topic partitions into polls again."""
        ...


class TextServer:
    """Serves the queues of all partitions. `run` must run while records may wait."""

    def __init__(self, queue: TextQueue, pipeline: Releases) -> None:
        self._queue, self._pipeline = queue, pipeline

    async def run(self) -> None:
        """Serves until cancelled; raises what reading the texts or applying the records raised."""
        try:
            async with asyncio.TaskGroup() as servers:
                while True:
                    await self._queue.arrived.wait()
                    self._queue.arrived.clear()
                    if crowded := self._queue.crowded:
                        self._pipeline.throttle(crowded)
                    for queue in self._queue.unserved():
                        queue.server = servers.create_task(
                            self._serve(queue), name=f"texts of partition {queue.partition}"
                        )
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def _serve(self, queue: PartitionQueue) -> None:
        try:
            while queue.items:
                waiting, texts, future = queue.items[0]
                readings = dict(zip(texts, await future, strict=True))
                await self._pipeline.release(queue.partition, waiting.records, work_of(waiting, readings))
                if relieved := self._queue.served(queue):
                    self._pipeline.unthrottle(relieved)
        except PartitionGone:
            pass  # its next owner gets the records again
        finally:
            self._queue.close(queue)
