"""What every learner sees of a customer: the features and the prior's forecasts, as inputs and as the offset.

A learner forecasts a *correction of the prior*: on the link scale (log odds of a probability, log of an amount)

    forecast = prior + correction,   correction = intercept + weights . z

so one that has seen nothing serves the prior. z are the inputs, standardised and clipped; they hold the prior's own
four forecasts too, whose weights are what the learner adds to the prior's slope of 1.
"""

import numpy as np

from models.features import FloatArray
from schemas.learning import SCORES

# A label answers for one horizon; the scores that it can teach, as positions in SCORES.
HORIZONS = (30, 90)
SCORES_OF_HORIZON = {30: (0,), 90: (1, 2, 3)}
PROBABILITIES, AMOUNTS = slice(0, 2), slice(2, 4)

# Standardised inputs beyond 4 standard deviations count as 4: one wholesale customer must not outweigh a thousand.
CLIP = 4.0

# A correction is at most this on the link scale, a factor of 1,100 of the odds or the amount: enough for a prior made
# for another currency, and no weights, however wrong, can make a forecast overflow.
CORRECTION_LIMIT = 7.0

# A prior of exactly 0 or 1 has no log odds; a thousandth of a percent, and a hundred-thousandth of a purchase or of a
# currency unit, are far below what a shop can tell from none.
_LEAST = 1e-5


def input_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """Names of a learner's inputs, in order: the features, then the prior's forecasts."""
    return (*names, *(f"prior of {score}" for score in SCORES))


def links(forecasts: FloatArray) -> FloatArray:
    """Forecasts (n, 4) on the link scale: log odds of the probabilities, logs of the amounts."""
    p = np.clip(forecasts[:, PROBABILITIES], _LEAST, 1.0 - _LEAST)
    return np.hstack([np.log(p / (1.0 - p)), np.log(np.maximum(forecasts[:, AMOUNTS], _LEAST))])


def inputs(x: FloatArray, offsets: FloatArray) -> FloatArray:
    """Inputs (n, F + 4) before standardising, of features (n, F) and `links` (n, 4) of the prior."""
    return np.hstack([x, offsets])
