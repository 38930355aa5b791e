"""Which leaf of a tree a row falls into, as features of the model behind it."""

from collections.abc import Hashable, Mapping
from typing import Any

from river import base
from river.tree.base import Branch


# River 0.26 transforms in `Pipeline.learn_one` only what is a `Transformer`; a `SupervisedTransformer` it would skip.
class LeafMembership(base.Transformer):  # type: ignore[misc]
    """Membership of the nodes of a Hoeffding tree that learns beside: one feature of 1 for each node on a row's path.

    A linear model behind it gives every leaf a weight of its own, and the forecast is the link of the sum of weight times
    membership[^1]. As the nodes above a leaf are features too, the weight of a leaf that has just split off starts from
    that of its parent, and what it learns is how it differs.

    Parameters
    ----------
    model
        A Hoeffding tree, for classification or regression. Bound its `max_depth`: each node is a feature.

    Examples:
    --------
    >>> from river import datasets
    >>> from river import evaluate
    >>> from river import metrics
    >>> from river import tree
    >>> from models.river import DynamicLogisticRegression
    >>> from models.river.leaves import LeafMembership

    >>> leaves = LeafMembership(tree.HoeffdingTreeClassifier(grace_period=50, max_depth=5))
    >>> model = leaves | DynamicLogisticRegression(scale=1.0)
    >>> evaluate.progressive_val_score(datasets.Phishing(), model, metrics.Accuracy())
    Accuracy: 73.12%
    >>> x, _ = next(iter(datasets.Phishing()))
    >>> sorted(leaves.transform_one(x))[0]
    'leaf 0'

    References:
    ----------
    [^1]: [He, X. et al., 2014. Practical lessons from predicting clicks on ads at Facebook. Proceedings of the Eighth International Workshop on Data Mining for Online Advertising.](https://doi.org/10.1145/2648584.2648589)

    """  # noqa: E501 - a reference is one line, as River has it

    def __init__(self, model: Any) -> None:
        self.model = model

    @property
    def _supervised(self) -> bool:
        return True

    def learn_one(self, x: Mapping[Hashable, Any], y: Any = None) -> None:
        """The tree learns; without an outcome there is nothing to learn.

        Parameters
        ----------
        x
            A dictionary of features.
        y
            The outcome.

        """
        if y is not None:
            self.model.learn_one(x, y)

    def transform_one(self, x: Mapping[Hashable, Any]) -> dict[Hashable, float]:
        """1 for each node on the path of `x` below the root, as far as `x` has the features that decide it.

        Parameters
        ----------
        x
            A dictionary of features.

        """
        members: dict[Hashable, float] = {}
        node, path = self.model._root, []
        while isinstance(node, Branch):
            try:
                turn = node.branch_no(x)
                node = node.children[turn]
            except (KeyError, IndexError):
                break
            path.append(str(turn))
            members[f"leaf {'.'.join(path)}"] = 1.0
        return members

    @classmethod
    def _unit_test_params(cls) -> Any:
        from river import tree

        yield {"model": tree.HoeffdingTreeRegressor(grace_period=20)}
