"""How good forecasts were: measures over all rows at once, as the literature defines them.

Probabilities: area under the ROC curve, log loss (natural log, clipped to a millionth), expected calibration error over
ten bins of equal size. Amounts: Spearman's rank correlation, normalized Gini (Gini of the real values in forecast order
over that of their own order), root mean squared and mean absolute error, and the total forecast over the real one.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from models.features import FloatArray

BINS = 10
_LEAST = 1e-6


def ranks(values: FloatArray) -> FloatArray:
    """Ranks from 1, ties share their mean.

    >>> ranks(np.array([3.0, 1.0, 3.0])).tolist()
    [2.5, 1.0, 2.5]
    """
    _, place, size = np.unique(values, return_inverse=True, return_counts=True)
    mean = np.cumsum(size) - (size - 1) / 2.0
    found: FloatArray = mean[place]
    return found


def auc(truth: FloatArray, forecast: FloatArray) -> float:
    """Probability that one who bought was forecast above one who didn't; NaN where all or none did."""
    positives = truth.sum()
    if not 0 < positives < len(truth):
        return float("nan")
    above = ranks(forecast)[truth > 0].sum() - positives * (positives + 1) / 2.0
    return float(above / (positives * (len(truth) - positives)))


def log_losses(truth: FloatArray, forecast: FloatArray) -> FloatArray:
    """(n,): of each row."""
    p = np.clip(forecast, _LEAST, 1.0 - _LEAST)
    losses: FloatArray = -(truth * np.log(p) + (1.0 - truth) * np.log1p(-p))
    return losses


def log_loss(truth: FloatArray, forecast: FloatArray) -> float:
    """Mean of `log_losses`."""
    return float(log_losses(truth, forecast).mean())


def bins(truth: FloatArray, forecast: FloatArray, count: int = BINS) -> FloatArray:
    """(up to count, 3): mean forecast, mean of what came, rows; bins of equal size by rising forecast."""
    order = np.argsort(forecast, kind="stable")
    # Equal forecasts share what came: which of them falls into which bin must not depend on the order of rows.
    _, place, size = np.unique(forecast, return_inverse=True, return_counts=True)
    shared = np.bincount(place, weights=truth) / size
    came = shared[place][order]
    pieces = [piece for piece in np.array_split(np.arange(len(truth)), count) if len(piece)]
    return np.array([(forecast[order][piece].mean(), came[piece].mean(), len(piece)) for piece in pieces])


def calibration_error(truth: FloatArray, forecast: FloatArray) -> float:
    """Expected calibration error: mean |mean forecast - rate| over `bins`."""
    stated, came, rows = bins(truth, forecast).T
    return float((np.abs(stated - came) * rows).sum() / len(truth))


def spearman(truth: FloatArray, forecast: FloatArray) -> float:
    """Correlation of ranks; NaN where one side is constant."""
    a, b = ranks(truth), ranks(forecast)
    if a.std() == 0 or b.std() == 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def gains(truth: FloatArray, forecast: FloatArray) -> FloatArray:
    """(n + 1,): share of the real total among the k rows forecast highest, k from 0 to n; ties share evenly."""
    _, place, size = np.unique(-forecast, return_inverse=True, return_counts=True)
    shared = np.bincount(place, weights=truth) / size
    total = truth.sum()
    found: FloatArray = np.r_[0.0, np.cumsum(np.repeat(shared, size))] / (total if total > 0 else 1.0)
    return found


def normalized_gini(truth: FloatArray, forecast: FloatArray) -> float:
    """1 for the perfect order, 0 for a random one."""

    def gini(order: FloatArray) -> float:
        return float(gains(truth, order)[1:].mean() - (len(truth) + 1) / (2 * len(truth)))

    best = gini(truth)
    return gini(forecast) / best if best else float("nan")


def rmse(truth: FloatArray, forecast: FloatArray) -> float:
    """Root mean squared error."""
    return float(np.sqrt(np.mean((truth - forecast) ** 2)))


def mae(truth: FloatArray, forecast: FloatArray) -> float:
    """Mean absolute error."""
    return float(np.abs(truth - forecast).mean())


def level(truth: FloatArray, forecast: FloatArray) -> float:
    """All that was forecast over all that came; 1 at best."""
    return float(forecast.sum() / truth.sum()) if truth.sum() > 0 else float("nan")


Measure = Callable[[FloatArray, FloatArray], float]

OF_PROBABILITY: Mapping[str, Measure] = {"AUC": auc, "log loss": log_loss, "ECE": calibration_error}
OF_AMOUNT: Mapping[str, Measure] = {
    "Spearman": spearman, "normalized Gini": normalized_gini, "RMSE": rmse, "MAE": mae, "total": level,
}  # fmt: skip


def paired_difference(
    measure: Measure,
    truth: FloatArray,
    forecasts: tuple[FloatArray, FloatArray],
    customers: Sequence[str] | NDArray[np.str_],
    draws: int = 200,
    seed: int = 0,
) -> tuple[float, float]:
    """`measure` of the first forecasts less that of the second, and its standard error.

    Bootstrap over customers: all rows of a customer are drawn together, as often as the customer is.
    """
    _, place, size = np.unique(np.asarray(customers), return_inverse=True, return_counts=True)
    rows_of = np.split(np.argsort(place, kind="stable"), np.cumsum(size)[:-1])
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(draws):
        rows = np.concatenate([rows_of[i] for i in rng.integers(len(rows_of), size=len(rows_of))])
        found.append(measure(truth[rows], forecasts[0][rows]) - measure(truth[rows], forecasts[1][rows]))
    return measure(truth, forecasts[0]) - measure(truth, forecasts[1]), float(np.std(found, ddof=1))
