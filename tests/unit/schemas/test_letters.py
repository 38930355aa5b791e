"""Laws of dead letters: small records as they came, large ones cut so that the letter fits its topic, and say so."""

from typing import NamedTuple

import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas.events import Rejected
from schemas.letters import (
    KEPT_BYTES,
    KEPT_KEY_BYTES,
    LETTER_HEADERS,
    TRUNCATED_HEADER,
    WHOLE_LIMIT_BYTES,
    letter,
)

MIB = 1 << 20
REJECTED = Rejected("too-large", "$", "20000000 bytes; at most 65536")
BATCH_BYTES = 61  # of a batch beside its records


class Record(NamedTuple):
    """What a letter is made of."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    topic: str = "t" * 249  # Kafka's longest
    partition: int = 999
    offset: int = 10**18


def _on_the_wire(key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes]]) -> int:
    """Bytes of the batch that holds the record alone."""
    size: int = DefaultRecordBatchBuilder.estimate_size_in_bytes(key, value, headers)
    return BATCH_BYTES + size


@pytest.mark.parametrize("size", [0, 1, MIB, WHOLE_LIMIT_BYTES - 1])
def test_what_fits_an_input_topic_uncompressed_goes_on_whole(size: int) -> None:
    """Key, value and headers as they came, and nothing that says it was cut."""
    record = Record(b"k", b"v" * size)
    key, value, headers = letter(record, REJECTED)
    assert (key, value) == (record.key, record.value)
    assert [name for name, _ in headers] == list(LETTER_HEADERS)


sizes = st.sampled_from((0, 1, 200, KEPT_KEY_BYTES, KEPT_BYTES, MIB, 3 * MIB))


@settings(max_examples=40, deadline=None)
@given(sizes, sizes, st.lists(sizes, max_size=3), st.integers(0, 50_000))
@example(3 * MIB, 20 * MIB, [20 * MIB], 0)
@example(0, WHOLE_LIMIT_BYTES, [], 0)
@example(0, 0, [], 1_000_000)
def test_every_letter_fits_its_topic(key: int, value: int, large: list[int], many: int) -> None:
    """Whatever is large in the record, by size or by number: half of the 4 MiB that the topic takes is never passed."""
    headers = (*(("h", b"x" * size) for size in large), *((("é", b""),) * many))
    made = letter(Record(b"k" * key, b"v" * value, headers), REJECTED)
    assert _on_the_wire(*made) < 2 * MIB + 2048


def test_a_cut_letter_says_what_the_record_had_and_keeps_what_tells_whose_it_is() -> None:
    """Its beginning, the whole of a customer's key, and small headers although one among them is large."""
    customer = ("ü" * 128).encode()
    came = (("trace", b"abc"), ("large", b"x" * 3 * MIB), ("late", b"z"))
    key, value, headers = letter(Record(customer, b"v" * 20_000_000, came), REJECTED)
    assert (key, value) == (customer, b"v" * KEPT_BYTES)
    assert headers[:2] == [("trace", b"abc"), ("late", b"z")]
    assert dict(headers)[TRUNCATED_HEADER] == b"key=256 value=20000000 headers=%d" % (3 * MIB + 12 + 9 + 9)


def test_a_producer_cannot_say_that_a_letter_was_cut() -> None:
    """Headers by which a letter speaks are its own."""
    _, _, headers = letter(Record(b"k", b"v", ((TRUNCATED_HEADER, b"mine"), ("regulars-reason", b"mine"))), REJECTED)
    assert TRUNCATED_HEADER not in dict(headers)
    assert dict(headers)["regulars-reason"] == b"too-large"
