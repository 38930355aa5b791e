"""What a job's surroundings want done from time to time, and before the worker stops."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from streams.plane.ownership import Ownership
from streams.plane.ports import World
from streams.plane.progress import Stale
from streams.plane.records import PartitionGone

log = structlog.get_logger(__name__)

DRAIN_TIMEOUT_S = 5.0

Callback = Callable[[], Awaitable[None]]


class Ticks:
    """Runs registered callbacks while the assignment is complete; see `Pipeline.on_tick` and `Pipeline.on_drain`."""

    def __init__(self, ownership: Ownership, world: World) -> None:
        self._ownership, self._world = ownership, world
        self._ticks: list[tuple[float, Callback]] = []
        self._drains: list[Callback] = []

    def on_tick(self, interval_s: float, callback: Callback) -> None:
        """Registers `callback` for every `interval_s`."""
        self._ticks.append((interval_s, callback))

    def on_drain(self, callback: Callback) -> None:
        """Registers `callback` for the stop."""
        self._drains.append(callback)

    async def run(self, stopped: Callable[[], bool]) -> None:
        """Runs the callbacks of `on_tick` until `stopped`."""
        await asyncio.gather(*(self._repeat(interval_s, callback, stopped) for interval_s, callback in self._ticks))

    async def _repeat(self, interval_s: float, callback: Callback, stopped: Callable[[], bool]) -> None:
        while not stopped():
            await asyncio.sleep(interval_s)
            if self._ownership.ready:
                try:
                    await callback()
                except (PartitionGone, Stale):
                    continue
                except Exception as exc:
                    self._world.fail(exc)
                    raise

    async def drain(self) -> None:
        """Runs the callbacks of `on_drain`, each for at most `DRAIN_TIMEOUT_S`."""
        for drain in self._drains:
            try:
                async with asyncio.timeout(DRAIN_TIMEOUT_S):
                    await drain()
            except (TimeoutError, PartitionGone):
                log.warning("held records were not finished in time; they come again after a restart")
