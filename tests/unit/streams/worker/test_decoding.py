"""Laws of records that are no events: erasures, clock records and dead letters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistakes import cases
from models.scores import PriorScorer
from schemas.headers import LETTER_HEADERS
from scoring_desk import AT, RULES, SETTINGS, Desk, Record, Texts
from streams.kafka.topics import partition_of
from streams.ops.dead_letters import letter_of
from streams.worker.scoring import ScoringJob


@pytest.mark.parametrize("value", [None, b""])
def test_an_erasure_takes_a_customers_unread_texts_along(value: bytes | None) -> None:
    """What was held when it came is void when it is read; the table says null, and so it stays."""
    desk = Desk()
    desk.take(desk.click("a", 0), desk.click("a", 1, "red shoes"), desk.click("b", 2))
    erase = Record("purchases", 0, 0, b"a", value, [("regulars-erase", AT.format(5).encode())])

    work = desk.take(erase)
    desk.serve()

    assert work.counts == {(1, "erasure"): 1} | dict.fromkeys(((0, "applied"), (1, "applied"), (2, "applied")), 0)
    assert desk.table[b"a"] is None
    assert desk.table[b"b"] is not None
    assert desk.job.parts[0].customers == 1
    assert desk.clicks("a") == 0
    desk.take(desk.click("a", 6))
    assert desk.clicks("a") == 1
    assert desk.job.parts[0].customers == 2


def test_an_erasure_in_another_partition_is_a_dead_letter() -> None:
    """It would erase nobody, and say so."""
    desk = Desk()
    key = b"a"
    settings = SETTINGS.model_copy(update={"partitions": 2})
    job = ScoringJob(settings, RULES, PriorScorer(), readings=Texts(), waiting=desk, observer=desk.witness)
    wrong = 1 - partition_of(key, 2)
    list(job.restored(wrong, iter(())))
    work = job.decode(wrong, [Record("purchases", wrong, 0, key, None, [("regulars-erase", b"2024-01-01T00:00:00Z")])])  # type: ignore[list-item]
    (letter,) = work.dead_letters
    assert dict(letter.headers)["regulars-reason"] == b"wrong-partition"
    assert work.keys == []


def test_what_was_stamped_ahead_lies_before_the_erasure_that_names_its_place() -> None:
    """It was sent before, read after, and a clock that is ahead gave it a later time."""
    desk = Desk()
    early, ahead = desk.click("a", 0), desk.click("a", 9)
    desk.take(early)
    before = b'{"clickstream":%d}' % (ahead.offset + 1)
    headers = [("regulars-erase", AT.format(5).encode()), ("regulars-erase-before", before)]
    desk.take(Record("erasures", 0, 0, b"a", None, headers))
    assert desk.take(ahead).dead_letters == []
    assert desk.clicks("a") == 0
    desk.take(desk.click("a", 6))
    assert desk.clicks("a") == 1


def test_a_retry_of_what_was_counted_and_stamped_ahead_brings_nobody_back() -> None:
    """The erasure is as of the latest event that was counted, if that is within the limit for the future."""
    desk = Desk()
    ahead = desk.click("a", 9)
    desk.take(ahead)
    assert desk.clicks("a") == 1
    desk.take(Record("erasures", 0, 0, b"a", None, [("regulars-erase", AT.format(5).encode())]))
    assert desk.take(ahead._replace(offset=ahead.offset + 1000)).dead_letters == []
    assert desk.clicks("a") == 0


@pytest.mark.parametrize(
    "record",
    [
        Record("erasures", 0, 0, None, None, [("regulars-erase", b"2024-01-01T00:00:00Z")]),
        Record("erasures", 0, 0, None, None, [("regulars-clock", b"2024-01-01T00:00:00Z")]),
        Record("erasures", 0, 0, b"a", b"{}", [("regulars-erase", b"2024-01-01T00:00:00Z")]),
        Record("erasures", 0, 0, b"a", None, []),
    ],
)
def test_what_is_no_erasure_in_their_topic_is_a_dead_letter(record: Record) -> None:
    """Without a key, with a value, without its header."""
    work = Desk().take(record)
    (letter,) = work.dead_letters
    assert dict(letter.headers)["regulars-reason"] == b"erase"


def test_an_installation_can_refuse_erasures_in_purchases() -> None:
    """Then only who may write to `erasures` can erase."""
    desk = Desk()
    settings = SETTINGS.model_copy(update={"erasures_in_purchases": "refuse"})
    job = ScoringJob(settings, RULES, PriorScorer(), readings=Texts(), waiting=desk, observer=desk.witness)
    list(job.restored(0, iter(())))
    headers = [("regulars-erase", b"2024-01-01T00:00:00Z")]
    refused = job.decode(0, [Record("purchases", 0, 0, b"a", None, headers)])  # type: ignore[list-item]
    assert dict(refused.dead_letters[0].headers)["regulars-detail"] == (
        b"allowed in the topic erasures alone (REGULARS_ERASURES_IN_PURCHASES=refuse)"
    )
    assert job.decode(0, [Record("erasures", 0, 0, b"a", None, headers)]).keys == [b"a"]  # type: ignore[list-item]


CLOCKS = st.one_of(
    st.none(), st.binary(max_size=30), st.just(b"2024-01-02T00:00:00Z"), st.just(b"9999-12-31T23:59:59-23:59")
)
NAMES = st.sampled_from(
    ("regulars-clock", "regulars-erase", "regulars-synthetic", "regulars-topic", "regulars-offset")
) | st.text(max_size=5)
HEADERS = st.lists(st.tuples(NAMES, CLOCKS), max_size=3)


@given(st.none() | st.binary(max_size=5), st.none() | st.binary(max_size=5), HEADERS)
def test_a_record_that_is_no_event_is_a_clock_or_a_letter_whatever_its_headers(
    key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes | None]]
) -> None:
    """Headers are bytes or null, which no schema rules out: none ends the worker."""
    work = Desk().take(Record("clickstream", 0, 0, key, value, headers))
    assert (work.counts[0, "clock"] == 1) != (len(work.dead_letters) == 1)


@given(st.none() | st.binary(max_size=5), HEADERS)
def test_a_letter_gives_the_record_back_as_it_came(key: bytes | None, headers: list[tuple[str, bytes | None]]) -> None:
    """Key, value and all headers but those by which a letter says where from and why; sent back, it is what it was."""
    came = Record("clickstream", 3, 7, key, b"no event", headers)
    work = Desk().take(came)
    for _, written, value, kept in work.dead_letters:
        letter = letter_of(Record("dead-letters", 0, 0, written, value, kept))  # type: ignore[arg-type]
        own = [(name, content) for name, content in headers if name not in LETTER_HEADERS]
        assert (letter.key, letter.value, list(letter.headers)) == (key, b"no event", own)
        assert letter.origin == "clickstream/3/7"


@pytest.mark.parametrize("name", ["gzip", "amount 19.99", "key in quotes", "two hours ahead", "Debezium"])
def test_a_letter_names_the_likely_cause(name: str) -> None:
    """The owner of the producer reads the letter, and mends it by that."""
    case = next(each for each in cases() if each.name == name)
    value = case.value if name != "two hours ahead" else (case.value or b"").replace(b"2024-05-01", b"2990-05-01")
    work = Desk().take(Record(case.topic, 0, 0, case.key, value, []))

    (letter,) = work.dead_letters
    headers = {name: (content or b"").decode() for name, content in letter.headers}

    assert headers["regulars-reason"] == case.reason
    assert all(word in headers["regulars-detail"] for word in case.words if word != "2 h")


@pytest.mark.parametrize(("key", "partition"), [(b"21", 4), (b"foobar", 6), (b"a-little-bit-long-string", 0)])
def test_partitions_are_those_of_kafkas_java_client(key: bytes, partition: int) -> None:
    """The values of the Java client's own tests of murmur2, over 8 partitions."""
    assert partition_of(key, 8) == partition
