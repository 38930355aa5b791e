"""Who of a consumer group reads which partition, as its coordinator has it."""

from typing import Any

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import GroupCoordinatorNotAvailableError

UUID_CHARS = 36
SHOWN_CHARS = 8


async def owners(admin: AIOKafkaAdminClient, group: str) -> dict[TopicPartition, str]:
    """The member that each partition is assigned to, as `member_name` has it; empty while nobody is there.

    Raises:
        KafkaError: the coordinator refuses or does not answer.
    """
    try:
        (answer,) = await admin.describe_consumer_groups([group])
    except GroupCoordinatorNotAvailableError:  # no group has ever been on this cluster
        return {}
    found: dict[TopicPartition, str] = {}
    for described in answer.groups:
        members: list[Any] = described[5]
        for member_id, client_id, host, _, assignment in members:
            if assignment:
                name = member_name(member_id, client_id, host)
                found |= dict.fromkeys(ConsumerProtocolMemberAssignment.decode(assignment).partitions(), name)
    return found


def member_name(member_id: str, client_id: str, host: str) -> str:
    """A member by its instance id, where it has one, and its host.

    Kafka makes a member's id of its instance id or else its client id, and a UUID; of the latter the beginning tells
    members of one host apart.

    >>> member_name("w1-0d9d32a3-4a2c-4b60-9c0e-5b7d5b0f2f0c", "regulars", "/10.0.0.3")
    'w1 at 10.0.0.3'
    >>> member_name("regulars-0d9d32a3-4a2c-4b60-9c0e-5b7d5b0f2f0c", "regulars", "/10.0.0.3")
    'regulars-0d9d32a3 at 10.0.0.3'
    """
    name, unique = member_id[: -UUID_CHARS - 1], member_id[-UUID_CHARS:]
    if name == client_id:
        name = f"{name}-{unique[:SHOWN_CHARS]}"
    return f"{name or member_id} at {host.removeprefix('/')}"
