"""Dead letters listed and sent back, through the command line, on a real broker."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from streams.cli import main
from streams.kafka.topics import create
from streams.settings import Settings


@pytest.fixture
def shop(settings: Settings) -> Settings:
    """All topics, in a group of its own."""
    settings = settings.model_copy(update={"app_id": f"{settings.topic_prefix}group"})
    asyncio.run(create(settings))
    return settings


@pytest.fixture
def regulars(shop: Settings) -> Callable[..., Result]:
    """`regulars(...)` runs a command against the shop."""

    def run(*arguments: str) -> Result:
        given = {
            "REGULARS_BOOTSTRAP_SERVERS": shop.bootstrap_servers,
            "REGULARS_TOPIC_PREFIX": shop.topic_prefix,
            "REGULARS_APP_ID": shop.app_id,
        }
        return CliRunner().invoke(main, list(arguments), env=given)

    return run


def _write(
    shop: Settings,
    offset: int,
    reason: str = "schema",
    key: bytes | None = b"c1",
    value: bytes | None = b"{}",
    came_with: tuple[str, bytes | None] = ("trace", b"abc"),
    field: str = "$.amount_minor",
    **said: bytes,
) -> None:
    """One letter as a worker leaves it; `said`: what its further headers say."""
    producer = Producer({"bootstrap.servers": shop.bootstrap_servers, "message.max.bytes": 4_000_000})
    headers = [
        came_with,
        ("regulars-topic", shop.topic("purchases").encode()),
        ("regulars-partition", b"2"),
        ("regulars-offset", b"%d" % offset),
        ("regulars-reason", reason.encode()),
        ("regulars-field", field.encode()),
        ("regulars-detail", said.pop("detail", b"expected int")),
        *((f"regulars-{name.replace('_', '-')}", value) for name, value in said.items()),
    ]
    producer.produce(shop.topic("dead-letters"), value, key, partition=2, headers=headers)
    assert producer.flush(20) == 0


def _purchases(shop: Settings) -> list[Any]:
    """Every record of `purchases`."""
    found = []
    consumer = Consumer({"bootstrap.servers": shop.bootstrap_servers, "group.id": "x", "enable.partition.eof": True})
    try:
        consumer.assign([TopicPartition(shop.topic("purchases"), p, 0) for p in range(shop.partitions)])
        left = shop.partitions
        while left:
            message = consumer.poll(20)
            assert message is not None
            error = message.error()
            if error is None:
                found.append(message)
            else:
                assert error.code() == KafkaError._PARTITION_EOF
                left -= 1
    finally:
        consumer.close()
    return found


def test_letters_are_listed_by_what_was_wrong_and_never_with_their_contents(
    shop: Settings, regulars: Callable[..., Result]
) -> None:
    """Counts by reason, field and topic with the first and last place; a letter written twice counts once."""
    for offset in (5, 6, 6, 9):
        _write(shop, offset, value=b"a secret")
    _write(shop, 7, "not-json")

    rows = [json.loads(line) for line in regulars("dead-letters", "list", "--json").output.splitlines()]
    each = [json.loads(line) for line in regulars("dead-letters", "list", "--each", "--json").output.splitlines()]
    shown = regulars("dead-letters", "list")

    assert [(row["reason"], row["count"], row["first"], row["last"]) for row in rows] == [
        ("schema", 3, "2/5", "2/9"),
        ("not-json", 1, "2/7", "2/7"),
    ]
    assert sorted(row["offset"] for row in each) == [5, 6, 7, 9]
    assert {row["field"] for row in each} == {"$.amount_minor"}
    assert shown.exit_code == 0
    assert "secret" not in shown.output


def test_letters_are_listed_by_detail_and_producer(shop: Settings, regulars: Callable[..., Result]) -> None:
    """Who has to mend what: one line per mistake and program; numbers in a detail make no lines of their own."""
    for offset, detail, producer in (
        (1, b"in partition 3; the key's is 5", b"till-7"),
        (2, b"in partition 2; the key's is 6", b"till-7"),
        (3, b"in partition 2; the key's is 6", b"web-shop"),
        (4, b"begins as gzip does", b"till-7"),
        (5, b"begins as gzip does", b"x" * 500 + b"\n"),
    ):
        _write(shop, offset, came_with=("regulars-producer", producer), detail=detail)
    _write(shop, 6, came_with=("ce_source", b"/shop"), detail=b"begins as gzip does")

    rows = _rows(regulars("dead-letters", "list", "--json"))

    assert {(row["count"], row["detail"], row["producer"]) for row in rows} == {
        (2, "in partition 2; the key's is 6", "till-7"),
        (1, "in partition 2; the key's is 6", "web-shop"),
        (1, "begins as gzip does", "till-7"),
        (1, "begins as gzip does", "x" * 64),
        (1, "begins as gzip does", "/shop"),
    }


def test_a_replay_sends_nothing_unless_told_to(shop: Settings, regulars: Callable[..., Result]) -> None:
    """Dry by default: it says what it would do and does nothing."""
    _write(shop, 5)

    done = regulars("dead-letters", "replay", "--reason", "schema")

    assert f"would send 1 to {shop.topic('purchases')}" in done.output
    assert "--send" in done.output
    assert _purchases(shop) == []


def test_a_replayed_letter_is_the_record_as_it_came_and_says_where_it_was(
    shop: Settings, regulars: Callable[..., Result]
) -> None:
    """Only the chosen reason; same key, bytes and own headers, in the partition of its key, and the letter stays."""
    _write(shop, 5, value=b"\xff as it came")
    _write(shop, 6, "not-json")

    done = regulars("dead-letters", "replay", "--reason", "schema", "--send")

    assert done.exit_code == 0, done.output
    (record,) = _purchases(shop)
    assert (record.key(), record.value()) == (b"c1", b"\xff as it came")
    origin = f"{shop.topic('purchases')}/2/5".encode()
    assert record.headers() == [("trace", b"abc"), ("regulars-replayed-from", origin)]
    assert len(regulars("dead-letters", "list", "--json").output.splitlines()) == 2


@pytest.mark.parametrize("said", [b"3026-11-24T00:00:00Z", None])
def test_a_replayed_clock_record_says_its_time_where_it_came_from(
    shop: Settings, regulars: Callable[..., Result], said: bytes | None
) -> None:
    """Its header is all that it holds, and a time holds for one partition."""
    _write(shop, 5, "clock", key=None, value=b"", came_with=("regulars-clock", said))

    regulars("dead-letters", "replay", "--reason", "clock", "--send")

    (record,) = _purchases(shop)
    assert (record.key(), record.value(), record.partition()) == (None, b"", 2)
    origin = f"{shop.topic('purchases')}/2/5".encode()
    assert record.headers() == [("regulars-clock", said), ("regulars-replayed-from", origin)]


def test_a_second_replay_sends_only_what_came_since(shop: Settings, regulars: Callable[..., Result]) -> None:
    """What was sent back is remembered by reason; `--again` overrides that."""
    replay = ("dead-letters", "replay", "--reason", "schema", "--send")
    _write(shop, 5)
    regulars(*replay)
    _write(shop, 6)

    second = regulars(*replay)
    third = regulars(*replay)
    again = regulars(*replay, "--again")

    assert f"sent 1 to {shop.topic('purchases')}" in second.output
    assert "nothing to send" in third.output
    assert f"sent 2 to {shop.topic('purchases')}" in again.output
    assert len(_purchases(shop)) == 4


def test_a_letter_without_a_value_or_a_key_is_sent_back_as_it_was(
    shop: Settings, regulars: Callable[..., Result]
) -> None:
    """Null stays null; what has neither can never become an event and is left out, and said."""
    _write(shop, 5, "no-value", value=None)
    _write(shop, 6, "no-value", key=None)
    _write(shop, 7, "no-value", key=None, value=None)

    done = regulars("dead-letters", "replay", "--reason", "no-value", "--send")

    assert sorted((record.key() or b"", record.value()) for record in _purchases(shop)) == [(b"", b"{}"), (b"c1", None)]
    assert "left out 1 that are empty" in done.output


def _rows(done: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.output.splitlines()]


def test_the_list_tells_what_was_sent_back(shop: Settings, regulars: Callable[..., Result]) -> None:
    """As the replay remembers it, letter by letter, also where a filter left some out between."""
    for offset, field in ((5, "$.a"), (6, "$.b"), (7, "$.a"), (8, "$.b")):
        _write(shop, offset, field=field)
    replay = ("dead-letters", "replay", "--reason", "schema", "--send")

    first = regulars(*replay, "--field", "$.b")
    each = {row["offset"]: row["sent_back"] for row in _rows(regulars("dead-letters", "list", "--each", "--json"))}
    second = regulars(*replay)
    rows = _rows(regulars("dead-letters", "list", "--json"))

    assert f"sent 2 to {shop.topic('purchases')}" in first.output
    assert each == {5: False, 6: True, 7: False, 8: True}
    assert f"sent 2 to {shop.topic('purchases')}" in second.output
    assert "left out 2 that were sent back before" in second.output
    assert [(row["count"], row["sent_back"]) for row in rows] == [(2, 2), (2, 2)]
    assert len(_purchases(shop)) == 4


def test_a_record_refused_again_counts_once_by_its_latest_letter(
    shop: Settings, regulars: Callable[..., Result]
) -> None:
    """It is no longer sent back, is marked, and a replay sends it once, still under the place of its first refusal."""
    _write(shop, 5)
    origin = f"{shop.topic('purchases')}/2/5".encode()
    regulars("dead-letters", "replay", "--reason", "schema", "--send")
    _write(shop, 9, "not-json", replayed_from=origin)

    (row,) = _rows(regulars("dead-letters", "list", "--json"))
    done = regulars("dead-letters", "replay", "--reason", "schema", "--reason", "not-json", "--send")

    assert (row["reason"], row["count"], row["again"], row["sent_back"]) == ("not-json", 1, 1, 0)
    assert f"sent 1 to {shop.topic('purchases')}" in done.output
    assert dict(_purchases(shop)[-1].headers())["regulars-replayed-from"] == origin


def test_letters_are_chosen_by_field_topic_and_time(shop: Settings, regulars: Callable[..., Result]) -> None:
    """For the list and for the replay; a topic by its name with or without the prefix."""
    _write(shop, 5, field="$.a")
    _write(shop, 6, field="$.b")

    def offsets(*chosen: str) -> list[int]:
        return [row["offset"] for row in _rows(regulars("dead-letters", "list", "--each", "--json", *chosen))]

    assert offsets("--field", "$.b") == [6]
    assert offsets("--topic", "purchases") == offsets("--topic", shop.topic("purchases")) == [5, 6]
    assert offsets("--since", "2020-01-01") == [5, 6]
    for none in (("--topic", "reviews"), ("--since", "2199-01-01"), ("--field", "$.c")):
        assert "no dead letters" in regulars("dead-letters", "list", *none).output
        assert "nothing to send" in regulars("dead-letters", "replay", "--reason", "schema", "--send", *none).output
    assert _purchases(shop) == []
    assert regulars("dead-letters", "list", "--since", "yesterday").exit_code == 2


def test_what_was_cut_or_is_too_large_is_left_out_of_a_replay_and_said(
    shop: Settings, regulars: Callable[..., Result]
) -> None:
    """The others are sent; a cut record is never sent back as if it were whole."""
    _write(shop, 5, "too-large", value=b"x" * 65_536, truncated=b"key=2 value=20000000 headers=0")
    _write(shop, 6, "too-large", value=b"x" * (2 << 20))
    _write(shop, 7, "too-large", value=b"x" * 70_000)
    replay = ("dead-letters", "replay", "--reason", "too-large", "--send")

    first, second = regulars(*replay), regulars(*replay, "--again")

    assert first.exit_code == second.exit_code == 0
    assert "left out 2 that are too large to send" in first.output
    assert [len(record.value()) for record in _purchases(shop)] == [70_000, 70_000]
    (row,) = _rows(regulars("dead-letters", "list", "--json"))
    assert (row["count"], row["sent_back"]) == (3, 1)


def test_without_a_terminal_a_letter_is_one_whole_line(shop: Settings, regulars: Callable[..., Result]) -> None:
    """However narrow the terminal that isn't there: grep and cut find everything."""
    field = "$.items[12]." + "unit_price_minor" * 10
    _write(shop, 5, field=field)

    lines = regulars("dead-letters", "list", "--each").output.splitlines()

    assert len(lines) == 2
    assert field in lines[1]
    assert lines[1].rstrip().endswith("expected int")


def test_no_broker_is_one_line_and_exit_code_1(free_port: int) -> None:
    """The command says what to start."""
    given = {"REGULARS_BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port}"}
    done = CliRunner().invoke(main, ["dead-letters", "list"], env=given)
    assert done.exit_code == 1
    assert "regulars broker start" in done.output
