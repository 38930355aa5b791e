"""What readers of /api/changes cost a worker: the share of one core that its event loop spends on them.

    python benchmarks/pages.py [--seconds 10] [--readers 0 1 4 16] [--rates 10 200 5000] [--query words=1]

One process publishes changes of about 1 KB at a rate and serves the pages, as a worker does (uvloop, one thread); another
one reads. The share is the processor time of the first one's thread with readers, less that without any.
"""

import argparse
import asyncio
import logging
import subprocess
import sys
import time
from typing import Any

import structlog
import uvloop
from aiohttp import ClientSession, web

from models.shadow import Comparison
from schemas.changes import (
    Change,
    Contribution,
    EventCause,
    Standing,
    Trace,
    Versions,
    encode_change,
)
from streams.ops.lag import LagMonitor
from streams.settings import Settings
from streams.worker.feed import ChangeFeed, SegmentCounts
from streams.worker.metrics import Metrics
from streams.worker.status import Counts, Status, TextProgress
from streams.worker.view import WorkerView
from streams.worker.web import mount

AT = "2026-05-01T10:00:00Z"
VERSIONS = Versions("default 3f2a", "dynamic-17", "a1b2c3d4e5f60718")
# A worker delivers changes a few times a second under load, more often with little to do.
CHUNKS_PER_S = 50


class Idle:
    """A worker that has nothing to say but its changes."""

    def status(self) -> Status:
        """See `streams.worker.view.StatusSource`."""
        return Status(True, (0,), (), (), 0, VERSIONS)

    def standing(self, customer_id: str) -> Standing | None:
        """See `streams.worker.view.StatusSource`."""
        return None

    def shadow(self) -> Comparison | None:
        """See `streams.worker.view.StatusSource`."""
        return None

    def texts(self) -> TextProgress:
        """See `streams.worker.view.StatusSource`."""
        return TextProgress()

    def counts(self) -> Counts:
        """See `streams.worker.view.StatusSource`."""
        return Counts()


def a_body(number: int) -> bytes:
    """An encoded change of the usual size."""
    reasons = tuple(Contribution(name, 3.25, 0.125) for name in ("spend_90d", "spend_365d", "days_since_purchase"))
    scores = {f"score_{index}": 0.123456 for index in range(8)}
    cause = EventCause("purchases", 0, number, f"event-{number}", "purchase")
    customer = f"customer-{number % 10_000}"
    return encode_change(
        Change(
            *(f"{customer}:{number}", customer, number, "value", "low", "mid", AT, cause, scores, reasons),
            *(None, None, VERSIONS, Trace(AT, AT, AT)),
        )
    )


async def measured(readers: int, rate: float, seconds: float, query: str) -> tuple[float, float]:
    """Processor seconds per second of this thread, and changes that all readers together took per second."""
    settings = Settings(web_readers=64) if "web_readers" in Settings.model_fields else Settings()
    view = WorkerView(settings, LagMonitor(settings), Metrics(), ChangeFeed(), SegmentCounts(), Idle())
    app = web.Application()
    mount(app, view)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await (site := web.TCPSite(runner, "127.0.0.1", 0)).start()
    assert site._server is not None
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    children = subprocess.Popen(  # noqa: ASYNC220, nothing else runs yet
        [sys.executable, __file__, "--read", str(readers), "--port", str(port), "--query", query],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert children.stdin is not None
    assert children.stdout is not None
    await asyncio.to_thread(children.stdout.readline)  # all are connected
    bodies = [a_body(number) for number in range(1, 2_001)]
    sent, began, cpu = 0, time.perf_counter(), time.thread_time()
    while (elapsed := time.perf_counter() - began) < seconds:
        due = int(elapsed * rate) - sent
        view.changes.publish([bodies[(sent + index) % len(bodies)] for index in range(due)])
        sent += due
        await asyncio.sleep(1 / CHUNKS_PER_S)
    spent = time.thread_time() - cpu
    children.stdin.close()
    took = int((await asyncio.to_thread(children.stdout.readline)) or 0)
    await runner.cleanup()
    children.wait()
    return spent / elapsed, took / elapsed


async def read(readers: int, port: int, query: str) -> None:
    """Follows with so many readers until stdin ends; prints how many changes came."""
    took = 0

    async def follow(session: ClientSession, connected: asyncio.Semaphore) -> None:
        nonlocal took
        async with session.get(f"http://127.0.0.1:{port}/api/changes?{query}") as answer:
            connected.release()
            async for chunk in answer.content.iter_any():
                took += chunk.count(b"\nid: ") + chunk.startswith(b"id: ")

    async with ClientSession(read_bufsize=1 << 20) as session:
        connected = asyncio.Semaphore(0)
        tasks = [asyncio.create_task(follow(session, connected)) for _ in range(readers)]
        for _ in tasks:
            await connected.acquire()
        print("connected", flush=True)
        await asyncio.to_thread(sys.stdin.read)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    print(took, flush=True)


def main() -> None:
    """Prints one row per rate and number of readers."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--readers", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--rates", type=float, nargs="+", default=[10.0, 200.0, 5_000.0])
    parser.add_argument(
        "--query", default="words=1&most=24", help="what the readers ask for; the dashboard's by default"
    )
    parser.add_argument("--read", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.read is not None:
        asyncio.run(read(given.read, given.port, given.query))
        return
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    print(f"{'changes/s':>10} {'readers':>8} {'taken/s':>9} {'share of a core':>16}")
    for rate in given.rates:
        base, _ = _run(measured(0, rate, given.seconds, given.query))
        for readers in given.readers:
            share, taken = _run(measured(readers, rate, given.seconds, given.query))
            print(f"{rate:>10,.0f} {readers:>8} {taken:>9,.0f} {share - base:>15.2%}")


def _run(measuring: Any) -> Any:
    return uvloop.run(measuring)


if __name__ == "__main__":
    main()
