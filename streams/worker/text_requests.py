"""Texts that somebody waits for: each is read once, however many asked for it, and dropped when nobody waits any more."""

import asyncio
from collections.abc import Callable, Sequence
from itertools import islice

from models.state import Reading


class _Request:
    """One caller's texts, and the future that completes when all of them have been read."""

    def __init__(self, texts: int, future: "asyncio.Future[list[Reading]]") -> None:
        self.future = future
        self.readings: list[Reading | None] = [None] * texts
        self.missing = texts

    def give(self, place: int, reading: Reading) -> None:
        self.readings[place] = reading
        self.missing -= 1
        if self.missing == 0 and not self.future.done():
            self.future.set_result([reading for reading in self.readings if reading is not None])


class WantedText:
    """One text and everybody who waits for it.

    Attributes:
        text: the text.
        tokens: of the text, once it has been tokenised.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[int] = []
        self._places: list[tuple[_Request, int]] = []

    def add(self, request: _Request, place: int) -> None:
        """`request` waits for it, as its text number `place`."""
        self._places.append((request, place))

    @property
    def is_wanted(self) -> bool:
        """Whether somebody still waits for it."""
        return any(not request.future.done() for request, _ in self._places)

    def give(self, reading: Reading) -> None:
        """It has been read: everybody who waits for it gets the reading."""
        for request, place in self._places:
            request.give(place, reading)

    def futures(self) -> "list[asyncio.Future[list[Reading]]]":
        """The futures of everybody who waits for it."""
        return [request.future for request, _ in self._places]


class WantedTexts:
    """Every text that is asked for and not read yet; those that are not drawn yet form a queue.

    Args:
        on_given: called for each text that was given.
    """

    def __init__(self, on_given: Callable[[], None] = lambda: None) -> None:
        self._on_given = on_given
        self._wanted: dict[str, WantedText] = {}
        self._queue: dict[str, WantedText] = {}
        self._arrived = asyncio.Event()

    def __len__(self) -> int:
        return len(self._wanted)

    @property
    def has_queue(self) -> bool:
        """Whether a text waits to be drawn."""
        return bool(self._queue)

    def ask(self, texts: Sequence[str]) -> "asyncio.Future[list[Reading]]":
        """A future of the readings of `texts`, in order."""
        future: asyncio.Future[list[Reading]] = asyncio.get_running_loop().create_future()
        request = _Request(len(texts), future)
        if not texts:
            future.set_result([])
        for place, text in enumerate(texts):
            wanted = self._wanted.get(text)
            if wanted is None:
                wanted = self._wanted[text] = self._queue[text] = WantedText(text)
            wanted.add(request, place)
        if self._queue:
            self._arrived.set()
        return future

    async def arrival(self) -> None:
        """Returns when a text waits to be drawn."""
        if not self._queue:
            self._arrived.clear()
            await self._arrived.wait()

    def draw(self, limit: int) -> list[WantedText]:
        """Takes up to `limit` texts, at least one, out of the queue in order of arrival; forgets the unwanted ones."""
        drawn = [self._queue.pop(text) for text in list(islice(self._queue, max(1, limit)))]
        return self.still_wanted(drawn)

    def still_wanted(self, drawn: Sequence[WantedText]) -> list[WantedText]:
        """Those of `drawn` that somebody still waits for; forgets the others."""
        wanted = []
        for text in drawn:
            if text.is_wanted:
                wanted.append(text)
            else:
                del self._wanted[text.text]
        return wanted

    def give(self, wanted: WantedText, reading: Reading) -> None:
        """`wanted` has been read."""
        del self._wanted[wanted.text]
        self._on_given()
        wanted.give(reading)

    def fail(self, failure: Exception) -> None:
        """Nothing will be read any more: everybody who waits gets `failure`."""
        waiting = {future for wanted in self._wanted.values() for future in wanted.futures()}
        self._wanted.clear()
        self._queue.clear()
        for future in waiting:
            if not future.done():
                future.set_exception(failure)
                future.exception()  # a caller who never looks at the future learns of it from the lane's task
