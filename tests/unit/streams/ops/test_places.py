"""Laws of whose a record is, and of the list of places: nothing that is a customer's is passed over."""

import json

import pytest
from aiokafka.structs import ConsumerRecord
from hypothesis import given
from hypothesis import strategies as st

from schemas.campaigns import reward_id
from schemas.topics import CUSTOMER_KEY, TOPICS
from streams.keys import pseudonym_of
from streams.ops.places import (
    IMPERSONAL,
    PLACES,
    CustomerNames,
    has_key_or_names,
    has_label_key,
    has_letter,
    has_reward_key,
)

KEY = b"k" * 32
IDS = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12)


def names_of(customer_id: str) -> CustomerNames:
    """A customer under the test's secret."""
    return CustomerNames(customer_id, lambda name: pseudonym_of(name, KEY))


def record(key: str | None, value: bytes | None) -> "ConsumerRecord[bytes, bytes]":
    """A record as the client gives it."""
    raw = None if key is None else key.encode()
    return ConsumerRecord("topic", 0, 0, 0, 0, raw, value, None, 0, 0, ())


def test_every_topic_is_a_place_or_holds_nothing_about_customers() -> None:
    """A new topic must say which; and each topic stands once."""
    listed = [place.topic for place in PLACES] + list(IMPERSONAL)

    assert sorted(listed) == sorted(topic.name for topic in TOPICS)


def test_only_topics_that_workers_alone_write_are_read_in_one_partition() -> None:
    """Whoever else writes may choose any partition."""
    declared = {topic.name: topic for topic in TOPICS}

    for place in PLACES:
        if not place.every_partition:
            assert (declared[place.topic].writers, declared[place.topic].key) == (("worker",), CUSTOMER_KEY)


@given(IDS, st.booleans())
def test_a_value_that_names_the_customer_is_theirs_under_any_key(customer_id: str, ascii_only: bool) -> None:
    """However JSON writes the id: as UTF-8 or with escapes."""
    value = json.dumps({"customer_id": customer_id}, ensure_ascii=ascii_only).encode()

    assert has_key_or_names(names_of(customer_id), record("somebody else", value))
    assert has_key_or_names(names_of(customer_id), record(customer_id, None))


@given(IDS, IDS)
def test_no_record_of_another_customer_is_taken(customer_id: str, other: str) -> None:
    """Not even of one whose id contains this one, or who mentions it elsewhere."""
    for someone in (customer_id + other, other + customer_id):
        value = json.dumps({"customer_id": someone, "text": f"as {customer_id} says"}, ensure_ascii=False).encode()

        assert not has_key_or_names(names_of(customer_id), record(someone, value))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b'{"customer_id": "anna"', True),
        (b'{"customer_id": "anna-2"', False),
        (b'{"customer_id": 17}', False),
        (b"[" * 10_000 + b'"anna"', True),
        (b'{"action_id": "anna:win-back:3"}', True),
        (b'{"action_id": "anna:b:win-back:3"}', False),
        (b"\xff\xfe", False),
        (None, False),
    ],
)
def test_a_value_that_is_no_event_is_theirs_if_it_has_the_id_as_a_whole_string(
    value: bytes | None, expected: bool
) -> None:
    """A refused record may be anything."""
    assert has_key_or_names(names_of("anna"), record("k", value)) is expected


def test_an_id_that_was_sent_as_a_number_is_the_customers() -> None:
    """It was refused for its type; the person is the same."""
    assert has_key_or_names(names_of("17"), record("k", b'{"customer_id": 17}'))


def test_labels_and_rewards_are_reached_by_the_pseudonyms() -> None:
    """The same names that workers write; another customer's, and the bare pseudonym, are not theirs."""
    anna, bert = names_of("anna"), names_of("bert")
    label = record(f"{pseudonym_of('anna', KEY)}:0123456789ab", b"{}")
    reward = record(reward_id(anna.pseudonym, "anna", "win-back", 2), b"{}")

    assert [has_label_key(who, label) for who in (anna, bert)] == [True, False]
    assert [has_reward_key(who, reward) for who in (anna, bert)] == [True, False]
    assert [has_letter(who, label) for who in (anna, bert)] == [True, False]
    assert not has_label_key(anna, reward)
    assert not has_reward_key(anna, label)
    assert not has_reward_key(anna, record(None, None))
