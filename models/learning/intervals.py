"""Online conformal intervals for spend: between which two amounts a customer's next 90 days end up, four times in five.

The score of a label is s = log((y + e) / (m + e)), y what was spent, m what was expected, in units of the mean purchase.
Customers form groups by the probability that they buy at all (Mondrian conformal prediction), and in each group two
numbers follow the .1 and .9 quantile of s by a step of the pinball loss a label, as Gibbs and Candes (2021) and
Angelopoulos, Candes and Tibshirani (2023) do:

    q <- q + STEP (share - [s < q])

Whatever the labels are, the share of them below q tends to the one asked for; a drift is followed. The intervals hold for
labels when they mature: those of a season that is three months ahead are off by as much as its level is.
"""

import numpy as np

from models.features import FloatArray

COVERAGE = 0.8
GROUPS = 10  # by the 90-day probability, a tenth each
_SHARES = ((1.0 - COVERAGE) / 2.0, (1.0 + COVERAGE) / 2.0)
# In logs: 50 labels of a group that all lie outside move its bound by a factor of e.
_STEP = 0.02
# Purchases below a twentieth of the mean one count as none: without it the log of nothing would rule.
_LEAST = 0.05
# Before the first label: a twentieth and four and a half times what is expected.
_START = (-3.0, 1.5)
_LIMIT = 8.0


def new_margins() -> FloatArray:
    """(GROUPS, 2): logs of the lower and the upper bound over what is expected, before anything was learnt."""
    return np.tile(np.array(_START), (GROUPS, 1))


def intervals(margins: FloatArray, p_90: FloatArray, spend: FloatArray, unit: float) -> FloatArray:
    """(n, 2): lower and upper bound of the spend in 90 days, in units of currency, 0 <= lower <= upper.

    Args:
        margins: (GROUPS, 2), see `new_margins`.
        p_90: (n,), probability of a purchase in 90 days.
        spend: (n,), expected spend in 90 days, units of currency.
        unit: the mean purchase, units of currency.
    """
    expected = spend / unit + _LEAST
    bounds = np.maximum(expected[:, None] * np.exp(margins[groups(p_90)]) - _LEAST, 0.0) * unit
    bounds[:, 1] = np.maximum(bounds[:, 0], bounds[:, 1])
    return bounds


def learn_margins(margins: FloatArray, p_90: FloatArray, expected: FloatArray, came: FloatArray) -> FloatArray:
    """The margins after labels of 90 days in their order, each (n,); `expected` and `came` in units of the mean purchase."""
    scores = np.log((came + _LEAST) / (expected + _LEAST))
    bounds = margins.tolist()
    for group, score in zip(groups(p_90).tolist(), scores.tolist(), strict=True):
        of = bounds[group]
        for side, share in enumerate(_SHARES):
            of[side] += _STEP * (share - (score < of[side]))
    found: FloatArray = np.clip(bounds, -_LIMIT, _LIMIT)
    found[:, 1] = np.maximum(found[:, 0], found[:, 1])
    return found


def groups(p_90: FloatArray) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    """(n,): which group each customer is of."""
    return np.minimum((p_90 * GROUPS).astype(np.int64), GROUPS - 1)
