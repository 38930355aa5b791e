"""A challenger as a record of `model-snapshots`: one line of JSON, then the bytes of its estimator.

A trainer publishes the challengers just before the snapshot that goes with them, so a challenger's record is never older
than the snapshot. Where a trainer died in between it is newer: as many labels as it has learnt more, it lets pass.
"""

import msgspec
from msgspec import Struct

from models.learning.challenger import Challenger
from models.learning.persistence import StateError, decode_estimator, encode_estimator

# Half of what the topic takes (`schemas.topics`, 4 MiB).
LARGEST_BYTES = 2_000_000


class EntryError(ValueError):
    """These bytes are no challenger that this process can serve or go on with."""


class _Head(Struct, frozen=True):
    """What stands beside a challenger's estimator. New fields get defaults."""

    target: str
    name: str
    learnt: int
    judged: int  # labels that its contest had judged
    build: str  # what it was built as: another build starts anew


def encode_challenger(challenger: Challenger, judged: int) -> bytes:
    """The value of its record.

    Raises:
        EntryError: it holds what can't be stored, or is too large.
    """
    head = _Head(challenger.target, challenger.name, challenger.learnt, judged + challenger.ahead, challenger.build)
    try:
        data = msgspec.json.encode(head) + b"\n" + encode_estimator(challenger.model, challenger.packages)
    except StateError as exc:
        raise EntryError(str(exc)) from exc
    if len(data) > LARGEST_BYTES:
        raise EntryError(f"its state has {len(data):,} bytes; at most {LARGEST_BYTES:,}: take fewer or smaller trees")
    return data


def decode_challenger(data: bytes, names: tuple[str, ...], packages: tuple[str, ...]) -> Challenger:
    """The challenger in the value of a record, to be served.

    Raises:
        EntryError: it is none, or of classes that aren't allowed here.
    """
    head, _, state = data.partition(b"\n")
    try:
        known = msgspec.json.decode(head, type=_Head)
        challenger = Challenger(known.name, known.target, decode_estimator(state, packages), names, packages)
    except (msgspec.DecodeError, StateError, ValueError) as exc:
        raise EntryError(str(exc)) from exc
    challenger.learnt = known.learnt
    return challenger


def resume(challenger: Challenger, data: bytes, judged: int) -> None:
    """Lets `challenger`, freshly built, go on from the value of its record.

    Args:
        challenger: one that has learnt nothing.
        data: its record.
        judged: labels that the contest has judged, as of the snapshot that is restored.

    Raises:
        EntryError: it is no such record, or of another build; the challenger is as it was.
    """
    head, _, state = data.partition(b"\n")
    try:
        known = msgspec.json.decode(head, type=_Head)
        if known.build != challenger.build:
            raise EntryError("it was built otherwise than now; it starts anew")
        model = decode_estimator(state, challenger.packages)
    except (msgspec.DecodeError, StateError) as exc:
        raise EntryError(str(exc)) from exc
    challenger.go_on(model, known.learnt, max(known.judged - judged, 0))
