"""Requests to erase customers: records without a value whose headers say as of when.

They come in the topic `erasures`; `purchases` takes them too, as it did before that topic was there.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from schemas.events import CLICKSTREAM, EARLIEST_S, ERASURES, INPUT_TOPICS, PURCHASES, REVIEWS, Rejected, too_early
from schemas.headers import ERASE_BEFORE_HEADER, ERASE_HEADER
from schemas.patterns import id_mistake
from schemas.positions import OFFSET_BITS
from schemas.times import from_rfc3339, to_rfc3339

_ends_of = msgspec.json.Decoder(dict[str, int])


class ErasureRequest(NamedTuple):
    """A record that asks to erase the customer of its key.

    Attributes:
        at: no event up to this moment counts any more, epoch seconds.
        ends: per event topic, in the order of `INPUT_TOPICS`: records below this offset lie before it, too.
    """

    at: float
    ends: tuple[int, int, int] = (0, 0, 0)


def decode_erasure(
    topic: str, key: bytes, headers: Sequence[tuple[str, bytes | None]], latest_s: float
) -> ErasureRequest | None:
    """What a record without value asks for; None: it is no erasure.

    Args:
        topic: a name of `GROUP_TOPICS`.
        key: the record's key.
        headers: the record's; of several `ERASE_HEADER` the first counts.
        latest_s: epoch seconds, as in `decode`.

    Raises:
        Rejected: it is meant as an erasure, and isn't one.

    >>> decode_erasure("erasures", b"anna", [("regulars-erase", b"1990-01-01T00:01:00Z")], 7e8)
    ErasureRequest(at=631152060.0, ends=(0, 0, 0))
    """
    moment = next((value or b"" for name, value in headers if name == ERASE_HEADER), None)
    field = f"header {ERASE_HEADER}"
    if moment is None:
        if topic == ERASURES:
            raise Rejected("erase", field, "missing; a record of this topic asks to erase the customer of its key")
        return None
    if topic not in (ERASURES, PURCHASES):
        raise Rejected("erase", field, f"an erasure is a record of {ERASURES}")
    try:
        at = from_rfc3339(moment.decode())
    except ValueError:
        raise Rejected("erase", field, "not an RFC 3339 timestamp") from None
    if at < EARLIEST_S:
        raise Rejected("erase", field, too_early(at))
    if at > latest_s:
        raise Rejected("future-time", field, "later than this worker's clock allows")
    try:
        customer_id = key.decode()
    except UnicodeDecodeError:
        raise Rejected("not-utf8", "$", "the key, which must be the customer id, is not UTF-8") from None
    if (mistake := id_mistake(customer_id)) is not None:
        raise Rejected("erase", "$", f"the key {mistake}")
    return ErasureRequest(at, _ends(headers) if topic == ERASURES else (0, 0, 0))


def erasure_headers(at: float, ends: Mapping[str, int]) -> list[tuple[str, bytes]]:
    """The headers of a request; `ends`: see `ErasureRequest`, by name of the event topic.

    >>> erasure_headers(0.0, {"purchases": 7})
    [('regulars-erase', b'1970-01-01T00:00:00Z'), ('regulars-erase-before', b'{"purchases":7}')]
    """
    return [(ERASE_HEADER, to_rfc3339(at).encode()), (ERASE_BEFORE_HEADER, msgspec.json.encode(ends))]


def _ends(headers: Sequence[tuple[str, bytes | None]]) -> tuple[int, int, int]:
    """The end offsets that a request names; 0 for a topic that it does not name.

    Raises:
        Rejected: the header is there, and is not what it should be.
    """
    stated = next((value or b"" for name, value in headers if name == ERASE_BEFORE_HEADER), b"{}")
    field = f"header {ERASE_BEFORE_HEADER}"
    try:
        ends = _ends_of.decode(stated)
    except msgspec.MsgspecError:
        raise Rejected("erase", field, 'not a JSON object; allowed: {"purchases": END_OFFSET, ...}') from None
    if not ends.keys() <= set(INPUT_TOPICS):
        raise Rejected("erase", field, f"a name is none of {', '.join(INPUT_TOPICS)}")
    if not all(0 <= end < 1 << OFFSET_BITS for end in ends.values()):
        raise Rejected("erase", field, f"an offset is not within 0 to 2^{OFFSET_BITS} - 1")
    return ends.get(CLICKSTREAM, 0), ends.get(PURCHASES, 0), ends.get(REVIEWS, 0)
