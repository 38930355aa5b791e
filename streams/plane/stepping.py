"""Steps chunks that are ready in the same turn of the event loop in one call: a matrix of many rows costs less."""

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

from streams.kafka.errors import InfrastructureFailure
from streams.plane.counters import Counters
from streams.plane.failures import JobFailed
from streams.plane.ownership import Ownership
from streams.plane.records import Effects, Job, PartitionGone, Together, Work


class _Waiting(NamedTuple):
    partition: int
    work: Work
    values: Sequence[bytes | None]
    effects: "asyncio.Future[Effects]"


class Stepper:
    """Runs a job's step for the partitions that are owned."""

    def __init__(self, job: Job[Any], ownership: Ownership, counters: Counters) -> None:
        self._job, self._ownership, self._counters = job, ownership, counters
        self._waiting: list[_Waiting] = []

    def step(self, partition: int, work: Work, values: Sequence[bytes | None]) -> "asyncio.Future[Effects]":
        """The effects of a chunk's work, given the states of its keys.

        The future raises PartitionGone where a rebalance came in between, and JobFailed where the job raised.
        """
        loop = asyncio.get_running_loop()
        effects: asyncio.Future[Effects] = loop.create_future()
        self._waiting.append(_Waiting(partition, work, values, effects))
        if len(self._waiting) == 1:
            loop.call_soon(self._step_all)
        return effects

    def _step_all(self) -> None:
        waiting, self._waiting = self._waiting, []
        chunks: list[_Waiting] = []
        for chunk in waiting:
            if chunk.partition in self._ownership:
                chunks.append(chunk)
            elif not chunk.effects.done():
                chunk.effects.set_exception(PartitionGone(chunk.partition))
        if not chunks:
            return
        try:
            with self._counters.timed("step"):
                effects = self._step(chunks)
        except Exception as exc:  # whoever waits for a step ends the process over it
            if len(chunks) > 1:  # each by itself: the others are not to blame
                for chunk in chunks:
                    self._step_alone(chunk)
            else:
                _fail(chunks[0], exc)
            return
        for chunk, effect in zip(chunks, effects, strict=True):
            if not chunk.effects.done():
                chunk.effects.set_result(effect)

    def _step_alone(self, chunk: _Waiting) -> None:
        try:
            (effect,) = self._step([chunk])
        except Exception as exc:
            _fail(chunk, exc)
        else:
            if not chunk.effects.done():
                chunk.effects.set_result(effect)

    def _step(self, chunks: list[_Waiting]) -> list[Effects]:
        job = self._job
        if isinstance(job, Together):
            return job.steps([(chunk.partition, chunk.work, chunk.values) for chunk in chunks])
        return [job.step(chunk.partition, chunk.work, chunk.values) for chunk in chunks]


def _fail(chunk: _Waiting, exc: Exception) -> None:
    if not chunk.effects.done():
        chunk.effects.set_exception(exc if isinstance(exc, InfrastructureFailure) else JobFailed(exc))
