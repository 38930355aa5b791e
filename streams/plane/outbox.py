"""How the outputs of new states travel in the changelog, however many one state causes.

An outbox is a header of its state's record. Where that would make the record too large for the topic, the first parts of the
outbox go right ahead of it, in records of their own, and the state's record says how many there are. Parts without that
record count for nothing: the state was not written, and its work is done again.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from streams.kafka.changelog import PLANE_PREFIX
from streams.plane.records import (
    NO_HEADERS,
    OUTBOX_HEADER,
    Headers,
    Output,
    Put,
    decode_outbox,
    encode_outbox,
    outbox_of,
)

# A changelog record may have 2 MiB, and a topic that somebody made by hand Kafka's default of 1 MiB. A state has a few KB.
PART_BYTES = 512 << 10

PART_KEY = PLANE_PREFIX + b"outbox-part-"  # and a number, so that compaction keeps all parts of a chunk
PARTS_HEADER = "outbox-parts"  # of a state's record: how many of the records right before it are parts of its outbox


def state_records(puts: Iterable[Put]) -> list[tuple[bytes, bytes | None, Headers]]:
    """The changelog records of new states, in order, each behind the parts of its outbox."""
    records: list[tuple[bytes, bytes | None, Headers]] = []
    number = 0
    for key, value, outputs in puts:
        if not outputs:
            records.append((key, value, NO_HEADERS))
            continue
        *ahead, last = _parts(outputs)
        headers = [(OUTBOX_HEADER, last)]
        if ahead:
            headers.append((PARTS_HEADER, b"%d" % len(ahead)))
        for part in ahead:
            records.append((PART_KEY + b"%d" % number, b"", [(OUTBOX_HEADER, part)]))
            number += 1
        records.append((key, value, headers))
    return records


def _parts(outputs: Sequence[Output]) -> list[bytes]:
    """The outputs, encoded in as few halves of halves as fit; a single output is never divided."""
    encoded = encode_outbox(outputs)
    if len(encoded) <= PART_BYTES or len(outputs) == 1:
        return [encoded]
    middle = len(outputs) // 2
    return _parts(outputs[:middle]) + _parts(outputs[middle:])


class Unconfirmed:
    """Outboxes of one partition's changelog records beyond the confirmed offset, in order."""

    def __init__(self, confirmed: int) -> None:
        self.confirmed = confirmed
        self._outboxes: list[tuple[int, bytes]] = []
        self._parts: list[bytes] = []  # those right before the next record

    def confirm(self, offset: int) -> None:
        """Outputs of records up to `offset` were sent."""
        if offset > self.confirmed:
            self.confirmed = offset
            self._outboxes = [(at, outbox) for at, outbox in self._outboxes if at > offset]

    def add(self, offset: int, headers: Sequence[tuple[str, bytes]]) -> None:
        """The record of a state at `offset` has these headers."""
        parts, self._parts = self._parts, []
        if not headers or offset <= self.confirmed or (last := outbox_of(headers)) is None:
            return
        ahead = int(dict(headers).get(PARTS_HEADER, b"0"))
        self._outboxes += [(offset, part) for part in (*parts[len(parts) - ahead :], last)]

    def add_part(self, record: Any) -> None:
        """A record of the data plane's own: a part of the next state's outbox, or something else."""
        if record.key.startswith(PART_KEY) and (part := outbox_of(record.headers)) is not None:
            self._parts.append(part)

    def outputs(self) -> list[Output]:
        """What has to be sent again."""
        return [output for _, outbox in self._outboxes for output in decode_outbox(outbox)]
