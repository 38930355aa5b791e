"""The one place that wires the data plane: a Faust app around a job.

`build_app` makes it, for `faust -A ... worker` as well as for `run_worker`. Add pages, services, tasks and low-rate
agents to it as to any Faust app.
"""

import asyncio
import contextlib
import gc
import logging
import os
import sys
import traceback
from collections.abc import Awaitable, Callable
from functools import partial
from importlib.metadata import version
from typing import Any, NoReturn

import faust
import structlog
import uvloop
from faust.types import TP
from mode import CrashingSupervisor
from yarl import URL

from streams.kafka.clients import restoring_consumer
from streams.kafka.errors import DENIALS, AccessRefused, BrokerLost, InfrastructureFailure, denied
from streams.kafka.patience import (
    AWAY_AFTER_S,
    DELIVERY_TIMEOUT_S,
    PATIENCE_S,
    REQUEST_TIMEOUT_S,
    Outage,
    breaking_on_uvloop,
)
from streams.kafka.refusals import LOOK_LIMIT_S, refusal
from streams.kafka.security import kafka_options, servers
from streams.plane import memory
from streams.plane.batch import BatchTopic
from streams.plane.directory import hold
from streams.plane.errors import StoreBroken
from streams.plane.failures import Failures
from streams.plane.lease import Lease
from streams.plane.pipeline import Pipeline
from streams.plane.producer import MAX_BATCH_BYTES, Producer
from streams.plane.records import Job
from streams.plane.restore import Restorer
from streams.plane.stacks import stacks
from streams.plane.store import STORE_URL, BulkStore
from streams.plane.topics_check import check_topics
from streams.plane.transport import Transport
from streams.settings import Settings

log = structlog.get_logger(__name__)

EXIT_FAILURE = 70  # EX_SOFTWARE; see docs/decisions/0013-a-worker-that-stops-itself-ends-with-70.md

REBALANCE_TIMEOUT_S = 20.0
HEARTBEAT_S = 1.0

# A cluster forgets a transactional id a week after its last claim (transactional.id.expiration.ms); the next claim would
# then get another producer id, which fences nobody.
CLAIM_AGAIN_S = 24 * 3600.0

# After the start, long-lived objects are out of the collector's sight, and a generation-0 pass comes only when 200,000
# containers more are alive than at the last one: a large chunk of events holds some 100,000 of its own for a moment, none
# of them in a cycle, and passing over those was a quarter of a step's time (59 to 45 us an event).
GC_THRESHOLD = (200_000, 20, 100)

# The consumer's thread hands polls over while the main one steps; Python's 5 ms would be waited several times a poll.
SWITCH_INTERVAL_S = 0.0005


class Worker(faust.Worker):
    """Faust's, whose SIGUSR1 would print what customers wrote and whose SIGUSR2 would wait for a debugger's commands."""

    def _on_sigusr1(self) -> None:
        app: App = self.app
        app.tell_stacks("asked where it stands")

    _on_sigusr2 = _on_sigusr1


class FaustWorld:
    """What the plane needs of the world, from a Faust app that makes its parts when it starts; see `ports.World`."""

    def __init__(self, app: "App", changelog: str) -> None:
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

    def fail(self, exc: BaseException) -> None:
        """Ends the process."""
        self._app.fail(exc)


class App(faust.App):
    """A Faust app whose input topics run through `pipeline`; see `build_app`.

    Attributes:
        states: the one table, its changelog, and the local store behind both.
        lease: whether this worker may write.
        pipeline: what the job's surroundings use.
        restorer: makes local stores complete.
    """

    def __init__(self, settings: Settings, job: Job[Any]) -> None:
        self.worker_settings = settings
        self.job = job
        self.partition_counts: dict[str, int] = {}  # of every topic of the job, found at the start
        self._begins: list[Callable[[], Awaitable[None]]] = []
        self._frozen = False
        self._failing = False
        super().__init__(
            settings.app_id,
            broker=[URL(f"kafka://{server}") for server in servers(settings)],
            broker_client_id=settings.app_id,
            broker_credentials=credentials(settings),
            broker_commit_interval=settings.commit_interval_s,
            broker_heartbeat_interval=min(HEARTBEAT_S, settings.session_timeout_s / 6),
            broker_max_poll_records=settings.max_poll_records,
            broker_rebalance_timeout=max(REBALANCE_TIMEOUT_S, settings.session_timeout_s),
            # How long faust's recovery waits for each of its steps; then it goes on as if that had been done, and waits
            # for ever for what never comes. A request itself may take `REQUEST_TIMEOUT_S`.
            broker_request_timeout=max(DELIVERY_TIMEOUT_S, settings.session_timeout_s),
            broker_session_timeout=settings.session_timeout_s,
            consumer_auto_offset_reset="earliest",
            # "" would make all workers one and the same member
            consumer_group_instance_id=settings.instance_id or None,
            # Faust's assignor knows members by this. By default the web port is part of it, and a static member that
            # came back with another port would be taken for two, trip the assignor and stand still.
            **({"canonical_url": URL(f"http://{settings.instance_id}")} if settings.instance_id else {}),
            datadir=settings.data_dir,
            producer_max_batch_size=MAX_BATCH_BYTES,
            producer_max_request_size=2 * MAX_BATCH_BYTES,
            producer_request_timeout=REQUEST_TIMEOUT_S,
            store=STORE_URL,
            stream_recovery_delay=0.0,
            stream_wait_empty=True,
            table_standby_replicas=0,
            topic_allow_declare=False,
            topic_disable_leader=True,
            topic_partitions=settings.partitions,
            topic_replication_factor=settings.replication_factor,
            web_bind=settings.web_host,
            web_enabled=settings.web_port != 0,
            web_host=settings.web_host,
            web_port=settings.web_port or 6066,
            Worker=Worker,
            worker_redirect_stdouts=False,
        )
        # faust's command line sets web_enabled to True by itself
        self.boot_strategy.enable_web = settings.web_port != 0
        self.states = self.Table(
            "states",
            help="The state of every customer, as bytes.",
            key_type=bytes,
            value_type=bytes,
            partitions=settings.partitions,
            changelog_topic=self._changelog_topic(),
            options={"memory": settings.store_memory_mb << 20},
        )
        world = FaustWorld(self, settings.changelog_topic)
        self.lease = Lease(self.conf.broker_session_timeout, self.conf.broker_rebalance_timeout)
        self.pipeline = Pipeline(job, world, settings.changelog_topic, self.lease, Failures(settings.data_dir))
        self.restorer = Restorer(self.pipeline, world, partial(restoring_consumer, settings), settings.changelog_topic)
        self._world = world
        self.pipeline.on_tick(CLAIM_AGAIN_S, self.pipeline.claim_again)
        self.pipeline.on_tick(memory.EVERY_S, memory.give_back)

    def inputs(self) -> BatchTopic:
        """Every input topic of the job, as the one channel that the agent reads."""
        return BatchTopic(self, topics=list(self.job.topics), key_type=bytes, value_type=bytes)

    def _changelog_topic(self) -> Any:
        settings = self.worker_settings
        return self.topic(
            settings.changelog_topic,
            key_type=bytes,
            value_type=bytes,
            partitions=settings.partitions,
            compacting=True,
            acks=False,
            internal=True,
            allow_empty=True,
        )

    # --- the transport

    def _new_transport(self) -> Transport:
        return self._transport_to(self.conf.broker_consumer)

    def _new_producer_transport(self) -> Transport:
        return self._transport_to(self.conf.broker_producer)

    def _transport_to(self, url: Any) -> Transport:
        return Transport(url, self, pipeline=self.pipeline, lease=self.lease, world=self._world)

    # --- start

    def hold_directory(self) -> None:
        """Keeps the data directory for this process; ends it where another worker has that."""
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

    def on_begin(self, callback: Callable[[], Awaitable[None]]) -> None:
        """Awaits `callback` before anything subscribes; an exception in it ends the process."""
        self._begins.append(callback)

    async def on_start(self) -> None:
        """Verifies the topics before anything subscribes to them."""
        self._tell_start()
        await super().on_start()
        try:
            self.partition_counts = await check_topics(self.worker_settings, self.job)
            self.add_future(self._watch_broker())
            for begin in self._begins:
                await begin()
        except Exception as exc:
            self.fail(exc)

    def _tell_start(self) -> None:
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

    async def _watch_broker(self) -> None:
        lease, outage = self.lease, Outage()
        while not self.should_stop:
            await asyncio.sleep(1.0)
            if stood_s := lease.look():
                log.warning("this worker stood still", seconds=round(stood_s))
            # While a rebalance waits for its members, none of them sends heartbeats.
            bear_s = AWAY_AFTER_S + (self.conf.broker_rebalance_timeout if self.rebalancing else 0.0)
            told = outage.look(lease.silence_s, bear_s) if lease.known else None
            if told == "away":
                log.warning("Kafka is away", seconds=round(outage.away_s), ends_after_s=round(lease.patience_s))
            elif told == "back":
                log.warning("Kafka is back", seconds=round(outage.away_s))
            if lease.hopeless and not self.should_stop:
                silent_s, why = lease.silence_s, None
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_LIMIT_S):
                        why = await refusal(self.worker_settings)
                told_why = "" if why is None else f"; {why}"
                self.fail(BrokerLost(f"Kafka did not answer a heartbeat for {silent_s:.0f} s{told_why}"))

    def on_rebalance_end(self) -> None:
        """The flow resumes."""
        super().on_rebalance_end()
        if not self._frozen:
            self._frozen = True
            gc.collect()
            gc.freeze()
            gc.set_threshold(*GC_THRESHOLD)
        self.pipeline.resume()

    # --- stop

    async def _consumer_wait_empty(self, consumer: Any, logger: Any) -> None:
        """Before a revoke and before the process stops: finish, commit, write down what is confirmed."""
        if self.should_stop:
            # aiokafka's commit waits for ever
            late = BrokerLost(f"asked to stop, but Kafka did not answer for {PATIENCE_S:.0f} s")
            self.loop.call_later(PATIENCE_S, self.fail, late)
        await self.pipeline.quiesce(stopping=self.should_stop)
        await super()._consumer_wait_empty(consumer, logger)
        await self.pipeline.close()

    async def on_shutdown(self) -> None:
        """The end of an orderly stop: `fail` doesn't come here."""
        await super().on_shutdown()
        log.info("worker stopped as asked, all that it has processed is committed")

    def _crash(self, reason: BaseException) -> None:
        """Whatever of faust's services crashes ends the process."""
        self.fail(reason)

    def tell_stacks(self, why: str) -> None:
        """Logs where every thread and task stands, for whoever has to find out why a worker doesn't get on."""
        loops = [self.loop] if self._consumer is None else [self.loop, self._consumer._thread.thread_loop]
        log.error(why, **stacks(loops))

    def fail(self, exc: BaseException) -> NoReturn:
        """Ends the process now, with the reason as the last line on stderr.

        No orderly stop: that would commit, flush and wait for a broker that may be gone. What a kill leaves behind is
        what the design is made for.
        """
        if not self._failing:
            self._failing = True
            if isinstance(exc, DENIALS):
                exc = AccessRefused(denied(exc))
            expected = isinstance(exc, (InfrastructureFailure, AccessRefused))
            if not expected:
                sys.stderr.write("".join(traceback.format_exception(exc)))
            reason = str(exc) if expected else f"{type(exc).__name__}: {exc}"
            line = " ".join(reason.split())
            sys.stderr.write(f"regulars worker stopped: {line[:1000]} (nothing unfinished was committed)\n")
            sys.stderr.flush()
        os._exit(EXIT_FAILURE)


def build_app(settings: Settings, job: Job[Any]) -> App:
    """A Faust app that runs `job` over its topics by one agent; nothing is connected yet.

    The app has `pipeline` (what the job's surroundings use) and stops the process by itself on any failure.
    """
    app = App(settings, job)

    @app.agent(app.inputs(), name="plane", supervisor_strategy=CrashingSupervisor)
    async def plane(polls: Any) -> None:
        """Runs each poll of all input topics through the job."""
        async for poll in polls:
            await app.pipeline.submit(poll)

    return app


def run_worker(app: App) -> NoReturn:
    """Runs the app until SIGTERM or SIGINT (exit code 0: everything processed is committed) or a failure (70)."""
    # faust's logging set-up would take the root logger over
    for name in ("faust", "mode", "aiokafka"):
        logging.getLogger(name).setLevel(logging.ERROR)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())  # 3 ms less from event to change than with asyncio's own
    breaking_on_uvloop()
    app.finalize()
    worker = app.Worker(quiet=True, override_logging=False, redirect_stdouts=False)
    worker.spinner = None
    try:
        worker.execute_from_commandline()
    except SystemExit as exc:
        if exc.code:
            # faust's own services, its web server for one, end it without a reason but what they raised
            app.fail(worker.crash_reason or exc.__context__ or RuntimeError("faust's worker ended"))
    sys.stdout.flush()
    sys.stderr.flush()
    # Everything is committed and closed. Threads that can't be interrupted (an import of torch takes seconds) and the
    # teardown of native libraries are nothing to wait for.
    os._exit(0)


def credentials(settings: Settings) -> faust.SASLCredentials | faust.SSLCredentials | None:
    """What faust's own clients show to the brokers: the same as `kafka_options` gives all others."""
    options = kafka_options(settings)
    context = options.get("ssl_context")
    if "sasl_mechanism" in options:
        return faust.SASLCredentials(
            username=options["sasl_plain_username"],
            password=options["sasl_plain_password"],
            ssl_context=context,
            mechanism=options["sasl_mechanism"],
        )
    return None if context is None else faust.SSLCredentials(context)
