"""Labelled texts, from which heads and encoders learn: was the writer content, and what did the writer want?"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.text.intents import MOST_INTENTS
from schemas.events import cut
from streams.sources.clothing_reviews import joined
from streams.sources.tables import FileRefused, read_columns

COLUMNS = {
    "title": ("Title", "title"),
    "text": ("Review Text", "text"),
    "recommended": ("Recommended IND", "recommended"),
    "rating": ("Rating", "rating"),
}

INTENT_COLUMNS = {
    "text": ("text", "Text", "question", "message"),
    "intent": ("intent", "Intent", "label", "category"),
    "urgency": ("urgency",),
}

NEUTRAL_RATING = 3
"""A writer with a higher rating was content, one with a lower rating was not; three of five stars say neither."""

_PLACES = 1_000


class OneSided(Exception):
    """All writers were content, or none was, so nothing can be learnt. Texts of both kinds are needed."""

    def __init__(self, source: object, texts: int) -> None:
        super().__init__(
            f"{source}: {texts:,} texts have a label{', all the same one' if texts else ''}; "
            f"texts of content and of discontent writers are needed"
        )


class Labelled(NamedTuple):
    """Texts and their labels, in the order of the file, or of event time.

    Attributes:
        texts: "title. text", as a replay sends them; none is empty.
        positive: (n,) int64: 1 content, 0 not.
        left_out: rows without a text or a label.
    """

    texts: list[str]
    positive: NDArray[np.int64]
    left_out: int


def read_labelled(path: Path) -> Labelled:
    """The labelled texts of a parquet or csv file with a column `text` (`title` too, where it has one).

    The label is the column `recommended` (0 or 1, yes or no, true or false) where there is one, else `rating` (1 to 5)
    above or below `NEUTRAL_RATING`.

    Raises:
        FileRefused: no such columns, or a cell of the label's is none of these.
        OneSided: not both labels among the rows with a text.
    """
    table = read_columns(path, COLUMNS, optional=("title", "recommended", "rating"))
    rows = table.rows
    recommended = table.numbers("recommended", 0, 1, yes_no=True)
    by_rating = bool(np.isnan(recommended).all())
    values = table.numbers("rating", 1, 5) - NEUTRAL_RATING if by_rating else recommended
    known = np.isfinite(values) & ((values != 0) | (not by_rating))
    if not known.any():
        raise FileRefused(f"{path} has no label for any text: it needs a column recommended or rating")
    texts = [cut(joined(title, text)) for title, text in zip(rows["title"], rows["text"], strict=True)]
    kept = [index for index, text in enumerate(texts) if text and known[index]]
    positive = (values[kept] > 0).astype(np.int64)
    return two_sided(path, Labelled([texts[index] for index in kept], positive, len(texts) - len(kept)))


class Intended(NamedTuple):
    """Texts and what their writers wanted, in the order of the file.

    Attributes:
        texts: n of them; none is empty.
        intents: (n,) the number of each text's intent in `names`.
        names: of the intents, in alphabetical order.
        urgency: how urgent each intent is, 0 to 1: the mean of its texts; empty where the file doesn't say.
        left_out: rows without a text or an intent.
    """

    texts: list[str]
    intents: NDArray[np.int64]
    names: tuple[str, ...]
    urgency: tuple[float, ...]
    left_out: int


def read_intended(path: Path) -> Intended:
    """The texts of a parquet or csv file with the columns `text` and `intent`, and `urgency` (0 to 1) where it has one.

    Raises:
        FileRefused: no such columns, an urgency that is none, or fewer than two intents.
    """
    table = read_columns(path, INTENT_COLUMNS, optional=("urgency",))
    wanted = [None if pd.isna(name) else str(name).strip() for name in table.rows["intent"]]
    texts = [cut(joined(None, text)) for text in table.rows["text"]]
    kept = [index for index, text in enumerate(texts) if text and wanted[index]]
    names = sorted({name for index in kept if (name := wanted[index])})
    if not 2 <= len(names) <= MOST_INTENTS:
        raise FileRefused(f"{path} names {len(names):,} intents for its texts; 2 to {MOST_INTENTS:,} can be told apart")
    numbers = {name: number for number, name in enumerate(names)}
    intents = np.array([numbers[wanted[index] or ""] for index in kept], dtype=np.int64)
    said = table.numbers("urgency", 0, 1)[kept]
    known = np.isfinite(said)
    counts = np.bincount(intents[known], minlength=len(names))
    means = np.bincount(intents[known], weights=said[known], minlength=len(names)) / np.maximum(1, counts)
    urgency = tuple(means.tolist()) if known.any() else ()
    return Intended([texts[index] for index in kept], intents, tuple(names), urgency, len(texts) - len(kept))


def two_sided(source: object, labelled: Labelled) -> Labelled:
    """`labelled`, read from `source`; raises OneSided where not both labels are among them."""
    if not 0 < labelled.positive.sum() < len(labelled.positive):
        raise OneSided(source, len(labelled.positive))
    return labelled


def places(texts: Sequence[str]) -> NDArray[np.int64]:
    """(n,): a number below 1,000 per text, from its digest, so copies of a text have the same number."""
    digests = [int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) for text in texts]
    return np.array([digest % _PLACES for digest in digests], dtype=np.int64)


def held_out(texts: Sequence[str], share: float) -> NDArray[np.bool_]:
    """Which texts are held out: about `share` of them; all copies of a text are on the same side."""
    return places(texts) < round(share * _PLACES)
