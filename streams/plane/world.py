"""What the plane needs of the world around it, from Faust's app."""

from typing import Any

from faust.types import TP

from streams.kafka.incarnations import TopicIds, check_unchanged, topic_ids
from streams.plane.producer import Producer
from streams.plane.store import BulkStore


class FaustWorld:
    """What the plane needs of the world, from a Faust app that makes its parts when it starts; see `ports.World`."""

    def __init__(self, app: Any, changelog: str) -> None:
        self._app, self._changelog = app, changelog

    def states(self) -> BulkStore:
        """The local store."""
        store: BulkStore = self._app.states.data
        return store

    def sender(self) -> Producer:
        """The app's producer."""
        producer: Producer = self._app.producer
        return producer

    def committed(self, tp: TP) -> int | None:
        """What the app's consumer has committed."""
        offset: int | None = self._app.consumer.committed(tp)
        return offset

    async def claim(self, partition: int) -> None:
        """Makes this worker the only one that can write to a partition."""
        await self.sender().claim(self._changelog, partition)

    def forget_claims(self) -> None:
        """Forgets every claim."""
        self.sender().writers.forget()

    def topic_ids(self) -> TopicIds:
        """Kafka's ids of the topics, as of the start."""
        ids: TopicIds = self._app.topic_ids
        return ids

    def changelog_id(self) -> str:
        """Kafka's id of the changelog."""
        return self.topic_ids().topics.get(self._changelog, "")

    async def check_topics_unchanged(self) -> None:
        """Asks Kafka once more for the ids of the input topics."""
        ids = await topic_ids(self.sender().client(), self._app.job.topics)
        check_unchanged(self.topic_ids(), ids)

    def fail(self, exc: BaseException) -> None:
        """Ends the process."""
        self._app.fail(exc)
