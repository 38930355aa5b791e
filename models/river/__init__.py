"""Dynamic generalised linear models as River estimators: second order, no step size, weights that may drift.

| estimator | target | link |
| --- | --- | --- |
| `DynamicLogisticRegression` | False or True | logit |
| `DynamicPoissonRegression` | a count, or an amount whose variance grows with its mean | log |
| `DynamicTweedieRegression` | an amount with many zeros and few large values | log |
| `AveragedLogisticRegression`, `AveragedPoissonRegression` | the same, at several speeds at once | |
| `LeafMembership` | features for a model behind it: which leaf of a tree a row falls into | |

They stand on River, numpy and pandas alone. The served models are these estimators (`models.learning`).
"""

from models.river.averaging import AveragedLogisticRegression, AveragedPoissonRegression
from models.river.leaves import LeafMembership
from models.river.logistic import DynamicLogisticRegression
from models.river.poisson import DynamicPoissonRegression
from models.river.tweedie import DynamicTweedieRegression

__all__ = [
    "AveragedLogisticRegression",
    "AveragedPoissonRegression",
    "DynamicLogisticRegression",
    "DynamicPoissonRegression",
    "DynamicTweedieRegression",
    "LeafMembership",
]
