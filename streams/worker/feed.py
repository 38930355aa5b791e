"""What the dashboard shows live: the latest changes, and how many customers are in each segment."""

import asyncio
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

# Bodies of about 1 KB: a megabyte in all. Enough that a browser that reconnects misses nothing at a normal pace.
KEPT = 1_000


class ChangeFeed:
    """The bodies of the latest changes in order of delivery, numbered from 1. It decodes nothing.

    Attributes:
        published: how many changes there were, ever: the number of the latest.
        closed: no more will come.
    """

    def __init__(self, kept: int = KEPT) -> None:
        self._bodies: deque[bytes] = deque(maxlen=kept)
        self._news = asyncio.Event()
        self.published = 0
        self.closed = False

    def publish(self, bodies: Sequence[bytes]) -> None:
        """Adds encoded changes, after Kafka has acknowledged them."""
        if bodies:
            self._bodies.extend(bodies)
            self.published += len(bodies)
            self._news.set()

    def after(self, number: int) -> list[tuple[int, bytes]]:
        """Number and body of each kept change after `number`; a gap means that older ones are gone."""
        first = self.published - len(self._bodies) + 1
        skip = max(0, number + 1 - first)
        return [(first + skip + i, body) for i, body in enumerate(islice(self._bodies, skip, None))]

    async def news(self, number: int, timeout_s: float) -> list[tuple[int, bytes]]:
        """As `after`, as soon as there is any change; empty after `timeout_s`, or at once when the feed is closed."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while not (changes := self.after(number)) and not self.closed:
            # One event for all readers: the first one that wakes makes the next event.
            news, left_s = self._news, deadline - asyncio.get_running_loop().time()
            try:
                async with asyncio.timeout(left_s):
                    await news.wait()
            except TimeoutError:
                return []
            if self._news is news:
                self._news = asyncio.Event()
        return changes

    def close(self) -> None:
        """Ends every wait for news."""
        self.closed = True
        self._news.set()


class SegmentCounts:
    """How many customers of this worker's partitions are in each segment of each dimension."""

    def __init__(self) -> None:
        self._counts: dict[int, Counter[tuple[str, str]]] = {}

    def restored(self, partition: int, places: Counter[tuple[str, str]]) -> None:
        """`places`: customers of `partition` by (dimension, segment); replaces the counts of that partition."""
        self._counts[partition] = places

    def moved(self, partition: int, dimension: str, previous: str | None, current: str, n: int = 1) -> None:
        """`n` customers moved from `previous` (None: they are new) to `current`."""
        counts = self._counts.setdefault(partition, Counter())
        counts[dimension, current] += n
        if previous is not None:
            counts[dimension, previous] -= n

    def erased(self, partition: int, places: Iterable[Mapping[str, str]]) -> None:
        """`places`: {dimension: segment} of each customer of `partition` who was erased."""
        self._counts.setdefault(partition, Counter()).subtract(item for place in places for item in place.items())

    def revoked(self, partition: int) -> None:
        """Another worker owns the partition now."""
        self._counts.pop(partition, None)

    def by_dimension(self) -> dict[str, dict[str, int]]:
        """{dimension: {segment: customers}}, all partitions together; empty segments are left out."""
        customers: dict[str, dict[str, int]] = {}
        for counts in self._counts.values():
            for (dimension, segment), n in counts.items():
                if n > 0:
                    place = customers.setdefault(dimension, {})
                    place[segment] = place.get(segment, 0) + n
        return {dimension: dict(sorted(place.items())) for dimension, place in sorted(customers.items())}
