"""How topics are configured on the cluster."""

from collections.abc import Sequence

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import for_code

from streams.kafka.clients import admin_client, started
from streams.kafka.refusals import explaining_refusals
from streams.settings import Settings


async def configurations(settings: Settings, names: Sequence[str], purpose: str = "") -> dict[str, dict[str, str]]:
    """The configuration on the cluster of the topics `names` (full names), by topic and by name of the setting.

    `purpose` says in an error what they are read for.

    Raises:
        AccessRefused: the user may not read it.
    """
    async with started(admin_client(settings), settings) as admin, explaining_refusals(settings, purpose):
        return await describe(admin, names)


async def describe(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, dict[str, str]]:
    """As `configurations`, asked over a client that is connected.

    Raises:
        KafkaError: the cluster refuses.
    """
    answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in names])
    configs = {}
    for answer in answers:
        for code, message, _, name, entries in answer.resources:
            if code:
                raise for_code(code)(f"cannot read the configuration of {name}: {message}")
            configs[name] = {entry[0]: entry[1] for entry in entries}
    return configs
