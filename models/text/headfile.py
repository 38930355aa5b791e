"""The file of a head: one safetensors file of arrays, with the JSON of what they mean as metadata. No code is reached."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors import numpy as safetensors

_METADATA = "regulars"

Arrays = Mapping[str, NDArray[Any]]
CardT = TypeVar("CardT", bound=Struct)


def encode_file(arrays: Arrays, card: Struct) -> bytes:
    """The bytes of a file with these arrays; equal ones give equal bytes."""
    data: bytes = safetensors.save(dict(arrays), metadata={_METADATA: msgspec.json.encode(card).decode()})
    return data


def read_file(
    path: Path, limit_bytes: int, card_type: type[CardT], kind: str, refused: Callable[[Path, str], Exception]
) -> tuple[CardT, Arrays]:
    """The card and the arrays of a file; raises what `refused` makes of the path and the reason.

    Args:
        path: of the file.
        limit_bytes: a larger file is not read as a head.
        card_type: what the metadata hold.
        kind: of head, as a message names it.
        refused: makes the error.
    """
    try:
        data = path.read_bytes()
    except OSError as failure:
        raise refused(path, f"can't be read ({failure.strerror})") from failure
    if len(data) > limit_bytes:
        raise refused(path, f"{len(data)} bytes; at most {limit_bytes}")
    try:
        arrays: Arrays = safetensors.load(data)
        header = msgspec.json.decode(data[8 : 8 + int.from_bytes(data[:8], "little")])
        return msgspec.json.decode(header["__metadata__"][_METADATA], type=card_type), arrays
    except (SafetensorError, msgspec.MsgspecError, LookupError, TypeError, ValueError) as damaged:
        raise refused(path, f"not {kind} ({type(damaged).__name__})") from damaged


def kinds_of(arrays: Arrays) -> dict[str, tuple[str, int]]:
    """Name -> dtype and number of dimensions."""
    return {name: (array.dtype.name, array.ndim) for name, array in arrays.items()}


def rows_of(places: NDArray[np.int64], wanted: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Where those of `wanted` that are among `places` (ascending, at least one) stand there; and which of `wanted` are.

    >>> rows, known = rows_of(np.array([2, 5, 9]), np.array([1, 5, 9, 11]))
    >>> rows.tolist(), known.tolist()
    ([1, 2], [False, True, True, False])
    """
    nearest = np.minimum(np.searchsorted(places, wanted), len(places) - 1)
    known = places[nearest] == wanted
    return nearest[known], known
