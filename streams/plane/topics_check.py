"""What must be true of the topics before a worker subscribes to them."""

from typing import Any

from streams.kafka.clients import plain_client
from streams.kafka.errors import BrokerLost, TopicsNotReady
from streams.kafka.patience import patiently
from streams.kafka.refusals import explaining_refusals
from streams.plane.records import Job
from streams.settings import Settings


async def check_topics(settings: Settings, job: Job[Any]) -> dict[str, int]:
    """Verifies that every topic of the job exists with the right number of partitions; gives the numbers.

    Raises:
        BrokerLost: no broker within `PATIENCE_S`: a worker and its broker often start together.
        AccessRefused: a broker is there and refuses this client.
        TopicsNotReady: names every topic that is wrong.
    """
    counts = await _partition_counts(settings)
    wanted: dict[str, tuple[int, ...]] = dict.fromkeys(
        (*job.topics, *job.outputs, settings.changelog_topic), (settings.partitions,)
    )
    wanted |= dict.fromkeys(job.gathered, (settings.partitions, 1))
    missing = sorted(topic for topic in wanted if topic not in counts)
    if missing:
        raise TopicsNotReady(f"missing topics: {', '.join(missing)}; make them with `regulars topics create`")
    wrong = sorted(topic for topic, allowed in wanted.items() if counts[topic] not in allowed)
    if wrong:
        told = ", ".join(f"{topic} has {counts[topic]}" for topic in wrong)
        why = (
            " (with fewer, a worker that was replaced could still write there)" if set(wrong) & set(job.outputs) else ""
        )
        raise TopicsNotReady(
            f"partitions: {told}, but REGULARS_PARTITIONS is {settings.partitions}{why}; see `regulars topics check`"
        )
    return {topic: counts[topic] for topic in wanted}


async def _partition_counts(settings: Settings) -> dict[str, int]:
    async def ask() -> dict[str, int]:
        client = plain_client(settings)
        try:
            async with explaining_refusals(settings):
                await client.bootstrap()
                cluster = await client.fetch_all_metadata()  # asks for no topic by name: that could create it
            return {topic: len(cluster.partitions_for_topic(topic) or ()) for topic in cluster.topics()}
        finally:
            await client.close()

    try:
        return await patiently(f"Kafka at {settings.bootstrap_servers}", ask)
    except BrokerLost as exc:
        raise BrokerLost(f"{exc}; start one with `regulars broker start`, or set REGULARS_BOOTSTRAP_SERVERS") from exc
