"""How fast a worker restores its state from a changelog, beside faust's own recovery of the same changelog.

    python benchmarks/restore.py --records 500000

Fills a changelog of 8 partitions with states of `--bytes` bytes of distinct customers, a marker every hundred, then
starts one worker with an empty local store, and a plain Faust app with a RocksDB table over the same changelog, one
after the other. Prints records/s and CPU a record of each. `--part` is what the child processes are called with.
"""

import argparse
import asyncio
import os
import random
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from streams.plane.records import CONFIRMED_KEY

ROOT = Path(__file__).parents[1]
PARTITIONS = 8
A_BATCH = 100
LIMIT_S = 200.0


async def fill(servers: str, group: str, records: int, size: int) -> None:
    """Makes the topics and writes the changelog."""
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    topics = [NewTopic(f"{group}-{name}", PARTITIONS, 1) for name in ("in", "out")]
    topics.append(NewTopic(changelog(group), PARTITIONS, 1, topic_configs={"cleanup.policy": "compact"}))
    await admin.create_topics(topics)
    await admin.close()
    rnd = random.Random(1)
    producer = AIOKafkaProducer(bootstrap_servers=servers, acks="all", max_batch_size=1 << 20)
    await producer.start()
    try:
        under_way: list[Any] = []
        for first in range(0, records, A_BATCH):
            batch = producer.create_batch()
            for number in range(first, min(records, first + A_BATCH)):
                batch.append(timestamp=None, key=b"c%09d" % number, value=rnd.randbytes(size))
            batch.append(timestamp=None, key=CONFIRMED_KEY, value=b"-1")
            batch.close()
            partition = first // A_BATCH % PARTITIONS
            under_way.append(await producer.send_batch(batch, changelog(group), partition=partition))
            if len(under_way) >= 200:
                await asyncio.gather(*under_way)
                under_way.clear()
        await asyncio.gather(*under_way)
    finally:
        await producer.stop()


async def length(servers: str, group: str) -> int:
    """Records of the changelog."""
    consumer = AIOKafkaConsumer(bootstrap_servers=servers)
    await consumer.start()
    try:
        return sum(
            (await consumer.end_offsets([TopicPartition(changelog(group), p) for p in range(PARTITIONS)])).values()
        )
    finally:
        await consumer.stop()


def changelog(group: str) -> str:
    """The changelog's name."""
    return f"{group}-customers-changelog"


def ours(group: str) -> None:
    """A worker whose job does nothing; says how long its restore took, and ends."""
    from streams.plane.records import Effects
    from streams.plane.runtime import build_app, run_worker
    from streams.settings import Settings

    class Nothing:
        """No input, no effects."""

        topics = (f"{group}-in",)
        outputs = (f"{group}-out",)
        gathered = ()

        def decode(self, partition: int, records: Sequence[Any]) -> Any:
            """Never called: there are no records."""
            raise AssertionError

        def step(self, partition: int, work: Any, values: Sequence[bytes | None]) -> Effects:
            """Never called."""
            raise AssertionError

        def restored(self, partition: int, items: Iterator[tuple[bytes, bytes]]) -> Iterator[None]:
            """Keeps nothing in memory."""
            return iter(())

        def refuse(self, partition: int, record: Any, cause: Exception) -> Any:
            """Nothing is set aside here."""
            raise cause

        def revoked(self, partition: int) -> None:
            """Keeps nothing in memory."""

    app = build_app(Settings(), Nothing())
    counters = app.pipeline.counters

    async def say() -> None:
        report("regulars", counters.restored_records, counters.restore_s)

    app.pipeline.on_tick(0.02, say)
    run_worker(app)


def idiomatic(group: str, servers: str, folder: str) -> None:
    """A plain Faust app with a table in RocksDB; says how long its recovery took, and ends."""
    import faust

    app = faust.App(
        group,
        broker=f"kafka://{servers}",
        store="rocksdb://",
        topic_partitions=PARTITIONS,
        topic_disable_leader=True,
        topic_allow_declare=False,
        table_standby_replicas=0,
        web_enabled=False,
        datadir=folder,
    )
    log = app.topic(
        changelog(group),
        key_type=bytes,
        value_type=bytes,
        value_serializer="raw",
        partitions=PARTITIONS,
        compacting=True,
    )
    table = app.Table("states", key_type=bytes, value_type=bytes, partitions=PARTITIONS, changelog_topic=log)
    began = 0.0

    @app.agent(app.topic(f"{group}-in", value_type=bytes))
    async def nothing(stream: Any) -> None:
        async for _ in stream:
            pass

    @app.on_partitions_assigned.connect
    async def assigned(*_: Any, **__: Any) -> None:
        nonlocal began
        began = time.perf_counter()

    @table.on_recover
    async def recovered() -> None:
        report("faust", asyncio_length(servers, group), time.perf_counter() - began)

    sys.argv = ["faust", "--quiet", "worker", "-l", "error", "--without-web"]
    app.main()


def asyncio_length(servers: str, group: str) -> int:
    """`length`, from a running loop's thread."""
    code = subprocess.run(
        [sys.executable, __file__, "--part=length", f"--group={group}", f"--bootstrap-servers={servers}"],
        capture_output=True,
        text=True,
        check=True,
    )
    return int(code.stdout)


def report(who: str, records: int, seconds: float) -> None:
    """One line, and the process ends."""
    cpu = time.process_time()
    line = (
        f"{who:<9} {records:,} records in {seconds:.2f} s: {records / seconds:,.0f} records/s; "
        f"CPU of the process with its start {cpu:.1f} s\n"
    )
    os.write(1, line.encode())  # faust sends what is printed to its log
    os._exit(0)


def main() -> None:
    """Prints a line each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--bootstrap-servers", default="127.0.0.1:9092")
    parser.add_argument("--records", type=int, default=500_000)
    parser.add_argument("--bytes", type=int, default=400)
    parser.add_argument("--tries", type=int, default=3, help="restores of ours")
    parser.add_argument("--no-faust", action="store_true", help="ours alone")
    parser.add_argument("--pyspy", default="", help="a py-spy to record the first restore with, to restore.svg")
    parser.add_argument("--part", default="", help=argparse.SUPPRESS)
    parser.add_argument("--group", default="", help=argparse.SUPPRESS)
    parser.add_argument("--folder", default="", help=argparse.SUPPRESS)
    given = parser.parse_args()
    servers = given.bootstrap_servers
    if given.part == "ours":
        ours(given.group)
    if given.part == "faust":
        idiomatic(given.group, servers, given.folder)
    if given.part == "length":
        print(asyncio.run(length(servers, given.group)))
        return

    group = f"bench-{uuid.uuid4().hex[:8]}"
    asyncio.run(fill(servers, group, given.records, given.bytes))
    for part in ["ours"] * given.tries + ([] if given.no_faust else ["faust"]):
        with tempfile.TemporaryDirectory(prefix="regulars-restore-") as folder:
            environment = {
                **os.environ,
                "REGULARS_BOOTSTRAP_SERVERS": servers,
                "REGULARS_TOPIC_PREFIX": "",
                "REGULARS_APP_ID": group,
                "REGULARS_PARTITIONS": str(PARTITIONS),
                "REGULARS_DATA_DIR": folder,
                "REGULARS_WEB_PORT": "0",
                "REGULARS_SESSION_TIMEOUT_S": "6",
                "PYTHONPATH": str(ROOT),
            }
            spied = [given.pyspy, "record", "--native", "-f", "raw", "-o", "restore.txt", "--"] if given.pyspy else []
            given.pyspy = ""
            command = [*spied, sys.executable, __file__, f"--part={part}", f"--group={group}", f"--folder={folder}"]
            subprocess.run(
                [*command, f"--bootstrap-servers={servers}"],
                env=environment,
                check=True,
                timeout=LIMIT_S,
                stderr=None,
                stdin=subprocess.DEVNULL,
            )


if __name__ == "__main__":
    main()
