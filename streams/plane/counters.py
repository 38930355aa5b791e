"""What the data plane did since the process began, and how long each stage took."""

import time
from collections import Counter
from types import TracebackType

STAGES = ("decode", "get", "step", "produce", "write")


class Counters:
    """Counts since the process began.

    Attributes:
        lost: offsets that were deleted before they were read, by topic.
        set_aside: records that made the job fail and are dead letters, by topic.
        seconds: by stage; "produce" includes the wait for acknowledgements, the others are time of the event loop.
    """

    def __init__(self) -> None:
        self.records = 0
        self.chunks = 0
        self.puts = 0
        self.outputs = 0
        self.dead_letters = 0
        self.changelog_records = 0
        self.resent = 0
        self.restored_records = 0
        self.restore_s = 0.0
        self.lost: Counter[str] = Counter()
        self.set_aside: Counter[str] = Counter()
        self.seconds: dict[str, float] = dict.fromkeys(STAGES, 0.0)

    def time(self, stage: str) -> "StageTimer":
        """Adds the time of a `with` block to `stage`."""
        return StageTimer(self.seconds, stage)


class StageTimer:
    """Measures one `with` block."""

    __slots__ = ("_began", "_seconds", "_stage")

    def __init__(self, seconds: dict[str, float], stage: str) -> None:
        self._seconds, self._stage, self._began = seconds, stage, 0.0

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._seconds[self._stage] += time.perf_counter() - self._began
