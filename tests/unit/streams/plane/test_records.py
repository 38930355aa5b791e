"""Laws of the outbox codec."""

from hypothesis import given
from hypothesis import strategies as st

from streams.plane.records import CONFIRMED_KEY, OUTBOX_HEADER, Output, decode_outbox, encode_outbox, outbox_of

outputs = st.builds(
    Output,
    st.text(max_size=20),
    st.binary(max_size=20),
    st.none() | st.binary(max_size=50),
    st.lists(st.tuples(st.text(max_size=10), st.binary(max_size=10)), max_size=3),
)


@given(st.lists(outputs, max_size=5))
def test_an_outbox_gives_back_the_same_outputs(sent: list[Output]) -> None:
    """Same topics, keys, values and headers, in order."""
    assert decode_outbox(encode_outbox(sent)) == sent


def test_the_outbox_is_found_among_other_headers() -> None:
    """Headers of later versions don't hide it; a record without one caused nothing."""
    assert outbox_of([("trace", b"1"), (OUTBOX_HEADER, b"2")]) == b"2"
    assert outbox_of(()) is None


def test_no_id_collides_with_a_reserved_key() -> None:
    """The reserved keys' first byte is never the first of UTF-8."""
    assert all(chr(point).encode()[0] != CONFIRMED_KEY[0] for point in (0, 0x7F, 0x80, 0x7FF, 0x800, 0xFFFF, 0x10FFFF))
