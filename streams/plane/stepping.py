"""Chunks that are ready at the same time are stepped in one call: one matrix of customers instead of several."""

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

from streams.plane.counters import Counters
from streams.plane.failures import as_job_failure
from streams.plane.ownership import Ownership
from streams.plane.records import Effects, Job, PartitionGone, Together, Work


class _Waiting(NamedTuple):
    """A chunk that waits for its step."""

    partition: int
    work: Work
    values: Sequence[bytes | None]
    effects: asyncio.Future[Effects]

    def give(self, effects: Effects) -> None:
        """Whoever waits gets the effects."""
        if not self.effects.done():
            self.effects.set_result(effects)

    def fail(self, exc: Exception) -> None:
        """Whoever waits gets an exception."""
        if not self.effects.done():
            self.effects.set_exception(exc)


class Stepper:
    """Steps a job; see the module."""

    def __init__(self, job: Job[Any], ownership: Ownership, counters: Counters) -> None:
        self._job, self._ownership, self._counters = job, ownership, counters
        # Once: a check against a protocol takes as long as a fifth of a small chunk.
        self._together = job if isinstance(job, Together) else None
        self._waiting: list[_Waiting] = []

    def step(self, partition: int, work: Work, values: Sequence[bytes | None]) -> "asyncio.Future[Effects]":
        """The effects of `work` on the states `values`. All calls of one turn of the event loop become one call of the job.

        The future raises PartitionGone where a rebalance came in between, and JobFailed where the job raised.
        """
        effects: asyncio.Future[Effects] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(partition, work, values, effects))
        if len(self._waiting) == 1:
            asyncio.get_running_loop().call_soon(self._step_all)
        return effects

    def _step_all(self) -> None:
        waiting, self._waiting = self._waiting, []
        chunks = []
        for chunk in waiting:
            if self._ownership.owns(chunk.partition):
                chunks.append(chunk)
            else:  # a rebalance came in between
                chunk.fail(PartitionGone(chunk.partition))
        if not chunks:
            return
        try:
            with self._counters.time("step"):
                results = self._call(chunks)
        except Exception as exc:
            if len(chunks) == 1:
                chunks[0].fail(as_job_failure(exc))
            else:
                for chunk in chunks:  # each alone: the others are not at fault
                    self._step_alone(chunk)
            return
        for chunk, effects in zip(chunks, results, strict=True):
            chunk.give(effects)

    def _step_alone(self, chunk: _Waiting) -> None:
        try:
            (effects,) = self._call([chunk])
        except Exception as exc:
            chunk.fail(as_job_failure(exc))
        else:
            chunk.give(effects)

    def _call(self, chunks: Sequence[_Waiting]) -> list[Effects]:
        if self._together is not None:
            return self._together.steps([(chunk.partition, chunk.work, chunk.values) for chunk in chunks])
        return [self._job.step(chunk.partition, chunk.work, chunk.values) for chunk in chunks]
