"""Which records without a value erase a customer, as of when, and which are rejected."""

from datetime import UTC, datetime

import pytest

from schemas import events
from schemas.events import Rejected

LATEST_S = datetime(2024, 5, 1, 1, tzinfo=UTC).timestamp()

ERASE = [("other", b"x"), ("regulars-erase", b"2024-01-01T10:00:00Z")]


@pytest.mark.parametrize("headers", [[], [("regulars-clock", b"2024-01-01T10:00:00Z")]])
@pytest.mark.parametrize("topic", events.INPUT_TOPICS)
def test_a_record_without_value_erases_nobody_without_the_header(topic: str, headers: list[tuple[str, bytes]]) -> None:
    """A tombstone of a producer that means something else stays a dead letter."""
    assert events.decode_erasure(topic, b"c-1", headers, LATEST_S) is None


def test_an_erasure_has_a_moment() -> None:
    """Its header is the moment up to which no event counts any more; the first of several."""
    later = ("regulars-erase", b"2024-01-02T10:00:00Z")
    assert events.decode_erasure("purchases", "ännchen".encode(), [*ERASE, later], LATEST_S) == 1704103200.0


@pytest.mark.parametrize(
    ("topic", "key", "moment", "reason"),
    [
        ("clickstream", b"c-1", b"2024-01-01T10:00:00Z", "erase"),
        ("reviews", b"c-1", b"2024-01-01T10:00:00Z", "erase"),
        ("purchases", b"c-1", None, "erase"),
        ("purchases", b"c-1", b"", "erase"),
        ("purchases", b"c-1", b"now", "erase"),
        ("purchases", b"c-1", b"\xff", "erase"),
        ("purchases", b"c-1", b"2024-01-01T10:00:00", "erase"),
        ("purchases", b"c-1", b"9999-01-01T10:00:00Z", "future-time"),
        ("purchases", b"\xff\x01partition", b"2024-01-01T10:00:00Z", "not-utf8"),
        ("purchases", b"x" * 129, b"2024-01-01T10:00:00Z", "erase"),
        ("purchases", b"__faust\0offset__", b"2024-01-01T10:00:00Z", "erase"),  # a key of the local store
        ("purchases", b"c\n1", b"2024-01-01T10:00:00Z", "erase"),
        ("purchases", b"c-1", b"0001-01-01T00:00:00+14:00", "erase"),  # the year 0 in UTC, which cannot be written
        ("purchases", b"c-1", b"1989-12-31T23:59:59Z", "erase"),
    ],
)
def test_an_invalid_erasure_is_rejected(topic: str, key: bytes, moment: bytes | None, reason: str) -> None:
    """A producer whose erasure is refused learns it from a dead letter."""
    with pytest.raises(Rejected) as rejected:
        events.decode_erasure(topic, key, [("regulars-erase", moment)], LATEST_S)

    assert rejected.value.reason == reason
