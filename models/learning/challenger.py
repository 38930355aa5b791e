"""One River estimator that forecasts one target beside the served model, and learns from the same labels.

It forecasts a block of labels before it learns it. Spend is learnt and forecast in mean purchases of the shop, so that a
currency makes no difference; here it goes in and comes out in units of the currency. An estimator that raises, or forecasts
what isn't finite, is out: it says why, learns no more and is never served.
"""

import inspect
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import numpy as np
import pandas as pd
from river import compose

from models.features import FloatArray
from models.learning.inputs import PRIOR_KEY, is_probability
from models.river.rows import RowModel
from models.scores import SPEND_90
from schemas.learning import SCORES

# What a probability is kept within, as `models.learning.measures` does; an amount is at least 0.
_LEAST = 1e-6


class Challenger:
    """A named estimator of one target.

    Args:
        name: the contender's.
        target: what it forecasts.
        model: a River estimator or pipeline.
        names: the F features.
        packages: of the shop's own classes that the estimator may hold.

    Attributes:
        learnt: labels learnt.
        ahead: labels of the contest that it has learnt before; it lets them pass.
        build: what the estimator was built as.
        failure: why it is out; empty while it isn't.
    """

    def __init__(
        self, name: str, target: str, model: Any, names: tuple[str, ...], packages: tuple[str, ...] = ()
    ) -> None:
        self.name, self.target, self.packages = name, target, packages
        self.score = SCORES.index(target)
        self.failure = ""
        self.build = sha256(repr(model).encode()).hexdigest()[:12]
        self._names = (*names, PRIOR_KEY)
        self.go_on(model, 0, 0)

    def go_on(self, model: Any, learnt: int, ahead: int) -> None:
        """Goes on with an estimator that has learnt so many labels, `ahead` of them after what the contest has judged."""
        self.model, self.learnt, self.ahead = model, learnt, ahead
        self._last = list(model.steps.values())[-1] if isinstance(model, compose.Pipeline) else model
        many = "predict_proba_many" if is_probability(self.target) else "predict_many"
        self._in_blocks = _transforms_frames(model) and hasattr(self._last, many)
        # A mini-batch is one step of most of River's models, too little for 256 labels; ours take a whole filter step.
        self._learns_blocks = self._in_blocks and isinstance(self._last, RowModel)
        self._timed = "t" in inspect.signature(type(self._last).learn_one).parameters

    def forecast(self, x: FloatArray, prior: FloatArray, unit: float) -> FloatArray:
        """(n,): forecasts of features x (n, F); those of a failed one are 0.

        Args:
            x: features.
            prior: (n,), the prior's forecast on the link scale: log odds of a probability, log of an amount.
            unit: the mean purchase, units of currency.
        """
        if not len(x) or self.failure:
            return np.zeros(len(x))
        try:
            given = self._given(x, prior, unit)
            found = self._by_frame(given) if self._in_blocks else self._by_row(given)
        except Exception as exc:  # a shop's own code: it is out, the learner goes on
            return self._out(f"forecasting failed: {type(exc).__name__}: {exc}", len(x))
        if not np.isfinite(found).all():
            return self._out("a forecast isn't finite", len(x))
        if is_probability(self.target):
            return np.clip(found, _LEAST, 1.0 - _LEAST)
        return np.maximum(found, 0.0) * self._worth(unit)

    def learn(self, x: FloatArray, prior: FloatArray, y: FloatArray, at: float, unit: float) -> None:
        """Learns outcomes y (n,) in order; `at`: their event time, epoch seconds; the others as in `forecast`."""
        if self.failure or not len(x):
            return
        given = self._given(x, prior, unit)
        truths = (y > 0).tolist() if is_probability(self.target) else (y / self._worth(unit)).tolist()
        more = {"t": datetime.fromtimestamp(at, UTC)} if self._timed else {}
        try:
            if self._learns_blocks:
                self.model.learn_many(pd.DataFrame(given, columns=self._names), pd.Series(truths), **more)
            else:
                for row, truth in zip(given.tolist(), truths, strict=True):
                    self.model.learn_one(dict(zip(self._names, row, strict=True)), truth, **more)
        except Exception as exc:  # as above
            self._out(f"learning failed: {type(exc).__name__}: {exc}", 0)
            return
        self.learnt += len(y)

    def _worth(self, unit: float) -> float:
        return unit if self.score == SPEND_90 else 1.0

    def _given(self, x: FloatArray, prior: FloatArray, unit: float) -> FloatArray:
        return np.column_stack([x, prior - np.log(self._worth(unit))])

    def _by_frame(self, given: FloatArray) -> FloatArray:
        frame = pd.DataFrame(given, columns=self._names)
        if not is_probability(self.target):
            return np.asarray(self.model.predict_many(frame), dtype=np.float64)
        found = self.model.predict_proba_many(frame)
        return np.asarray(found[True], dtype=np.float64) if True in found else np.zeros(len(frame))

    def _by_row(self, given: FloatArray) -> FloatArray:
        rows = (dict(zip(self._names, row, strict=True)) for row in given.tolist())
        if is_probability(self.target):
            return np.array([self.model.predict_proba_one(x).get(True, 0.0) for x in rows], dtype=np.float64)
        return np.array([self.model.predict_one(x) for x in rows], dtype=np.float64)

    def put_out(self, why: str) -> None:
        """Takes it out, for a reason that lies elsewhere."""
        self.failure = why

    def _out(self, why: str, rows: int) -> FloatArray:
        self.failure = why
        return np.zeros(rows)


def _transforms_frames(model: Any) -> bool:
    """Whether the steps before a pipeline's last take a mini-batch at once."""
    steps = list(model.steps.values())[:-1] if isinstance(model, compose.Pipeline) else []
    parts = [
        part for step in steps for part in (step.transformers.values() if hasattr(step, "transformers") else [step])
    ]
    return all(hasattr(part, "transform_many") and _transforms_frames(part) for part in parts)
