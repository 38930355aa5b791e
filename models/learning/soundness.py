"""Whether a model that came from outside can score at all: it is tried before it is served."""

import numpy as np

from models.features import FloatArray
from models.learning.snapshots import SnapshotError
from models.scores import COUNT_90, P_30, P_90, SPEND_90, Scorer

# Customers who never did anything, did some of everything, and did more of it than anybody does. Features are logarithms
# and shares: exp(12) is 160,000.
_TRIED = (0.0, 0.5, 1.0, 4.0, 12.0)


def check_scores(scorer: Scorer, features: int) -> None:
    """Lets the scorer forecast a few made-up customers.

    Args:
        scorer: what is to be served.
        features: how many features it reads.

    Raises:
        SnapshotError: it computes with numbers too large, or what it gives is no forecast.
    """
    x: FloatArray = np.repeat(np.array(_TRIED)[:, None], features, axis=1)
    try:
        with np.errstate(over="raise", invalid="raise"):
            forecasts = scorer.score(x)
    except Exception as exc:  # whatever made-up arrays lead to
        raise SnapshotError(f"its forecasts can't be computed: {type(exc).__name__}: {exc}") from exc
    shares, amounts = forecasts[:, [P_30, P_90]], forecasts[:, [COUNT_90, SPEND_90]]
    if not (np.isfinite(forecasts).all() and (shares >= 0).all() and (shares <= 1).all() and (amounts >= 0).all()):
        raise SnapshotError("its forecasts of made-up customers are no probabilities and amounts")
