"""Follows a running worker from outside, for the demo: reads its changes from the topic, and the rest from its web pages."""

import asyncio
import contextlib
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import aiohttp
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord

from schemas.changes import Change, EventCause, decode_change
from schemas.events import INPUT_TOPICS
from schemas.topics import SEGMENT_CHANGES
from streams import words
from streams.kafka.cluster import Layout, connect, first_timestamp, layout
from streams.kafka.readers import reader
from streams.settings import Settings
from streams.signin.tokens import own_headers

SHOWN = 40
# Percentiles cover this many latest values: all values of a demo.
LATENCIES = 200_000
# The time from producing to seeing a change needs one fetch per change, so it is measured on a sample: this many per poll.
SAMPLED = 4
POLL_S = 1.0
# After the shop has ended and the lag is 0, a change may still be on its way for this long.
QUIET_S = 2.0


class Watch:
    """What the worker has shown so far.

    Attributes:
        began: when this object was made (monotonic).
        first_change_s: seconds from then to the first change; None: there was none yet.
        moves: changes by (dimension, previous or "", current).
        models: how many changes each version of the model made.
        worker, lag, segments: the last answers of /api/worker, /api/lag, /api/segments.
    """

    def __init__(self, settings: Settings, web: str) -> None:
        self._settings, self._web = settings, web
        self.began = self._last = time.monotonic()
        self._layout: Layout = {}
        self.first_change_s: float | None = None
        self.total = 0
        self.moves: Counter[tuple[str, str, str]] = Counter()
        self.models: Counter[str] = Counter()
        self.recent: deque[Change] = deque(maxlen=SHOWN)
        self.inside_s: deque[float] = deque(maxlen=LATENCIES)  # consumed -> emitted, by the trace
        self.whole_s: deque[float] = deque(maxlen=LATENCIES)  # produced (broker's stamp) -> seen here; sampled
        self.worker: dict[str, Any] = {}
        self.lag: dict[str, Any] = {}
        self.segments: dict[str, Any] = {}

    async def run(self, check: Callable[[], None], ended: Callable[[], bool]) -> None:
        """Follows until `ended()` is true and everything that was sent has been processed; `check()` may raise at any time.

        Raises:
            BrokerLost: the broker went away.
        """
        client = await connect(self._settings)
        try:
            async with (
                reader(self._settings) as consumer,
                aiohttp.ClientSession(headers=own_headers(self._settings)) as session,
            ):
                await self._lay_out(client, consumer)
                asking = asyncio.create_task(self._ask(session))
                sampling: set[asyncio.Task[None]] = set()
                try:
                    while not (ended() and self._is_quiet()):
                        check()
                        if asking.done():
                            asking.result()
                        polled = await consumer.getmany(timeout_ms=200)
                        records = [record for part in polled.values() for record in part]
                        if records:
                            self._take(records)
                            if not sampling:
                                sample = asyncio.create_task(self._measure(client, records[-SAMPLED:], time.time()))
                                sampling.add(sample)
                                sample.add_done_callback(sampling.discard)
                finally:
                    for task in (asking, *sampling):
                        task.cancel()
                    await asyncio.gather(asking, *sampling, return_exceptions=True)
        finally:
            await client.close()

    async def _lay_out(self, client: AIOKafkaClient, consumer: AIOKafkaConsumer) -> None:
        topics = [self._settings.topic(name) for name in (SEGMENT_CHANGES, *INPUT_TOPICS)]
        self._layout = await layout(client, topics, self._settings.bootstrap_servers)
        consumer.assign([tp for tp in self._layout if tp.topic == topics[0]])

    def _take(self, records: Iterable[ConsumerRecord]) -> None:
        self._last = time.monotonic()
        if self.first_change_s is None:
            self.first_change_s = self._last - self.began
        for record in records:
            change = decode_change(record.value)
            self.total += 1
            self.moves[change.dimension, change.previous or "", change.current] += 1
            self.models[change.versions.model] += 1
            self.recent.appendleft(change)
            if isinstance(change.cause, EventCause):
                self.inside_s.append(words.latency_s(change))

    async def _measure(self, client: AIOKafkaClient, records: Sequence[ConsumerRecord], seen_at: float) -> None:
        for record in records:
            cause = decode_change(record.value).cause
            if isinstance(cause, EventCause):
                tp = TopicPartition(cause.topic, cause.partition)
                # A sample that can't be read is left out: a problem of the broker shows in the changes themselves.
                with contextlib.suppress(KafkaError, OSError):
                    produced_at = await first_timestamp(client, self._layout[tp], tp, cause.offset)
                    if produced_at is not None:
                        self.whole_s.append(seen_at - produced_at)

    async def _ask(self, session: aiohttp.ClientSession) -> None:
        while True:
            # If a worker doesn't answer, the figures stand still. `check` finds out whether it ended.
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                limit = aiohttp.ClientTimeout(total=5.0)
                for name in ("worker", "lag", "segments"):
                    async with session.get(f"{self._web}/api/{name}", timeout=limit) as answer:
                        setattr(self, name, await answer.json())
            await asyncio.sleep(POLL_S)

    def _is_quiet(self) -> bool:
        sampled_at = self.lag.get("sampled_at_s") or 0.0
        waited = time.monotonic() - self._last
        return waited > QUIET_S and self.lag.get("records") == 0 and time.time() - sampled_at < QUIET_S + POLL_S


def percentile(values: Iterable[float], share: float) -> float | None:
    """The value below which `share` of `values` are; None: no value.

    >>> percentile([3.0, 1.0, 2.0], 0.5)
    2.0
    """
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None
