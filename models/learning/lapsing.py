"""Ways to tell that a buyer is lost, besides the forecast: what `regulars evaluate segments` compares it with."""

import numpy as np

from models.features import COLUMN, FloatArray

BG_NBD_GONE = "1 - P(alive) of BG/NBD"
OVERDUE = "days overdue / own gap"
RECENCY = "days since purchase"


def lapsing(x: FloatArray, alive: FloatArray) -> dict[str, FloatArray]:
    """Way to tell -> (n,), higher for who is likelier lost.

    The own gap is the mean of days between a customer's purchases. Customers with one purchase, or with several at one
    moment, take the median gap of the others; so a rhythm is known of everybody.

    Args:
        x: (n, features) of buyers.
        alive: (n,), P(alive) under BG/NBD.
    """
    recency = np.expm1(x[:, COLUMN["recency_days"]])
    repeats = np.expm1(x[:, COLUMN["purchases"]]) - 1.0
    span = np.expm1(x[:, COLUMN["repeat_span_days"]])
    regular = (repeats > 0.5) & (span > 0)
    gap = np.where(regular, span / np.maximum(repeats, 1.0), np.nan)
    gap = np.where(regular, gap, np.median(gap[regular]) if regular.any() else 1.0)
    return {BG_NBD_GONE: 1.0 - alive, OVERDUE: (recency - gap) / gap, RECENCY: recency}
