"""Which records are of a customer, and that no topic is left out."""

from typing import NamedTuple

import pytest

from schemas.topics import CAMPAIGNS, MODEL_SNAPSHOTS, POLICIES, TOPICS
from streams.ops.access import USES, Matcher


class Record(NamedTuple):
    """What a matcher reads of a record."""

    key: bytes | None
    value: bytes | None = None


def named(name: str) -> str:
    """A pseudonym that can be read."""
    return f"<{name.replace(':', '.')}>"


def test_every_topic_that_can_hold_a_customer_is_read() -> None:
    """The others hold what is the shop's."""
    assert {topic.name for topic in TOPICS} - set(USES) == {CAMPAIGNS, MODEL_SNAPSHOTS, POLICIES}


@pytest.mark.parametrize(
    ("topic", "record", "theirs"),
    [
        ("purchases", Record(b"anna", b"{}"), True),
        ("purchases", Record(b"annabel", b"{}"), False),
        ("purchases", Record(b"Anna", b'{"customer_id":"anna"}'), True),  # a key that does not fit is a dead letter
        ("dead-letters", Record(None, b'{"customer_id":"anna"'), True),
        ("dead-letters", Record(b"bert", b'{"customer_id":"annabel"}'), False),
        ("segment-changes", Record(b"bert", b'{"reasons":["anna"]}'), False),
        ("customer-segments", Record(b"anna", None), True),
        ("model-train", Record(b"<anna>:0f", b"{}"), True),
        ("model-train", Record(b"<annabel>:0f", b"{}"), False),
        ("model-train", Record(b"anna", b"{}"), False),
        ("action-rewards", Record(b"<hello.anna>:hello:3", b"{}"), True),
        ("action-rewards", Record(b"<hello.bert>:hello:3", b"{}"), False),
        ("action-rewards", Record(b"\xff", b"{}"), False),
    ],
)
def test_a_record_is_theirs_by_key_by_name_or_by_pseudonym(topic: str, record: Record, theirs: bool) -> None:
    """In topics that producers write, also by what stands in the value."""
    assert Matcher("anna", named).is_theirs(topic, record) is theirs  # type: ignore[arg-type]


def test_without_the_key_of_pseudonyms_labels_and_rewards_are_nobodys() -> None:
    """The command says so."""
    matcher = Matcher("anna", None)
    for topic, key in (("model-train", b"<anna>:0f"), ("action-rewards", b"<hello.anna>:hello:3")):
        assert not matcher.is_theirs(topic, Record(key))  # type: ignore[arg-type]
