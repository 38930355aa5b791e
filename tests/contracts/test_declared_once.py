"""What is declared once: Kafka clients, topics, reserved headers and reserved keys stand in no second place."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas import headers, topics
from streams.ops.sent_back import replay_group
from streams.settings import Settings

ROOT = Path(__file__).parents[2]
CLIENTS = "streams/kafka/clients.py"
MAKERS = {"AIOKafkaConsumer", "AIOKafkaProducer", "AIOKafkaAdminClient", "AIOKafkaClient"}
RESERVED_HEADERS = {
    text
    for name, value in vars(headers).items()
    if name.isupper()
    for text in (value if isinstance(value, tuple) else (value,))
}
# Only names with a hyphen count: "purchases" is also a feature's name. A command has the name of its topic, and a test below
# compares the settings' changelog with the declared one.
ALLOWED = {
    ("streams/cli.py", topics.DEAD_LETTERS),
    ("streams/commands/dead_letters.py", topics.DEAD_LETTERS),
    ("streams/settings.py", topics.CHANGELOG),
}


def _nodes(*folders: str) -> Iterator[tuple[str, ast.AST]]:
    for folder in folders:
        for file in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text())):
                yield str(file.relative_to(ROOT)), node


def _clients(*folders: str) -> list[tuple[str, ast.Call, str]]:
    """File, call and class of every Kafka client that is made."""
    return [
        (file, node, node.func.id)
        for file, node in _nodes(*folders)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in MAKERS
    ]


def test_every_client_is_made_in_one_module() -> None:
    """A client that is made elsewhere has settings of its own, which nobody compares with the others."""
    made = _clients("streams")

    assert len(made) >= 8
    assert {file for file, _, _ in made} == {CLIENTS}


def test_every_client_reaches_a_secured_kafka() -> None:
    """A client that has only the servers' addresses works until somebody's Kafka asks who it is."""
    spread = [_spread(call) for _, call, _ in _clients("streams/kafka")]

    assert all("kafka_options(settings)" in each for each in spread)


def test_every_producer_is_idempotent_and_waits_for_all_replicas() -> None:
    """Otherwise a retry writes a record twice, or an acknowledged record is lost with its leader."""
    producers = [_spread(call) for _, call, name in _clients("streams/kafka") if name == "AIOKafkaProducer"]

    assert len(producers) == 2
    assert all("PRODUCER_OPTIONS" in each for each in producers)


def _spread(call: ast.Call) -> set[str]:
    return {ast.unparse(keyword.value) for keyword in call.keywords if keyword.arg is None}


@pytest.mark.parametrize(
    ("home", "names"),
    [
        ("schemas/headers.py", RESERVED_HEADERS),
        ("schemas/topics.py", {topic.name for topic in topics.TOPICS if "-" in topic.name}),
    ],
    ids=["headers", "topics"],
)
def test_a_reserved_name_stands_in_its_declaration_only(home: str, names: set[str]) -> None:
    """A name that is written twice can be changed once."""
    twice = {
        (file, node.value)
        for file, node in _nodes("schemas", "models", "streams")
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in names and file != home
    }

    assert len(names) > 4
    assert twice - ALLOWED == set()


def test_a_reserved_key_stands_in_its_declaration_only() -> None:
    """Keys that begin with 0xff are no customer's; whoever reads the changelog asks one module for them."""
    homes = {
        file
        for file, node in _nodes("streams")
        if isinstance(node, ast.Constant) and isinstance(node.value, bytes) and node.value.startswith(b"\xff")
    }

    assert homes == {"streams/kafka/changelog.py"}


def test_the_changelog_of_the_settings_is_the_declared_one() -> None:
    """The data plane knows no schemas, so its settings name the changelog themselves."""
    settings = Settings(topic_prefix="shop-", app_id="blue")

    assert settings.changelog_topic == settings.topic(topics.CHANGELOG) == "shop-blue-customers-changelog"


def test_two_installations_that_differ_in_their_prefix_alone_share_no_group() -> None:
    """Neither the workers' group nor those that remember letters which were sent again."""
    one, two = Settings(topic_prefix="one-"), Settings(topic_prefix="two-")

    assert one.consumer_group != two.consumer_group
    assert replay_group(one, "schema") != replay_group(two, "schema")


def test_no_client_takes_its_group_from_the_app_id() -> None:
    """`Settings.consumer_group` is the one place: a group named by the app id alone would be shared over prefixes."""
    named = {
        file
        for file, node in _nodes("streams")
        if isinstance(node, ast.keyword) and node.arg in {"group", "group_id"} and "app_id" in ast.unparse(node.value)
    }

    assert named == set()
