"""The layout of a stored state: how `schemas.states` writes it as bytes, and how `models.stored` reads many at once.

Little-endian, without padding:

1. `HEAD`, of every state. First the event time at which the state must be looked at again if nothing is heard (`inf`:
   never), so that a scan over a million customers reads it without decoding them, then the layout's version.
2. The groups that the head's bits `groups` say are there, in the order of `PARTS`: an absent group takes no bytes.
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

Field = tuple[str, str]  # name and dtype

HEAD: tuple[Field, ...] = (
    ("due", "<f8"),
    ("layout", "u1"),
    ("groups", "u1"),
    ("seen_0", "u1"),  # how many ids of each topic
    ("seen_1", "u1"),
    ("seen_2", "u1"),
    ("promised", "u1"),  # bytes of the promise's names
    ("dimensions", "u1"),  # how many segments
    ("exposures", "u1"),  # how many
    ("spending", "u1"),  # how many numbers the group had when the row was written: later ones take their defaults
    ("browsing", "u1"),
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


def fields_of(numbers: tuple[Number, ...]) -> tuple[Field, ...]:
    """The scalar numbers of a group."""
    return tuple((number.name, number.dtype) for number in numbers if number.dtype)
