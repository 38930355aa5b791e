"""How long a worker takes to open partitions whose local stores are complete, and how long that blocks its event loop.

    python benchmarks/opening.py [--customers 1250000] [--partitions 1]

Makes the stores on disk: states of some thousand simulated customers, each under many keys. Then it opens the partitions
one after the other, as a rebalance does, while a second task asks for its turn all the time: the longest that it waited is
how late a page answered, in CPU time of the loop's thread, so that work beside it disturbs the figure less. Prints seconds,
the longest waits, and the memory that the process gained per customer.
"""

import argparse
import asyncio
import gc
import random
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from step import START_S, chunk, make_job

from streams.plane.ownership import Ownership
from streams.plane.runtime import build_app
from streams.settings import Settings

BATCH = 10_000
KINDS_OF_STATE = 5_000
SHOWN = 3


def states() -> list[bytes]:
    """Stored states of simulated customers with about ten events each."""
    job, rnd, held = make_job(), random.Random(5), dict[bytes, bytes]()
    for turn in range(6):
        records = chunk(rnd, 8_000, KINDS_OF_STATE, START_S + turn * 86_400.0, turn * 8_000)
        work = job.decode(0, records)
        for put in job.step(0, work, [held.get(key) for key in work.keys]).puts:
            held[put.key] = put.value
    return [value for key, value in held.items() if key.startswith(b"c")]


def fill(store: Any, partition: int, customers: int, kinds: list[bytes]) -> None:
    """A complete store of the partition."""
    store.open(partition)
    for first in range(0, customers, BATCH):
        numbers = range(first, min(customers, first + BATCH))
        items = [(b"%d-%09d" % (partition, number), kinds[number % len(kinds)]) for number in numbers]
        store.write(partition, items, first, logged=False)
    store.flush(partition)


async def opened(ownership: Any, partitions: int) -> tuple[float, float, list[float]]:
    """Seconds and CPU seconds until all partitions are open, and the longest waits of a task beside it."""
    waits, done = [0.0], False

    async def watch() -> None:
        last = time.thread_time()
        while not done:
            await asyncio.sleep(0)
            now = time.thread_time()
            waits.append(now - last)
            if len(waits) > 100_000:
                waits[:] = sorted(waits)[-SHOWN:]
            last = now

    beside = asyncio.create_task(watch())
    began, cpu = time.perf_counter(), time.process_time()
    for partition in range(partitions):
        await ownership.open(partition, -1, lambda: None)
    seconds, cpu_s, done = time.perf_counter() - began, time.process_time() - cpu, True
    await beside
    return seconds, cpu_s, sorted(waits)[-SHOWN:][::-1]


def main() -> None:
    """Fills, opens, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--customers", type=int, default=1_250_000, help="per partition")
    parser.add_argument("--partitions", type=int, default=1)
    given = parser.parse_args()
    kinds, job = states(), make_job()
    with tempfile.TemporaryDirectory() as folder:
        app = build_app(Settings(data_dir=Path(folder) / "data", web_port=0, partitions=given.partitions), job)
        app._create_directories()
        store: Any = app.tables["states"].data
        for partition in range(given.partitions):
            fill(store, partition, given.customers, kinds)
        gc.collect()
        gc.freeze()
        before = _resident_mib()
        ownership: Ownership = app.pipeline._ownership
        seconds, cpu_s, waits = asyncio.run(opened(ownership, given.partitions))
        gained = _resident_mib() - before
        everybody = given.customers * given.partitions
        size = sum(map(len, kinds)) / len(kinds)
        print(f"customers            {everybody:,} in {given.partitions} partitions, {size:.0f} bytes each")
        print(f"until all are open   {seconds:.1f} s, {1e6 * cpu_s / everybody:.2f} us of CPU per customer")
        print(f"longest waits        {', '.join(f'{1e3 * wait:.0f} ms' for wait in waits)}")
        print(f"memory               {gained:.0f} MiB, {gained * 2**20 / everybody:.0f} bytes per customer")
        for partition in range(given.partitions):
            store.close(partition)


def _resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


if __name__ == "__main__":
    main()
