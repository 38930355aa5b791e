"""Writes the changelog: states with the outputs that they caused, and markers of what was sent."""

from collections.abc import Iterable

from streams.plane.ports import Acknowledgement, World
from streams.plane.records import CONFIRMED_KEY, OUTBOX_HEADER, Headers, Put, encode_outbox

NO_HEADERS: Headers = []


class ChangelogWriter:
    """Writes to the changelog `topic`, one partition at a time; `world` gives the sender."""

    def __init__(self, topic: str, world: World) -> None:
        self._topic, self._world = topic, world

    async def send(self, partition: int, puts: Iterable[Put], confirmed: int) -> Acknowledgement:
        """Sends states with their outboxes, then the marker with the `confirmed` offset.

        The acknowledgement gives the marker's offset.
        """
        records = [
            (put.key, put.value, [(OUTBOX_HEADER, encode_outbox(put.outputs))] if put.outputs else NO_HEADERS)
            for put in puts
        ]
        records.append((CONFIRMED_KEY, b"%d" % confirmed, NO_HEADERS))
        return await self._world.sender().send_batch(self._topic, partition, records)
