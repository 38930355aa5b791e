"""A learner on its way through model-train: what was learnt, which labels lately, and where to go on.

The three move together and go into one snapshot, so whoever restores it goes on as if nothing had happened.
"""

from collections.abc import Sequence
from typing import NamedTuple, Self

from models.learning.learner import Learner
from models.learning.seen import SeenLabels
from models.learning.snapshots import Snapshot
from models.scores import Scorer
from schemas.learning import Label


class Learnt(NamedTuple):
    """How many labels of a chunk were learnt, had been seen, or are of a feature set that isn't this learner's."""

    learnt: int
    repeated: int
    foreign: int


class Course:
    """A learner, the labels it has seen lately, and `next_offset`, that of the first record it hasn't read."""

    def __init__(self, learner: Learner, seen: SeenLabels | None = None, next_offset: int = 0) -> None:
        self.learner = learner
        self.next_offset = next_offset
        self._seen = SeenLabels() if seen is None else seen

    def learn(self, labels: Sequence[Label], next_offset: int) -> Learnt:
        """Learns what is new among `labels`, in order; `next_offset` is that of the record after them."""
        own = [label for label in labels if label.feature_set == self.learner.feature_set]
        new = [label for label in own if self._seen.add(label.label_id)]
        self.learner.learn_many(new)
        self.next_offset = next_offset
        return Learnt(len(new), len(own) - len(new), len(labels) - len(own))

    def snapshot(self) -> Snapshot:
        """All of it, as of now."""
        return self.learner.snapshot(self.next_offset, self._seen.to_array())

    @classmethod
    def restored(cls, snapshot: Snapshot, prior: Scorer) -> Self:
        """The course that `snapshot` was taken of."""
        seen = SeenLabels(snapshot.arrays["seen"].tolist())
        return cls(Learner.restored(snapshot, prior), seen, snapshot.next_offset)
