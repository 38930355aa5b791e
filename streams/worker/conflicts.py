"""Purchases whose event id came before with another amount: no retries, but two events under one name.

The state remembers ids alone, so this is a memory of the process: of its latest purchases, not of all.
"""

from collections import OrderedDict
from collections.abc import Sequence

import structlog

from models.state import PURCHASE
from models.step import Heard
from schemas.events import Purchase

# Purchases whose contents are remembered, about 25 MB; a retry comes within minutes.
REMEMBERED = 100_000

_log = structlog.get_logger(__name__)

_Content = tuple[str, int, str]


class Conflicts:
    """What the latest purchases said, by customer and event id."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._contents: OrderedDict[tuple[str, str], _Content] = OrderedDict()

    def among(self, events: Sequence[Heard], repeated: Sequence[Heard]) -> list[Heard]:
        """Those of `repeated` that say something else than the purchase whose id they have; each is logged.

        Args:
            events: all of a customer's events, in their order.
            repeated: those of them whose id was seen before.
        """
        again = {id(heard) for heard in repeated}
        conflicts = []
        # Those that counted first: within a chunk events count in the order of their times, not as they came.
        for heard in sorted(events, key=lambda each: id(each) in again):
            event = heard.event
            if heard.topic != PURCHASE or not isinstance(event, Purchase):
                continue
            name, content = (event.customer_id, event.event_id), (event.type, event.amount_minor, event.currency)
            before = self._contents.setdefault(name, content)
            if before != content and id(heard) in again:
                conflicts.append(heard)
                _report(heard, before, content)
            if len(self._contents) > self._remembered:
                self._contents.popitem(last=False)
        return conflicts


def _report(heard: Heard, before: _Content, content: _Content) -> None:
    names = zip(("type", "amount", "currency"), before, content, strict=True)
    _log.warning(
        "an event id came again with another content; it changes nothing",
        topic=heard.topic_name,
        partition=heard.partition,
        offset=heard.offset,
        differs=[field for field, one, other in names if one != other],
        way_out="make event_id unique per customer and topic, and send the event under an id of its own",
    )
