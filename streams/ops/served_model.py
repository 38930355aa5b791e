"""The model that workers score with now, read from the topic `model-snapshots`."""

import contextlib

from models.features import FEATURE_SET, NAMES
from models.learning.serving import ServedModel
from models.learning.snapshots import SnapshotError
from models.scores import PriorScorer, Scorer
from schemas.topics import MODEL_SNAPSHOTS
from streams.kafka.broadcast import read_latest
from streams.settings import Settings


async def served_scorer(settings: Settings) -> Scorer:
    """The scorer that workers use: the latest snapshot that they can read, otherwise the prior."""
    model = ServedModel(FEATURE_SET, NAMES, PriorScorer(), settings.models)
    for key, value in (await read_latest(settings, MODEL_SNAPSHOTS)).items():
        with contextlib.suppress(SnapshotError):  # as workers do: the scorer before stays in use
            model.take(key, value)
    return model.scorer
