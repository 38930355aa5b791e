"""Laws of what a worker serves: whatever is published, it goes on, says what it refuses, and serves the last good one."""

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from aiokafka.structs import ConsumerRecord

from models.features import FEATURE_SET, NAMES
from models.learning.learner import Learner
from models.learning.snapshots import Snapshot, encode_snapshot, version_of
from models.policy import Rules, load
from models.policy.loading import read
from models.scores import PriorScorer, Scorer
from models.shadow import Shadow
from schemas.headers import HISTORY_HEADER
from schemas.topics import MODEL_SNAPSHOTS, POLICIES
from streams.worker.metrics import Metrics
from streams.worker.serving import Serving

DEFAULT = read()
OTHER = DEFAULT.replace('version: "1"', 'version: "2"', 1)


class Desk:
    """What serving sets on a job."""

    def __init__(self) -> None:
        self.rules = Rules(load())
        self.scorer: Scorer = PriorScorer()
        self.shadow: Shadow | None = None

    def unswept(self) -> int:
        """Nobody."""
        return 0


class Stand:
    """A worker's serving, and how often it refused."""

    def __init__(self) -> None:
        self.desk, self.metrics = Desk(), Metrics()
        self.serving = Serving(self.desk, self.metrics)

    def refused(self, topic: str) -> float:
        """How many records of a topic were refused."""
        value = self.metrics.registry.get_sample_value("regulars_published_refused_total", {"topic": topic})
        assert value is not None
        return value


@pytest.fixture
def stand() -> Stand:
    """A worker that serves the default policy and the prior."""
    return Stand()


def published(value: bytes | None, headers: tuple[tuple[str, bytes], ...] = (), key: bytes = b"p") -> ConsumerRecord:
    """A record of `policies`."""
    return ConsumerRecord("policies", 0, 0, 0, 0, key, value, None, 0, 0, headers)


def snapshot() -> Snapshot:
    """Of a learner that has learnt nothing."""
    return Learner(NAMES, FEATURE_SET, PriorScorer()).snapshot()


def with_arrays(**arrays: Any) -> bytes:
    """A snapshot with other arrays and the digest that belongs to them."""
    made = replace(snapshot(), arrays={**snapshot().arrays, **arrays})
    return encode_snapshot(replace(made, version=version_of(made.kind, made.labels, made.arrays)))


DEEP = [
    pytest.param(b"[" * 5_000 + b"]" * 5_000, id="deep flow sequence"),
    pytest.param(b"{a: " * 3_000 + b"1" + b"}" * 3_000, id="deep flow mapping"),
    pytest.param("".join(f"{' ' * n}a:\n" for n in range(200)).encode(), id="deep block mapping"),
    pytest.param(b"- " * 10_000, id="deep block sequence"),
]


@pytest.mark.parametrize(
    "document",
    [
        *DEEP,
        pytest.param(b"", id="empty"),
        pytest.param(b"\xff\xfe", id="not UTF-8"),
        pytest.param(b"x" * 40_000, id="oversize"),
        pytest.param(DEFAULT.replace("50", "1e308", 1).encode() + b"\n...\n%", id="two documents"),
        pytest.param(b"!!python/object:os.system {}", id="a tag"),
        pytest.param(b"? [a, b]\n: 1", id="a key that is a list"),
        pytest.param(b"a: 2001-99-99", id="a date that is none"),
    ],
)
def test_a_published_document_that_is_no_policy_is_refused(stand: Stand, document: bytes) -> None:
    """While it runs, as a shadow and at the start: counted, and the served policy stays."""
    served = stand.desk.rules
    stand.serving.serve_policy(b"p", document)
    stand.serving.serve_policy(b"shadow", document)
    stand.serving.serve_published([published(OTHER.encode()), published(document)])

    assert (served.policy.version, stand.desk.rules.policy.version) == ("1", "2")
    assert stand.desk.shadow is None
    assert stand.refused(POLICIES) == 3


@pytest.mark.parametrize("header", [b"", b"\xc1", b"\x91" * 10_000, b"\x91\x92\xc0\xc0", b"\x91\x92\xcb" + b"\xff" * 8])
def test_a_history_that_cannot_be_read_stops_nobody(stand: Stand, header: bytes) -> None:
    """The document beside it is served all the same."""
    stand.serving.serve_published([published(OTHER.encode(), ((HISTORY_HEADER, header),))])
    assert stand.desk.rules.policy.version == "2"


def test_the_last_readable_policy_of_a_history_is_served(stand: Stand) -> None:
    """A document that nobody can read, with the one that was served before it in its header."""
    history = msgspec.msgpack.encode([[2.0, "["], [1.0, OTHER]])
    stand.serving.serve_published([published(b"[", ((HISTORY_HEADER, history),))])
    assert stand.desk.rules.policy.version == "2"


@pytest.mark.parametrize("name", ["population", "means", "variances", "weights", "count_level", "margins", "trust"])
@pytest.mark.parametrize("number", [1e308, -1e308, 1e99, -1e99])
def test_a_snapshot_with_numbers_too_large_is_refused_or_forecasts(stand: Stand, name: str, number: float) -> None:
    """Whatever the numbers, what is served gives probabilities and amounts, and nothing ends the worker."""
    array = np.full_like(snapshot().arrays[name], number)
    arrays = {name: array, "counts": np.array([300, 300], dtype=np.int64)}
    try:
        data = with_arrays(**arrays)
    except ValueError:
        return  # it can't even be written
    accepted = stand.serving.serve_snapshot(b"dynamic", data)

    scores = stand.desk.scorer.score(np.zeros((2, len(NAMES))))
    assert np.isfinite(scores).all()
    assert stand.refused(MODEL_SNAPSHOTS) == (not accepted)
    assert accepted == (stand.desk.scorer.version != PriorScorer().version)


@pytest.mark.parametrize(
    "contest", [{"served": [1]}, {"served": {"p_purchase_30d": 3}}, {"served": None}, {"x": [[1] * 9]}]
)
def test_a_contest_that_is_none_is_refused_or_passed_over(stand: Stand, contest: Any) -> None:
    """Made-up states of the contest end nobody."""
    stand.serving.serve_snapshot(b"dynamic", encode_snapshot(replace(snapshot(), contest=contest)))
    assert stand.desk.scorer.score(np.zeros((1, len(NAMES)))).shape == (1, 4)


@pytest.mark.parametrize(
    "value", [b"", b"{", b"\0" * 100, b"\xff" * 100, (1 << 40).to_bytes(8, "little"), b"x" * 2_000_000]
)
def test_bytes_that_are_no_snapshot_are_refused(stand: Stand, value: bytes) -> None:
    """Counted; the model before stays."""
    good = encode_snapshot(snapshot())
    assert stand.serving.serve_snapshot(b"dynamic", good)
    version = stand.desk.scorer.version
    assert not stand.serving.serve_snapshot(b"dynamic", value)
    assert stand.desk.scorer.version == version
    assert stand.refused(MODEL_SNAPSHOTS) == 1
