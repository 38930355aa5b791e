"""Dead letters: what a record that was refused becomes, and the headers that say where it was and why.

A record of up to `WHOLE_LIMIT_BYTES` goes on as it came. A larger one, which only compression brings to us, is cut:
whatever a producer sends, its letter fits its topic.
"""

from collections.abc import Sequence
from typing import Protocol

from schemas.events import RECORD_LIMIT_BYTES, Rejected
from schemas.headers import LETTER_HEADERS, TRUNCATED_HEADER

Headers = list[tuple[str, bytes]]

# Whatever fits an input topic uncompressed (max.message.bytes, 2 MiB). With our own headers and Kafka's framing, which
# take some hundred bytes, it is far from the 4 MiB that `dead-letters` takes.
WHOLE_LIMIT_BYTES = 2 << 20
# Of a larger record: as much of the value, and of the headers, as an event may be large. It can't be sent back anyhow.
KEPT_BYTES = RECORD_LIMIT_BYTES
# A customer id has at most 128 characters of four bytes: so the customer of a cut record can be identified.
KEPT_KEY_BYTES = 1024
# Of one header, besides its name and its value.
HEADER_FRAMING_BYTES = 4


class Refused(Protocol):
    """A record as a Kafka client gives it. A header's value may be null."""

    @property
    def topic(self) -> str:
        """Full name of the topic that it is in."""

    @property
    def partition(self) -> int:
        """Its partition."""

    @property
    def offset(self) -> int:
        """Its offset."""

    @property
    def key(self) -> bytes | None:
        """Its key."""

    @property
    def value(self) -> bytes | None:
        """Its value."""

    @property
    def headers(self) -> Sequence[tuple[str, bytes]]:
        """Its headers."""


def letter(record: Refused, rejected: Rejected) -> tuple[bytes | None, bytes | None, Headers]:
    """Key, value and headers of the dead letter of `record`.

    The record's own headers follow, without those whose names a letter uses itself. Where the record is larger than
    `WHOLE_LIMIT_BYTES`, the letter has the first `KEPT_KEY_BYTES` of its key, the first `KEPT_BYTES` of its value, those
    of its headers that fit `KEPT_BYTES` together, whole and in order, and `TRUNCATED_HEADER`.
    """
    key, value = record.key, record.value
    own = [
        (name, content) for name, content in record.headers if name not in LETTER_HEADERS and name != TRUNCATED_HEADER
    ]
    reported = (
        record.topic.encode(),
        b"%d" % record.partition,
        b"%d" % record.offset,
        rejected.reason.encode(),
        rejected.field.encode(),
        rejected.detail.encode(),
    )
    reasons = list(zip(LETTER_HEADERS, reported, strict=True))
    sizes = len(key or b""), len(value or b""), headers_bytes(record.headers)
    if sum(sizes) <= WHOLE_LIMIT_BYTES:
        return key, value, own + reasons
    room = KEPT_BYTES
    kept = []
    for header in own:
        size = headers_bytes((header,))
        if size <= room:
            kept.append(header)
            room -= size
    reasons.append((TRUNCATED_HEADER, b"key=%d value=%d headers=%d" % sizes))
    return (
        None if key is None else key[:KEPT_KEY_BYTES],
        None if value is None else value[:KEPT_BYTES],
        kept + reasons,
    )


def headers_bytes(headers: Sequence[tuple[str, bytes]]) -> int:
    """The size of headers in a record, at most: a few bytes more than they take."""
    return sum(len(name.encode()) + len(value or b"") + HEADER_FRAMING_BYTES for name, value in headers)
