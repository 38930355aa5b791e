"""When each customer of a partition must be looked at again."""

import heapq
from collections.abc import Iterator
from zlib import crc32

from schemas.states import NEVER

# A dictionary of a million keys blocks for 60 ms when it grows, and to sort its queue anew takes longer. So there are many.
SHARDS = 16
# A queue is made anew when so many of its entries, beside half of them, no longer count.
SPARE = 1_000


class DueTimes:
    """A moment per customer's key, and the keys in the order of their moments.

    Iterating gives every key, in no order; `len` gives how many there are.
    """

    def __init__(self) -> None:
        self._due = tuple(dict[bytes, float]() for _ in range(SHARDS))
        self._queues = tuple(list[tuple[float, bytes]]() for _ in range(SHARDS))

    def __len__(self) -> int:
        return sum(map(len, self._due))

    def __iter__(self) -> Iterator[bytes]:
        for keys in self._due:
            yield from keys

    def put(self, key: bytes, due: float) -> None:
        """The customer of `key` is to be looked at at `due`, epoch seconds, and not at the moment put before."""
        shard = crc32(key) % SHARDS
        moments = self._due[shard]
        if moments.get(key) == due:
            return
        moments[key] = due
        if due == NEVER:
            return
        queue = self._queues[shard]
        heapq.heappush(queue, (due, key))
        if len(queue) > 2 * len(moments) + SPARE:
            queue[:] = [(at, each) for each, at in moments.items() if at != NEVER]
            heapq.heapify(queue)

    def drop(self, key: bytes) -> None:
        """The customer of `key` is gone."""
        self._due[crc32(key) % SHARDS].pop(key, None)

    def pop(self, until: float, most: int) -> list[bytes]:
        """At most `most` keys that are due strictly before `until`, earliest first; each is put at `NEVER`."""
        heads = [(*queue[0], shard) for shard, queue in enumerate(self._queues) if queue and queue[0][0] < until]
        heapq.heapify(heads)
        keys: list[bytes] = []
        while heads and len(keys) < most:
            due, key, shard = heads[0]
            queue, moments = self._queues[shard], self._due[shard]
            heapq.heappop(queue)
            if moments.get(key) == due:  # else another moment was put since
                moments[key] = NEVER
                keys.append(key)
            if queue and queue[0][0] < until:
                heapq.heapreplace(heads, (*queue[0], shard))
            else:
                heapq.heappop(heads)
        return keys
