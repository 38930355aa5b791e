"""`regulars events check` on files: every mistake with its line, and notes of what a worker accepts but nobody means."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import mistakes as table
from schemas.events import PURCHASES
from streams.cli import main
from streams.commands.events import SHOWN_OF_A_KIND
from streams.ops import event_check

GOOD = table.EVENTS[PURCHASES]


def _check(lines: list[bytes], *arguments: str, topic: str = PURCHASES) -> Result:
    return CliRunner().invoke(main, ["events", "check", "-", "--topic", topic, *arguments], input=b"\n".join(lines))


def _line(**changes: Any) -> bytes:
    return json.dumps({**GOOD, **changes}).encode()


def test_valid_events_end_with_exit_code_0(tmp_path: Path) -> None:
    """A build that checks its producer's events goes on; empty lines are no events."""
    file = tmp_path / "events.jsonl"
    file.write_bytes(_line(event_id="1") + b"\n\n" + _line(event_id="2") + b"\r\n")

    done = CliRunner().invoke(main, ["events", "check", str(file), "--topic", PURCHASES])

    assert done.exit_code == 0
    assert "2 records: all are valid events" in done.output
    assert "keys were not checked" in done.output


def test_every_mistake_has_its_line_field_and_hint() -> None:
    """All of them at once, and exit code 1."""
    done = _check([_line(), b"", _line(amount_minor=19.99, currency="gbp"), b"hello"])

    assert done.exit_code == 1
    assert "line 3: schema at $.amount_minor: 19.99; allowed: a whole number" in done.output
    assert "line 3: schema at $.currency: three letters, not all capitals" in done.output
    assert "line 4: not-json at $" in done.output
    assert "2 of 3 records are not valid events" in done.output


def test_json_has_each_mistake_and_the_totals() -> None:
    """What a script reads: one object per mistake, and the last one counts."""
    done = _check([_line(), _line(amount_minor="1999")], "--json")

    mistake, totals = (json.loads(line) for line in done.output.splitlines() if line.startswith("{"))
    assert mistake["line"] == 2
    assert (mistake["reason"], mistake["field"], mistake["found"]) == ("schema", "$.amount_minor", "a number in quotes")
    assert {*mistake} == {"line", "reason", "field", "found", "allowed", "hint"}
    assert (totals["records"], totals["valid"], totals["mistakes"]) == (2, 1, 1)


def test_keys_in_lines_are_compared_with_the_customer_id() -> None:
    """The console producer's format, with parse.key and key.separator."""
    done = _check([b"Anna-7\t" + _line(), b"anna-7\t" + _line(), _line()], "--key-separator", "\t")

    assert done.exit_code == 1
    assert "line 1" not in done.output
    assert "line 2: key-mismatch at $.customer_id: the key is customer_id in another case" in done.output
    assert "line 3: no-key at $" in done.output


def test_what_is_accepted_and_hardly_meant_is_noted() -> None:
    """Another case of an id, a second currency and an event id with another amount pass a worker in silence."""
    done = _check(
        [
            _line(),
            _line(),
            _line(amount_minor=5),
            _line(event_id="2", customer_id="ANNA-7"),
            _line(event_id="3", currency="EUR"),
        ]
    )

    assert done.exit_code == 0
    for line, words in ((2, "the same event again"), (3, "another content"), (4, "case"), (5, "another currency")):
        assert f"line {line}: note: " in done.output
        assert words in done.output
    assert "line 1" not in done.output


def test_many_mistakes_of_a_kind_hide_no_other() -> None:
    """A million equal mistakes are shown five times and counted, unless all are asked for."""
    lines = [_line(amount_minor=0.5)] * 50 + [_line(currency="gbp")]

    short, whole = _check(lines), _check(lines, "--all")

    assert short.output.count("at $.amount_minor: ") == SHOWN_OF_A_KIND
    assert "50 x schema at $.amount_minor" in short.output
    assert "line 51: schema at $.currency" in short.output
    assert whole.output.count("at $.amount_minor: ") == 50


def test_memory_of_earlier_records_is_bounded() -> None:
    """A file of any length is checked in the same memory."""
    check = event_check.Check(PURCHASES, 3600.0, remembered=10)

    for number in range(100):
        line = _line(event_id=str(number), customer_id=f"c{number}")
        assert not check.check(event_check.GivenRecord(number + 1, -1, -1, None, line, has_key=False)).mistakes

    assert len(check._bodies) == len(check._customers) == 10


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["/no/such/file", "--topic", PURCHASES], "cannot read /no/such/file"),
        (["events.jsonl"], "--topic clickstream|purchases|reviews"),
        (["purchases", "--key-separator", "|"], "--key-separator is for files"),
    ],
)
def test_wrong_use_names_the_way_out(arguments: list[str], words: str) -> None:
    """One line says what is missing."""
    done = CliRunner().invoke(main, ["events", "check", *arguments])

    assert done.exit_code in (1, 2)
    assert words in done.output
