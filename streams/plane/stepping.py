"""Chunks that are ready at the same time are stepped in one call: one matrix of customers instead of several."""

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

from streams.plane.counters import Counters
from streams.plane.ownership import Ownership
from streams.plane.records import Effects, Job, PartitionGone, Together, Work


class _Waiting(NamedTuple):
    """A chunk that waits for its step."""

    partition: int
    work: Work
    values: Sequence[bytes | None]
    effects: asyncio.Future[Effects]

    def raises(self, exc: BaseException) -> None:
        """Whoever waits for the effects gets an exception."""
        if not self.effects.done():
            self.effects.set_exception(exc)


class Stepper:
    """Steps a job; see the module."""

    def __init__(self, job: Job[Any], ownership: Ownership, counters: Counters) -> None:
        self._job, self._ownership, self._counters = job, ownership, counters
        self._waiting: list[_Waiting] = []

    def step(self, partition: int, work: Work, values: Sequence[bytes | None]) -> "asyncio.Future[Effects]":
        """The effects of `work` on the states `values`. All that is asked for in one turn of the loop is one call."""
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
                chunk.raises(PartitionGone(chunk.partition))
        if not chunks:
            return
        try:
            with self._counters.time("step"):
                results = self._call(chunks)
        except Exception as exc:  # whoever waits for a step ends the process over it
            for chunk in chunks:
                chunk.raises(exc)
            return
        for chunk, effects in zip(chunks, results, strict=True):
            if not chunk.effects.done():
                chunk.effects.set_result(effects)

    def _call(self, chunks: Sequence[_Waiting]) -> list[Effects]:
        if isinstance(self._job, Together):
            return self._job.steps([(chunk.partition, chunk.work, chunk.values) for chunk in chunks])
        return [self._job.step(chunk.partition, chunk.work, chunk.values) for chunk in chunks]
