"""Laws of what a worker assembles of the topic, and of trust: few customers count little."""

from dataclasses import replace

import numpy as np
import pytest

from models.learning.challenger import Challenger
from models.learning.customers import DOUBT, CustomerCount
from models.learning.entries import EntryError, decode_challenger, encode_challenger, resume
from models.learning.inputs import links
from models.learning.plug import plugged
from models.learning.scorer import SnapshotScorer
from models.learning.serving import ServedModel, key_of
from models.learning.snapshots import Snapshot, decode_snapshot, encode_snapshot, version_of
from models.scores import PriorScorer
from tests.support.training import FEATURES, direct

TARGET = "p_purchase_30d"


@pytest.fixture(scope="module")
def snapshot() -> Snapshot:
    """Of 300 labels of 300 customers."""
    return direct(range(300), 300)


def taught(snapshot: Snapshot) -> Challenger:
    """A challenger after some rows."""
    model = plugged("adagrad")[0].models[TARGET]
    challenger = Challenger("adagrad", TARGET, model, snapshot.names)
    x = np.random.default_rng(0).uniform(size=(50, FEATURES))
    challenger.learn(x, np.zeros(50), (x[:, 0] > 0.5).astype(float), 0.0, 1.0)
    return challenger


def rows() -> np.ndarray:
    """Features of a few customers."""
    return np.random.default_rng(1).uniform(size=(4, FEATURES))


def test_what_is_learnt_counts_by_customers_on_the_link_scale(snapshot: Snapshot) -> None:
    """Halfway between prior and learnt at a trust of a half; the prior at none; trust is n / (n + DOUBT)."""
    count = CustomerCount.from_array(snapshot.arrays["customers"])
    assert count.customers == pytest.approx(300, rel=0.05)
    trust = float(snapshot.arrays["trust"][0])
    assert 0.4 < trust <= count.trust == pytest.approx(count.customers / (count.customers + DOUBT))

    def at(value: float) -> np.ndarray:
        scorer = SnapshotScorer(
            replace(snapshot, arrays={**snapshot.arrays, "trust": np.array([value])}), PriorScorer()
        )
        return links(scorer.score(rows()))

    whole, none = at(1.0), at(0.0)
    np.testing.assert_allclose(at(0.5), (whole + none) / 2, rtol=1e-9)
    assert np.abs(whole - none).max() > 0.01


def test_a_snapshot_of_the_release_before_is_read_and_trusted_wholly(snapshot: Snapshot) -> None:
    """Without the two arrays: as it was."""
    arrays = {name: array for name, array in snapshot.arrays.items() if name not in ("customers", "trust")}
    before = replace(snapshot, arrays=arrays, version=version_of(snapshot.kind, snapshot.labels, arrays))

    again = decode_snapshot(encode_snapshot(before), snapshot.feature_set)

    whole = replace(snapshot, arrays={**snapshot.arrays, "trust": np.ones(1)})
    expected = SnapshotScorer(whole, PriorScorer()).score(rows())
    assert (SnapshotScorer(again, PriorScorer()).score(rows()) == expected).all()


def test_a_challenger_is_served_by_the_snapshot_that_names_it(snapshot: Snapshot) -> None:
    """Its record alone changes nothing; without its record the default is served and the problem is named."""
    challenger = taught(snapshot)
    model = ServedModel(snapshot.feature_set, snapshot.names, PriorScorer())
    named = encode_snapshot(replace(snapshot, contest={"served": {TARGET: "adagrad"}}))

    assert model.take(b"dynamic", named) is not None
    assert model.scorer.version == snapshot.version
    assert len(model.problems) == 1
    assert "adagrad" in model.problems[0]

    assert model.take(key_of(TARGET, "adagrad"), encode_challenger(challenger, 50)) is None
    assert model.take(b"orders", b"{}") is None
    model.take(b"dynamic", named)
    assert not model.problems
    assert model.scorer.version == f"{snapshot.version}+{TARGET}=adagrad-50"
    default = SnapshotScorer(snapshot, PriorScorer())
    own = challenger.forecast(rows(), links(default.prior(rows()))[:, 0], default.unit)
    assert (model.scorer.score(rows())[:, 0] == own).all()
    assert (model.scorer.score(rows())[:, 1:] == default.score(rows())[:, 1:]).all()


def test_the_prior_is_served_for_a_target_where_the_snapshot_says_so(snapshot: Snapshot) -> None:
    """Without River, one column, and it stands in the version."""
    gated = SnapshotScorer(replace(snapshot, contest={"served": {TARGET: "prior"}}), PriorScorer())
    default = SnapshotScorer(snapshot, PriorScorer())

    assert gated.version == f"{snapshot.version}+{TARGET}=prior"
    assert (gated.score(rows())[:, 0] == default.prior(rows())[:, 0]).all()
    assert (gated.score(rows())[:, 1:] == default.score(rows())[:, 1:]).all()


def test_a_challenger_that_is_ahead_lets_pass_what_it_has_learnt(snapshot: Snapshot) -> None:
    """Published, then the trainer died before its snapshot: as many labels more as it had judged."""
    data = encode_challenger(taught(snapshot), 400)
    again = Challenger("adagrad", TARGET, plugged("adagrad")[0].models[TARGET], snapshot.names)
    resume(again, data, 300)
    assert (again.ahead, again.learnt) == (100, 50)

    other = Challenger("adagrad", TARGET, plugged("dynamic")[0].models[TARGET], snapshot.names)
    with pytest.raises(EntryError, match="built otherwise"):
        resume(other, data, 300)
    for damaged in (b"", b"{}", data[:-9], data.replace(b"p_purchase_30d", b"nothing_at_all")):
        with pytest.raises(EntryError):
            decode_challenger(damaged, snapshot.names, ())
