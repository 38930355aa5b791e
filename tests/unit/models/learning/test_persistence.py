"""Laws of an estimator's bytes: what comes back goes on alike, and nothing but allowed classes is ever made."""

import base64
import zlib
from typing import Any

import msgspec
import pytest
from river import compose, datasets, drift, ensemble, forest, linear_model, optim, preprocessing, stats, tree

from models.learning.persistence import StateError, decode_estimator, encode_estimator
from models.learning.shipped import SHIPPED
from models.river import AveragedLogisticRegression, DynamicPoissonRegression

PHISHING = list(datasets.Phishing())[:600]
LOGISTIC = preprocessing.StandardScaler() | linear_model.LogisticRegression(optimizer=optim.Adam())

MODELS = {
    "scaled logistic": LOGISTIC,
    "bag": ensemble.BaggingClassifier(LOGISTIC.clone(), n_models=3, seed=1),
    "forest": forest.ARFClassifier(n_models=3, seed=1, grace_period=20),
    "adaptive tree": tree.HoeffdingAdaptiveTreeClassifier(seed=1, grace_period=20),
    "very fast tree": tree.ExtremelyFastDecisionTreeClassifier(grace_period=20),
    "patches": ensemble.SRPClassifier(n_models=3, seed=1),
    "averaged": preprocessing.StandardScaler() | AveragedLogisticRegression(),
    "imputed": preprocessing.StatImputer(("https", stats.Mean())) | preprocessing.MinMaxScaler() | linear_model.Perceptron(),
    "union": (compose.Select("https") + preprocessing.StandardScaler()) | linear_model.LogisticRegression(),
    "boosted": ensemble.ADWINBoostingClassifier(tree.HoeffdingTreeClassifier(grace_period=20), n_models=3, seed=1),
}  # fmt: skip
REGRESSORS = {
    "forest": forest.ARFRegressor(n_models=3, seed=1, grace_period=20),
    "tree": tree.HoeffdingTreeRegressor(grace_period=20),
    "poisson": DynamicPoissonRegression(),
    "rules": preprocessing.StandardScaler() | linear_model.LinearRegression(),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_classifier_goes_on_as_if_nothing_had_happened(name: str) -> None:
    """Taught, stored, made anew and taught on: every forecast as that of the one that was never stored."""
    model = MODELS[name].clone()
    for x, y in PHISHING[:400]:
        model.learn_one(x, y)
    again = decode_estimator(encode_estimator(model))

    for x, y in PHISHING[400:]:
        if name != "imputed":
            assert again.predict_proba_one(x) == model.predict_proba_one(x)
        assert again.predict_one(x) == model.predict_one(x)
        model.learn_one(x, y)
        again.learn_one(x, y)


@pytest.mark.parametrize("name", REGRESSORS)
def test_a_regressor_goes_on_as_if_nothing_had_happened(name: str) -> None:
    """The same, of amounts."""
    model = REGRESSORS[name].clone()
    rows = list(datasets.TrumpApproval())
    for x, y in rows[:500]:
        model.learn_one(x, y)
    again = decode_estimator(encode_estimator(model))

    for x, y in rows[500:700]:
        assert again.predict_one(x) == model.predict_one(x)
        model.learn_one(x, y)
        again.learn_one(x, y)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_challenger_can_be_stored(name: str) -> None:
    """For each target, before and after it has learnt."""
    for target, model in SHIPPED[name]().items():
        for x, y in PHISHING[:60]:
            row = x | {"prior": -1.0}
            model.learn_one(row, bool(y) if target.startswith("p_") else float(y))
        again = decode_estimator(encode_estimator(model))
        assert again.predict_one(PHISHING[60][0] | {"prior": -1.0}) == model.predict_one(
            PHISHING[60][0] | {"prior": -1.0}
        )


def test_what_is_shared_is_shared_again() -> None:
    """A detector that two parts hold is one detector after."""
    shared = drift.ADWIN()
    model = compose.Pipeline(preprocessing.StandardScaler(), linear_model.LogisticRegression())
    model.one, model.other = shared, shared

    again = decode_estimator(encode_estimator(model))

    assert again.one is again.other


def _bytes(nodes: list[Any]) -> bytes:
    return zlib.compress(msgspec.json.encode({"format": 1, "nodes": nodes}))


@pytest.mark.parametrize(
    "node",
    [
        {"k": "named", "v": "os:system"},
        {"k": "named", "v": "subprocess:Popen"},
        {"k": "object", "c": "subprocess:Popen", "v": []},
        {"k": "named", "v": "builtins:eval"},
        {"k": "named", "v": "river.base.base:inspect"},
        {"k": "named", "v": "river.base.base:typing.get_type_hints"},
        {"k": "native", "c": "river.stats.mean:Mean", "a": None, "v": None},
        {"k": "generator", "v": {"bit_generator": "os"}},
        {"k": "partial", "v": [{"f": "nan"}, None, None]},
        {"k": "surprise"},
        {},
    ],
)
def test_nothing_that_is_not_allowed_is_made(node: dict[str, Any]) -> None:
    """Whatever the bytes name: a class of another package, a module's own imports, a builtin, or nothing known."""
    with pytest.raises(StateError):
        decode_estimator(_bytes([node]))


@pytest.mark.parametrize("data", [b"", b"not zlib", zlib.compress(b"not json"), zlib.compress(b"[]"), _bytes([])])
def test_damaged_bytes_are_refused_with_one_error(data: bytes) -> None:
    """Never another exception."""
    with pytest.raises(StateError):
        decode_estimator(data)


def test_a_lambda_is_refused_and_says_where_it_stands() -> None:
    """A function without a name of its own can't be found again by another process."""
    model = compose.FuncTransformer(lambda x: x) | linear_model.LogisticRegression()

    with pytest.raises(StateError, match=r"steps.*<lambda>"):
        encode_estimator(model)


def test_bytes_are_those_of_arrays_not_of_code() -> None:
    """An array's numbers come back with their type, shape and order."""
    model = AveragedLogisticRegression()
    model.learn_one({"a": 1.0}, True)
    node = {"k": "array", "t": "<f8", "s": [2], "o": "C", "v": base64.b64encode(b"\0" * 16).decode()}

    assert decode_estimator(_bytes([node])).tolist() == [0.0, 0.0]
    assert (decode_estimator(encode_estimator(model)).to_array() == model.to_array()).all()
