"""The model that workers score with now, read from the topic `model-snapshots`."""

from models.features import FEATURE_SET
from models.learning.scorer import SnapshotScorer
from models.learning.snapshots import SnapshotError, decode_snapshot
from models.scores import PriorScorer, Scorer
from streams.kafka.broadcast import read_latest
from streams.settings import Settings


async def served_scorer(settings: Settings) -> Scorer:
    """What workers score with: the latest snapshot they can read, else the prior."""
    scorer: Scorer = PriorScorer()
    for value in (await read_latest(settings, "model-snapshots")).values():
        try:
            scorer = SnapshotScorer(decode_snapshot(value, FEATURE_SET), PriorScorer())
        except SnapshotError:
            continue  # as workers do: what was served stays
    return scorer
