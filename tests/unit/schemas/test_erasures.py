"""Which records without a value erase a customer, as of when, and which are rejected."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import erasures, events
from schemas.events import EARLIEST_S, Rejected

LATEST_S = datetime(2024, 5, 1, 1, tzinfo=UTC).timestamp()

ERASE = [("other", b"x"), ("regulars-erase", b"2024-01-01T10:00:00Z")]


@pytest.mark.parametrize("headers", [[], [("regulars-clock", b"2024-01-01T10:00:00Z")]])
@pytest.mark.parametrize("topic", events.INPUT_TOPICS)
def test_a_record_without_value_erases_nobody_without_the_header(topic: str, headers: list[tuple[str, bytes]]) -> None:
    """A tombstone of a producer that means something else stays a dead letter."""
    assert erasures.decode_erasure(topic, b"c-1", headers, LATEST_S) is None


def test_an_erasure_has_a_moment() -> None:
    """Its header is the moment up to which no event counts any more; the first of several."""
    later = ("regulars-erase", b"2024-01-02T10:00:00Z")
    for topic in ("erasures", "purchases"):
        request = erasures.decode_erasure(topic, "ännchen".encode(), [*ERASE, later], LATEST_S)
        assert request == erasures.ErasureRequest(1704103200.0)


@given(
    st.floats(EARLIEST_S, LATEST_S), st.dictionaries(st.sampled_from(events.INPUT_TOPICS), st.integers(0, 2**48 - 1))
)
def test_a_request_reads_as_it_was_written(at: float, ends: dict[str, int]) -> None:
    """In `erasures`; in `purchases` the ends say nothing."""
    headers = erasures.erasure_headers(at, ends)
    request = erasures.decode_erasure("erasures", b"c-1", headers, LATEST_S)
    assert request is not None
    assert request.at == pytest.approx(at, abs=1e-3)
    assert request.ends == tuple(ends.get(name, 0) for name in events.INPUT_TOPICS)
    elsewhere = erasures.decode_erasure("purchases", b"c-1", headers, LATEST_S)
    assert elsewhere == request._replace(ends=(0, 0, 0))


@pytest.mark.parametrize(
    "before", [b"", b"7", b"{", b'{"purchases":-1}', b'{"sales":1}', b'{"purchases":281474976710656}']
)
def test_what_lies_before_it_is_named_as_it_should_be(before: bytes) -> None:
    """A header that cannot be read makes a dead letter: an erasure that reaches less than was meant would pass for done."""
    headers = [*ERASE, ("regulars-erase-before", before)]
    with pytest.raises(Rejected) as rejected:
        erasures.decode_erasure("erasures", b"c-1", headers, LATEST_S)
    assert (rejected.value.reason, rejected.value.field) == ("erase", "header regulars-erase-before")


def test_whatever_is_no_erasure_is_rejected_in_their_topic() -> None:
    """Nothing else belongs there."""
    with pytest.raises(Rejected) as rejected:
        erasures.decode_erasure("erasures", b"c-1", [("other", b"x")], LATEST_S)
    assert rejected.value.reason == "erase"


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
        erasures.decode_erasure(topic, key, [("regulars-erase", moment)], LATEST_S)

    assert rejected.value.reason == reason
