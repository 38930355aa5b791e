"""Laws of records as JSON: names instead of places, moments instead of seconds, and no byte is lost or refused."""

import json
from typing import Any

import msgspec
import numpy as np
import pytest
from aiokafka.structs import ConsumerRecord

from models.features import FEATURE_SET, NAMES, exposure
from schemas.campaigns import CampaignMemory, CampaignState
from schemas.groups import Spending
from schemas.learning import SCORES, Label, encode_label
from schemas.states import NEVER, CustomerState, Held, Promise
from schemas.stored import encode_state
from schemas.topics import CHANGELOG, DEAD_LETTERS, MODEL_TRAIN
from streams.ops.readable import record_as_json

ROW = np.arange(len(NAMES), dtype=float) / 4


def shown(topic: str, value: bytes | None, key: bytes | None = b"anna") -> Any:
    """The record as it stands in the file."""
    record: ConsumerRecord[bytes, bytes] = ConsumerRecord(
        "t", 3, 7, 1_700_000_000_000, 0, key, value, None, 0, 0, [("ce_id", b"x"), ("raw", b"\xff"), ("none", None)]
    )
    return json.loads(msgspec.json.encode(record_as_json(topic, record)))


def test_a_state_has_names_and_moments() -> None:
    """Everything that it holds: sums, segments, the promise, campaigns, features that wait for their label."""
    base = CustomerState(
        sequence=4,
        segments={"value": Held("high", 1e9)},
        first_event_at=1e9,
        spending=Spending(purchases=2, spend_minor=500),
        seen=(b"", b"12345678" * 3, b""),
        scores=(0.1, 0.2, 0.3, 0.4),
        promise=Promise(1.5e9, "value", "mid"),
        campaigns=CampaignState(2e9, (CampaignMemory("win-back", 2, (1.1e9,)),)),
    )
    state = msgspec.structs.replace(base, exposures=(exposure(base, 1e9, ROW),))

    value = shown(CHANGELOG, encode_state(state, 2e9))["value"]

    assert value.keys() == {*CustomerState.__struct_fields__, "is_erased"}
    assert value["segments"] == {"value": {"segment": "high", "since": "2001-09-09T01:46:40Z"}}
    assert value["promise"] == {"at": "2017-07-14T02:40:00Z", "dimension": "value", "segment": "mid"}
    assert (value["spending"]["purchases"], value["spending"]["spend_minor"]) == (2, 500)
    assert (value["spending"]["last_purchase_at"], value["erased_at"]) == (None, None)
    assert value["scores"] == dict(zip(SCORES, (0.1, 0.2, 0.3, 0.4), strict=True))
    assert value["seen"][1] == "digests of the latest 3 event ids"
    assert value["exposures"][0]["features"] == dict(zip(NAMES, ROW.tolist(), strict=True))
    assert value["campaigns"]["memories"][0]["contacts"] == ["2004-11-09T11:33:20Z"]
    assert value["is_erased"] is False


def test_a_remainder_says_that_it_is_one() -> None:
    """An erased customer's state is shown with what is left in it."""
    value = shown(CHANGELOG, encode_state(CustomerState(sequence=9, first_event_at=NEVER, erased_at=1e9), NEVER))[
        "value"
    ]

    assert (value["is_erased"], value["first_event_at"], value["sequence"]) == (True, None, 9)
    assert value["erased_at"] == "2001-09-09T01:46:40Z"


def test_a_label_has_its_features_by_name() -> None:
    """Of this release; of another one, whose names are not known, the row stays as it is."""
    label = Label("p:1", 1e9, 2e9, 30, FEATURE_SET, tuple(ROW.tolist()), True, 1, 2.0)

    named = shown(MODEL_TRAIN, encode_label(label))["value"]
    bare = shown(MODEL_TRAIN, encode_label(msgspec.structs.replace(label, feature_set="other")))["value"]

    assert named["features"] == dict(zip(NAMES, ROW.tolist(), strict=True))
    assert bare["features"] == ROW.tolist()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (b"", ""),
        (b'{"a": 1', '{"a": 1'),
        (b"\xff", {"base64": "/w=="}),
        (b"[" * 5000, "[" * 5000),
        (b'{"a": [1, null]}', {"a": [1, None]}),
    ],
)
def test_any_bytes_can_be_shown(value: bytes | None, expected: Any) -> None:
    """As JSON where they are, else as text, else in base64."""
    record = shown(DEAD_LETTERS, value, key=value)

    assert record["value"] == expected
    assert record["headers"] == [["ce_id", "x"], ["raw", {"base64": "/w=="}], ["none", None]]
    assert (record["partition"], record["offset"], record["written_at"]) == (3, 7, "2023-11-14T22:13:20Z")
    assert shown(CHANGELOG, b"\xff\xff")["value"] == {"base64": "//8="}
