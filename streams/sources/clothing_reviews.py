"""Women's E-Commerce Clothing Reviews: real texts and ratings. The writers and times are assigned here."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import xxhash

from schemas.events import Review, cut
from schemas.times import from_rfc3339
from streams.sources.dataset import Dataset, in_blocks
from streams.sources.events import EventRecord, event_record, instant
from streams.sources.positions import file_digest
from streams.sources.tables import FileRefused, read_columns

COLUMNS = {
    "title": ("Title", "title"),
    "text": ("Review Text", "text"),
    "rating": ("Rating", "rating"),
    "product": ("Clothing ID", "product_id"),
}
# The file has no customers and no times. Row i is assigned to one of this many customers, by a hash of i, and to the time
# FIRST_AT plus i half hours: 14,049 rows make 293 days and about three reviews per customer.
CUSTOMERS = 5_000
FIRST_AT = "2018-01-01T00:00:00Z"
APART_S = 1_800.0


def open_clothing_reviews(path: Path) -> Dataset:
    """Every row of `path` as one review: "title. text", or the text alone; empty where there is only a rating.

    Raises:
        FileRefused: the file is of another kind, or a rating is no number from 1 to 5.
    """
    table = read_columns(path, COLUMNS, optional=("title", "product"))
    rows = table.rows.assign(rating=table.numbers("rating", 1, 5))
    if rows.empty:
        raise FileRefused(f"{path} has no rows")
    prefix = f"reviews-{file_digest(path)[:8]}"
    times_s = from_rfc3339(FIRST_AT) + APART_S * np.arange(len(rows), dtype=np.float64)

    def items(start: int, stop: int) -> Iterator[EventRecord]:
        for begin, end in in_blocks(start, stop):
            block = rows.iloc[begin:end]
            cells = zip(*(block[name].tolist() for name in COLUMNS), strict=True)
            for row, (title, text, rating, product) in enumerate(cells, start=begin):
                at_s = float(times_s[row])
                review = Review(
                    event_id=f"{prefix}-{row}",
                    customer_id=writer(row),
                    event_time=instant(at_s),
                    type="review",
                    text=cut(joined(title, text)),
                    rating=int(rating) if rating == rating else None,
                    product_id=None if pd.isna(product) else str(product),
                    language="en",
                )
                yield event_record(at_s, review)

    silent = int((rows["text"].isna() & rows["title"].isna()).sum())
    notes = (
        f"assigned: {CUSTOMERS:,} customers and one review each half hour from {FIRST_AT} (the file has neither)",
        f"{silent:,} rows have a rating but no text: their text is empty",
        *table.repeated(),
    )
    return Dataset(times_s, items, float(times_s[-1]), notes)


def writer(row: int) -> str:
    """The customer that a row is assigned to.

    >>> writer(0) == writer(0), writer(0).startswith("reviewer-")
    (True, True)
    """
    return f"reviewer-{xxhash.xxh3_64_intdigest(row.to_bytes(8, 'little')) % CUSTOMERS:04d}"


def joined(title: object, text: object) -> str:
    """What the customer wrote, the title first.

    >>> joined("Lovely", "Fits well."), joined(None, "Fits well."), joined("Lovely", float("nan")), joined(None, None)
    ('Lovely. Fits well.', 'Fits well.', 'Lovely', '')
    """
    parts = [part.strip() for part in (title, text) if isinstance(part, str) and part.strip()]
    if len(parts) == 2 and parts[0][-1] in ".!?":
        return " ".join(parts)
    return ". ".join(parts)
