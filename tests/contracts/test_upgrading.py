"""The page about upgrades names what there is: commands, settings, topics, tests, objects of the cluster."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from schemas.topics import TOPICS
from streams.cli import main
from streams.kafka.patience import PATIENCE_S
from streams.settings import Settings
from tests.support.manifests import objects_of

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "upgrading.md").read_text(encoding="utf-8")
COMMANDS = sorted(set(re.findall(r"`regulars ((?:[a-z-]+ ?)+?)(?= --| [A-Z]|`)", PAGE)))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_page_is_one(command: str) -> None:
    """It explains itself, with every option that the page gives it."""
    explained = CliRunner().invoke(main, [*command.split(), "--help"])
    options = {
        each for used in re.findall(f"`regulars {command}( [^`]*)?`", PAGE) for each in re.findall(r"--[\w-]+", used)
    }

    assert explained.exit_code == 0, explained.output
    assert all(option in explained.output for option in options)


def test_a_setting_of_the_page_is_one_and_has_the_default_that_is_stated() -> None:
    """Session and patience decide how long a restart may take."""
    for name in re.findall(r"REGULARS_(\w+)", PAGE):
        assert name.lower() in Settings.model_fields

    assert f"`REGULARS_SESSION_TIMEOUT_S` ({Settings().session_timeout_s:.0f} s)" in PAGE
    assert f"waits {PATIENCE_S:.0f} s for a Kafka" in PAGE


def test_the_tests_that_the_page_relies_on_are_there() -> None:
    """What is said about old states, snapshots and standings is held by them."""
    named = re.findall(r"`(tests/[\w/]+\.py)`", PAGE)

    assert len(named) == 3
    for name in named:
        assert re.search(r"def test_\w*release_before", (ROOT / name).read_text(encoding="utf-8")), name


def test_the_topics_that_are_new_are_declared() -> None:
    """As `regulars topics create` makes them."""
    (line,) = re.findall(r"^- New topics: (.+?)\. ", PAGE, re.MULTILINE)

    assert set(re.findall(r"`([\w-]+)`", line)) <= {topic.name for topic in TOPICS}


def test_the_commands_for_the_cluster_name_its_objects() -> None:
    """Each by kind and name, and by the label that the pods have."""
    objects = {
        (each["kind"].lower(), each["metadata"]["name"])
        for folder in ("base", "autoscaling")
        for each in objects_of(folder)
    }
    named = set(re.findall(r"kubectl (?:annotate|scale|delete|rollout restart) (\w+) (regulars[\w-]*)", PAGE))

    assert named
    assert named <= objects
    assert "-l app=regulars-worker" in PAGE


def test_the_alerts_of_the_page_exist() -> None:
    """Somebody who upgrades is told which alert to expect."""
    rules = (ROOT / "deploy" / "prometheus-rules.yml").read_text(encoding="utf-8")

    for alert in re.findall(r"`(Regulars[A-Z]\w+)`", PAGE):
        assert f"alert: {alert}\n" in rules
