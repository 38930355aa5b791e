"""How far a long command is."""

from typing import NamedTuple


class TrainingProgress(NamedTuple):
    """For a progress bar: `done` of `of` steps of `what`, and the mean of the latest losses while it learns."""

    what: str
    done: int
    of: int
    loss: float | None = None
