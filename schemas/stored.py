"""A state as bytes, laid out as `schemas.layout` says, and back: of one customer; of many at once, `models.stored`."""

import struct
from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache
from operator import itemgetter
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import astuple, replace

from schemas.campaigns import CampaignState, dues_in, pack_tail, tail_of, unpack_tail, with_due
from schemas.groups import GROUPS, TEXT_DIM, Browsing, Spending, Voice
from schemas.layout import CAMPAIGNS, ERASED, HEAD, LAYOUT, LAYOUT_AT, SCORED, Field, packer, parts_of
from schemas.states import NEVER, CustomerState, Exposure, Held, PartitionState, Promise, ripe_at

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(CustomerState)
_partition_decoder = msgspec.msgpack.Decoder(PartitionState)
_names = msgspec.msgpack.Decoder(list[str])
_exposures = msgspec.msgpack.Decoder(tuple[Exposure, ...])

_due = struct.Struct("<d")
_head = packer(HEAD)

_PARTS_OF = {group: parts_of(group, numbers) for group, numbers in GROUPS.items()}
_NUMBERS = {part: numbers for parts in _PARTS_OF.values() for part, numbers in parts.items()}

#: The fixed-width parts behind the head, in their order: name, fields. The bit of the i-th is 1 << i.
PARTS: tuple[tuple[str, tuple[Field, ...]], ...] = (
    ("scores", SCORED),
    *((part, tuple((number.name, number.dtype) for number in numbers)) for part, numbers in _NUMBERS.items()),
    ("text", tuple((f"text_{i}", "<f8") for i in range(TEXT_DIM))),
    ("erased", ERASED),
)
BITS: dict[str, int] = {name: 1 << i for i, (name, _) in enumerate(PARTS)}
#: Parts that are absent where all their numbers are 0.
APART: tuple[str, ...] = (*(part for part in _NUMBERS if part not in GROUPS), "text")
#: How many numbers each part of a group has; where the head of a row says how many it had.
FIELDS: dict[str, int] = {part: len(numbers) for part, numbers in _NUMBERS.items()}


def _head_at(name: str) -> int:
    """Where a field of the head begins, in bytes."""
    return packer(HEAD[: [each for each, _ in HEAD].index(name)]).size


_FIELDS_AT = _head_at("spending")
_GROUPS_AT = LAYOUT_AT + 1
_CAMPAIGNS_IN_BYTE = CAMPAIGNS >> 8
_NO_TEXT = (0.0,) * TEXT_DIM
_packers = {name: packer(fields) for name, fields in PARTS}


def _places(group: str, part: str) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
    """Takes a part's numbers out of those of its group."""
    names = [number.name for number in GROUPS[group]]
    return itemgetter(*(names.index(number.name) for number in _NUMBERS[part]))


_taken_from = {
    group: tuple((part, _places(group, part), part in APART) for part in parts) for group, parts in _PARTS_OF.items()
}


def encode_state(state: CustomerState, due: float) -> bytes:
    """The stored value of `state`, to be looked at again at `due` (epoch seconds; `NEVER`)."""
    try:
        return _row(state, due)
    except struct.error:  # a number that doesn't fit its place
        return _due.pack(due) + _encoder.encode(state)


def _row(state: CustomerState, due: float) -> bytes:
    groups, parts, voice = 0, [], state.voice
    rows = [("scores", state.scores)]
    for group, held in (("spending", state.spending), ("browsing", state.browsing), ("voice", voice)):
        if held is not None:
            numbers = astuple(held)
            for part, taken, apart in _taken_from[group]:
                row = taken(numbers)
                if not apart or any(row):
                    rows.append((part, row))
    if voice is not None and any(voice.text_60d):
        rows.append(("text", voice.text_60d))
    if state.erased_at is not None:
        rows.append(("erased", (state.erased_at,)))
    for part, row in rows:
        if row:
            groups |= BITS[part]
            parts.append(_packers[part].pack(*row))
    promised = b""
    if state.promise is not None:
        promised = encode_names(state.promise[1:])
        parts += [_due.pack(state.promise.at), promised]
    names = encode_names([name for dimension, held in state.segments.items() for name in (dimension, held.segment)])
    parts += [names, *(_due.pack(held.since) for held in state.segments.values()), *state.seen]
    parts += map(_encoder.encode, state.exposures)
    if state.campaigns is not None:
        groups |= CAMPAIGNS
        parts.append(pack_tail(state.campaigns))
    exposures = state.exposures
    head = _head.pack(
        due,
        LAYOUT,
        groups,
        *(len(ids) // 8 for ids in state.seen),
        len(promised),
        len(state.segments),
        len(exposures),
        *FIELDS.values(),
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


class _Fixed(NamedTuple):
    """How head and parts of a row with certain parts are read at once.

    Attributes:
        row: reads all of them.
        groups: takes each group that is there out of what `row` read, followed by what stands for the absent:
            0, 0.0 and the text vector.
        places: where scores, text and the time of an erasure are, of those that are there.
    """

    row: struct.Struct
    groups: Mapping[str, Callable[[tuple[Any, ...]], tuple[Any, ...]]]
    places: dict[str, slice]


_INT, _FLOAT, _TEXT = -3, -2, -1
_NAMES_AT = [name for name, _ in HEAD].index("names")


@cache
def _fixed(groups: int, fields: bytes) -> _Fixed:
    """For the bits of a head, and how many numbers each part of a group has in this row."""
    row, places, counts = list(HEAD), {}, dict(zip(FIELDS, fields, strict=True))
    at: dict[str, int] = {}
    for name, part in PARTS:
        if groups & BITS[name]:
            there = part[: counts.get(name)]
            places[name] = slice(len(row), len(row) + len(there))
            at |= {field: len(row) + i for i, (field, _) in enumerate(there)}
            row += there
    absent = {"": _TEXT, "<f8": _FLOAT}
    takers = {
        group: itemgetter(*(at.get(number.name, absent.get(number.dtype, _INT)) for number in numbers))
        for group, numbers in GROUPS.items()
        if groups & BITS[group]
    }
    return _Fixed(packer(tuple(row)), takers, places)


def _state(value: bytes) -> CustomerState:
    fixed = _fixed(
        int.from_bytes(value[_GROUPS_AT : _GROUPS_AT + 2], "little"), value[_FIELDS_AT : _FIELDS_AT + len(FIELDS)]
    )
    campaigns = None
    if has_campaigns(value):
        tail = tail_of(value)
        value, campaigns = value[: -len(tail)], unpack_tail(tail)
    row = fixed.row.unpack_from(value)
    places, groups = fixed.places, fixed.groups
    text = row[places["text"]] if "text" in places else _NO_TEXT
    numbers = (*row, 0, 0.0, text)
    (*counts, exposures) = row[3:9]
    names_size = row[_NAMES_AT]
    sequence, ruled, first, last, as_of, landmark = row[_NAMES_AT + 4 : _NAMES_AT + 10]
    at = fixed.row.size
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
        row[_NAMES_AT + 1 : _NAMES_AT + 4],
        sequence,
        {names[2 * i]: Held(names[2 * i + 1], each) for i, each in enumerate(since)},
        first,
        last,
        as_of,
        landmark,
        Spending(*groups["spending"](numbers)) if "spending" in groups else None,
        Browsing(*groups["browsing"](numbers)) if "browsing" in groups else None,
        Voice(*groups["voice"](numbers)) if "voice" in groups else None,
        (seen[0], seen[1], seen[2]),
        row[places["scores"]] if "scores" in places else (),
        promise,
        exposures_in(value[at:], exposures) if exposures else (),
        ruled,
        row[places["erased"]][0] if "erased" in places else None,
        campaigns,
    )


def due_of(value: bytes) -> float:
    """When the stored state must be looked at again, without decoding it."""
    due: float = _due.unpack_from(value)[0]
    return due


class Glance(NamedTuple):
    """What a scan over every customer needs of a state.

    Attributes:
        due: when it must be looked at again, epoch seconds; `NEVER`: only when an event comes.
        ruled: the policy that judged it last (`models.policy.Policy.tag`).
        is_erased: it is a remainder.
        places: (dimension, segment) of each dimension.
    """

    due: float
    ruled: int
    is_erased: bool
    places: tuple[tuple[str, str], ...]


_PROMISED_AT, _NAMES_SIZE_AT, _RULED_AT = map(_head_at, ("promised", "names", "ruled"))
_glanced = struct.Struct("<Id")  # `ruled`, then `first`


def glance(value: bytes) -> Glance:
    """A fifth of the work of `decode_state`. Raises as it does."""
    if len(value) <= LAYOUT_AT or value[LAYOUT_AT] != LAYOUT:
        state = decode_state(value)
        places = tuple((dimension, held.segment) for dimension, held in state.segments.items())
        return Glance(due_of(value), state.ruled, state.is_erased, places)
    try:
        ruled, first = _glanced.unpack_from(value, _RULED_AT)
        at = _fixed(
            int.from_bytes(value[_GROUPS_AT : _GROUPS_AT + 2], "little"), value[_FIELDS_AT : _FIELDS_AT + len(FIELDS)]
        ).row.size
        if promised := value[_PROMISED_AT]:
            at += _due.size + promised
        size = int.from_bytes(value[_NAMES_SIZE_AT : _NAMES_SIZE_AT + 2], "little")
        return Glance(due_of(value), ruled, first == NEVER, _places_in(value[at : at + size]))
    except (struct.error, IndexError, ValueError) as exc:
        raise msgspec.DecodeError(f"a stored state of {len(value)} bytes ends too early") from exc


@lru_cache(4096)
def _places_in(names: bytes) -> tuple[tuple[str, str], ...]:
    """Customers share few combinations of segments."""
    each = names_in(names)
    return tuple(zip(each[::2], each[1::2], strict=True))


def has_campaigns(value: bytes) -> bool:
    """Whether a row has a part about campaigns; no state of layout 1 is a row."""
    return value[LAYOUT_AT] == LAYOUT and value[_GROUPS_AT + 1] & _CAMPAIGNS_IN_BYTE > 0


def may_have_campaigns(value: bytes) -> bool:
    """Whether a stored state has a part about campaigns, or is of layout 1, which only decoding can say of."""
    return value[LAYOUT_AT] != LAYOUT or has_campaigns(value)


def campaigns_of(value: bytes) -> CampaignState | None:
    """What a stored state keeps of campaigns, without decoding the rest. Raises as `decode_state`."""
    if value[LAYOUT_AT] != LAYOUT:
        return decode_state(value).campaigns
    try:
        return unpack_tail(tail_of(value)) if has_campaigns(value) else None
    except ValueError as exc:
        raise msgspec.DecodeError(str(exc)) from exc


def moved_due(value: bytes, rest: float | None, horizon: float) -> tuple[bytes, float] | None:
    """A row with a part about campaigns of which nothing changes but when the state is due, and that moment.

    None: a decision is over at `horizon`, or it is no such row; `campaigns_of` says more.

    Args:
        value: as stored.
        rest: when the rest of the state is due; None: as before.
        horizon: epoch seconds.
    """
    if not has_campaigns(value):
        return None
    tail = tail_of(value)
    before, reward_due = dues_in(tail)
    if reward_due < horizon:
        return None
    rest = before if rest is None else rest
    due = min(rest, reward_due)
    return b"".join((_due.pack(due), value[LAYOUT_AT : -len(tail)], with_due(tail, rest))), due


def with_campaigns(value: bytes, campaigns: CampaignState | None, due: float) -> bytes:
    """The stored state with another part about campaigns, to be looked at again at `due`; the rest stays as it is."""
    if value[LAYOUT_AT] != LAYOUT:
        return encode_state(replace(decode_state(value), campaigns=campaigns), due)
    end = len(value) - len(tail_of(value)) if has_campaigns(value) else len(value)
    high = value[_GROUPS_AT + 1] & ~_CAMPAIGNS_IN_BYTE | (_CAMPAIGNS_IN_BYTE if campaigns is not None else 0)
    tail = b"" if campaigns is None else pack_tail(campaigns)
    after = _GROUPS_AT + 2
    return b"".join((_due.pack(due), value[LAYOUT_AT : after - 1], bytes((high,)), value[after:end], tail))


def encode_partition(state: PartitionState) -> bytes:
    """The stored value of a partition's own state."""
    return _encoder.encode(state)


def decode_partition(value: bytes) -> PartitionState:
    """Raises msgspec.DecodeError where `value` is no partition state."""
    return _partition_decoder.decode(value)
