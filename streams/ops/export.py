"""Every customer's state as a parquet file, from the changelog topic alone: no worker and no local store is needed.

An erased customer without a later event has no row. Times are event times in UTC, null for never; `segments` is a map from
dimension to segment.
"""

import gc
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.states import CustomerState, Held
from schemas.stored import decode_state
from streams.kafka.changelog import changelog
from streams.kafka.spool import Spool
from streams.ops.drafts import draft_of
from streams.settings import Settings

SCHEMA = pa.schema(
    [
        ("customer_id", pa.string()),
        ("purchases", pa.int64()),
        ("refunds", pa.int64()),
        ("spend_minor", pa.int64()),
        ("refunded_minor", pa.int64()),
        ("clicks", pa.int64()),
        ("reviews", pa.int64()),
        ("first_purchase_at", pa.timestamp("us", tz="UTC")),
        ("last_purchase_at", pa.timestamp("us", tz="UTC")),
        ("last_event_at", pa.timestamp("us", tz="UTC")),
        ("sequence", pa.int64()),
        ("segments", pa.map_(pa.string(), pa.string())),
    ]
)
# Rows per parquet row group: beside the raw values, only the decoded states of one group are in memory.
GROUP_ROWS = 100_000


class Exported(NamedTuple):
    """What an export did."""

    customers: int
    records: int  # read from the changelog


async def export(settings: Settings, out: Path) -> Exported:
    """Writes every customer's state to `out` (parquet); the file appears whole or not at all.

    Raises:
        BrokerLost: no broker answers.
        TopicsNotReady: there is no changelog yet: no worker has run.
        OSError: `out` cannot be written.
    """
    # Opened first: a folder that cannot be written is known before the changelog is read.
    with draft_of(out) as draft, pq.ParquetWriter(draft, SCHEMA) as writer, Spool(out.parent) as spool:
        records = customers = 0
        async with changelog(settings) as log:
            for partition in range(log.partitions):
                records += (await log.read(partition, spool)).records
        for table in tables(spool.pages(GROUP_ROWS)):
            writer.write_table(table)
            customers += table.num_rows
    return Exported(customers, records)


def tables(pages: Iterable[list[tuple[bytes, bytes]]]) -> Iterator[pa.Table]:
    """A table of `SCHEMA` for each page of customers' keys with their stored states, in the same order."""
    for group in pages:
        # Decoding makes no reference cycles; passes of the garbage collector would more than double its time.
        gc.disable()
        try:
            states = {key.decode(): decode_state(value) for key, value in group}
            kept = {customer: state for customer, state in states.items() if not state.is_erased}
            table = _table(list(kept), list(kept.values()))
        finally:
            gc.enable()
        yield table


def _table(customers: list[str], states: list[CustomerState]) -> pa.Table:
    def counts(numbers: list[int]) -> pa.Array:
        return pa.array(np.array(numbers, np.int64))

    columns: list[pa.Array] = [
        pa.array(customers, pa.string()),
        counts([state.purchases for state in states]),
        counts([state.refunds for state in states]),
        counts([state.spend_minor for state in states]),
        counts([state.refunded_minor for state in states]),
        counts([state.clicks for state in states]),
        counts([state.reviews for state in states]),
        _times([state.first_purchase_at for state in states]),
        _times([state.last_purchase_at for state in states]),
        _times([state.last_event_at for state in states]),
        counts([state.sequence for state in states]),
        _segments([state.segments for state in states]),
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def _segments(places: list[dict[str, Held]]) -> pa.Array:
    offsets = np.cumsum([0, *map(len, places)], dtype=np.int32)
    names = [name for place in places for name in place]
    segments = [held.segment for place in places for held in place.values()]
    return pa.MapArray.from_arrays(offsets, pa.array(names, pa.string()), pa.array(segments, pa.string()))


def _times(epochs: list[float | None]) -> pa.Array:
    seconds = np.array(epochs, np.float64)  # None becomes nan
    never = np.isnan(seconds)
    micros = np.rint(np.where(never, 0.0, seconds) * 1e6).astype(np.int64)
    return pa.array(micros, pa.int64(), mask=never).cast(pa.timestamp("us", tz="UTC"))
