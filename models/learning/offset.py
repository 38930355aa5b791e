"""River's generalised linear models with an offset: the one thing that they lack for correcting a prior.

`raw = offset + correction`, `correction = intercept + weights . x` and within `CORRECTION_LIMIT`; the offset is given
with each row and has no weight to learn. The gradient is that of `raw`, so a correction at its limit comes back.
Everything else (losses, gradients, clipping, the optimiser) is River's own. River keeps a model's weights in
`_weights`; `set_weights` is the only place that touches it, so that a snapshot can be put back.
"""

from collections.abc import Mapping

from river.linear_model import LinearRegression, LogisticRegression
from river.utils import VectorDict

from models.learning.inputs import CORRECTION_LIMIT


class OffsetLogisticRegression(LogisticRegression):  # type: ignore[misc]
    """Logistic regression whose log odds start from `offset`; set it before each call."""

    offset = 0.0

    def _raw_dot_one(self, x: Mapping[str, float]) -> float:
        return self.offset + _limited(super()._raw_dot_one(x))


class OffsetPoissonRegression(LinearRegression):  # type: ignore[misc]
    """Regression with Poisson loss whose log mean starts from `offset`; set it before each call."""

    offset = 0.0

    def _raw_dot_one(self, x: Mapping[str, float]) -> float:
        return self.offset + _limited(super()._raw_dot_one(x))


def _limited(correction: float) -> float:
    return max(-CORRECTION_LIMIT, min(CORRECTION_LIMIT, correction))


OffsetRegression = OffsetLogisticRegression | OffsetPoissonRegression


def set_weights(model: OffsetRegression, weights: Mapping[str, float]) -> None:
    """Puts weights back."""
    model._weights = VectorDict(dict(weights))
