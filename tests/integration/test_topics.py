"""All topics on a real broker: made as they must be, never altered, told when they differ."""

import json

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from click.testing import CliRunner

from schemas.topics import TOPICS
from streams.cli import main
from streams.kafka.errors import TopicRefused
from streams.kafka.topics import check, create, topics
from streams.settings import Settings


async def test_created_topics_pass_the_check_and_are_not_made_twice(settings: Settings) -> None:
    """What `create` makes is what `check` wants; a second `create` finds nothing to do."""
    before = await check(settings)
    made = await create(settings)
    again = await create(settings)

    assert all(finding.missing for finding in before)
    assert all(finding.good and finding.created for finding in made)
    assert all(finding.good and not finding.created for finding in again)
    assert [finding.topic for finding in again] == list(topics(settings))


async def test_topics_are_as_the_contract_says(settings: Settings) -> None:
    """Partition counts, compaction, retention and size limits stand in the broker itself."""
    await create(settings)

    found = await _described(settings)

    for name in ("clickstream", "purchases", "reviews"):
        assert found[name] == (4, "delete", str(2 * 2**20))
    assert found["segment-changes"][:2] == (4, "delete")
    assert found["customer-segments"][:2] == (4, "compact")
    assert found["dead-letters"] == (4, "delete", str(4 * 2**20))
    assert found[f"{settings.app_id}-customers-changelog"] == (4, "compact", str(2 * 2**20))
    assert found["model-train"][:2] == (1, "compact,delete")
    assert found["model-snapshots"][:2] == (1, "compact")
    assert found["policies"][:2] == (1, "compact")


async def test_existing_topic_is_told_and_never_altered(settings: Settings) -> None:
    """A topic that differs stays as it is, and both commands say how it differs."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap_servers)
    await admin.start()
    await admin.create_topics(
        [
            NewTopic(settings.topic("purchases"), 3, 1, topic_configs={"message.timestamp.type": "LogAppendTime"}),
            NewTopic(settings.topic("reviews"), 4, 1, topic_configs={"max.message.bytes": str(2 * 2**20)}),
            NewTopic(settings.topic("policies"), 1, 1, topic_configs={"cleanup.policy": "delete"}),
        ]
    )
    await admin.close()

    findings = {finding.topic.name: finding for finding in await create(settings)}

    assert findings[settings.topic("purchases")].differences == ("3 partitions, must be 4",)
    assert findings[settings.topic("reviews")].differences == (
        "message.timestamp.type CreateTime, must be LogAppendTime",
    )
    assert findings[settings.topic("policies")].differences == ("cleanup.policy delete, must be compact",)
    assert (await _described(settings))["purchases"][0] == 3
    assert {finding.topic.name for finding in await check(settings) if not finding.good} == {
        settings.topic("purchases"),
        settings.topic("reviews"),
        settings.topic("policies"),
    }


async def test_topic_that_the_cluster_refuses_is_an_error(settings: Settings) -> None:
    """More replicas than brokers: nothing is made and the broker's own reason is told."""
    greedy = settings.model_copy(update={"replication_factor": 3})

    with pytest.raises(TopicRefused, match="InvalidReplicationFactor"):
        await create(greedy)


def test_commands_say_what_is_missing_and_then_that_all_is_well(broker: str, prefix: str) -> None:
    """`topics check` is exit code 1 before `topics create` and 0 after."""
    options = ["--bootstrap-servers", broker, "--topic-prefix", prefix, "--partitions", "2"]

    before = CliRunner().invoke(main, ["topics", "check", *options])
    made = CliRunner().invoke(main, ["topics", "create", *options])
    after = CliRunner().invoke(main, ["topics", "check", *options])
    other = CliRunner().invoke(main, ["topics", "create", *options[:-1], "3"])

    assert (before.exit_code, made.exit_code, after.exit_code, other.exit_code) == (1, 0, 0, 1)
    every = len(TOPICS)
    assert f"{every} of {every} topics are missing; make them with `regulars topics create`" in before.stderr
    assert "must be 3" in other.stdout


def test_broker_that_is_away_is_one_line(prefix: str) -> None:
    """No Kafka: exit code 1 and the way out, without a traceback."""
    answer = CliRunner().invoke(main, ["topics", "check", "--bootstrap-servers", "127.0.0.1:1"])

    assert answer.exit_code == 1
    said = answer.stderr.splitlines()
    assert "regulars broker start" in said[-1]
    assert all(json.loads(line) for line in said[:-1])


async def _described(settings: Settings) -> dict[str, tuple[int, str, str]]:
    """Partitions, cleanup.policy and max.message.bytes by the name without prefix."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap_servers)
    await admin.start()
    names = [topic.name for topic in topics(settings)]
    counts = {entry["topic"]: len(entry["partitions"]) for entry in await admin.describe_topics(names)}
    answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in names])
    await admin.close()
    found = {}
    for answer in answers:
        for _, _, _, name, entries in answer.resources:
            config = {entry[0]: entry[1] for entry in entries}
            found[name.removeprefix(settings.topic_prefix)] = (
                counts[name],
                config["cleanup.policy"],
                config["max.message.bytes"],
            )
    return found
