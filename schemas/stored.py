"""A state as bytes, laid out as `schemas.layout` says, and back: of one customer; of many at once, `models.stored`."""

import struct
from collections.abc import Sequence
from functools import cache
from typing import Any

import msgspec
from msgspec.structs import astuple

from schemas.groups import GROUPS, TEXT_DIM, Browsing, Spending, Voice
from schemas.layout import ERASED, HEAD, LAYOUT, LAYOUT_AT, SCORED, Field, fields_of, packer
from schemas.states import NEVER, CustomerState, Exposure, Held, PartitionState, Promise, ripe_at

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(CustomerState)
_partition_decoder = msgspec.msgpack.Decoder(PartitionState)
_names = msgspec.msgpack.Decoder(list[str])
_exposures = msgspec.msgpack.Decoder(tuple[Exposure, ...])

_due = struct.Struct("<d")
_head = packer(HEAD)

#: The fixed-width parts behind the head, in their order: name, fields. The bit of the i-th is 1 << i.
PARTS: tuple[tuple[str, tuple[Field, ...]], ...] = (
    ("scores", SCORED),
    *((group, fields_of(numbers)) for group, numbers in GROUPS.items()),
    ("text", tuple((f"text_{i}", "<f8") for i in range(TEXT_DIM))),
    ("erased", ERASED),
)
BITS: dict[str, int] = {name: 1 << i for i, (name, _) in enumerate(PARTS)}
_packers = {name: packer(fields) for name, fields in PARTS}
_NO_TEXT = (0.0,) * TEXT_DIM
_GROUPS_AT = LAYOUT_AT + 1
#: How many numbers each group has; where the head of a row says how many it had.
FIELDS = tuple(len(fields_of(numbers)) for numbers in GROUPS.values())
_FIELDS_AT = packer(HEAD[: [name for name, _ in HEAD].index("spending")]).size
_SCALARS = [i for i, number in enumerate(GROUPS["voice"]) if number.dtype]
_VOICE_NAMES = [number.name for number in GROUPS["voice"] if number.dtype]


def encode_state(state: CustomerState, due: float) -> bytes:
    """The stored value of `state`, to be looked at again at `due` (epoch seconds; `NEVER`)."""
    try:
        return _row(state, due)
    except struct.error:  # a number that doesn't fit its place
        return _due.pack(due) + _encoder.encode(state)


def _row(state: CustomerState, due: float) -> bytes:
    seen, spending, browsing, voice = state.seen, state.spending, state.browsing, state.voice
    groups, parts = 0, []
    for name, row in (
        ("scores", state.scores),
        ("spending", spending and astuple(spending)),
        ("browsing", browsing and astuple(browsing)),
        ("voice", voice and _scalars(astuple(voice))),
        ("text", voice and voice.text_60d if voice is None or voice.text_60d != _NO_TEXT else None),
        ("erased", None if state.erased_at is None else (state.erased_at,)),
    ):
        if row:
            groups |= BITS[name]
            parts.append(_packers[name].pack(*row))
    promised = b""
    if state.promise is not None:
        promised = encode_names(state.promise[1:])
        parts += [_due.pack(state.promise.at), promised]
    names = encode_names([name for dimension, held in state.segments.items() for name in (dimension, held.segment)])
    parts += [names, *(_due.pack(held.since) for held in state.segments.values()), *seen]
    parts += map(_encoder.encode, state.exposures)
    exposures = state.exposures
    head = _head.pack(
        due,
        LAYOUT,
        groups,
        *(len(ids) // 8 for ids in seen),
        len(promised),
        len(state.segments),
        len(exposures),
        *FIELDS,
        len(names),
        *state.offsets,
        state.sequence,
        state.ruled,
        state.first_event_at,
        state.last_event_at,
        state.as_of,
        state.landmark,
        ripe_at(exposures),
        exposures[-1].at if exposures else -NEVER,
    )
    return b"".join((head, *parts))


def encode_names(names: Sequence[str]) -> bytes:
    """Names as they are stored: of segments dimension, segment, ...; of a promise its two."""
    return _encoder.encode(names)


def names_in(stored: bytes) -> list[str]:
    """The inverse of `encode_names`."""
    return _names.decode(stored)


def exposures_in(stored: bytes, count: int) -> tuple[Exposure, ...]:
    """The exposures in the last part of a stored state."""
    return _exposures.decode(b"\xdc" + count.to_bytes(2) + stored)


def encode_exposure(exposure: Exposure) -> bytes:
    """One exposure as it is stored."""
    return _encoder.encode(exposure)


def decode_state(value: bytes) -> CustomerState:
    """Raises msgspec.DecodeError where `value` is no stored state."""
    if len(value) <= LAYOUT_AT or value[LAYOUT_AT] != LAYOUT:
        return _decoder.decode(memoryview(value)[LAYOUT_AT:])
    try:
        return _state(value)
    except (struct.error, IndexError, ValueError) as exc:
        raise msgspec.DecodeError(f"a stored state of {len(value)} bytes ends too early") from exc


def _scalars(numbers: tuple[Any, ...]) -> tuple[float, ...]:
    return tuple([numbers[i] for i in _SCALARS])


def _voice(parts: dict[str, tuple[Any, ...]]) -> Voice:
    named = dict(zip(_VOICE_NAMES, parts["voice"], strict=False))
    return Voice(**named, text_60d=parts.get("text", _NO_TEXT))


@cache
def _fixed(groups: int, fields: bytes) -> tuple[struct.Struct, dict[str, slice]]:
    """Reads head and parts of a row at once; where each part's numbers are.

    Args:
        groups: the bits of the head.
        fields: how many numbers each group has in this row.
    """
    row, places, counts = list(HEAD), {}, dict(zip(GROUPS, fields, strict=True))
    for name, part in PARTS:
        if groups & BITS[name]:
            there = part[: counts.get(name)]
            places[name] = slice(len(row), len(row) + len(there))
            row += there
    return packer(tuple(row)), places


def _state(value: bytes) -> CustomerState:
    fixed, places = _fixed(value[_GROUPS_AT], value[_FIELDS_AT : _FIELDS_AT + len(FIELDS)])
    row = fixed.unpack_from(value)
    counts, exposures, names_size = row[3:8], row[8], row[12]
    sequence, ruled, first, last, as_of, landmark = row[16:22]
    parts = {name: row[place] for name, place in places.items()}
    at = fixed.size
    promise = None
    if counts[3]:
        (promised_at,) = _due.unpack_from(value, at)
        at += _due.size
        promise = Promise(promised_at, *names_in(value[at : at + counts[3]]))
        at += counts[3]
    names = names_in(value[at : at + names_size])
    at += names_size
    since = struct.unpack_from(f"<{counts[4]}d", value, at)
    at += 8 * counts[4]
    seen = []
    for count in counts[:3]:
        seen.append(value[at : at + 8 * count])
        at += 8 * count
    return CustomerState(
        row[13:16],
        sequence,
        {names[2 * i]: Held(names[2 * i + 1], each) for i, each in enumerate(since)},
        first,
        last,
        as_of,
        landmark,
        Spending(*parts["spending"]) if "spending" in parts else None,
        Browsing(*parts["browsing"]) if "browsing" in parts else None,
        _voice(parts) if "voice" in parts else None,
        (seen[0], seen[1], seen[2]),
        parts.get("scores", ()),
        promise,
        exposures_in(value[at:], exposures) if exposures else (),
        ruled,
        *parts.get("erased", (None,)),
    )


def due_of(value: bytes) -> float:
    """When the stored state must be looked at again, without decoding it."""
    due: float = _due.unpack_from(value)[0]
    return due


def encode_partition(state: PartitionState) -> bytes:
    """The stored value of a partition's own state."""
    return _encoder.encode(state)


def decode_partition(value: bytes) -> PartitionState:
    """Raises msgspec.DecodeError where `value` is no partition state."""
    return _partition_decoder.decode(value)
