"""Finds the one record that makes the job fail, in a chunk that made two starts fail, and sets it aside.

The chunk goes through the durable order in halves until the record is alone. That record becomes a dead letter. Its
neighbours are processed as usual. The progress comes last, for the whole chunk: until then all of its records come again.
"""

from collections.abc import Sequence
from typing import Any

import structlog
from aiokafka.structs import ConsumerRecord

from streams.plane.counters import Counters
from streams.plane.effects import Chunk, DurableOrder
from streams.plane.failures import Failures, JobFailed
from streams.plane.ownership import OwnedPartition
from streams.plane.records import Effects, Job

log = structlog.get_logger(__name__)


class FaultSearch:
    """See the module.

    Args:
        job: writes the dead letter.
        order: takes the halves through the six steps.
        failures: remembers over restarts which chunks made the job fail.
        counters: count the records that are set aside.
    """

    def __init__(self, job: Job[Any], *, order: DurableOrder, failures: Failures, counters: Counters) -> None:
        self._job, self._order, self._failures, self._counters = job, order, failures, counters

    def is_suspect(self, owned: OwnedPartition, chunk: Chunk) -> bool:
        """Whether the chunk's records made two starts fail."""
        return self._failures.is_suspect(owned.number, chunk.records)

    def note(self, owned: OwnedPartition, chunk: Chunk) -> None:
        """Remembers that the job failed at the chunk's records; call it before the process ends."""
        self._failures.note(owned.number, chunk.records)

    async def run(self, owned: OwnedPartition, chunk: Chunk) -> None:
        """Takes the chunk through the six steps without the records at fault. Raises as `DurableOrder.run`."""
        log.warning("these records made two starts fail: searching for the one at fault", partition=owned.number)
        held = await self._halve(owned, chunk.epoch, chunk.records)
        await self._order.run(owned, Chunk(chunk.epoch, spans=chunk.spans, held=held))
        self._failures.clear(owned.number)

    async def _halve(
        self, owned: OwnedPartition, epoch: int, records: Sequence[ConsumerRecord]
    ) -> list[ConsumerRecord]:
        """Gives the records that the job holds."""
        try:
            return list(await self._order.run(owned, Chunk(epoch, records)))
        except JobFailed as exc:
            if len(records) == 1:
                await self._set_aside(owned, epoch, records[0], exc.cause)
                return []
        middle = len(records) // 2
        held = await self._halve(owned, epoch, records[:middle])
        return held + await self._halve(owned, epoch, records[middle:])

    async def _set_aside(self, owned: OwnedPartition, epoch: int, record: ConsumerRecord, cause: Exception) -> None:
        log.error(
            "a record makes the job fail: it is a dead letter now, please report the exception",
            topic=record.topic,
            partition=owned.number,
            offset=record.offset,
            exception=type(cause).__name__,
        )
        self._counters.set_aside[record.topic] += 1
        letter = self._job.refuse(owned.number, record, cause)
        await self._order.run(owned, Chunk(epoch, effects=Effects([], [letter])))
