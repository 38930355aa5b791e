"""Texts that say whether their writer was content: what sentiment heads and encoders are taught by."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.events import cut
from streams.sources.clothing_reviews import joined
from streams.sources.tables import FileRefused, read_columns

COLUMNS = {
    "title": ("Title", "title"),
    "text": ("Review Text", "text"),
    "recommended": ("Recommended IND", "recommended"),
    "rating": ("Rating", "rating"),
}

NEUTRAL_RATING = 3
"""Above it a writer was content, below it not; three of five stars say neither."""

_PLACES = 1_000


class OneSided(Exception):
    """All writers were content, or none was: nothing to be learnt. More texts with ratings, of both kinds, are needed."""

    def __init__(self, source: object, texts: int) -> None:
        super().__init__(
            f"{source}: {texts:,} texts say whether their writer was content{', all the same' if texts else ''}; "
            f"needs both kinds"
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

    The label is the column `recommended` (0 or 1) where there is one, else `rating` above or below `NEUTRAL_RATING`.

    Raises:
        FileRefused: no such columns.
        OneSided: not both labels among the rows with a text.
    """
    rows = read_columns(path, COLUMNS, optional=("title", "recommended", "rating"))
    by_rating = rows["recommended"].isna().all()
    given = rows["rating"].astype(float) - NEUTRAL_RATING if by_rating else rows["recommended"].astype(float)
    values = given.to_numpy(dtype=np.float64)
    known = np.isfinite(values) & ((values != 0) | (not by_rating))
    if not known.any():
        raise FileRefused(
            f"{path} says of no text whether its writer was content: needs a column recommended or rating"
        )
    texts = [cut(joined(title, text)) for title, text in zip(rows["title"], rows["text"], strict=True)]
    kept = [index for index, text in enumerate(texts) if text and known[index]]
    positive = (values[kept] > 0).astype(np.int64)
    return two_sided(path, Labelled([texts[index] for index in kept], positive, len(texts) - len(kept)))


def two_sided(source: object, labelled: Labelled) -> Labelled:
    """`labelled`, read from `source`; raises OneSided where not both labels are among them."""
    if not 0 < labelled.positive.sum() < len(labelled.positive):
        raise OneSided(source, len(labelled.positive))
    return labelled


def places(texts: Sequence[str]) -> NDArray[np.int64]:
    """(n,): a number below 1,000 for each text, by its digest: copies of a text are in one place."""
    digests = [int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) for text in texts]
    return np.array([digest % _PLACES for digest in digests], dtype=np.int64)


def held_out(texts: Sequence[str], share: float) -> NDArray[np.bool_]:
    """Which texts are held out: about `share` of them, copies of a text together."""
    return places(texts) < round(share * _PLACES)
