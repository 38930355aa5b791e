"""Every topic of the product: what it must be, making the missing ones, checking the existing ones; a key's partition.

An existing topic is never altered: what differs is told, and the operator decides.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from types import MappingProxyType

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code
from aiokafka.partitioner import murmur2

from streams.kafka.security import kafka_options, telling
from streams.settings import Settings

INPUTS = ("clickstream", "purchases", "reviews")
MIB = 1024 * 1024
DAY_MS = 86_400_000
CREATE_TIMEOUT_MS = 30_000
# The controller answers before every broker knows the new topic; on one node that takes milliseconds.
VISIBLE_TIMEOUT_S = 30.0

# An event may be 64 KiB; a record beyond that still has to reach us to become a dead letter, up to 2 MiB.
_LARGE = {"max.message.bytes": str(2 * MIB)}
# Retention counts from arrival: a replay carries times of years ago, and by those it would be deleted at once.
_ARRIVAL = {"message.timestamp.type": "LogAppendTime"}
_MONTH = {"cleanup.policy": "delete", "retention.ms": str(30 * DAY_MS), **_ARRIVAL}
_COMPACT = {"cleanup.policy": "compact"}
# What a customer's null or remainder replaces is still on the brokers' disks until they compact; left to themselves they
# may never. A week is what they take by default (segment.ms) to close the part that they write to.
_FORGET = {"max.compaction.lag.ms": str(7 * DAY_MS)}


@dataclass(frozen=True)
class Topic:
    """A topic as it must be."""

    name: str
    partitions: int
    config: MappingProxyType[str, str]


@dataclass(frozen=True)
class Finding:
    """What was found of one topic.

    Attributes:
        topic: as it must be.
        missing: it isn't there.
        created: it was made just now.
        differences: each a sentence; empty: it is as it must be.
    """

    topic: Topic
    missing: bool = False
    created: bool = False
    differences: tuple[str, ...] = ()

    @property
    def good(self) -> bool:
        """Whether the topic is there and as it must be."""
        return not self.missing and not self.differences


class TopicRefused(Exception):
    """The cluster would not make a topic: no right to, too few brokers for the replicas, a broker's policy."""


def topics(settings: Settings) -> tuple[Topic, ...]:
    """All topics, in the order in which they are shown."""
    keyed, one = settings.partitions, 1
    specs = [
        *((settings.topic(name), keyed, {"cleanup.policy": "delete", **_LARGE, **_ARRIVAL}) for name in INPUTS),
        (settings.topic("segment-changes"), keyed, _MONTH),
        (settings.topic("customer-segments"), keyed, {**_COMPACT, **_FORGET}),
        (settings.topic("dead-letters"), keyed, {**_MONTH, "max.message.bytes": str(4 * MIB)}),
        (settings.changelog_topic, keyed, {**_COMPACT, **_LARGE, **_FORGET}),
        (settings.topic("model-train"), one, {"cleanup.policy": "delete", **_ARRIVAL}),
        (settings.topic("model-snapshots"), one, {**_COMPACT, "max.message.bytes": str(4 * MIB)}),
        (settings.topic("policies"), one, _COMPACT),
    ]
    return tuple(Topic(name, partitions, MappingProxyType(config)) for name, partitions, config in specs)


def partition_of(key: bytes, partitions: int) -> int:
    """Kafka's default partition of `key`: murmur2 with the sign bit cleared, as the Java client computes it.

    >>> [partition_of(key, 8) for key in (b"17850", b"13047", b"synthetic-000001")]
    [7, 1, 5]
    """
    number: int = (murmur2(key) & 0x7FFFFFFF) % partitions
    return number


async def check(settings: Settings) -> list[Finding]:
    """How each topic stands; changes nothing."""
    async with _admin(settings) as admin:
        return await _compare(admin, topics(settings))


async def create(settings: Settings) -> list[Finding]:
    """Makes the topics that are missing, then tells how each stands. Running it again changes nothing.

    Raises:
        TopicRefused: the cluster would not make one.
    """
    async with _admin(settings) as admin:
        findings = await _compare(admin, topics(settings))
        missing = [finding.topic for finding in findings if finding.missing]
        if not missing:
            return findings
        made = await _make(admin, missing, settings.replication_factor)
        deadline = time.monotonic() + VISIBLE_TIMEOUT_S
        while any(finding.missing for finding in findings) and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
            findings = await _compare(admin, topics(settings))
        return [replace(finding, created=finding.topic.name in made) for finding in findings]


async def kept_for(settings: Settings, names: Sequence[str]) -> dict[str, int | None]:
    """For how long the cluster keeps records of topics (names without the prefix), in ms by name; None: for ever."""
    async with _admin(settings) as admin:
        configs = await _configs(admin, [settings.topic(name) for name in names])
    kept = {name: int(configs[settings.topic(name)]["retention.ms"]) for name in names}
    return {name: None if ms < 0 else ms for name, ms in kept.items()}


@asynccontextmanager
async def _admin(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(**kafka_options(settings), client_id=f"{settings.app_id}-topics")
    try:
        async with telling(settings):
            await admin.start()
            yield admin
    finally:
        await admin.close()


async def _make(admin: AIOKafkaAdminClient, missing: list[Topic], replicas: int) -> set[str]:
    wanted = [NewTopic(topic.name, topic.partitions, replicas, topic_configs=dict(topic.config)) for topic in missing]
    answer = await admin.create_topics(wanted, timeout_ms=CREATE_TIMEOUT_MS)
    made = set()
    for name, code, *message in answer.topic_errors:
        error = for_code(code)
        if not code:
            made.add(name)
        # Somebody may have made it between our look and our wish: what it is like is compared next, as for any other.
        elif error is not TopicAlreadyExistsError:
            raise TopicRefused(f"{name}: {error.__name__} {message[0] if message and message[0] else ''}".strip())
    return made


async def _compare(admin: AIOKafkaAdminClient, wanted: tuple[Topic, ...]) -> list[Finding]:
    existing = set(await admin.list_topics())
    there = [topic for topic in wanted if topic.name in existing]
    if not there:
        return [Finding(topic, missing=True) for topic in wanted]
    described = {entry["topic"]: entry for entry in await admin.describe_topics([topic.name for topic in there])}
    configs = await _configs(admin, [topic.name for topic in there])
    findings = []
    for topic in wanted:
        entry = described.get(topic.name)
        if entry is None or entry["error_code"] or topic.name not in configs:
            findings.append(Finding(topic, missing=True))
        else:
            differences = _differences(topic, len(entry["partitions"]), configs[topic.name])
            findings.append(Finding(topic, differences=differences))
    return findings


async def _configs(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, dict[str, str]]:
    answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in names])
    configs = {}
    for answer in answers:
        for code, message, _, name, entries in answer.resources:
            if code:
                raise KafkaError(f"can't read the configuration of {name}: {message}")
            configs[name] = {entry[0]: entry[1] for entry in entries}
    return configs


def _differences(topic: Topic, partitions: int, config: dict[str, str]) -> tuple[str, ...]:
    found = []
    if partitions != topic.partitions:
        found.append(f"{partitions} partitions, must be {topic.partitions}")
    found += [
        f"{name} {config.get(name)}, must be {topic.config[name]}"
        for name in ("cleanup.policy", "message.timestamp.type")
        if name in topic.config and config.get(name) != topic.config[name]
    ]
    for name in ("max.message.bytes", "retention.ms"):
        value = int(config.get(name) or -1)
        # More is fine, and -1 is without limit.
        if name in topic.config and 0 <= value < int(topic.config[name]):
            found.append(f"{name} {value}, must be at least {topic.config[name]}")
    name = "max.compaction.lag.ms"
    if name in topic.config and (value := int(config.get(name) or -1)) > int(topic.config[name]):
        found.append(f"{name} {value}, must be at most {topic.config[name]}")
    return tuple(found)
