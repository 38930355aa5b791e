"""Puts the parts of one scoring worker together: the job, its texts, what it serves, its pages and its watchdog.

`streams.app` adds the channel, the table and the agent that Faust knows.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import structlog
from faust.exceptions import ConsumerNotStarted

from models.policy import Rules, load
from models.scores import PriorScorer
from schemas.events import GROUP_TOPICS
from schemas.topics import CAMPAIGNS, MODEL_SNAPSHOTS, MODEL_TRAIN, POLICIES
from streams.kafka.broadcast import Broadcast
from streams.kafka.patience import patiently
from streams.kafka.topics import check, kept_for
from streams.ops.lag import LagMonitor
from streams.plane.runtime import App
from streams.settings import Settings
from streams.signin.pages import PAGES_WITHOUT_CUSTOMERS, WORKER_PAGES
from streams.worker.answers import WorkerAnswers
from streams.worker.clocks import ClockWatch
from streams.worker.encoding import open_lane
from streams.worker.feed import ChangeFeed, SegmentCounts
from streams.worker.metrics import Metrics
from streams.worker.observer import ViewObserver
from streams.worker.passing_time import TICK_S, PartitionTime, TextLog
from streams.worker.scoring import ScoringJob
from streams.worker.serving import Serving
from streams.worker.text_lane import BatchDone
from streams.worker.text_queue import MOST_HELD, TextQueue
from streams.worker.text_server import TextServer
from streams.worker.view import WorkerView
from streams.worker.watchdog import Watchdog
from streams.worker.web import mount, serve_customer_pages

log = structlog.get_logger(__name__)


class ScoringWorker:
    """The parts of one worker. Nothing is connected before `app` starts.

    Attributes:
        app: the Faust app that runs the worker.
        job: scores customers.
        pipeline: runs the job over the partitions of this worker.
        lane: reads texts.
        clocks: whether this machine's clock can be judged by.

    Raises:
        PolicyError: the policy file of the settings is not valid.
        AccessRefused: a file of the settings cannot be read, or holds something else.
        WrongSetting: there is no secret for pseudonyms, or it is too short; or the sign-in is not set as it must be.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        lag = LagMonitor(settings)
        metrics = Metrics(lag=lag, settings=settings)

        def count_texts(done: BatchDone) -> None:
            metrics.count_texts(done.texts, done.tokens)

        self.lane = open_lane(settings, count_texts)
        queue = TextQueue(self.lane, {settings.topic(name): most for name, most in MOST_HELD.items()})
        changes, segments = ChangeFeed(), SegmentCounts()
        topics = tuple(settings.topic(name) for name in GROUP_TOPICS)
        metrics.expect_events(topics)
        self._metrics = metrics
        self.job = ScoringJob(
            settings,
            Rules(load(settings.policy)),
            PriorScorer(),
            readings=self.lane,
            waiting=queue,
            observer=ViewObserver(topics, metrics, changes, segments),
        )
        self.app = App(settings, self.job)
        self.pipeline = self.app.pipeline
        # A null that no label has: the trainer passes it over, and Kafka deletes it.
        train, key = settings.topic(MODEL_TRAIN), f"clock:{settings.instance_id or ''}".encode()
        self.clocks = ClockWatch(partial(self.pipeline.stamped, train, key), settings.clock)
        metrics.watch_clock(self.clocks)
        self._texts = TextServer(queue, self.pipeline)
        serving = Serving(self.job, metrics, settings.models)
        self._broadcasts = {
            POLICIES: Broadcast(settings, POLICIES, serving.serve_policy, on_past=serving.serve_published),
            CAMPAIGNS: Broadcast(settings, CAMPAIGNS, serving.serve_campaign),
            MODEL_SNAPSHOTS: Broadcast(settings, MODEL_SNAPSHOTS, serving.serve_snapshot),
        }
        answers = WorkerAnswers(
            settings,
            GroupMembership(self.app),
            self.pipeline,
            self.job,
            self.lane,
            queue,
            self._broadcasts,
            self.clocks,
        )
        self._view = WorkerView(settings, lag, metrics, changes, segments, answers)
        self._watchdog = Watchdog(lag, answers, self._give_up, settings.watchdog_limit_s)
        partition_time = PartitionTime(self.job, self.pipeline, lag, self.clocks)
        self.pipeline.on_tick(TICK_S, self.clocks.compare)
        self.pipeline.on_tick(TICK_S, TextLog(self.lane, queue).write)
        self.pipeline.on_tick(TICK_S, partition_time.read_backlog)
        self.pipeline.on_tick(TICK_S, partition_time.apply_due)
        self.pipeline.on_drain(queue.drain)
        self.app.on_open(lambda: self.app.add_future(self._view.run()))
        self.app.on_begin(self._begin)
        self._guard_of_pages = mount(
            self.app.web.web_app, self._view, PAGES_WITHOUT_CUSTOMERS if settings.web_customer_port else WORKER_PAGES
        )

    async def _begin(self) -> None:
        """Starts what does not wait for an assignment; returns when policies and snapshots have been read in full."""
        if self._settings.web_port and self._guard_of_pages.answers_nobody:
            log.warning("dashboard and /api answer nobody: set REGULARS_WEB_TOKEN_FILE or REGULARS_WEB_TRUSTED_HEADER")
        self.job.topic_ids = self.app.layout.ids.topics
        for finding in await patiently("checking the topics", partial(check, self._settings, "worker")):
            if not finding.good:
                log.error(
                    "topic is not as it must be: `regulars topics check` says how to alter it",
                    topic=finding.topic.name,
                    differences=list(finding.differences),
                )
        kept = await patiently("reading how long topics are kept", partial(kept_for, self._settings, GROUP_TOPICS))
        self._metrics.set_retention({self._settings.topic(name): ms for name, ms in kept.items()})
        self.app.add_future(self._guard(self.lane.start))
        self.app.add_future(self._guard(self._texts.run))
        self.app.add_future(self._watchdog.run())
        self.app.add_future(self._guard(partial(serve_customer_pages, self._view)))
        if self._settings.encoder_preload:
            await self.lane.loaded()
        for name, broadcast in self._broadcasts.items():
            await patiently(f"reading {name}", broadcast.start)
            self.app.add_future(self._guard(broadcast.run))

    async def _guard(self, run: Callable[[], Awaitable[None]]) -> None:
        """Awaits `run`; an exception in it ends the process."""
        try:
            await run()
        except asyncio.CancelledError:
            raise  # the process ends, and its threads end with it
        except Exception as exc:
            self.app.fail(exc)

    def _give_up(self, stuck: BaseException) -> None:
        """Ends a worker that makes no progress, after it logged where it stands."""
        try:
            self.app.log_stacks("this worker makes no progress")
        finally:
            self.app.fail(stuck)


class GroupMembership:
    """The worker's place in the consumer group, as the Faust app has it."""

    def __init__(self, app: App) -> None:
        self._app = app

    def assigned(self) -> set[int]:
        """Numbers of the input partitions that the group has assigned to this worker."""
        topics = self._app.pipeline.job.topics
        try:
            assigned = self._app.consumer.assignment()
        except ConsumerNotStarted:  # while it waits for Kafka
            return set()
        return {tp.partition for tp in assigned if tp.topic in topics}

    def restoring(self) -> bool:
        """Whether the state of an assigned partition is being restored."""
        return self._app.restorer.busy
