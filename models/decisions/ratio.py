"""Sample ratio mismatch: whether arms were drawn as often as their probabilities say.

Where they were not, something between the draw and the log is broken (lost records, a filter that hits one arm, a second
system that decides), and no effect of the test can be trusted. The check may be made at any time, as often as one likes:
a Bayes factor of "other shares" against "the planned ones", Dirichlet to multinomial (Lindon and Malek, "Anytime-valid
inference for multinomial count data", NeurIPS 2022), which stays below 1 / alpha for ever with probability 1 - alpha.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import chdtrc, gammaln  # type: ignore[import-untyped]

from models.decisions.draw import FloatArray

# A false alarm would have people distrust a sound test.
ALPHA = 0.001
# The prior of other shares is as tight around the planned ones as after so many decisions: shares that are off by a
# twentieth are seen soonest.
_PRIOR_SIZE = 400.0


class RatioCheck(NamedTuple):
    """What came of the check.

    Attributes:
        mismatch: the shares are not the planned ones.
        evidence: the Bayes factor; a mismatch from 1 / alpha on.
        p_value: of Pearson's chi-square test, for one look.
    """

    mismatch: bool
    evidence: float
    p_value: float


def check_ratio(counts: FloatArray, shares: FloatArray, alpha: float = ALPHA) -> RatioCheck:
    """Whether counts (arms,) came of draws by fixed shares (arms,), which sum to 1.

    >>> check_ratio(np.array([5000.0, 5000.0]), np.array([0.5, 0.5])).mismatch
    False
    >>> check_ratio(np.array([5400.0, 4600.0]), np.array([0.5, 0.5])).mismatch
    True
    """
    if counts[shares == 0].any():
        return RatioCheck(True, np.inf, 0.0)
    counts, shares = counts[shares > 0], shares[shares > 0]
    total, prior = counts.sum(), _PRIOR_SIZE * shares
    log_evidence = (
        gammaln(_PRIOR_SIZE) - gammaln(_PRIOR_SIZE + total)
        + (gammaln(prior + counts) - gammaln(prior)).sum()
        - counts @ np.log(shares)
    )  # fmt: skip
    evidence = float(np.exp(min(log_evidence, 700.0)))
    expected = total * shares
    distance = ((counts - expected) ** 2 / expected).sum() if total else 0.0
    return RatioCheck(evidence >= 1.0 / alpha, evidence, float(chdtrc(max(len(counts) - 1, 1), distance)))
