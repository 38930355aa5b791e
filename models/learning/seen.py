"""Which labels were learnt: model-train delivers each at least once, and twice must not count twice.

A label that says where it comes from (`schemas.learning.Origin`) is known by its place: the labels of a partition are
written in one order, however often they are sent. So the latest place of each partition says of all of them which were
learnt. Labels of an earlier release do not say it: the ids of the latest ones are remembered.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from schemas.learning import Origin

# Of labels without an origin. 32,768 ids are 256 KiB of a snapshot, whose limit is 1 MB. A label without an origin that
# returns later than that is learnt a second time.
REMEMBERED_LABELS = 32_768
# Partitions of changelogs: each takes some 50 bytes of a snapshot. The longest silent one is forgotten first.
REMEMBERED_SOURCES = 1_024


class LearntPlaces:
    """The latest place learnt of each partition."""

    def __init__(self, places: Mapping[str, tuple[int, int]] | None = None) -> None:
        self._places = OrderedDict(places or {})

    def add(self, origin: Origin) -> bool:
        """Remembers the place; False where it, or a later one of its partition, was remembered already."""
        known = self._places.get(origin.source)
        if known is not None and origin.place <= known:
            return False
        self._places[origin.source] = origin.place
        self._places.move_to_end(origin.source)
        if len(self._places) > REMEMBERED_SOURCES:
            self._places.popitem(last=False)
        return True

    def to_mapping(self) -> dict[str, tuple[int, int]]:
        """Partition of a changelog -> its latest place, the longest silent first."""
        return dict(self._places)


class SeenLabels:
    """The latest `REMEMBERED_LABELS` label ids, as 64-bit hashes, oldest first."""

    def __init__(self, hashes: Iterable[int] = ()) -> None:
        self._hashes = OrderedDict.fromkeys(hashes)

    def add(self, label_id: str) -> bool:
        """Remembers the id; False where it was remembered already."""
        hashed = int.from_bytes(blake2b(label_id.encode(), digest_size=8).digest(), "little")
        if hashed in self._hashes:
            return False
        self._hashes[hashed] = None
        if len(self._hashes) > REMEMBERED_LABELS:
            self._hashes.popitem(last=False)
        return True

    def to_array(self) -> NDArray[np.uint64]:
        """The hashes, oldest first."""
        return np.fromiter(self._hashes, dtype=np.uint64, count=len(self._hashes))
