"""Watches by heartbeats whether Kafka is there: logs when it goes and comes back, and ends a worker that waits in vain."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Protocol

import structlog

from streams.kafka.errors import BrokerLost
from streams.kafka.patience import AWAY_AFTER_S, Outage
from streams.kafka.refusals import LOOK_LIMIT_S, refusal
from streams.plane.lease import Lease
from streams.settings import Settings

log = structlog.get_logger(__name__)

LOOK_INTERVAL_S = 1.0


class RebalanceState(Protocol):
    """What the watch asks of the app (`runtime.App`)."""

    @property
    def should_stop(self) -> bool:
        """Whether the worker stops."""

    @property
    def rebalancing(self) -> bool:
        """Whether a rebalance is under way."""


class BrokerWatch:
    """See the module.

    Args:
        settings: how Kafka is reached, and how long a rebalance may take.
        lease: when a heartbeat was answered last.
        fail: ends the process.
        rebalance_timeout_s: how long members may be without heartbeats in a rebalance.
    """

    def __init__(
        self, settings: Settings, lease: Lease, fail: Callable[[BaseException], object], rebalance_timeout_s: float
    ) -> None:
        self._settings, self._lease, self._fail = settings, lease, fail
        self._rebalance_timeout_s = rebalance_timeout_s

    async def run(self, app: RebalanceState) -> None:
        """Looks once a second until the worker stops."""
        lease, outage = self._lease, Outage()
        while not app.should_stop:
            await asyncio.sleep(LOOK_INTERVAL_S)
            if stood_s := lease.look():
                log.warning("this worker stood still", seconds=round(stood_s))
            # While a rebalance waits for its members, none of them sends heartbeats.
            bear_s = AWAY_AFTER_S + (self._rebalance_timeout_s if app.rebalancing else 0.0)
            news = outage.look(lease.silence_s, bear_s) if lease.known else None
            if news == "away":
                log.warning("Kafka is away", seconds=round(outage.away_s), ends_after_s=round(lease.patience_s))
            elif news == "back":
                log.warning("Kafka is back", seconds=round(outage.away_s))
            if lease.hopeless and not app.should_stop:
                await self._give_up()

    async def _give_up(self) -> None:
        silent_s, reason = self._lease.silence_s, None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_LIMIT_S):
                reason = await refusal(self._settings)
        suffix = "" if reason is None else f"; {reason}"
        self._fail(BrokerLost(f"Kafka did not answer a heartbeat for {silent_s:.0f} s{suffix}"))
