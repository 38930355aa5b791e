"""The model that workers score with now, read from the topic `model-snapshots`."""

from models.features import FEATURE_SET
from models.learning.scorer import SnapshotScorer
from models.learning.snapshots import SnapshotError, decode_snapshot
from models.scores import PriorScorer, Scorer
from schemas.topics import MODEL_SNAPSHOTS
from streams.kafka.broadcast import read_latest
from streams.settings import Settings


async def served_scorer(settings: Settings) -> Scorer:
    """The scorer that workers use: the latest snapshot that they can read, otherwise the prior."""
    scorer: Scorer = PriorScorer()
    for value in (await read_latest(settings, MODEL_SNAPSHOTS)).values():
        try:
            scorer = SnapshotScorer(decode_snapshot(value, FEATURE_SET), PriorScorer())
        except SnapshotError:
            continue  # as workers do: the scorer before stays in use
    return scorer
