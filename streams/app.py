"""The one place that wires a worker: settings, the scoring job, the data plane, texts, broadcasts, pages.

`app` is what `faust -A streams.app worker` and `regulars worker` run.
"""

import asyncio
import time
from collections.abc import Sequence

import structlog
from aiokafka import TopicPartition
from aiokafka.structs import ConsumerRecord

from models.features import FEATURE_SET, NAMES
from models.learning.serving import ServedModel
from models.learning.snapshots import SnapshotError
from models.policy import PolicyError, Rules, load, parse
from models.scores import PriorScorer
from models.shadow import Shadow
from models.standing import standing
from schemas.changes import Standing
from schemas.events import INPUT_TOPICS
from schemas.states import decode_state
from schemas.topics import MODEL_SNAPSHOTS, POLICIES
from streams.kafka.broadcast import Broadcast
from streams.kafka.patience import patiently
from streams.kafka.topics import partition_of
from streams.logs import configure_logging
from streams.ops.lag import LagMonitor
from streams.plane.records import PartitionGone
from streams.plane.runtime import App, build_app
from streams.policy.published import SHADOW_KEY, newest_readable
from streams.settings import Settings, check_environment, read_settings
from streams.worker.encoding import BatchDone, open_lane
from streams.worker.feed import ChangeFeed, SegmentCounts
from streams.worker.holding import MOST_HELD, Desk
from streams.worker.metrics import Metrics
from streams.worker.observer import ViewObserver
from streams.worker.scoring import ScoringJob
from streams.worker.view import NotHere, Status, Texts, WorkerView
from streams.worker.watchdog import Watchdog
from streams.worker.web import mount

log = structlog.get_logger(__name__)

# How often silence is looked at: a change by silence is stamped with its moment whenever it is noticed, so this is only
# how late the CRM hears of it.
TICK_S = 0.25
# After each wave of customers whom silence or a policy moves, a pause of this share of what it took, waits included:
# events get the loop and the partition in between, and for longer the busier they are. benchmarks/wave.py measures it.
PAUSE = 0.5
# How often the log says what the encoder did, where it did anything.
TEXTS_TOLD_S = 10.0


class Worker:
    """A worker's parts, put together. `app` runs it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.lag = LagMonitor(settings)
        self.metrics = Metrics(lag=self.lag)
        self.lane = open_lane(settings)
        self.lane.on_batch = self._count_texts
        self.view = WorkerView(
            settings=settings,
            lag=self.lag,
            metrics=self.metrics,
            changes=ChangeFeed(),
            segments=SegmentCounts(),
            status=self.status,
            standing=self.standing,
            shadow=lambda: None if self.job.shadow is None else self.job.shadow.comparison(),
            texts=lambda: Texts(self._reading(), self.lane.given, self.lane.loading_s),
        )
        topics = tuple(settings.topic(name) for name in INPUT_TOPICS)
        self.metrics.expect_events(topics)
        observer = ViewObserver(topics, self.metrics, self.view.changes, self.view.segments)
        self.served_model = ServedModel(FEATURE_SET, NAMES, PriorScorer(), settings.models)
        self.job = ScoringJob(settings, Rules(load(settings.policy)), PriorScorer(), self.lane, observer)
        self.app: App = build_app(settings, self.job)
        self.pipeline = self.app.pipeline
        self.metrics.watch_counts(
            restored=lambda: self.pipeline.counters.restored_records,
            lost=lambda: dict.fromkeys(topics, 0) | self.pipeline.counters.lost,
            foreign=lambda: dict.fromkeys(topics, 0) | self.job.foreign,
            texts_cut=lambda: self.job.texts_cut,
            cache_failures=lambda: self.lane.cache_failures,
        )
        most_held = {settings.topic(name): most for name, most in MOST_HELD.items()}
        self.desk = Desk(self.job, self.lane, self.pipeline.release, self.pipeline, most_held)
        self.job.on_waiting = self.desk.take
        self.job.on_revoked = self.desk.forget
        self.broadcasts = {
            POLICIES: Broadcast(settings, POLICIES, self.serve_policy, on_past=self.serve_published),
            MODEL_SNAPSHOTS: Broadcast(settings, MODEL_SNAPSHOTS, self.serve_snapshot),
        }
        self._told = (time.monotonic(), 0, 0, 0.0)
        self.watchdog = Watchdog(
            lambda: self.lag.lags,
            lambda: self.lag.sampled_at,
            self.pipeline.partitions,
            self.give_up,
            settings.watchdog_limit_s,
            joined=lambda: self.pipeline.ready or self.app.restorer.busy,
            reading=self._reading,
            encoded=lambda: self.lane.encoded,
        )
        self.pipeline.on_tick(TICK_S, self.look_at_backlog)
        self.pipeline.on_tick(TICK_S, self.let_time_pass)
        self.pipeline.on_drain(self.desk.drain)
        self.app.on_begin(self.begin)
        mount(self.app.web.web_app, self.view)

    def give_up(self, stuck: BaseException) -> None:
        """Ends a worker that doesn't get on, saying where it stands."""
        try:
            self.app.tell_stacks("does not get on")
        finally:
            self.app.fail(stuck)

    async def begin(self) -> None:
        """Starts what doesn't wait for an assignment; returns when policies and snapshots have been read in full."""
        if self.settings.pseudonym_key == Settings.model_fields["pseudonym_key"].default:
            log.warning("pseudonym_key is the public default")
        self.app.add_future(self.view.run())
        self.app.add_future(self._read_texts())
        self.app.add_future(self.watchdog.run())
        if self.settings.encoder_preload:
            await self.lane.loaded()
        for name, broadcast in self.broadcasts.items():
            await patiently(f"reading {name}", broadcast.start)
            self.app.add_future(self._follow(broadcast))

    async def _follow(self, broadcast: Broadcast) -> None:
        try:
            await broadcast.run()
        except asyncio.CancelledError:
            raise
        except Exception as exc:
            self.app.fail(exc)

    async def _read_texts(self) -> None:
        try:
            await self.lane.start()
        except asyncio.CancelledError:
            raise  # the process ends; its threads end with it
        except Exception as exc:
            self.app.fail(exc)

    def _count_texts(self, done: BatchDone) -> None:
        self.metrics.count_texts(done.texts, done.tokens)

    # --- what is served

    def serve_published(self, records: Sequence[ConsumerRecord]) -> None:
        """At the start: serves what a worker serves that met these records of `policies` while it ran.

        Raises:
            InfrastructureFailure: nobody can tell; the default would move everybody, and the right one move them back.
        """
        if (policy := newest_readable(records)) is not None:
            self._serve(Rules(policy))
        last = {record.key == SHADOW_KEY: record for record in records}  # the last shadow, the last that isn't one
        for record in last.values():
            self.serve_policy(record.key, record.value)  # says so where it refuses it

    def serve_policy(self, key: bytes, value: bytes | None) -> None:
        """A published policy takes effect in each partition as soon as silence is through; see `ScoringJob`.

        One that isn't valid changes nothing.
        """
        if key == SHADOW_KEY:
            self._set_shadow(value)
            return
        if value is None:
            served = self.job.rules.label
            log.warning("deleted policy, the served one stays: `regulars policy rollback` takes it back", served=served)
            return
        try:
            rules = Rules(parse(value.decode(), published=True))
        except (PolicyError, UnicodeDecodeError) as exc:
            log.error("published policy refused, the served one stays", served=self.job.rules.label, why=str(exc))
            return
        self._serve(rules)

    def _serve(self, rules: Rules) -> None:
        if rules.tag == self.job.rules.tag:
            return
        self.job.rules = rules
        log.info("policy served", policy=rules.label, customers=self.job.unswept())

    def _set_shadow(self, value: bytes | None) -> None:
        """Compares another policy with the served one from now on; null ends that, a mistake changes nothing."""
        if value is None:
            self.job.shadow = None
            log.info("no shadow policy any more")
            return
        try:
            rules = Rules(parse(value.decode(), published=True))
        except (PolicyError, UnicodeDecodeError) as exc:
            log.error("shadow policy refused, nothing changes", why=str(exc))
            return
        if self.job.shadow is None or self.job.shadow.rules.tag != rules.tag:
            self.job.shadow = Shadow(rules)
            log.info("shadow policy compared", policy=rules.label)

    def serve_snapshot(self, key: bytes, value: bytes | None) -> None:
        """A published snapshot is served from the next chunk on; one that doesn't fit changes nothing."""
        try:
            snapshot = self.served_model.take(key, value)
        except SnapshotError as exc:
            served = self.job.scorer
            stays = (
                "the prior, until one comes that can be read" if isinstance(served, PriorScorer) else "the one before"
            )
            log.error("snapshot refused", served=served.version, stays=stays, why=str(exc))
            return
        if snapshot is None:
            return
        for problem in self.served_model.problems:
            log.error("challenger can't be served; the default model is", why=problem)
        self.job.scorer = self.served_model.scorer
        for model, quality in snapshot.quality.items():
            self.metrics.set_learner(model, log_loss=quality.get("log_loss"), auc=quality.get("auc"))
        self.metrics.set_scoreboard(snapshot.scoreboard, rollbacks=snapshot.rollbacks, drifts=snapshot.drifts)
        log.info(
            "snapshot served", version=self.job.scorer.version, labels=snapshot.labels, rollbacks=snapshot.rollbacks
        )

    # --- time

    async def look_at_backlog(self) -> None:
        """Looks who is caught up, for the partitions' clocks."""
        self.desk.check()
        self._tell_of_texts()
        for tp, position in self.pipeline.positions().items():
            part, topic = self.job.parts.get(tp.partition), self.job.topics.index(tp.topic)
            seen = self.lag.ends.get(TopicPartition(tp.topic, tp.partition))
            if part is None or seen is None:
                continue
            if position.done >= seen.end and not position.held:
                part.clock.idle(topic, seen.at_s)
            else:
                part.clock.busy(topic)

    async def let_time_pass(self) -> None:
        """Lets silence move whoever is due, then a new policy whoever it concerns, a wave a partition and round."""
        waiting = True
        while waiting:
            waiting = False
            for partition in sorted(self.pipeline.partitions()):
                work = self.job.silence(partition) or self.job.sweep(partition)
                if work is None:
                    continue
                waiting, began = True, time.perf_counter()
                await self.pipeline.apply(partition, work)
                await asyncio.sleep(PAUSE * (time.perf_counter() - began))

    def _reading(self) -> list[TopicPartition]:
        """Where records wait for their texts."""
        positions = self.pipeline.positions().items()
        return [TopicPartition(tp.topic, tp.partition) for tp, position in positions if position.held]

    def _tell_of_texts(self) -> None:
        now, lane = time.monotonic(), self.lane
        since, encoded, hits, seconds = self._told
        if now - since < TEXTS_TOLD_S:
            return
        self._told = (now, lane.encoded, lane.cache_hits, lane.seconds)
        if (lane.encoded, lane.cache_hits) != (encoded, hits):
            log.info(
                "texts",
                encoded=lane.encoded - encoded,
                texts_per_s=round((lane.encoded - encoded) / (now - since), 1),
                texts_per_encoder_s=round((lane.encoded - encoded) / max(lane.seconds - seconds, 1e-9), 1),
                from_cache=lane.cache_hits - hits,
                waiting=self.desk.held,
                encoded_in_all=lane.encoded,
            )

    # --- what is shown

    def status(self) -> Status:
        """For the pages."""
        assigned = {tp.partition for tp in self.app.consumer.assignment() if tp.topic in self.job.topics}
        owned = self.pipeline.partitions()
        now = {number: part.now() for number, part in self.job.parts.items()}
        return Status(
            joined=self.pipeline.ready,
            assigned=tuple(sorted(assigned)),
            restoring=tuple(sorted(assigned - owned)),
            unread=tuple(name for name, broadcast in self.broadcasts.items() if not broadcast.ready),
            customers=sum(part.customers for part in self.job.parts.values()),
            versions=self.job.versions,
            texts_waiting=self.desk.held,
            partition_times={number: at if abs(at) < time.time() * 10 else None for number, at in now.items()},
        )

    def standing(self, customer_id: str) -> Standing | None:
        """A customer from the local store; see `WorkerView.standing`."""
        key = customer_id.encode()
        partition = partition_of(key, self.settings.partitions)
        try:
            (value,) = self.pipeline.multi_get(partition, [key])
        except PartitionGone:
            raise NotHere(partition) from None
        state = None if value is None else decode_state(value)
        return None if state is None or state.is_erased else standing(customer_id, state, self.job.versions)


if not structlog.is_configured():
    configure_logging()  # `faust -A streams.app worker` doesn't come through `regulars`
check_environment()
worker = Worker(read_settings())
app = worker.app
