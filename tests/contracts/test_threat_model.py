"""The tables of who writes and reads which topic are those of the declaration, `schemas.topics`."""

import re
from pathlib import Path

import pytest

from schemas.events import ERASURES, INPUT_TOPICS
from schemas.topics import APP_ID, TOPICS, Declaration

ROOT = Path(__file__).parents[2]
OF_EVENTS = {"Read": "readers", "Write": "writers"}


def shown_name(topic: Declaration) -> str:
    """A topic's name as documents write it."""
    return topic.name.replace(APP_ID, "APP")


def row_of(topic: Declaration) -> str:
    """The topic's row in docs/threat-model.md."""
    return f"| `{shown_name(topic)}` | {', '.join(topic.writers)} | {', '.join(topic.readers)} |"


def access_rows() -> dict[str, dict[str, set[str]]]:
    """{process: {Read, Write: topics}} of the table in docs/operations.md, section 8."""
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    table = text[text.index("| command | Read on topics |") :].partition("\n\n")[0]
    rows: dict[str, dict[str, set[str]]] = {}
    for line in table.splitlines()[2:]:
        _, commands, read, write, *_ = (cell.strip() for cell in line.split("|"))
        for command in re.findall(r"`([a-z-]+)[^`]*`", commands):
            row = rows.setdefault(command, {"Read": set(), "Write": set()})
            for kind, cell in (("Read", read), ("Write", write)):
                row[kind] |= set(re.findall(r"`([a-z-]+)`", cell.partition("(")[0]))
                row[kind] |= {"APP-customers-changelog"} if "changelog" in cell else set()
    return rows


@pytest.mark.parametrize("topic", TOPICS, ids=shown_name)
def test_the_threat_model_shows_who_writes_and_reads_the_topic(topic: Declaration) -> None:
    """As declared; a topic that is new comes with its row."""
    text = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")

    assert row_of(topic) in text.splitlines()


def test_the_threat_model_shows_no_topic_that_is_none() -> None:
    """A topic that is gone leaves no row."""
    text = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")
    section = text[text.index("## Who writes and reads which topic") : text.index("## What is not defended")]

    assert set(re.findall(r"^\| `(.*?)` \|", section, re.MULTILINE)) == {shown_name(topic) for topic in TOPICS}


@pytest.mark.parametrize("process", ["worker", "trainer"])
@pytest.mark.parametrize("kind", ["Read", "Write"])
def test_a_process_needs_exactly_the_access_that_is_declared(process: str, kind: str) -> None:
    """docs/operations.md says what to allow; more would be given away, and with less it does not run."""
    declared = {shown_name(topic) for topic in TOPICS if process in getattr(topic, OF_EVENTS[kind])}

    assert access_rows()[process][kind] == declared


@pytest.mark.parametrize("topic", TOPICS, ids=shown_name)
def test_every_command_that_is_declared_is_given_its_access(topic: Declaration) -> None:
    """`regulars X` of the declaration has the topic in its row."""
    rows = access_rows()
    for kind, attribute in OF_EVENTS.items():
        for who in getattr(topic, attribute):
            if who.startswith("regulars "):
                assert shown_name(topic) in rows[who.removeprefix("regulars ")][kind], who


def test_events_are_written_by_the_shop_and_by_few_commands() -> None:
    """Nobody else needs Write on an input topic."""
    writers = {process for process, row in access_rows().items() if row["Write"] & set(INPUT_TOPICS)}

    assert writers == {"simulate", "replay", "dead-letters"}


def test_customers_are_erased_by_privacy_staff_alone() -> None:
    """Nobody else needs Write on `erasures`; a refused request is sent back by who may send it."""
    assert {process for process, row in access_rows().items() if ERASURES in row["Write"]} == {"erase"}
