"""Callbacks that a pipeline awaits again and again while it is ready."""

import asyncio
from collections.abc import Awaitable, Callable

from streams.plane.ports import World
from streams.plane.progress import Stale
from streams.plane.records import PartitionGone

Callback = Callable[[], Awaitable[None]]


class Ticks:
    """Registered callbacks with their intervals; register before the app starts."""

    def __init__(self, world: World, is_ready: Callable[[], bool]) -> None:
        self._world, self._is_ready = world, is_ready
        self._ticks: list[tuple[float, Callback]] = []

    def add(self, interval_s: float, callback: Callback) -> None:
        """Awaits `callback` every `interval_s` while ready, never twice at a time.

        It may raise PartitionGone (ignored); any other exception ends the process.
        """
        self._ticks.append((interval_s, callback))

    async def run(self, is_stopped: Callable[[], bool]) -> None:
        """Runs the callbacks until `is_stopped`."""
        await asyncio.gather(*(self._run(interval_s, callback, is_stopped) for interval_s, callback in self._ticks))

    async def _run(self, interval_s: float, callback: Callback, is_stopped: Callable[[], bool]) -> None:
        while not is_stopped():
            await asyncio.sleep(interval_s)
            if self._is_ready():
                try:
                    await callback()
                except (PartitionGone, Stale):
                    continue
                except Exception as exc:
                    self._world.fail(exc)
                    raise
