"""Which topic is behind a name: the id that Kafka gives to a topic when it is made.

A topic that is deleted and made again has the name of the first one, offsets that begin at 0 again, and another id.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import NoError, UnknownTopicOrPartitionError, for_code
from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Boolean, CompactArray, CompactString, Int16, Int32, Schema, TaggedFields

from streams.kafka.clients import plain_client
from streams.kafka.errors import InfrastructureFailure
from streams.kafka.refusals import explaining_refusals
from streams.settings import Settings

_NO_ID = bytes(16)


class TopicReplaced(InfrastructureFailure):
    """A topic was deleted and made again while this worker ran; the next start takes it as the new topic that it is."""


class _Uuid(AbstractType[bytes]):
    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    def decode(cls, data: Any) -> bytes:
        value: bytes = data.read(16)
        return value


# Metadata in version 10 (KIP-516, Kafka 2.8), the first with topic ids; aiokafka has versions 0 to 5.
_KEY, _VERSION = 3, 10


class _MetadataResponse(Response):
    API_KEY = _KEY
    API_VERSION = _VERSION
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString("utf-8")),
                ("port", Int32),
                ("rack", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("topic", CompactString("utf-8")),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("authorized_operations", Int32),
        ("tags", TaggedFields),
    )


class _MetadataRequestStruct(RequestStruct):
    API_KEY = _KEY
    API_VERSION = _VERSION
    RESPONSE_TYPE = _MetadataResponse
    FLEXIBLE_VERSION = True
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", _Uuid), ("topic", CompactString("utf-8")), ("tags", TaggedFields))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class _MetadataRequest(Request[_MetadataRequestStruct]):
    API_KEY = _KEY

    def __init__(self, topics: Iterable[str]) -> None:
        self._topics = list(topics)

    def build(self, request_struct_class: type[_MetadataRequestStruct]) -> _MetadataRequestStruct:
        return request_struct_class([(_NO_ID, topic, {}) for topic in self._topics], False, False, False, {})


class TopicIds(NamedTuple):
    """The ids of topics.

    Attributes:
        cluster: the id of the cluster; empty: not known.
        topics: 32 hex digits by full name; empty where the broker gives none, as before Kafka 2.8. A topic that does not
            exist is left out.
    """

    cluster: str = ""
    topics: Mapping[str, str] = MappingProxyType({})

    def mark(self, topic: str) -> str:
        """What is committed beside an offset: which topic of which cluster it is of; empty: not known."""
        topic_id = self.topics.get(topic, "")
        return f"{self.cluster}/{topic_id}" if topic_id else ""

    def is_stale(self, topic: str, mark: str) -> bool:
        """Whether an offset that was committed with `mark` is of a topic of this cluster that is gone.

        One without a mark was set by hand, one with another cluster's was translated by a mirror: both are meant for the
        topic as it is.
        """
        cluster, _, topic_id = mark.rpartition("/")
        now = self.topics.get(topic, "")
        return bool(now and topic_id) and cluster == self.cluster and topic_id != now


async def topic_ids(client: AIOKafkaClient, topics: Iterable[str]) -> TopicIds:
    """The ids of `topics` (full names).

    Raises:
        KafkaError: no broker answers, or it refuses.
    """
    names = list(topics)
    try:
        answer = await client.send(client.get_random_node(), _MetadataRequest(names))
    except NotImplementedError:
        return TopicIds("", dict.fromkeys(names, ""))
    found = {}
    for code, topic, topic_id, *_ in answer.topics:
        error = for_code(code)
        if error is NoError:
            found[topic] = "" if topic_id == _NO_ID else topic_id.hex()
        elif error is not UnknownTopicOrPartitionError:
            raise error(topic)
    return TopicIds(answer.cluster_id or "", found)


async def ids_of(settings: Settings, topics: Iterable[str]) -> TopicIds:
    """As `topic_ids`, asked over a connection of its own."""
    client = plain_client(settings)
    try:
        async with explaining_refusals(settings):
            await client.bootstrap()
            return await topic_ids(client, topics)
    finally:
        await client.close()


def check_unchanged(known: TopicIds, now: TopicIds) -> None:
    """Compares ids with those that are `known`; topics that do not exist now are no business of this check.

    Raises:
        TopicReplaced: names each topic that has another id now.
    """
    if anew := sorted(
        topic
        for topic, topic_id in now.topics.items()
        if topic_id and known.topics.get(topic) not in (None, "", topic_id)
    ):
        raise TopicReplaced(
            f"{', '.join(anew)} was made anew while this worker ran; nothing of it is committed, and the next start "
            "counts it from its start"
        )
