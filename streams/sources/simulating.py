"""A simulation: sends the history of the synthetic shop first and then, if wanted, live events."""

import asyncio
import math
import time
from dataclasses import dataclass
from typing import NamedTuple

from streams.settings import Settings
from streams.sources.pace import SendingPace
from streams.sources.sender import Progress, SendResult, TimelineSender
from streams.sources.shop import HEADER, ShopPlan, SimulatedShop, customers_for

# After a history at full speed, live events come at this rate (per second), unless `live_rate` is given.
LIVE_RATE = 100.0


@dataclass(frozen=True)
class Simulation:
    """What to simulate.

    Attributes:
        seed: decides everything that happens.
        customers: how many arrive in `days`; None: as many as make `events`, or 2,000.
        days: length of the history, which ends now, so that no event is in the future.
        events: stop after so many, history and life together; None: no limit.
        rate: events per second of the history; None: as fast as possible.
        follow: continue live after the history, until stopped or until `events` are reached.
        live_rate: live events per second; None: `rate`, or 100 where that is None too.
    """

    seed: int = 1
    customers: int | None = None
    days: float = 90.0
    events: int | None = None
    rate: float | None = None
    follow: bool = False
    live_rate: float | None = None

    def shop_plan(self, end_s: float) -> ShopPlan:
        """The shop whose history ends at `end_s`."""
        customers = self.customers
        if customers is None:
            customers = 2_000 if self.events is None else customers_for(self.events, self.seed, self.days)
        return ShopPlan(self.seed, customers, self.days, end_s)


class Simulated(NamedTuple):
    """What was sent and acked. `live` is None if there was nothing after the history."""

    customers: int
    history: SendResult
    live: SendResult | None

    @property
    def events(self) -> int:
        """Of both parts."""
        return self.history.events + (0 if self.live is None else self.live.events)


async def run_simulation(
    settings: Settings, plan: Simulation, progress: Progress | None = None, stop: asyncio.Event | None = None
) -> Simulated:
    """Sends the events of a synthetic shop; every record has the header `regulars-synthetic: 1`.

    Args:
        settings: the cluster and the topics' prefix.
        plan: what to simulate.
        progress: called a few times a second with (events so far, event time).
        stop: set it to end gracefully: what was pulled is sent and acked. Cancelling the task does the same.

    Raises:
        BrokerLost, TopicsNotReady, PartitionsDiffer: there is nowhere to send to.
        SendFailed: the broker stopped taking events.
    """
    stop = stop or asyncio.Event()
    async with TimelineSender.open(settings, [HEADER]) as sender:
        # Whole seconds: the history is the same for everyone who starts with the same seed in that second.
        shop = SimulatedShop(plan.shop_plan(float(math.floor(time.time()))))
        history = await sender.send(
            shop.history_timeline(plan.events), SendingPace(rate=plan.rate), progress=progress, stop=stop
        )
        rest = None if plan.events is None else plan.events - history.events
        if not plan.follow or not history.finished or rest == 0:
            return Simulated(len(shop.customers), history, None)
        live = await sender.send(
            shop.live_timeline(time.time, rest),
            SendingPace(rate=plan.live_rate or plan.rate or LIVE_RATE),
            progress=_after(history.events, progress),
            stop=stop,
        )
        return Simulated(len(shop.customers), history, live)


def _after(events: int, progress: Progress | None) -> Progress | None:
    """`progress` for a second part, counting on from the first."""
    if progress is None:
        return None
    return lambda more, at_s: progress(events + more, at_s)
