"""The layout of a stored state: how `schemas.states` writes it as bytes, and how `models.stored` reads many at once.

Little-endian, without padding:

1. `HEAD`, of every state. First the event time at which the state must be looked at again if nothing is heard (`inf`:
   never), so that a scan over a million customers reads it without decoding them, then the layout's version.
2. The parts that the head's bits `groups` say are there, in the order of `schemas.stored.PARTS`. A group that is absent
   takes no bytes, nor does a part (`schemas.numbers.Apart`) whose numbers are all 0.
3. Of a promise its moment, then msgpack of dimension and segment; of segments msgpack of names (dimension, segment, ...),
   then a moment each; the ids remembered of each topic, 8 bytes each; the exposures, msgpack of one after another.

Version 1 was 8 bytes of due time and msgpack of the whole state as an array. Its ninth byte is the head of an array, at
least 0x90, so the two can't be mixed up. It is read for good, and still written where a number doesn't fit the row.
"""

import struct

from schemas.learning import SCORES
from schemas.numbers import Number

LAYOUT = 2
#: Where the version stands.
LAYOUT_AT = 8
#: The bit of the head's `groups` of a state that has a part about campaigns; the lower bits are those of the parts.
CAMPAIGNS = 1 << 15

Field = tuple[str, str]  # name and dtype

HEAD: tuple[Field, ...] = (
    ("due", "<f8"),
    ("layout", "u1"),
    ("groups", "<u2"),
    ("seen_0", "u1"),  # how many ids of each topic
    ("seen_1", "u1"),
    ("seen_2", "u1"),
    ("promised", "u1"),  # bytes of the promise's names
    ("dimensions", "u1"),  # how many segments
    ("exposures", "u1"),  # how many
    ("spending", "u1"),  # how many numbers the part had when the row was written: later ones take their defaults
    ("refunds", "u1"),
    ("baskets", "u1"),
    ("browsing", "u1"),
    ("seeking", "u1"),
    ("funnel", "u1"),
    ("voice", "u1"),
    ("names", "<u2"),  # bytes of the segments' names
    ("offset_0", "<i8"),
    ("offset_1", "<i8"),
    ("offset_2", "<i8"),
    ("sequence", "<u4"),
    ("ruled", "<u4"),
    ("first", "<f8"),
    ("last", "<f8"),
    ("as_of", "<f8"),
    ("landmark", "<f8"),
    ("ripe_at", "<f8"),  # no label matures before
    ("kept_at", "<f8"),  # the latest exposure's moment
)
SCORED: tuple[Field, ...] = tuple((name, "<f8") for name in SCORES)
ERASED: tuple[Field, ...] = (("erased_at", "<f8"),)

_CODES = {"<f8": "d", "<i8": "q", "<u4": "I", "<u2": "H", "u1": "B"}


def packer(fields: tuple[Field, ...]) -> struct.Struct:
    """Reads and writes one row of `fields`."""
    return struct.Struct("<" + "".join(_CODES[dtype] for _, dtype in fields))


def parts_of(group: str, numbers: tuple[Number, ...]) -> dict[str, tuple[Number, ...]]:
    """The scalar numbers of a group by the part that holds them; the group's own part comes first."""
    parts: dict[str, tuple[Number, ...]] = {group: ()}
    for number in numbers:
        if number.dtype:
            part = number.part or group
            parts[part] = (*parts.get(part, ()), number)
    return parts
