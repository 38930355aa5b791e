"""What the served heads say of each text of a file."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.text.directory import ModelDirectory, open_directory
from models.text.head import head_of
from models.text.intents import IntentHead, intents_of, urgency
from models.text.logistic import FloatArray
from models.text.sentiment import ANCHORS, AnchorSentiment
from schemas.events import cut
from streams.settings import Settings
from streams.sources.clothing_reviews import joined
from streams.sources.tables import read_columns
from streams.teaching.vectors import vectors_of

COLUMNS = {"title": ("title", "Title"), "text": ("text", "Text", "Review Text")}


def read_texts(
    path: Path, settings: Settings, progress: Callable[[int, int], None] = lambda done, of: None
) -> pd.DataFrame:
    """A row per row of a parquet or csv file with a column `text` (`title` too, where it has one), in its order.

    Columns: `sentiment` (-1 to 1), `p_content` (0 to 1; none with the anchors), `intent` and `p_intent` (only with an
    intent head), `urgency` (0 to 1). All are null where a row has no text.

    Args:
        path: of the file.
        settings: name the encoder and the heads.
        progress: is told how many of how many texts are encoded.

    Raises:
        FileRefused: no such column.
        EncoderUnavailable, HeadRefused, IntentsRefused: what the settings name can't be used.
    """
    rows = read_columns(path, COLUMNS, optional=("title",)).rows
    texts = [cut(joined(title, text)) for title, text in zip(rows["title"], rows["text"], strict=True)]
    kept = [index for index, text in enumerate(texts) if text]
    directory = open_directory(settings.encoder)
    intents = intents_of(directory, settings.intents)
    written = [texts[index] for index in kept]
    vectors = vectors_of(written, directory, settings, lambda done: progress(done, len(written)))
    read = _sentiments(written, vectors, directory, settings) | _intents(written, vectors, intents)
    of_intents = read.pop("of_intents")
    read["urgency"] = urgency(np.asarray(read["sentiment"], np.float64), np.asarray(of_intents, np.float64))
    return pd.DataFrame(read, index=kept).reindex(range(len(texts)))


def _sentiments(
    texts: Sequence[str], vectors: NDArray[np.float32], directory: ModelDirectory, settings: Settings
) -> dict[str, Sequence[object] | FloatArray]:
    head = head_of(directory, settings.sentiment)
    if head is None:
        anchors = AnchorSentiment(vectors_of(ANCHORS, directory, settings))
        return {"sentiment": anchors.score(texts, vectors).astype(np.float64)}
    return {
        "sentiment": head.score(texts, vectors).astype(np.float64),
        "p_content": head.probability(texts, vectors),
    }


def _intents(
    texts: Sequence[str], vectors: NDArray[np.float32], head: IntentHead | None
) -> dict[str, Sequence[object] | FloatArray]:
    if head is None:
        return {"of_intents": np.zeros(len(texts))}
    probabilities = head.probabilities(texts, vectors)
    return {
        "intent": [head.card.intents[likeliest] for likeliest in probabilities.argmax(axis=1)],
        "p_intent": probabilities.max(axis=1),
        "of_intents": head.urgencies(probabilities),
    }
