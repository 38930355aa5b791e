"""Which labels were learnt lately: model-train delivers each at least once, and twice must not count twice."""

from collections import OrderedDict
from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

# Labels come twice when a worker restarts and sends again what it had not confirmed: the labels of its last chunks (at
# most 8,000 records a partition), with what the other workers sent since in between. 32,768 ids are 256 KiB of a
# snapshot, whose limit is 1 MB. A label that returns later than that is learnt a second time.
REMEMBERED_LABELS = 32_768


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
