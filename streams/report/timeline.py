"""Quality while learning: the loss of each contestant, week by week, on labels that it had not learnt yet."""

from collections import defaultdict
from typing import Literal, NamedTuple

import numpy as np

from models.learning.learner import Judged
from models.learning.scoreboard import CONTESTANTS, HORIZON_OF, losses
from models.scores import SPEND_90
from schemas.learning import SCORES
from schemas.times import DAY_S

_WEEK_S = 7 * DAY_S
# The mean of fewer labels varies more than models differ.
FEWEST_LABELS = 200


class Alarm(NamedTuple):
    """An alarm of a drift detector, or a version that was taken back."""

    at: float  # event time, epoch seconds
    score: str
    kind: Literal["drift", "version taken back"]


class Timeline:
    """Takes each block as it is judged (`Learner.on_judged`)."""

    def __init__(self) -> None:
        self.alarms: list[Alarm] = []
        self._sums: defaultdict[tuple[str, int], dict[str, list[float]]] = defaultdict(dict)

    def take(self, judged: Judged) -> None:
        """Adds a block to its week."""
        block = judged.block
        week = int(block.at // _WEEK_S)
        for score, days in enumerate(HORIZON_OF):
            of = block.horizon == days
            if not of.any():
                continue
            truth = block.truth(score)[of]
            # The mean purchase of these labels.
            unit = float(block.spend.sum() / max(block.purchases.sum(), 1.0)) if score == SPEND_90 else 1.0
            for name, forecasts in judged.forecasts.items():
                sums = self._sums[SCORES[score], week].setdefault(name, [0.0, 0.0])
                sums[0] += float(losses(score, truth, forecasts[of, score], max(unit, 1e-9)).sum())
                sums[1] += len(truth)
        self.alarms += [Alarm(block.at, score, "drift") for score in judged.drifts]
        if judged.verdict is not None:
            self.alarms.append(Alarm(block.at, judged.verdict.score, "version taken back"))

    def losses(self, score: str) -> dict[str, list[tuple[float, float]]]:
        """Contestant -> (middle of a week, mean loss), by time; weeks with too few labels are left out."""
        losses_of: dict[str, list[tuple[float, float]]] = {name: [] for name in CONTESTANTS}
        for of, week in sorted(self._sums):
            if of != score:
                continue
            for name, (loss, labels) in self._sums[of, week].items():
                if labels >= FEWEST_LABELS and np.isfinite(loss):
                    losses_of[name].append(((week + 0.5) * _WEEK_S, loss / labels))
        return losses_of
