"""What the pipeline did since the process began: numbers for metrics and benchmarks."""

import contextlib
import time
from collections import Counter
from collections.abc import Iterator

STAGES = ("decode", "get", "step", "produce", "write")


class Counters:
    """Counts, and seconds per stage.

    Attributes:
        seconds: per stage, of the event loop's time; `produce` includes the waits for acknowledgements.
        lost: offsets per topic that were deleted before they were read.
        set_aside: records per topic that made the job fail and are dead letters.
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

    @contextlib.contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Adds the seconds of its block to `stage`, where the block ends without an exception."""
        began = time.perf_counter()
        yield
        self.seconds[stage] += time.perf_counter() - began
