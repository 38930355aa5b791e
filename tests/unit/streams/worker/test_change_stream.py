"""Laws of the readers of /api/changes: how many there are, what they cost, who is cut off."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from schemas.changes import encode_change
from streams.worker import change_stream
from streams.worker.change_stream import SHARE, ChangeReaders, TooManyReaders
from streams.worker.feed import KEPT, ChangeFeed
from streams.worker.web import mount
from worker_pages import StatedWorker, a_change

WaitUntil = Callable[[Callable[[], Any], float], Awaitable[Any]]


@asynccontextmanager
async def serving(
    readers: ChangeReaders, *, with_words: bool = False, most: int | None = None
) -> AsyncIterator[TestServer]:
    """A server whose one page is the stream."""

    async def follow(request: web.Request) -> web.StreamResponse:
        try:
            return await readers.serve(request, 0, most, with_words=with_words)
        except TooManyReaders:
            return web.Response(status=503)

    app = web.Application()
    app.router.add_get("/", follow)

    async def close(_: web.Application) -> None:
        readers.feed.close()

    app.on_shutdown.append(close)
    async with TestServer(app) as server:
        yield server


async def numbers(answer: Any, count: int) -> list[int]:
    """Numbers of the next events of a stream."""
    read = list[int]()
    while len(read) < count:
        line: bytes = await asyncio.wait_for(answer.content.readline(), 10.0)
        if line.startswith(b"id: "):
            read.append(int(line[4:]))
    return read


async def test_a_reader_too_many_is_told_to_come_again(wait_until_async: WaitUntil) -> None:
    """A place is free again as soon as a reader has left."""
    worker = StatedWorker(web_readers=1)
    app = web.Application()
    mount(app, worker.view)
    async with TestClient(TestServer(app)) as client:
        async with client.get("/api/changes") as first, client.get("/api/changes") as second:
            assert (first.status, second.status) == (200, 503)
            assert "REGULARS_WEB_READERS" in await second.text()
            assert int(second.headers["Retry-After"]) > 0

        async def is_free() -> bool:
            async with client.get("/api/changes") as third:
                return third.status == 200

        worker.view.changes.publish([encode_change(a_change(1))])  # the server notices at its next write
        await wait_until_async(is_free, 20.0)


async def test_a_reader_that_does_not_read_is_cut_off(wait_until_async: WaitUntil) -> None:
    """Its place is free again, and nothing that was meant for it is kept."""
    feed = ChangeFeed()
    readers = ChangeReaders(feed, limit=1, slow_s=0.2)
    async with serving(readers) as server:
        with socket.socket() as idle:
            idle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            idle.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(idle, (server.host, server.port))
            await loop.sock_sendall(idle, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await wait_until_async(lambda: readers.present == 1, 10.0)

            def is_gone() -> bool:
                feed.publish([b"x" * 65_536] * 16)
                return readers.present == 0

            await wait_until_async(is_gone, 60.0)
    assert readers.cut_off == 1


async def test_a_stream_ends_after_a_while_and_goes_on_where_it_was() -> None:
    """A token that was taken back counts no longer than this; a browser comes again with the last number it saw."""
    feed = ChangeFeed()
    feed.publish([b"{}"] * 3)
    readers = ChangeReaders(feed, limit=1, life_s=0.5)
    async with serving(readers) as server, TestClient(server) as client, client.get("/") as answer:
        text = await asyncio.wait_for(answer.text(), 10.0)

    assert text.count("id: ") == 3


async def test_readers_that_cost_too_much_get_the_latest_changes_at_a_bounded_cost() -> None:
    """Each change takes 1 ms of a pretended processor: one second pays for 10 of them, for all readers together."""
    spent = 0.0

    def cpu_s() -> float:
        nonlocal spent
        spent += 0.0005
        return spent

    feed = ChangeFeed()
    readers = ChangeReaders(feed, limit=4, cpu_s=cpu_s)
    began = time.monotonic()
    async with serving(readers) as server, TestClient(server) as client, contextlib.AsyncExitStack() as stack:
        for _ in range(4):
            await stack.enter_async_context(client.get("/"))
        while time.monotonic() - began < 2.0:
            feed.publish([b"{}"] * 100)
            await asyncio.sleep(0.01)
        seconds = time.monotonic() - began

    # The first burst of each reader comes before anything has to be paid off.
    assert spent <= SHARE * seconds + 4 * 2 * change_stream.SLICE_S + 0.02


async def test_what_was_passed_over_shows_in_the_numbers() -> None:
    """A reader that comes late gets what is kept, in order."""
    feed = ChangeFeed()
    feed.publish([b"{}"] * (KEPT + 500))
    async with serving(ChangeReaders(feed, limit=1)) as server, TestClient(server) as client, client.get("/") as answer:
        read = await numbers(answer, 20)

    assert read == list(range(501, 521))


async def test_a_burst_holds_the_event_loop_up_for_a_moment_at_most() -> None:
    """A thousand changes in words take 50 ms; they are sent in slices."""
    feed = ChangeFeed()
    feed.publish([encode_change(a_change(number)) for number in range(1, KEPT + 1)])
    readers = ChangeReaders(feed, limit=1)

    events, last = readers._events(feed.after(0), with_words=True)

    assert 0 < last < KEPT
    assert events.count(b"id: ") == last


async def test_words_are_made_once_for_all_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen dashboards cost hardly more than one."""
    made: list[bytes] = []
    monkeypatch.setattr(change_stream, "_in_words", lambda body: made.append(body) or b"words")
    feed = ChangeFeed()
    feed.publish([b"{}"])
    readers = ChangeReaders(feed, limit=2)

    first, second = (readers._events(feed.after(0), with_words=True) for _ in range(2))

    assert first == second
    assert len(made) == 1
