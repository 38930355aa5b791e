"""The partitions of every topic of the job: verified before a worker subscribes, asked for by the producer."""

from typing import Any

from streams.kafka.clients import plain_client
from streams.kafka.errors import BrokerLost, TopicsNotReady
from streams.kafka.patience import patiently
from streams.kafka.refusals import explaining_refusals
from streams.plane.records import Job
from streams.settings import Settings


class TopicLayout:
    """How many partitions each topic of a job has on the cluster; known after `verify`."""

    def __init__(self, settings: Settings, job: Job[Any]) -> None:
        self._settings, self._job = settings, job
        self._counts: dict[str, int] = {}

    async def verify(self) -> None:
        """Reads the layout from the cluster; every topic must exist with the right number of partitions.

        Raises:
            BrokerLost: no broker answered within `PATIENCE_S`; a worker and its broker often start together.
            AccessRefused: a broker answers and refuses this client.
            TopicsNotReady: names every topic that is wrong.
        """
        settings, job = self._settings, self._job
        counts = await self._read()
        allowed: dict[str, tuple[int, ...]] = dict.fromkeys(
            (*job.topics, *job.outputs, settings.changelog_topic), (settings.partitions,)
        )
        allowed |= dict.fromkeys(job.gathered, (settings.partitions, 1))
        if missing := sorted(topic for topic in allowed if topic not in counts):
            raise TopicsNotReady(f"missing topics: {', '.join(missing)}; make them with `regulars topics create`")
        if wrong := sorted(topic for topic, numbers in allowed.items() if counts[topic] not in numbers):
            actual = ", ".join(f"{topic} has {counts[topic]}" for topic in wrong)
            reason = (
                " (with fewer, a worker that was replaced could still write there)"
                if set(wrong) & set(job.outputs)
                else ""
            )
            raise TopicsNotReady(
                f"partitions: {actual}, but REGULARS_PARTITIONS is {settings.partitions}{reason}; "
                "see `regulars topics check`"
            )
        self._counts = {topic: counts[topic] for topic in allowed}

    def partitions_of(self, topic: str) -> int:
        """The number of partitions of a topic of the job."""
        # Not the producer's metadata: that knows a topic only after the first record for it.
        return self._counts[topic]

    def is_fenced(self, topic: str) -> bool:
        """Whether each partition of the topic has a single writer; not where the topic has one partition for all."""
        return self._counts[topic] == self._settings.partitions

    async def _read(self) -> dict[str, int]:
        settings = self._settings

        async def ask() -> dict[str, int]:
            client = plain_client(settings)
            try:
                async with explaining_refusals(settings):
                    await client.bootstrap()
                    cluster = await client.fetch_all_metadata()  # a request for one topic by name could create it
                return {topic: len(cluster.partitions_for_topic(topic) or ()) for topic in cluster.topics()}
            finally:
                await client.close()

        try:
            return await patiently(f"Kafka at {settings.bootstrap_servers}", ask)
        except BrokerLost as exc:
            raise BrokerLost(
                f"{exc}; start one with `regulars broker start`, or set REGULARS_BOOTSTRAP_SERVERS"
            ) from exc
