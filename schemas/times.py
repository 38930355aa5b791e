"""RFC 3339 timestamps to and from epoch seconds (float64, UTC; microseconds are kept)."""

from datetime import UTC, datetime

import msgspec

DAY_S = 86_400.0
LATEST_S = 253_402_300_799  # the last second that RFC 3339 can write

_aware = msgspec.json.Decoder(datetime)
_encode = msgspec.json.Encoder().encode  # a third of isoformat()'s time


def to_rfc3339(at_s: float) -> str:
    """`at_s` (epoch seconds) as UTC with a `Z`; a fraction is written only where there is one.

    >>> to_rfc3339(0.0), to_rfc3339(1322750400.25)
    ('1970-01-01T00:00:00Z', '2011-12-01T14:40:00.250000Z')
    """
    return _encode(datetime.fromtimestamp(at_s, UTC))[1:-1].decode()


def from_rfc3339(text: str) -> float:
    """Epoch seconds of an RFC 3339 timestamp with an offset.

    Raises:
        ValueError: `text` isn't RFC 3339, or has no offset.

    >>> from_rfc3339("1970-01-01T01:00:00+01:00")
    0.0
    """
    try:
        at = _aware.decode(msgspec.json.encode(text))
    except msgspec.ValidationError as exc:
        raise ValueError(f"not an RFC 3339 timestamp: {exc}") from exc
    if at.tzinfo is None:
        raise ValueError("an RFC 3339 timestamp needs an offset (Z or +00:00)")
    return at.timestamp()
