"""A learner on its way through model-train: what was learnt, which labels lately, and where to go on.

The three move together and go into one snapshot, so whoever restores it goes on as if nothing had happened.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple, Self

from models.learning.contest import Change, Contest
from models.learning.learner import Judged, Learner
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
    """A learner, the contest of its challengers, the labels seen lately, and the offset of the first record not read.

    Attributes:
        changes: what is served differently since somebody last emptied it.
        on_judged: called with each block before the learner learns it.
    """

    def __init__(
        self, learner: Learner, seen: SeenLabels | None = None, next_offset: int = 0, contest: Contest | None = None
    ) -> None:
        self.learner = learner
        self.next_offset = next_offset
        self.contest = Contest((), learner.names) if contest is None else contest
        self.changes: list[Change] = []
        self.on_judged: Callable[[Judged], None] = lambda judged: None
        self._seen = SeenLabels() if seen is None else seen
        learner.on_judged = self._judged

    def _judged(self, judged: Judged) -> None:
        self.changes += self.contest.take(judged)
        self.on_judged(judged)

    def learn(self, labels: Sequence[Label], next_offset: int) -> Learnt:
        """Learns what is new among `labels`, in order; `next_offset` is that of the record after them."""
        own = [label for label in labels if label.feature_set == self.learner.feature_set]
        new = [label for label in own if self._seen.add(label.label_id)]
        self.learner.learn_many(new)
        self.next_offset = next_offset
        return Learnt(len(new), len(own) - len(new), len(labels) - len(own))

    def snapshot(self) -> Snapshot:
        """All of it, as of now."""
        return replace(self.learner.snapshot(self.next_offset, self._seen.to_array()), contest=self.contest.state())

    @classmethod
    def restored(cls, snapshot: Snapshot, prior: Scorer, contest: Contest | None = None) -> Self:
        """The course that `snapshot` was taken of; `contest` has its challengers' models, and goes on from its evidence."""
        seen = SeenLabels(snapshot.arrays["seen"].tolist())
        contest = Contest((), snapshot.names) if contest is None else contest
        contest.take_state(snapshot.contest)
        return cls(Learner.restored(snapshot, prior), seen, snapshot.next_offset, contest)
