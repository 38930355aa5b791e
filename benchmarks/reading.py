"""How long `regulars state export` and `regulars policy preview` take for many customers, and the memory that they need.

    python benchmarks/reading.py [--customers 1000000] [--against CHECKOUT]

Needs a broker (`regulars broker start`). Writes a changelog of simulated customers, each key twice, as a changelog between
two compactions; then each command reads it in a process of its own, this tree's and that of CHECKOUT in turns. Prints
seconds, CPU seconds and peak resident memory.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

from opening import states

from streams.kafka.clients import producer, started
from streams.kafka.topics import create
from streams.settings import Settings

OWN = Path(__file__).resolve().parents[1]


async def fill(settings: Settings, customers: int) -> None:
    """Topics, and two records of each customer in the changelog."""
    await create(settings)
    kinds = states()
    async with started(producer(settings, max_batch_bytes=1 << 18), settings) as sender:
        for turn in range(2):
            for number in range(customers):
                partition, value = number % settings.partitions, kinds[(number + turn) % len(kinds)]
                await sender.send(settings.changelog_topic, value, b"customer-%09d" % number, partition)


def read(settings: Settings, tree: Path, arguments: list[str]) -> str:
    """Runs one command of `tree`; gives its figures."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "REGULARS_TOPIC_PREFIX": settings.topic_prefix}
    began = time.perf_counter()
    child = subprocess.Popen([sys.executable, "-m", "streams.cli", *arguments], env=environment, cwd=tree, stdout=-3)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    took_s, cpu_s = time.perf_counter() - began, used.ru_utime + used.ru_stime
    return f"{took_s:7.1f} s {cpu_s:7.1f} s of CPU {used.ru_maxrss / 1024:7.0f} MiB, exit code {child.returncode}"


def main() -> None:
    """Fills, reads in turns, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--customers", type=int, default=1_000_000)
    parser.add_argument("--against", type=Path, help="another checkout of this repository")
    parser.add_argument("--policy", type=Path, required=True, help="the policy to preview")
    given = parser.parse_args()
    settings = Settings(topic_prefix=f"reading-{uuid.uuid4().hex[:6]}-")
    asyncio.run(fill(settings, given.customers))
    with tempfile.TemporaryDirectory() as folder:
        commands = {
            "state export": ["state", "export", f"--out={folder}/states.parquet"],
            "policy preview": ["policy", "preview", str(given.policy.resolve()), "--json"],
        }
        for name, arguments in commands.items():
            for tree in (OWN, *([given.against.resolve()] if given.against else [])):
                print(f"{name:<15} {tree.name:<10} {read(settings, tree, arguments)}", flush=True)


if __name__ == "__main__":
    main()
