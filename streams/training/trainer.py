"""The one learner: model-train in, model-snapshots out.

    take over -> { poll -> write dead letters -> learn in order -> publish when due } -> publish, leave

The last published snapshot is the only checkpoint: whoever takes over restores it and reads on from its offset. The
offsets committed to the group only show the lag.

The shop's own models learn as challengers beside the learner. Each has a record of its own, which is published just before
the snapshot (`models.learning.serving`).

A version that the scoreboard finds worse than the one before is taken back at once: the next snapshot has the previous
version's weights, and learning goes on from those.

model-train has one partition, so the group gives it to one trainer; a second one stays a spare until the first leaves. A
trainer that is stopped at any point has published whole snapshots or none.

When the group takes model-train away, what was learnt and not published is learnt again, from the last snapshot on.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import structlog
from aiokafka import ConsumerRebalanceListener, ConsumerRecord, TopicPartition

from models.learning.course import Course
from models.learning.snapshots import Snapshot
from schemas.learning import Label, Origin
from schemas.orders import Orders
from schemas.topics import DEAD_LETTERS
from streams.kafka.patience import PATIENCE_S
from streams.settings import Settings
from streams.training import challengers
from streams.training.checkpoint import Beginner, take_over
from streams.training.connection import Connection, StopRequested
from streams.training.labels import decoded
from streams.training.orders import follow
from streams.training.pages import State, TrainerView
from streams.training.publishing import Publisher
from streams.training.schedule import PublishSchedule

log = structlog.get_logger("regulars.trainer")

T = TypeVar("T")


class Trainer(ConsumerRebalanceListener):
    """One trainer process; `run` until asked to stop.

    Attributes:
        view: what the pages show of it.

    Args:
        settings: which cluster, topics and group.
        beginner: what a new learner is made of.
        schedule: when to publish.
        view: given when pages show it.
        patience_s: how long Kafka may be away.
    """

    def __init__(
        self,
        settings: Settings,
        beginner: Beginner,
        schedule: PublishSchedule,
        view: TrainerView | None = None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.view = TrainerView() if view is None else view
        self._beginner = beginner
        self._connection = Connection(settings, self.view, patience_s)
        self._publisher = Publisher(self._connection, schedule, self.view)
        # Held up for longer, this trainer may be out of the group without knowing it.
        self._turn_limit_s = settings.session_timeout_s / 2
        self._turned_at = time.monotonic()
        self._course: Course | None = None
        self._is_spare = False
        self._revocations = 0
        self._settings = settings
        self._orders: Orders | None = None  # that came and were not taken yet

    @property
    def learning(self) -> bool:
        """Whether it has model-train and has taken over from the last snapshot."""
        return self._course is not None

    @property
    def published(self) -> Snapshot | None:
        """The last snapshot that this process published; None: none yet."""
        return self._publisher.published

    async def run(self, stopping: asyncio.Event) -> None:
        """Learns and publishes until `stopping` is set, then publishes what is new.

        Raises:
            TopicsNotReady: a topic does not exist, or has several partitions.
            AccessRefused: a broker answers and refuses this client.
            BrokerLost: Kafka was away for longer than `patience_s`, or didn't acknowledge a record in that time.
            KafkaError: it refused what was asked.
        """
        orders: asyncio.Task[None] | None = None
        try:
            with contextlib.suppress(StopRequested):
                await self._connection.start(stopping, listener=self)
                orders = asyncio.create_task(follow(self._settings, self._take_orders, stopping))
                while not stopping.is_set():
                    await self._turn()
            if self._course is not None and self._publisher.new_labels(self._course) > 0:
                await self._publish(self._course)
        finally:
            if orders is not None:
                orders.cancel()
                await asyncio.gather(orders, return_exceptions=True)
            await self._connection.close()

    async def on_partitions_revoked(self, revoked: Sequence[TopicPartition]) -> None:
        """Another trainer may go on from the last snapshot; so does this one if the partition comes back."""
        self._revocations += 1
        self._give_up("joining")

    async def on_partitions_assigned(self, assigned: Sequence[TopicPartition]) -> None:
        """Notes whether it has model-train. It takes over in the loop: aiokafka would only log an exception in here."""
        self.view.state = "taking over" if assigned else "spare"

    async def _turn(self) -> None:
        """One round of the loop: takes over, or learns one poll's labels and publishes what is due."""
        self._turned_at = time.monotonic()
        records = await self._connection.poll()
        if not self._connection.is_assigned:
            self._log_spare()
            return
        course = self._course
        if course is None:
            # The poll began at the committed offset; its records come again from the checkpoint's offset on.
            await self._take_over()
            return
        if records:
            await self._learn(course, records)
            if course is not self._course:
                return  # the partition went away while dead letters were written
        await self._obey(course)
        if course is self._course and self._publisher.is_due(course):
            await self._publish(course)

    async def _take_over(self) -> None:
        revocations = self._revocations
        course, backlog = await take_over(self._connection, self._beginner)
        if revocations != self._revocations or not self._connection.is_assigned:
            # The partition went away meanwhile. While the group rebalances, a revoked partition still counts as assigned.
            return
        self._connection.seek(course.next_offset)
        self._publisher.restart(course)
        self._course, self._is_spare = course, False
        self.view.state, self.view.next_offset = "learning", course.next_offset
        log.info("learning", labels=course.learner.labels, next_offset=course.next_offset, backlog=backlog)

    async def _learn(self, course: Course, records: Sequence[ConsumerRecord]) -> None:
        labels, origins = await self._labels(records)
        if course is not self._course:
            return
        rollbacks = course.learner.rollbacks
        counts = await self._working(partial(course.learn, labels, records[-1].offset + 1, origins))
        if course is not self._course:
            return
        self.view.count_learnt(counts.learnt, course.next_offset)
        for judged in counts.judged:
            self._publisher.log_judged(judged)
        for change in counts.promotions:
            challengers.say(change)
        if course.learner.rollbacks > rollbacks or counts.promotions:
            await self._publish(course)
        if counts.foreign:
            log.warning(
                "labels of another feature set passed over", count=counts.foreign, own=self._beginner.feature_set
            )

    async def _labels(self, records: Sequence[ConsumerRecord]) -> tuple[list[Label], list[Origin | None]]:
        """The labels in `records`, and their origins; whatever is no label goes to the dead letters."""
        labels, origins, dead = decoded(records, self._beginner.feature_set, len(self._beginner.names))
        for key, value, headers in dead:
            await self._connection.write(DEAD_LETTERS, key, value, headers)
        if dead:
            log.warning("labels that can't be read are in the dead letters", count=len(dead))
        return labels, origins

    async def _publish(self, course: Course) -> None:
        if time.monotonic() - self._turned_at > self._turn_limit_s:
            # The group may have given model-train to another trainer meanwhile.
            log.warning("held up; taking over anew from the last snapshot")
            self._give_up("taking over")
            return
        published = await self._working(lambda: list(challengers.records(course.contest)))
        if course is self._course:
            await self._publisher.publish(course, published)

    def _take_orders(self, orders: Orders) -> None:
        self._orders = orders

    async def _obey(self, course: Course) -> None:
        """Serves what somebody wants served, and publishes it at once."""
        orders, self._orders = self._orders, None
        if orders is None:
            return
        changes = course.contest.follow(orders.pinned)
        for change in changes:
            challengers.say(change)
        for target, name in orders.pinned.items():
            if course.contest.pinned.get(target) != name:
                log.warning("there is no such contestant to be served", target=target, name=name)
        if changes:
            await self._publish(course)

    async def _working(self, work: Callable[[], T]) -> T:
        """What `work` gives. A shop's own models may be slow: they work in a thread, so that the loop sends heartbeats."""
        if not self._beginner.contenders:
            return work()
        done = await asyncio.to_thread(work)
        self._turned_at = time.monotonic()
        self.view.beat()
        return done

    def _give_up(self, state: State) -> None:
        self._course = None
        self.view.state, self.view.next_offset = state, None

    def _log_spare(self) -> None:
        if not self._is_spare:
            log.info("waiting for model-train; another trainer may have it", group=self._connection.group)
            self._is_spare = True
