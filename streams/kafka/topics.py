"""The topics on a cluster: making the missing ones, checking the existing ones; and the partition of a key.

`schemas.topics` declares the topics. An existing topic is never altered: its differences are reported, and the operator
decides.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code
from aiokafka.partitioner import murmur2

from schemas.topics import TOPICS, Declaration
from streams.kafka.clients import admin_client, started
from streams.kafka.configurations import configurations, describe
from streams.kafka.errors import TopicRefused
from streams.kafka.refusals import explaining_refusals
from streams.settings import Settings

DAY_MS = 86_400_000
CREATE_TIMEOUT_MS = 30_000
# With three replicas, two must have a record before it is acknowledged: it outlives a broker, and a broker may be away.
SAFE_REPLICAS, MIN_INSYNC = 3, 2
# The controller answers before every broker knows the new topic; on a single node that takes milliseconds.
VISIBLE_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Topic:
    """A topic as it must be on the cluster: its full name, partitions, configuration, and least number of replicas."""

    name: str
    partitions: int
    config: MappingProxyType[str, str]
    replicas: int = 1


@dataclass(frozen=True)
class Finding:
    """How one topic stands on the cluster.

    Attributes:
        topic: as it must be.
        missing: it does not exist.
        created: it was made just now.
        differences: each a sentence; empty: it is as it must be.
    """

    topic: Topic
    missing: bool = False
    created: bool = False
    differences: tuple[str, ...] = ()

    @property
    def good(self) -> bool:
        """Whether the topic exists and is as it must be."""
        return not self.missing and not self.differences


def topics(settings: Settings, user: str | None = None) -> tuple[Topic, ...]:
    """All topics, or those that `user` reads or writes, in the order in which they are shown."""
    return tuple(
        Topic(
            settings.topic(declared.name),
            settings.partitions if declared.by_customer else 1,
            MappingProxyType(_config(declared, settings.replication_factor)),
            settings.replication_factor,
        )
        for declared in TOPICS
        if user is None or user in (*declared.writers, *declared.readers)
    )


def _config(declared: Declaration, replicas: int) -> dict[str, str]:
    is_kept = declared.is_compacted and declared.kept_days is None
    both = "compact,delete" if declared.is_compacted else "delete"
    config = {"cleanup.policy": "compact" if is_kept else both}
    if not is_kept:
        config["message.timestamp.type"] = "LogAppendTime"
    if replicas >= SAFE_REPLICAS:
        config |= {"min.insync.replicas": str(MIN_INSYNC), "unclean.leader.election.enable": "false"}
    if declared.kept_days is not None:
        config["retention.ms"] = str(declared.kept_days * DAY_MS)
    if declared.compacted_within_days is not None:
        config["max.compaction.lag.ms"] = str(declared.compacted_within_days * DAY_MS)
    if declared.nulls_days is not None:
        config["delete.retention.ms"] = str(declared.nulls_days * DAY_MS)
    if declared.limit_bytes is not None:
        config["max.message.bytes"] = str(declared.limit_bytes)
    return config


def partition_of(key: bytes, partitions: int) -> int:
    """Kafka's default partition of `key`: murmur2 with the sign bit cleared, as the Java client computes it.

    >>> [partition_of(key, 8) for key in (b"17850", b"13047", b"synthetic-000001")]
    [7, 1, 5]
    """
    number: int = (murmur2(key) & 0x7FFFFFFF) % partitions
    return number


async def check(settings: Settings, user: str | None = None) -> list[Finding]:
    """How each topic stands, or each one that `user` reads or writes; changes nothing."""
    async with started(admin_client(settings), settings) as admin, explaining_refusals(settings, "checking topics"):
        return await _compare(admin, topics(settings, user))


async def create(settings: Settings) -> list[Finding]:
    """Makes the topics that are missing, and gives how each stands then. A second call changes nothing.

    Raises:
        TopicRefused: the cluster would not make one.
    """
    async with started(admin_client(settings), settings) as admin, explaining_refusals(settings):
        findings = await _compare(admin, topics(settings))
        missing = [finding.topic for finding in findings if finding.missing]
        if not missing:
            return findings
        made = await _make(admin, missing)
        deadline = time.monotonic() + VISIBLE_TIMEOUT_S
        while any(finding.missing for finding in findings) and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
            findings = await _compare(admin, topics(settings))
        return [replace(finding, created=finding.topic.name in made) for finding in findings]


async def kept_for(settings: Settings, names: Sequence[str]) -> dict[str, int | None]:
    """How long the cluster keeps the records of each topic (names without the prefix), in ms by name; None: for ever."""
    configs = await configurations(settings, [settings.topic(name) for name in names])
    kept = {name: int(configs[settings.topic(name)]["retention.ms"]) for name in names}
    return {name: None if ms < 0 else ms for name, ms in kept.items()}


async def _make(admin: AIOKafkaAdminClient, missing: list[Topic]) -> set[str]:
    wanted = [
        NewTopic(topic.name, topic.partitions, topic.replicas, topic_configs=dict(topic.config)) for topic in missing
    ]
    answer = await admin.create_topics(wanted, timeout_ms=CREATE_TIMEOUT_MS)
    made = set()
    for name, code, *message in answer.topic_errors:
        error = for_code(code)
        if not code:
            made.add(name)
        # Somebody else may have made it since it was missing: it is compared next, as any other topic.
        elif error is not TopicAlreadyExistsError:
            raise TopicRefused(f"{name}: {error.__name__} {message[0] if message and message[0] else ''}".strip())
    return made


async def _compare(admin: AIOKafkaAdminClient, wanted: tuple[Topic, ...]) -> list[Finding]:
    existing = set(await admin.list_topics())
    present = [topic.name for topic in wanted if topic.name in existing]
    if not present:
        return [Finding(topic, missing=True) for topic in wanted]
    described = {entry["topic"]: entry for entry in await admin.describe_topics(present)}
    configs = await describe(admin, present)
    findings = []
    for topic in wanted:
        entry = described.get(topic.name)
        if entry is None or entry["error_code"] or topic.name not in configs:
            findings.append(Finding(topic, missing=True))
        else:
            replicas = [len(partition["replicas"]) for partition in entry["partitions"]]
            differences = (
                *_differences(topic, len(replicas), configs[topic.name]),
                *unsafe(min(replicas), topic.replicas, configs[topic.name]),
            )
            findings.append(Finding(topic, differences=differences))
    return findings


def unsafe(replicas: int, wanted: int, config: Mapping[str, str]) -> list[str]:
    """By what a topic with so many `replicas` can lose acknowledged records, each as a sentence.

    Args:
        replicas: the fewest of any partition.
        wanted: the least number, the setting `replication_factor`.
        config: of the topic on the cluster.
    """
    found = []
    if replicas < wanted:
        found.append(f"{replicas} replicas, must be at least {wanted}")
    insync = int(config.get("min.insync.replicas") or 1)
    if replicas >= SAFE_REPLICAS and insync < MIN_INSYNC:
        found.append(f"min.insync.replicas {insync}, must be at least {MIN_INSYNC}")
    if replicas > 1 and insync >= replicas:
        found.append(
            f"min.insync.replicas {insync}, must be below the {replicas} replicas: one broker less stops all writes"
        )
    if replicas > 1 and config.get("unclean.leader.election.enable") == "true":
        found.append("unclean.leader.election.enable true, must be false")
    return found


def _differences(topic: Topic, partitions: int, config: dict[str, str]) -> tuple[str, ...]:
    differences = []
    if partitions != topic.partitions:
        differences.append(f"{partitions} partitions, must be {topic.partitions}")
    differences += [
        f"{name} {config.get(name)}, must be {topic.config[name]}"
        for name in ("cleanup.policy", "message.timestamp.type")
        if name in topic.config and config.get(name) != topic.config[name]
    ]
    for name in ("max.message.bytes", "retention.ms", "delete.retention.ms"):
        value = int(config.get(name) or -1)
        # A larger value is fine, and -1 means without limit.
        if name in topic.config and 0 <= value < int(topic.config[name]):
            differences.append(f"{name} {value}, must be at least {topic.config[name]}")
    name = "max.compaction.lag.ms"
    if name in topic.config and (value := int(config.get(name) or -1)) > int(topic.config[name]):
        differences.append(f"{name} {value}, must be at most {topic.config[name]}")
    return tuple(differences)
