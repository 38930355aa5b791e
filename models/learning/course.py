"""A learner on its way through model-train: what was learnt, which labels, and where to go on.

The three move together and go into one snapshot, so whoever restores it goes on as if nothing had happened.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, Self

from models.learning.contest import Contest, Promotion
from models.learning.learner import Judged, Learner
from models.learning.seen import LearntPlaces, SeenLabels
from models.learning.snapshots import Snapshot
from models.scores import Scorer
from schemas.learning import Label, Origin


class Learnt(NamedTuple):
    """What became of a chunk of labels.

    Attributes:
        learnt: labels that were learnt.
        repeated: labels that had been seen.
        foreign: labels of a feature set that isn't this learner's.
        judged: each block that became full, with the forecasts made before it was learnt.
        promotions: what is served differently now.
    """

    learnt: int
    repeated: int
    foreign: int
    judged: Sequence[Judged] = ()
    promotions: Sequence[Promotion] = ()


class Course:
    """A learner, the contest of its challengers, which labels were learnt, and the offset of the first record not read.

    Attributes:
        topic_id: Kafka's id of the topic that the offset is of; empty: not known.
    """

    def __init__(
        self,
        learner: Learner,
        seen: SeenLabels | None = None,
        next_offset: int = 0,
        contest: Contest | None = None,
        places: LearntPlaces | None = None,
    ) -> None:
        self.learner = learner
        self.next_offset, self.topic_id = next_offset, ""
        self.contest = Contest((), learner.names) if contest is None else contest
        self._seen = SeenLabels() if seen is None else seen
        self._places = LearntPlaces() if places is None else places

    def learn(self, labels: Sequence[Label], next_offset: int, origins: Sequence[Origin | None] = ()) -> Learnt:
        """Learns what is new among `labels`, in order.

        Args:
            labels: of any feature set.
            next_offset: that of the record after them.
            origins: of each label; empty: none has one.
        """
        known = origins or [None] * len(labels)
        own = [
            (label, origin)
            for label, origin in zip(labels, known, strict=True)
            if label.feature_set == self.learner.feature_set
        ]
        new = [label for label, origin in own if self._is_new(label, origin)]
        judged = self.learner.learn_many(new)
        promotions = [change for block in judged for change in self.contest.take(block)]
        self.next_offset = next_offset
        return Learnt(len(new), len(own) - len(new), len(labels) - len(own), tuple(judged), tuple(promotions))

    def _is_new(self, label: Label, origin: Origin | None) -> bool:
        return self._seen.add(label.label_id) if origin is None else self._places.add(origin)

    def snapshot(self) -> Snapshot:
        """All of it, as of now."""
        return replace(
            self.learner.snapshot(self.next_offset, self._seen.to_array()),
            contest=self.contest.state(),
            origins=self._places.to_mapping(),
            topic_id=self.topic_id,
        )

    @classmethod
    def restored(cls, snapshot: Snapshot, prior: Scorer, contest: Contest | None = None) -> Self:
        """The course that `snapshot` was taken of; `contest` has its challengers' models, and goes on from its evidence."""
        seen = SeenLabels(snapshot.arrays["seen"].tolist())
        contest = Contest((), snapshot.names) if contest is None else contest
        contest.take_state(snapshot.contest)
        learner, places = Learner.restored(snapshot, prior), LearntPlaces(snapshot.origins)
        course = cls(learner, seen, snapshot.next_offset, contest, places)
        course.topic_id = snapshot.topic_id
        return course
