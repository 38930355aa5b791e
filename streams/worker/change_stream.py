"""Readers of `/api/changes`: the changes of a feed as server-sent events, at a bounded cost.

All readers together take at most `SHARE` of one core, which is the event loop's, and with it the data plane's. Where changes
come faster than that pays for, readers get the latest ones and their numbers jump. A reader that does not take what it is
sent is cut off, and every stream ends after a while: browsers come again by themselves, from where they were.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import msgspec
from aiohttp import web

from schemas.changes import decode_change
from streams import words
from streams.worker.feed import KEPT, ChangeFeed

# A comment line is sent after so long a silence, so that no proxy or browser closes the connection.
KEEP_ALIVE_S = 10.0
# Changes are sent in bursts of this length. A new reader starts so many changes back.
BURST_S = 0.25
BACKLOG = 40
# Of one core, for all readers together; what cannot be measured here comes on top (`benchmarks/pages.py` shows both).
SHARE = 0.0075
# What a turn of one reader costs beside making and writing its events, timers and tasks (`benchmarks/pages.py`).
TURN_S = 0.0002
# A burst does not hold up the event loop for longer.
SLICE_S = 0.002
# Bytes that wait in a connection for longer than this belong to a reader that does not read.
SLOW_S = 10.0
LIFE_S = 900.0
# A browser that was turned away, or whose stream has ended, comes again after so long.
RETRY_S = 10


class TooManyReaders(Exception):
    """Another reader would be one too many."""


class ChangeReaders:
    """Serves the changes of a feed to a limited number of readers.

    Args:
        feed: the changes.
        limit: readers at a time.
        slow_s: a reader that takes nothing for so long is cut off.
        life_s: a stream ends after so long.
        cpu_s: seconds of processor time that this thread has used.

    Attributes:
        present: how many readers there are.
        cut_off: how many were cut off because they did not read.
    """

    def __init__(
        self,
        feed: ChangeFeed,
        limit: int,
        slow_s: float = SLOW_S,
        life_s: float = LIFE_S,
        cpu_s: Callable[[], float] = time.thread_time,
    ) -> None:
        self.feed, self._limit, self._slow_s, self._life_s = feed, limit, slow_s, life_s
        self.present = self.cut_off = 0
        self._cpu_s = cpu_s
        self._paid_until = 0.0  # monotonic: until then the cost of what was sent is paid off
        self._worded: OrderedDict[int, bytes] = OrderedDict()

    async def serve(
        self, request: web.Request, number: int | None, most: int | None, *, with_words: bool
    ) -> web.StreamResponse:
        """Sends changes after `number` (None: the latest few) until the reader leaves, is cut off, or the feed is closed.

        `most`: at most so many per second, the latest ones.

        Raises:
            TooManyReaders: the limit is reached.
        """
        if self.present >= self._limit:
            raise TooManyReaders
        self.present += 1
        try:
            return await self._serve(request, number, most, with_words)
        finally:
            self.present -= 1

    async def _serve(
        self, request: web.Request, number: int | None, most: int | None, with_words: bool
    ) -> web.StreamResponse:
        feed = self.feed
        if number is None:
            number = max(0, feed.published - BACKLOG)
        elif number > feed.published:  # it was counted by an earlier worker
            number = 0
        # nginx would hold the events back to fill a buffer.
        headers = {"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"}
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        burst = None if most is None else max(1, int(most * BURST_S))
        room = None if burst is None else BACKLOG
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + self._life_s
        try:
            await self._write(response, b"retry: 2000\n\n")
            while not feed.closed and loop.time() < ends_at:
                changes = await feed.news(number, min(KEEP_ALIVE_S, max(0.0, ends_at - loop.time())))
                if not changes:
                    if not feed.closed:
                        await self._write(response, b": still here\n\n")
                    continue
                events, number = self._events(changes if room is None else changes[-room:], with_words)
                room = burst
                await self._write(response, events)
                await asyncio.sleep(max(BURST_S, self._paid_until - time.monotonic()))
        except ConnectionResetError:
            pass  # the reader left
        except TimeoutError:
            self.cut_off += 1
            if request.transport is not None:
                request.transport.abort()
        return response

    async def _write(self, response: web.StreamResponse, data: bytes) -> None:
        """Raises TimeoutError where the reader does not take the bytes."""
        began = self._cpu_s()
        async with asyncio.timeout(self._slow_s):
            await response.write(data)
        # While the reader was waited for, this thread did other work, which is not the reader's cost.
        self._charge(min(self._cpu_s() - began, SLICE_S))

    def _events(self, changes: list[tuple[int, bytes]], with_words: bool) -> tuple[bytes, int]:
        """The first changes as events, as many as take `SLICE_S`, and the number of the last of them."""
        began = self._cpu_s()
        events: list[bytes] = []
        for n, body in changes:
            events.append(b"id: %d\ndata: %b\n\n" % (n, self._in_words(n, body) if with_words else body))
            if self._cpu_s() - began > SLICE_S:
                break
        self._charge(self._cpu_s() - began + TURN_S)
        return b"".join(events), changes[len(events) - 1][0]

    def _charge(self, seconds: float) -> None:
        self._paid_until = max(self._paid_until, time.monotonic()) + seconds / SHARE

    def _in_words(self, number: int, body: bytes) -> bytes:
        """The body with cause and reasons in words; made once for all readers."""
        if (worded := self._worded.get(number)) is None:
            worded = self._worded[number] = _in_words(body)
            while len(self._worded) > KEPT:
                self._worded.popitem(last=False)
        return worded


def _in_words(body: bytes) -> bytes:
    change = decode_change(body)
    worded: dict[str, Any] = msgspec.to_builtins(change)
    worded["words"] = {
        "cause": words.cause_words(change.cause),
        "reasons": [words.reason_words(reason) for reason in change.reasons],
        "instead": words.counterfactual_words(change.counterfactual, change.previous)
        if change.counterfactual is not None
        else None,
        "next": words.next_words(change.next),
    }
    return msgspec.json.encode(worded)
