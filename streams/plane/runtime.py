"""The Faust app of the data plane, and the process that runs it.

`App` is a `faust.App` whose input topics go through `pipeline`. It needs one table, one channel and one agent, as any Faust
app; `build_app` adds them for a job, and `streams.app` does so for the scoring job. Add pages, services, tasks and low-rate
agents as to any Faust app.
"""

import asyncio
import gc
import logging
import os
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from importlib.metadata import version
from typing import Any, NoReturn

import faust
import structlog
import uvloop

from streams.kafka.clients import restoring_consumer
from streams.kafka.errors import BrokerLost
from streams.kafka.incarnations import TopicIds, check_unchanged, topic_ids
from streams.kafka.patience import PATIENCE_S, breaking_on_uvloop
from streams.kafka.security import servers
from streams.plane import leftovers, memory
from streams.plane.batch import BatchTopic
from streams.plane.broker_watch import BrokerWatch
from streams.plane.directory import hold
from streams.plane.ending import end_process
from streams.plane.errors import StoreBroken
from streams.plane.failures import Failures
from streams.plane.faust_options import faust_options
from streams.plane.lease import Lease
from streams.plane.pipeline import Pipeline
from streams.plane.producer import Producer
from streams.plane.records import Job
from streams.plane.restore import Restorer
from streams.plane.stacks import stacks
from streams.plane.store import BulkStore
from streams.plane.topic_layout import TopicLayout
from streams.plane.transport import Transport
from streams.settings import Settings

log = structlog.get_logger(__name__)

TABLE = "states"

# A cluster forgets a transactional id a week after its last claim (transactional.id.expiration.ms). The next claim would
# then get another producer id, which fences nobody.
CLAIM_AGAIN_S = 24 * 3600.0

# After the start the garbage collector no longer looks at objects that live long, and passes over the youngest generation
# only when 200,000 containers more are alive than at the last pass. A large chunk of events holds some 100,000 of its own
# for a moment, none of them in a cycle. Passes over those took a quarter of a step's time (59 to 45 us per event).
GC_THRESHOLD = (200_000, 20, 100)

# The consumer's thread hands polls over while the main thread steps. Python's default of 5 ms would be waited for several
# times per poll.
SWITCH_INTERVAL_S = 0.0005


class FaustWorker(faust.Worker):
    """Faust's runner of an app. SIGUSR1 and SIGUSR2 log where every thread and task stands.

    By default SIGUSR1 prints what customers wrote, and SIGUSR2 waits for a debugger's commands.
    """

    def _on_sigusr1(self) -> None:
        app: App = self.app
        app.log_stacks("asked where it stands")

    _on_sigusr2 = _on_sigusr1


class FaustWorld:
    """What the data plane needs of the world (`ports.World`), from a Faust app that makes its parts when it starts."""

    def __init__(self, app: "App", changelog_topic: str) -> None:
        self._app, self._changelog_topic = app, changelog_topic

    def states(self) -> BulkStore:
        """The local store, which is the table's data."""
        store: BulkStore = self._app.tables[TABLE].data
        return store

    def sender(self) -> Producer:
        """The app's producer."""
        producer: Producer = self._app.producer
        return producer

    async def claim(self, partition: int) -> None:
        """Makes this worker the only one that can write to the partition, with one record in the changelog."""
        await self.sender().claim(self._changelog_topic, partition)

    def forget_claims(self) -> None:
        """Gives every claim up."""
        self.sender().claims.forget()

    def topic_ids(self) -> TopicIds:
        """Kafka's ids of the topics, as of the start."""
        return self._app.layout.ids

    def changelog_id(self) -> str:
        """Kafka's id of the changelog."""
        return self.topic_ids().topics.get(self._changelog_topic, "")

    async def check_topics_unchanged(self) -> None:
        """Asks Kafka once more for the ids of the input topics."""
        ids = await topic_ids(self.sender().client(), self._app.pipeline.job.topics)
        check_unchanged(self.topic_ids(), ids)

    def fail(self, exc: BaseException) -> None:
        """Ends the process."""
        end_process(exc)


class App(faust.App):
    """A Faust app whose input topics go through `pipeline`; nothing is connected before it starts.

    Attributes:
        worker_settings: the settings of this worker.
        lease: whether this worker may write.
        pipeline: what the job's surroundings use.
        restorer: makes local stores complete.
        layout: how the topics are on the cluster.
    """

    def __init__(self, settings: Settings, job: Job[Any]) -> None:
        self.worker_settings = settings
        self._opens: list[Callable[[], object]] = []
        self._begins: list[Callable[[], Awaitable[None]]] = []
        self._frozen = False
        super().__init__(settings.consumer_group, **faust_options(settings), Worker=FaustWorker)
        # Faust's command line sets `web_enabled` to True.
        self.boot_strategy.enable_web = settings.web_port != 0
        world = FaustWorld(self, settings.changelog_topic)
        self.lease = Lease(self.conf.broker_session_timeout, self.conf.broker_rebalance_timeout)
        failures = Failures(settings.data_dir)
        self.pipeline = Pipeline(job, world, settings.changelog_topic, self.lease, failures)
        self.pipeline.on_tick(CLAIM_AGAIN_S, self.pipeline.claim_again)
        self.pipeline.on_tick(memory.EVERY_S, memory.give_back)
        self.pipeline.on_tick(
            leftovers.EVERY_S, lambda: leftovers.delete_left_over(world.states().folder, world.states().in_use())
        )
        self.restorer = Restorer(
            self.pipeline,
            world,
            partial(restoring_consumer, settings),
            settings.changelog_topic,
            accepted=settings.accept_truncated_changelog,
        )
        self._world = world
        self.layout = TopicLayout(settings, job)
        self._broker_watch = BrokerWatch(settings, self.lease, self.fail, self.conf.broker_rebalance_timeout)

    # --- what an app of the data plane consists of, beside its agents

    def input_topics(self) -> BatchTopic:
        """The job's input topics, as the one channel that an agent reads."""
        return BatchTopic(self, topics=list(self.pipeline.job.topics), key_type=bytes, value_type=bytes)

    def state_table(self, text: str) -> Any:
        """The table of the job's states, with its changelog; `text` is what `faust tables` shows."""
        settings = self.worker_settings
        changelog = self.topic(
            settings.changelog_topic,
            key_type=bytes,
            value_type=bytes,
            partitions=settings.partitions,
            compacting=True,
            acks=False,
            internal=True,
            allow_empty=True,
        )
        return self.Table(
            TABLE,
            help=text,
            key_type=bytes,
            value_type=bytes,
            partitions=settings.partitions,
            changelog_topic=changelog,
            options={"memory": settings.store_memory_mb << 20, "restorer": self.restorer},
        )

    def _new_transport(self) -> Transport:
        return self._transport_to(self.conf.broker_consumer)

    def _new_producer_transport(self) -> Transport:
        return self._transport_to(self.conf.broker_producer)

    def _transport_to(self, url: Any) -> Transport:
        return Transport(url, self, pipeline=self.pipeline, lease=self.lease, world=self._world, layout=self.layout)

    # --- start

    def hold_directory(self) -> None:
        """Keeps the data directory for this process; ends the process where another worker has the directory."""
        try:
            hold(self.worker_settings.data_dir)
        except StoreBroken as exc:
            self.fail(exc)

    def _create_directories(self) -> None:
        self.hold_directory()
        try:
            super()._create_directories()
        except OSError as exc:
            data_dir = self.worker_settings.data_dir
            self.fail(StoreBroken(f"data directory {data_dir}: {exc.strerror}; set REGULARS_DATA_DIR"))

    def on_open(self, callback: Callable[[], object]) -> None:
        """Calls `callback` once the pages are served, before Kafka is asked for anything."""
        self._opens.append(callback)

    def on_begin(self, callback: Callable[[], Awaitable[None]]) -> None:
        """Awaits `callback` before anything subscribes; an exception in it ends the process."""
        self._begins.append(callback)

    async def on_start(self) -> None:
        """Serves the pages, which say so while Kafka is away; verifies the topics before anything subscribes to them."""
        self._log_start()
        await super().on_start()
        try:
            if self.boot_strategy.enable_web:
                await self.web.maybe_start()
            for opened in self._opens:
                opened()
            await self.layout.verify()
            self.pipeline.explained.compacted = self.layout.compacted
            self.add_future(self._broker_watch.run(self))
            for begin in self._begins:
                await begin()
        except Exception as exc:
            self.fail(exc)

    def _log_start(self) -> None:
        settings = self.worker_settings
        log.info(
            "worker starts",
            version=version("regulars"),
            # without a user and password
            bootstrap_servers=[server.rpartition("@")[2] for server in servers(settings)],
            app_id=settings.app_id,
            instance_id=settings.instance_id or None,
            data_dir=str(settings.data_dir.resolve()),
            web=f"http://{settings.web_host}:{settings.web_port}/" if settings.web_port else None,
        )

    async def on_started(self) -> None:
        """Starts the ticks once the first assignment is restored."""
        await super().on_started()
        self.add_future(self.pipeline.tick(lambda: self.should_stop))

    def on_rebalance_end(self) -> None:
        """The flow of records resumes."""
        super().on_rebalance_end()
        if not self._frozen:
            self._frozen = True
            gc.collect()
            gc.freeze()
            gc.set_threshold(*GC_THRESHOLD)
        self.pipeline.resume()

    # --- stop

    async def _consumer_wait_empty(self, consumer: Any, logger: Any) -> None:
        """Before a revoke and before the process stops: finishes, commits, and marks what is confirmed."""
        if self.should_stop:
            # Aiokafka's commit would wait for ever.
            late = BrokerLost(f"asked to stop, but Kafka did not answer for {PATIENCE_S:.0f} s")
            self.loop.call_later(PATIENCE_S, self.fail, late)
        await self.pipeline.quiesce(stopping=self.should_stop)
        await super()._consumer_wait_empty(consumer, logger)
        await self.pipeline.close()

    async def on_shutdown(self) -> None:
        """The end of an orderly stop; `fail` does not come here."""
        await super().on_shutdown()
        log.info("worker stopped as asked, everything that it has processed is committed")

    def _crash(self, reason: BaseException) -> None:
        """A crash of any of faust's services ends the process."""
        self.fail(reason)

    def fail(self, exc: BaseException) -> NoReturn:
        """Ends the process now, with the reason as its last line; see `ending.end_process`."""
        end_process(exc)

    def log_stacks(self, event: str) -> None:
        """Logs where every thread and task stands, so that somebody can see why a worker makes no progress."""
        loops = [self.loop] if self._consumer is None else [self.loop, self._consumer._thread.thread_loop]
        log.error(event, **stacks(loops))


def build_app(settings: Settings, job: Job[Any]) -> App:
    """A Faust app that runs `job` over its input topics; nothing is connected yet."""
    app = App(settings, job)
    app.state_table("The job's states, one per key.")

    @app.agent(app.input_topics(), name="job")
    async def run_job(polls: Any) -> None:
        """Runs the records of each poll through the job."""
        async for poll in polls:
            await app.pipeline.submit(poll)

    return app


def run_worker(app: App) -> NoReturn:
    """Runs the app until SIGTERM or SIGINT (exit code 0: everything processed is committed) or a failure (70)."""
    # Faust's own set-up of logging would replace the root logger's.
    for name in ("faust", "mode", "aiokafka"):
        logging.getLogger(name).setLevel(logging.ERROR)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())  # 3 ms less from event to change than asyncio's own loop
    breaking_on_uvloop()
    app.finalize()
    worker = app.Worker(quiet=True, override_logging=False, redirect_stdouts=False)
    worker.spinner = None
    try:
        worker.execute_from_commandline()
    except SystemExit as exc:
        if exc.code:
            # Faust's own services, its web server for one, end it without a reason but the exception that they raised.
            app.fail(worker.crash_reason or exc.__context__ or RuntimeError("faust's worker ended"))
    sys.stdout.flush()
    sys.stderr.flush()
    # Everything is committed and closed. Neither a thread that cannot be interrupted (an import of torch takes seconds) nor
    # the teardown of native libraries is worth a wait.
    os._exit(0)
