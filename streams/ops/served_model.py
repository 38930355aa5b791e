"""The model that workers score with now, read from the topic `model-snapshots`."""

from models.features import FEATURE_SET, NAMES
from models.learning.serving import ServedModel
from models.learning.snapshots import SnapshotError
from models.scores import PriorScorer, Scorer
from schemas.topics import MODEL_SNAPSHOTS
from streams.kafka.broadcast import read_recent
from streams.settings import Settings


async def served_scorer(settings: Settings) -> Scorer:
    """The scorer that workers use: the latest snapshot that they can read, otherwise the prior."""
    model = ServedModel(FEATURE_SET, NAMES, PriorScorer(), settings.models)
    for key, values in (await read_recent(settings, MODEL_SNAPSHOTS)).items():
        for value in values:
            try:
                model.take(key, value)
            except SnapshotError:
                continue  # as workers do: the one before it stays in use
            break
    return model.scorer
