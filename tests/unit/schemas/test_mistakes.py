"""A refused record says what was found, what is allowed and the likely cause; and all of its mistakes, not the first."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mistakes as table
from schemas.events import CLICKSTREAM, PURCHASES, Rejected, decode
from schemas.mistakes.records import detailed, examine

CASES = table.cases()
PAGE = Path(__file__).parents[3] / "docs" / "mistakes.md"


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_mistake_is_named_with_its_likely_cause(case: table.Case) -> None:
    """Somebody who has not read the docs mends it by the detail alone."""
    with pytest.raises(Rejected) as rejected:
        decode(case.topic, case.key, case.value, table.LATEST_S)

    first = case.mistakes[0]

    assert (first.reason, first.field) == (case.reason, case.field)
    assert first.reason == rejected.value.reason
    for word in case.words:
        assert word in first.detail
    assert "Anna" not in first.detail
    assert "chair" not in first.detail


def test_there_are_as_many_mistakes_as_the_trial_made() -> None:
    """92 kinds were tried by hand; the table has at least as many, under different names."""
    assert len({case.name for case in CASES}) == len(CASES) >= 92


def test_the_page_of_mistakes_is_current() -> None:
    """`python -m tests.support.mistakes` writes it again."""
    assert PAGE.read_text("utf-8") == table.page()


def test_all_mistakes_of_a_record_are_named() -> None:
    """One run of the check is enough to mend a record."""
    event = {"event_id": "", "userId": 7, "event_time": "2024-05-01", "type": "ORDER", "amount_minor": 19.99}

    mistakes = examine(PURCHASES, None, json.dumps(event).encode(), table.LATEST_S)

    assert isinstance(mistakes, list)
    assert sorted((mistake.reason, mistake.field) for mistake in mistakes) == [
        ("no-key", "$"),
        ("schema", "$.amount_minor"),
        ("schema", "$.currency"),
        ("schema", "$.customer_id"),
        ("schema", "$.event_id"),
        ("schema", "$.event_time"),
        ("schema", "$.order_id"),
        ("schema", "$.type"),
    ]


def test_key_and_time_are_named_beside_a_wrong_field() -> None:
    """What `decode` never comes to is looked at all the same."""
    event = {**table.EVENTS[PURCHASES], "currency": "gbp", "event_time": "2024-05-01T09:00:00Z"}

    mistakes = examine(PURCHASES, b"other", json.dumps(event).encode(), table.LATEST_S)

    assert isinstance(mistakes, list)
    assert [mistake.reason for mistake in mistakes] == ["schema", "key-mismatch", "future-time"]


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_topics = st.sampled_from(list(table.EVENTS))
_names = sorted({name for event in table.EVENTS.values() for name in event} | {"items", "rating", "price_minor"})


@given(
    _topics, st.dictionaries(st.sampled_from(_names), _values, max_size=4), st.sets(st.sampled_from(_names), max_size=2)
)
def test_the_first_mistake_is_the_one_that_a_worker_rejects(
    topic: str, changes: dict[str, Any], left_out: set[str]
) -> None:
    """The check, the worker and the dead letter never disagree about why a record is refused."""
    event = {name: value for name, value in {**table.EVENTS[topic], **changes}.items() if name not in left_out}
    value = json.dumps(event).encode()
    examined = examine(topic, table.KEY, value, table.LATEST_S)

    try:
        decoded = decode(topic, table.KEY, value, table.LATEST_S)
    except Rejected as rejected:
        assert isinstance(examined, list)
        assert examined[0].reason == rejected.reason
        assert examined[0].field in (rejected.field, "$")
        assert detailed(rejected, topic, table.KEY, value, table.LATEST_S).detail == examined[0].detail
        # A rule of ours for each: the library's own words are nobody's way out.
        assert "Expected" not in examined[0].detail
        assert "Object" not in examined[0].detail
    else:
        assert examined == decoded


@given(_topics, st.none() | st.binary(max_size=60), st.none() | st.binary(max_size=300))
def test_any_bytes_are_explained(topic: str, key: bytes | None, value: bytes | None) -> None:
    """No bytes whatever make the explanation fail."""
    examined = examine(topic, key, value, table.LATEST_S)

    assert not isinstance(examined, list) or all(mistake.detail for mistake in examined)


_LONG = 65_000
_EVENT = table.EVENTS[CLICKSTREAM]


@pytest.mark.parametrize(
    "value",
    [
        b'{"' + b'\\"' * (_LONG // 2),
        b"{" + b"\n " * (_LONG // 2),
        b"{" + b": " * (_LONG // 2),
        b"[" + b", " * (_LONG // 2),
        b"{" + b'"' * _LONG,
        b"a=b&" * (_LONG // 4) + b"!",
        b"A" * _LONG + b"(",
        json.dumps(_EVENT | {"event_time": " " * 60_000 + "x"}).encode(),
        json.dumps(_EVENT | {"price_minor": "1" + " " * 60_000 + "x"}).encode(),
        json.dumps(_EVENT | {"type": "a." * 30_000}).encode(),
        json.dumps({"event_id": "1", "items": [{}] * 15_000}).encode(),
    ],
    ids=lambda value: f"{value[:4]!r} {len(value)}",
)
@pytest.mark.parametrize("topic", [CLICKSTREAM, PURCHASES])
def test_no_record_takes_long_to_explain(topic: str, value: bytes) -> None:
    """A pattern that tries every place from every place takes a minute for 64 KiB, while the partition stands still."""
    began = time.process_time()

    examine(topic, table.KEY, value, table.LATEST_S)

    assert time.process_time() - began < 1.0


_DEEP = b"[" * 100_000 + b"]" * 100_000


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        (None, _DEEP, "no-key"),
        (table.KEY, _DEEP, "too-large"),
        (None, b'{"x":' * 30_000, "no-key"),
        (_DEEP, json.dumps(table.EVENTS[CLICKSTREAM]).encode(), "key-mismatch"),
        (table.KEY, b"NaN " + _DEEP[:50_000], "not-json"),
    ],
    ids=["no key", "too large", "cut off", "key", "not JSON"],
)
def test_what_is_nested_to_any_depth_is_explained(key: bytes | None, value: bytes, reason: str) -> None:
    """Whatever comes first of its mistakes, its depth ends no worker."""
    mistakes = examine(CLICKSTREAM, key, value, table.LATEST_S)

    assert isinstance(mistakes, list)
    assert mistakes[0].reason == reason


@given(st.text(st.characters(categories=["L"]), min_size=6, max_size=30).filter(lambda text: text.isalpha()))
def test_no_detail_quotes_what_a_customer_may_have_written(word: str) -> None:
    """Texts, ids and names of people stay out of headers; only `type`, which a program writes, is named."""
    word = f"Zq{word}"
    event = dict.fromkeys(table.EVENTS[CLICKSTREAM], word) | {"type": "view", "currency": word, word: word}

    examined = examine(CLICKSTREAM, word.encode(), json.dumps(event).encode(), table.LATEST_S)

    assert isinstance(examined, list)
    assert not any(word in mistake.detail for mistake in examined)
