"""Progressive validation: every label is forecast before it is learnt, and these are the losses of those forecasts."""

from collections import deque
from typing import Protocol

from river import metrics, utils

from models.features import FloatArray

# Losses are of the latest 5,000 labels of a target: at a base rate of .28 the standard error of their AUC is .008, and
# a model that went wrong shows within days at a shop with a thousand labels a day. They start with the process; what was
# published before is shown until then (`Learner.quality`).
WINDOW = 5_000
LABELS = "labels"  # the measure that says how many labels the others are of, at most WINDOW


class Quality(Protocol):
    """Losses of one target's forecasts, beside those of the prior on the same labels."""

    @property
    def labels(self) -> int:
        """How many labels the measures are of, at most WINDOW."""

    def update_many(self, truths: FloatArray, forecasts: FloatArray, priors: FloatArray) -> None:
        """Counts labels in, in order; each (n,)."""

    def get(self) -> dict[str, float]:
        """Name of a measure -> its value; empty before the first label."""


class ProbabilityQuality:
    """Log loss and AUC of a probability; there is no AUC before one customer bought and one did not."""

    def __init__(self) -> None:
        self._labels = self._bought = 0
        self._log_loss = utils.Rolling(metrics.LogLoss, window_size=WINDOW)
        self._prior_log_loss = utils.Rolling(metrics.LogLoss, window_size=WINDOW)
        self._auc = metrics.RollingROCAUC(window_size=WINDOW)

    @property
    def labels(self) -> int:
        """How many labels the measures are of, at most WINDOW."""
        return min(self._labels, WINDOW)

    def update_many(self, truths: FloatArray, forecasts: FloatArray, priors: FloatArray) -> None:
        """Counts labels in, in order; each (n,)."""
        for row in zip(truths.tolist(), forecasts.tolist(), priors.tolist(), strict=True):
            self._update(*row)

    def _update(self, truth: float, forecast: float, prior: float) -> None:
        bought = truth > 0
        self._labels += 1
        self._bought += bought
        self._log_loss.update(bought, forecast)
        self._prior_log_loss.update(bought, prior)
        self._auc.update(bought, forecast)

    def get(self) -> dict[str, float]:
        """Name of a measure -> its value; empty before the first label."""
        if not self._labels:
            return {}
        losses = {
            LABELS: float(self.labels),
            "log_loss": float(self._log_loss.get()),
            "prior_log_loss": float(self._prior_log_loss.get()),
        }
        ranked = {"auc": float(self._auc.get())} if 0 < self._bought < self._labels else {}
        return losses | ranked


class AmountQuality:
    """Mean absolute error of an amount, and its level: all that was forecast over all that came, 1 at best.

    There is no level where nothing came.
    """

    def __init__(self) -> None:
        self._error = utils.Rolling(metrics.MAE, window_size=WINDOW)
        self._prior_error = utils.Rolling(metrics.MAE, window_size=WINDOW)
        self._latest: deque[tuple[float, float]] = deque(maxlen=WINDOW)

    @property
    def labels(self) -> int:
        """How many labels the measures are of, at most WINDOW."""
        return len(self._latest)

    def update_many(self, truths: FloatArray, forecasts: FloatArray, priors: FloatArray) -> None:
        """Counts labels in, in order; each (n,)."""
        for row in zip(truths.tolist(), forecasts.tolist(), priors.tolist(), strict=True):
            self._update(*row)

    def _update(self, truth: float, forecast: float, prior: float) -> None:
        self._error.update(truth, forecast)
        self._prior_error.update(truth, prior)
        self._latest.append((forecast, truth))

    def get(self) -> dict[str, float]:
        """Name of a measure -> its value; empty before the first label."""
        if not self._latest:
            return {}
        forecast, came = (sum(values) for values in zip(*self._latest, strict=True))
        errors = {
            LABELS: float(self.labels),
            "mae": float(self._error.get()),
            "prior_mae": float(self._prior_error.get()),
        }
        return errors | ({"level": forecast / came} if came else {})
