"""What a worker does as time passes: it moves partition clocks, applies silence and new policies, and logs the encoder."""

import asyncio
import time

import structlog
from aiokafka import TopicPartition

from streams.ops.lag import LagMonitor
from streams.plane.pipeline import Pipeline
from streams.worker.clocks import ClockWatch
from streams.worker.decoding import ERASURE
from streams.worker.scoring import ScoringJob
from streams.worker.text_lane import TextLane
from streams.worker.text_queue import TextQueue

log = structlog.get_logger(__name__)

# How often silence is looked at. A change by silence has the time of its moment, whenever the worker notices it, so this is
# only how late the CRM hears of it.
TICK_S = 0.25
# After each wave of customers whom silence or a policy moves, the worker pauses for this share of the wave's time. Events
# get the loop and the partition in the pause, which is longer when the worker is busy. benchmarks/wave.py measures it.
PAUSE = 0.5
# How often the log shows what the encoder did, where it did anything.
TEXTS_LOG_INTERVAL_S = 10.0


class PartitionTime:
    """Moves the clocks of the partitions, and applies what is due.

    Args:
        job: knows who is due.
        pipeline: applies it, in each partition's order.
        lag: the ends of the input partitions.
        clocks: whether this worker's clock can be judged by.
    """

    def __init__(self, job: ScoringJob, pipeline: Pipeline, lag: LagMonitor, clocks: ClockWatch) -> None:
        self._job, self._pipeline, self._lag, self._clocks = job, pipeline, lag, clocks

    async def read_backlog(self) -> None:
        """Tells each partition's clock which topics have no backlog."""
        for tp, position in self._pipeline.positions().items():
            part, topic = self._job.parts.get(tp.partition), self._job.topics.index(tp.topic)
            known = self._lag.ends.get(TopicPartition(tp.topic, tp.partition))
            if part is None or known is None or topic == ERASURE:  # a request to erase says nothing of event time
                continue
            # A clock that is wrong says nothing of how far time has come: event time alone does.
            if position.done >= known.end and not position.held and self._clocks.is_right:
                part.clock.idle(topic, known.at_s)
            else:
                part.clock.busy(topic)

    async def apply_due(self) -> None:
        """Applies silence to the customers who are due, then a new policy to those whom it concerns.

        It takes one wave of customers per partition and round, until nobody is left.
        """
        waiting = True
        while waiting:
            waiting = False
            for partition in sorted(self._pipeline.partitions()):
                work = self._job.silence(partition) or self._job.sweep(partition)
                if work is None:
                    continue
                waiting, began = True, time.perf_counter()
                await self._pipeline.apply(partition, work)
                await asyncio.sleep(PAUSE * (time.perf_counter() - began))


class TextLog:
    """Logs from time to time how many texts the encoder has read since the last line."""

    def __init__(self, lane: TextLane, queue: TextQueue) -> None:
        self._lane, self._queue = lane, queue
        self._logged_at, self._encoded, self._hits, self._seconds = time.monotonic(), 0, 0, 0.0

    async def write(self) -> None:
        """Writes a line, where the last one is old enough and there is something new."""
        now, lane = time.monotonic(), self._lane
        passed_s = now - self._logged_at
        if passed_s < TEXTS_LOG_INTERVAL_S:
            return
        encoded, hits, seconds = (
            lane.encoded - self._encoded,
            lane.cache_hits - self._hits,
            lane.seconds - self._seconds,
        )
        self._logged_at = now
        self._encoded, self._hits, self._seconds = lane.encoded, lane.cache_hits, lane.seconds
        if encoded or hits:
            log.info(
                "texts",
                encoded=encoded,
                texts_per_s=round(encoded / passed_s, 1),
                texts_per_encoder_s=round(encoded / max(seconds, 1e-9), 1),
                from_cache=hits,
                waiting=self._queue.held,
                encoded_in_all=lane.encoded,
            )
