"""The table: one row a kind of fault, what the oracle found, how long it took."""

from collections.abc import Iterable
from dataclasses import dataclass

from tests.faults.oracle import CLASSES, Verdict


@dataclass(frozen=True)
class Row:
    """What was broken, how often, and the oracle's word afterwards."""

    fault: str
    tries: int
    verdict: Verdict | None  # None: undecided, see the note
    seconds: float
    note: str = ""

    @property
    def good(self) -> bool:
        """Whether it came to an end and nothing was wrong."""
        return self.verdict is not None and self.verdict.good

    def __str__(self) -> str:
        verdict = self.verdict
        if verdict is None:
            cells = ["?"] * (len(CLASSES) + 4)
        else:
            counts = [len(verdict.faults[name]) for name in CLASSES]
            looked_at = [verdict.events, verdict.changes, verdict.letters, verdict.repeated]
            cells = [f"{count:,}" for count in (*looked_at, *counts)]
        line = f"{self.fault:<46} {self.tries:>5} " + " ".join(f"{cell:>8}" for cell in cells)
        return f"{line} {self.seconds:>6.0f}" + (f"  {self.note}" if self.note else "")


def head() -> str:
    """The table's first line."""
    cells = ("events", "changes", "letters", "repeated", *CLASSES)
    return f"{'broken':<46} {'tries':>5} " + " ".join(f"{cell:>8}" for cell in cells) + f" {'s':>6}"


def summary(rows: Iterable[Row]) -> str:
    """The last line: how much was broken and how much of that went wrong."""
    all_ = list(rows)
    bad = [row for row in all_ if not row.good]
    tries = sum(row.tries for row in all_)
    return f"{tries} faults in {len(all_)} rows; {len(bad)} rows with something wrong"
