"""The models that correct the prior: this package's River estimators (`models.river`), set up for blocks of labels.

log odds or log mean = offset + correction, correction = weights . [1, z], within `CORRECTION_LIMIT`. Inputs are matrices, so
the estimators' columns are joined once and labels are learnt by `learn_array`: one plain filter step a block.
"""

from collections.abc import Hashable, Iterable
from typing import Any, Literal

from models.learning.forecasting import CORRECTION_LIMIT
from models.learning.snapshots import EXPERTS
from models.river import (
    AveragedLogisticRegression,
    AveragedPoissonRegression,
    DynamicLogisticRegression,
    DynamicPoissonRegression,
)
from models.river.averaging import SPEEDS, AveragedGLM, Speeds
from models.river.dynamic import DynamicGLM

# An outcome counts as at most so far above what was expected (in purchases, or in purchases of the mean amount): one
# wholesale order must not outweigh a hundred customers. Below, nothing is cut, as no outcome is less than none: a forecast
# of thousands where ten came must come down at once, not by 30 in a thousand.
SURPRISE_LIMIT = 30.0

# Probabilities have a logit link; amounts a log link, and a variance proportional to the mean.
Link = Literal["logit", "log"]

_FILTER: dict[str, Any] = {
    "limit": CORRECTION_LIMIT,
    "step_limit": CORRECTION_LIMIT,
    "surprise_limit": SURPRISE_LIMIT,
    "newton_steps": 1,
}

assert len(SPEEDS) == EXPERTS


def corrector(link: Link, names: Iterable[Hashable], **parameters: Any) -> DynamicGLM:
    """One dynamic model of the inputs `names`, in order; parameters as those of `DynamicLogisticRegression`."""
    kind = DynamicLogisticRegression if link == "logit" else DynamicPoissonRegression
    model: DynamicGLM = kind(**_FILTER, **parameters)
    model.join(names)
    return model


def averaged_corrector(
    link: Link,
    names: Iterable[Hashable],
    speeds: Speeds = SPEEDS,
    lag: float = 30.0,
    dispersion: float = 1.0,
    cautious: frozenset[Hashable] | None = None,
) -> AveragedGLM:
    """A dynamic model at several speeds, of the inputs `names`, in order; see `AveragedLogisticRegression`."""
    kind = AveragedLogisticRegression if link == "logit" else AveragedPoissonRegression
    model: AveragedGLM = kind(speeds=speeds, lag=lag, dispersion=dispersion, cautious=cautious, **_FILTER)
    model.join(names)
    return model
