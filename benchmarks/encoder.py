"""How fast texts are read: the encoder by batch budget, the cache by look-up, and what the event loop feels meanwhile.

    REGULARS_SHARED=<folder of data/> python benchmarks/encoder.py [--texts 600] [--device cpu] [--budgets 256,1024]

Reads real reviews (womens_clothing_reviews_part.parquet, title and text). Each budget is run over the same texts, after
one warm-up batch, with the threads that a worker would take; on a busy machine compare by CPU second. Prints tables;
writes nothing but a temporary cache.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from models.text.batching import batches
from models.text.cache import VectorCache, count_rows
from models.text.reading import TextEncoder
from streams.worker.encoding import encoder_threads
from streams.worker.text_lane import TextLane


def reviews(rows: int, seed: int = 0) -> list[str]:
    """A seeded sample of `rows` reviews, title and text."""
    table = pq.read_table(Path(os.environ["REGULARS_SHARED"]) / "data" / "womens_clothing_reviews_part.parquet")
    titles, texts = table["Title"].to_pylist(), table["Review Text"].to_pylist()
    sample = np.random.default_rng(seed).permutation(len(texts))[:rows]
    return [f"{titles[row] or ''}\n{texts[row] or ''}".strip() for row in sample]


def sweep(encoder: TextEncoder, texts: Sequence[str], budgets: Sequence[int]) -> Table:
    """Texts/s and tokens/s (without padding) for each budget."""
    began = time.perf_counter()
    tokens = encoder.tokenize(texts)
    tokenizing = len(texts) / (time.perf_counter() - began)
    lengths = [len(row) for row in tokens]
    table = Table("budget", "texts/s", "tokens/s", "padding", "s a batch", "texts a CPU second")
    table.title = f"forward; {np.mean(lengths):.0f} tokens a text; tokenising alone: {tokenizing:,.0f} texts/s"
    for budget in budgets:
        cut = batches(lengths, budget)
        encoder.forward([tokens[index] for index in cut[0]])
        seconds = []
        cpu_began = time.process_time()
        for batch in cut:
            began = time.perf_counter()
            encoder.forward([tokens[index] for index in batch])
            seconds.append(time.perf_counter() - began)
        cpu = time.process_time() - cpu_began
        padded = sum(len(batch) * lengths[batch[0]] for batch in cut)
        table.add_row(
            f"{budget:,}",
            f"{len(texts) / sum(seconds):,.1f}",
            f"{sum(lengths) / sum(seconds):,.0f}",
            f"{padded / sum(lengths) - 1:.1%}",
            f"{np.mean(seconds):.3f}",
            f"{len(texts) / cpu:,.1f}",
        )
    return table


def cache(rows: int) -> Table:
    """What 1,000 look-ups cost, and a row on disk, in a cache of `rows` random vectors."""
    texts = [f"review {row} " + "and so on " * 40 for row in range(rows)]
    vectors = np.random.default_rng(0).standard_normal((rows, 384)).astype(np.float16)
    table = Table("look-up of 1,000", "best of 5, ms", title=f"cache of {rows:,} vectors")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vectors.sqlite"
        writer = VectorCache(path, "v", 384, 1 << 30, memory_texts=0)
        began = time.perf_counter()
        for start in range(0, rows, 1_000):
            writer.put(texts[start : start + 1_000], vectors[start : start + 1_000])
        putting = (time.perf_counter() - began) / rows * 1e6
        writer.close()
        for name, memory, asked in (
            ("on disk", 0, texts[-1_000:]),
            ("in memory", 2_000, texts[-1_000:]),
            ("unknown", 0, [text + "!" for text in texts[-1_000:]]),
        ):
            reader = VectorCache(path, "v", 384, 1 << 30, memory_texts=memory)
            seconds = []
            for _ in range(6):
                began = time.perf_counter()
                reader.get(asked)
                seconds.append(time.perf_counter() - began)
            reader.close()
            table.add_row(name, f"{min(seconds[1:]) * 1e3:.1f}")
        table.caption = f"put: {putting:.0f} us a vector; {path.stat().st_size / count_rows(path):.0f} bytes a vector"
    return table


async def stalls(encoder: TextEncoder, texts: Sequence[str]) -> Table:
    """How late a 1 ms timer fires on the event loop: idle, and while the lane encodes `texts`."""
    from models.text.directory import open_directory

    table = Table("event loop", "p50 ms", "p99 ms", "worst ms", title="lateness of a 1 ms timer")
    with tempfile.TemporaryDirectory() as folder:
        lane = TextLane(open_directory, lambda _: encoder, Path(folder) / "vectors.sqlite", 1 << 28)
        lane.start()
        await lane.loaded()
        for name, work in (("idle", asyncio.sleep(3)), ("encoding", lane.encode(texts))):
            busy = asyncio.ensure_future(work)
            late = []
            while not busy.done():
                began = time.perf_counter()
                await asyncio.sleep(0.001)
                late.append((time.perf_counter() - began) * 1e3 - 1)
            table.add_row(name, *(f"{np.percentile(late, share):.1f}" for share in (50, 99, 100)))
        table.caption = f"the lane: {lane.encoded / lane.seconds:.1f} texts/s"
        await lane.stop()
    return table


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=600, help="reviews to encode for each budget")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--budgets", default="256,512,1024,2048,4096,16384", help="tokens a batch, padding included")
    parser.add_argument("--encoder", default="", help="directory of a BERT model; empty: the packaged MiniLM")
    given = parser.parse_args()
    console = Console()

    began = time.perf_counter()
    import torch

    torch_s = time.perf_counter() - began
    from models.text.encoder import Encoder

    torch.set_num_threads(encoder_threads(len(os.sched_getaffinity(0))))
    imported_s = time.perf_counter() - began
    encoder = Encoder.open(given.encoder, given.device)
    console.print(
        f"torch imported in {torch_s:.1f} s, all in {imported_s:.1f} s, model loaded after"
        f" {time.perf_counter() - began:.1f} s; {encoder.device}, {torch.get_num_threads()} threads"
    )
    longest = max(map(len, encoder.tokenize(reviews(sys.maxsize))))
    console.print(f"the longest of all reviews has {longest} tokens; texts are cut at {encoder.max_tokens}")
    texts = reviews(given.texts)
    console.print(sweep(encoder, texts, [int(budget) for budget in given.budgets.split(",")]))
    console.print(cache(50_000))
    console.print(asyncio.run(stalls(encoder, texts)))


if __name__ == "__main__":
    main()
