"""The common job: one running state per customer, one output whenever the tier moves.

The same work as every peer in `benchmarks/README.md` does: JSON events keyed by customer; event count, purchases,
spend, last event time and tier; replays skipped by the offset in the state.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec
from aiokafka.structs import ConsumerRecord

from streams.plane.records import Effects, Output, Put


class Event(msgspec.Struct, gc=False):
    """What the generator writes."""

    event_id: str
    customer_id: str
    type: str
    product_id: str
    amount_cents: int
    event_time: float
    session_id: str


class State(msgspec.Struct, array_like=True, gc=False):
    """One customer."""

    events: int = 0
    purchases: int = 0
    cents: int = 0
    last_event_time: float = 0.0
    tier: str = "low"
    offset: int = -1
    sequence: int = 0


class Chunk(NamedTuple):
    """Events by customer, in order."""

    keys: list[bytes]
    groups: dict[bytes, list[tuple[int, Event]]]
    held: Sequence[ConsumerRecord] = ()


_event = msgspec.json.Decoder(Event).decode
_state = msgspec.msgpack.Decoder(State).decode
_packed = msgspec.msgpack.Encoder().encode
_json = msgspec.json.Encoder().encode


class CommonJob:
    """`streams.plane.records.Job` over one topic."""

    def __init__(self, topic: str, output: str) -> None:
        self.topics = (topic,)
        self.outputs = (output,)
        self.gathered = ()
        self._output = output

    def decode(self, partition: int, records: Sequence[ConsumerRecord]) -> Chunk:
        """Events by customer."""
        groups: dict[bytes, list[tuple[int, Event]]] = {}
        for record in records:
            entry = (record.offset, _event(record.value))
            if (group := groups.get(record.key)) is None:
                groups[record.key] = [entry]
            else:
                group.append(entry)
        return Chunk(list(groups), groups)

    def step(self, partition: int, work: Chunk, values: Sequence[bytes | None]) -> Effects:
        """Counts, and says when a tier moved."""
        puts = []
        for key, value in zip(work.keys, values, strict=True):
            state = State() if value is None else _state(value)
            before, outputs = state.offset, []
            for offset, event in work.groups[key]:
                if offset <= state.offset:
                    continue
                state.events += 1
                state.last_event_time = event.event_time
                if event.type == "purchase":
                    state.purchases += 1
                    state.cents += event.amount_cents
                tier = "high" if state.cents > 50_000 else "mid" if state.cents > 15_000 else "low"
                state.offset = offset
                if tier != state.tier:
                    state.tier = tier
                    state.sequence += 1
                    outputs.append(Output(self._output, key, _json([state.sequence, tier, offset]), []))
            if state.offset != before:
                puts.append(Put(key, _packed(state), outputs))
        return Effects(puts, [])

    def restored(self, partition: int, items: Iterator[tuple[bytes, bytes]]) -> Iterator[None]:
        """Keeps nothing in memory."""
        return iter(())

    def refuse(self, partition: int, record: ConsumerRecord, cause: Exception) -> Output:
        """Nothing is set aside here."""
        raise cause

    def revoked(self, partition: int) -> None:
        """Keeps nothing in memory."""
