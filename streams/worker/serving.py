"""What a worker serves: the policy, the shadow policy, the campaigns and the model snapshot that were published last."""

from collections.abc import Sequence

import structlog
from aiokafka.structs import ConsumerRecord

from models.features import FEATURE_SET, NAMES
from models.learning.serving import ServedModel
from models.learning.snapshots import SnapshotError
from models.policy import PolicyError, Rules
from models.scores import PriorScorer
from models.shadow import Shadow
from schemas.topics import CAMPAIGNS, MODEL_SNAPSHOTS, POLICIES
from streams.campaigns.serving import ServedCampaigns
from streams.policy.published import SHADOW_KEY, newest_readable, readable
from streams.worker.metrics import Metrics
from streams.worker.scoring import ScoringJob

log = structlog.get_logger(__name__)


class Serving:
    """Gives the job what was published. A document that is not valid changes nothing.

    Args:
        job: serves what it is given from the next chunk on.
        metrics: show the quality of the served model.
        models: `REGULARS_MODELS`: whose packages a challenger's classes may be of.
    """

    def __init__(self, job: ScoringJob, metrics: Metrics, models: str = "") -> None:
        self._job, self._metrics = job, metrics
        self._campaigns = ServedCampaigns()
        self._model = ServedModel(FEATURE_SET, NAMES, PriorScorer(), models)

    def serve_published(self, records: Sequence[ConsumerRecord]) -> None:
        """At the start: serves what a worker serves that received these records of `policies` while it ran.

        Raises:
            InfrastructureFailure: no policy can be read. The default policy would move every customer, and the right one
                would move them back.
        """
        if (policy := newest_readable(records)) is not None:
            self._serve(Rules(policy))
        last = {record.key == SHADOW_KEY: record for record in records}  # the last shadow, and the last other policy
        for record in last.values():
            self.serve_policy(record.key, record.value)  # logs a refusal

    def serve_policy(self, key: bytes, value: bytes | None) -> None:
        """Serves a published policy. In each partition it counts when silence under the old one is done (`ScoringJob`)."""
        if key == SHADOW_KEY:
            self._set_shadow(value)
            return
        if value is None:
            served = self._job.rules.label
            log.warning(
                "the policy was deleted, the served one stays: `regulars policy rollback` publishes it again",
                served=served,
            )
            return
        try:
            rules = readable(value)
        except PolicyError as exc:
            self._metrics.count_refused(POLICIES)
            log.error("published policy refused, the served one stays", served=self._job.rules.label, why=str(exc))
            return
        self._serve(rules)

    def _serve(self, rules: Rules) -> None:
        if rules.tag == self._job.rules.tag:
            return
        self._job.rules = rules
        log.info("policy served", policy=rules.label, customers=self._job.unswept())

    def _set_shadow(self, value: bytes | None) -> None:
        """Compares another policy with the served one from now on; null ends that."""
        if value is None:
            self._job.shadow = None
            log.info("no shadow policy any more")
            return
        try:
            rules = readable(value)
        except PolicyError as exc:
            self._metrics.count_refused(POLICIES)
            log.error("shadow policy refused, nothing changes", why=str(exc))
            return
        if self._job.shadow is None or self._job.shadow.rules.tag != rules.tag:
            self._job.shadow = Shadow(rules)
            log.info("shadow policy compared", policy=rules.label)

    def serve_campaign(self, key: bytes, value: bytes | None) -> bool:
        """Decides by a published campaign from the next chunk on, or pauses or ends one; False: it is refused."""
        if not self._campaigns.take(key, value):
            self._metrics.count_refused(CAMPAIGNS)
            return False
        self._job.board = self._campaigns.board()
        return True

    def serve_snapshot(self, key: bytes, value: bytes | None) -> bool:
        """Serves a published snapshot from the next chunk on, with the challengers that it names; False: it is refused."""
        try:
            snapshot = self._model.take(key, value)
        except SnapshotError as exc:
            served = self._job.scorer
            stays = (
                "the prior, until one comes that can be read" if isinstance(served, PriorScorer) else "the one before"
            )
            self._metrics.count_refused(MODEL_SNAPSHOTS)
            log.error("snapshot refused", served=served.version, stays=stays, why=str(exc))
            return False
        if snapshot is None:
            return True
        for problem in self._model.problems:
            log.error("a challenger cannot be served, the default model is", why=problem)
        self._job.scorer = self._model.scorer
        for model, quality in snapshot.quality.items():
            self._metrics.set_learner(model, log_loss=quality.get("log_loss"), auc=quality.get("auc"))
        self._metrics.set_scoreboard(snapshot.scoreboard, rollbacks=snapshot.rollbacks, drifts=snapshot.drifts)
        log.info(
            "snapshot served", version=self._job.scorer.version, labels=snapshot.labels, rollbacks=snapshot.rollbacks
        )
        return True
