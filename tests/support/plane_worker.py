"""A worker with a job of its own, run as a subprocess by the data plane's integration tests.

Each record adds a number to its key's sum; every record that is new to its key causes one output with the next sequence
number. A state is msgpack ``[sequence, sum, {topic: last applied offset}]``. Values: ``b"<number>"``; ``b"hold"`` is
kept until ``PLANE_RELEASE`` exists, ``b"erase"`` deletes the state, ``b"boom"`` raises, anything else is a dead letter.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from aiokafka.structs import ConsumerRecord

from streams.plane.records import Effects, Output, Put
from streams.plane.runtime import App, build_app, run_worker
from streams.settings import Settings


class Additions(NamedTuple):
    """Records by key, in order, with what could not be read and what is kept for later."""

    keys: list[bytes]
    groups: dict[bytes, list[ConsumerRecord]]
    bad: list[ConsumerRecord]
    held: Sequence[ConsumerRecord]


class Adder:
    """Sums up numbers by key."""

    def __init__(self, prefix: str) -> None:
        self.topics = (f"{prefix}a", f"{prefix}b")
        self.changes = f"{prefix}changes"
        self.dead_letters = f"{prefix}dead"
        self.outputs = (self.changes, self.dead_letters)
        self.gathered = ()
        self.held: dict[int, list[ConsumerRecord]] = {}
        self.known: dict[int, int] = {}

    def decode(self, partition: int, records: Sequence[ConsumerRecord]) -> Additions:
        """Groups records by key."""
        groups: dict[bytes, list[ConsumerRecord]] = {}
        bad, held = [], []
        for record in records:
            if record.value == b"hold":
                held.append(record)
            elif record.value == b"boom":
                raise ZeroDivisionError("a bug in the job")
            elif record.value == b"erase" or record.value.lstrip(b"-").isdigit():
                groups.setdefault(record.key, []).append(record)
            else:
                bad.append(record)
        self.held.setdefault(partition, []).extend(held)
        return Additions(list(groups), groups, bad, held)

    def step(self, partition: int, work: Additions, values: Sequence[bytes | None]) -> Effects:
        """Adds up."""
        puts = []
        for key, value in zip(work.keys, values, strict=True):
            sequence, total, seen = msgspec.msgpack.decode(value) if value is not None else (0, 0, {})
            outputs, erased, dirty = [], False, False
            for record in work.groups[key]:
                # what was held is applied after younger records of its topic: it has a mark of its own
                mark = record.topic + ":held" if record.value == b"hold" else record.topic
                if record.offset <= seen.get(mark, -1):
                    continue
                dirty, erased = True, record.value == b"erase"
                seen[mark] = record.offset
                if not erased:
                    sequence += 1
                    total += int(record.value) if record.value != b"hold" else 1000
                    body = msgspec.json.encode([sequence, total, record.topic, record.offset])
                    outputs.append(Output(self.changes, key, body, [("n", b"%d" % sequence)]))
            if dirty:
                state = None if erased else msgspec.msgpack.encode([sequence, total, seen])
                puts.append(Put(key, state, outputs))
        letters = [Output(self.dead_letters, bad.key, bad.value, [("why", b"not a number")]) for bad in work.bad]
        return Effects(puts, letters)

    def restored(self, partition: int, items: Iterator[tuple[bytes, bytes]]) -> Iterator[None]:
        """Counts, with a pause after each."""
        known = 0
        for _ in items:
            known += 1
            yield
        self.known[partition] = known
        print(f"restored {partition} {known}", flush=True)

    def origin(self, changelog_id: str, partition: int, offset: int, number: int) -> tuple[str, bytes]:
        """Where an output was written first."""
        return "origin", f"{changelog_id}/{partition}/{offset}/{number}".encode()

    def refuse(self, partition: int, record: Any, cause: Exception) -> Any:
        """The dead letter of a record that the job cannot do."""
        return Output(self.dead_letters, record.key, record.value, [("why", type(cause).__name__.encode())])

    def revoked(self, partition: int) -> None:
        """Forgets."""
        self.held.pop(partition, None)
        self.known.pop(partition, None)
        print(f"revoked {partition}", flush=True)


def releasing(app: App, job: Adder, flag: Path) -> Any:
    """A tick that finishes held records once `flag` exists."""

    async def tick() -> None:
        if not flag.exists():
            return
        for partition in app.pipeline.partitions():
            if held := job.held.pop(partition, []):
                groups: dict[bytes, list[ConsumerRecord]] = {}
                for record in held:
                    groups.setdefault(record.key, []).append(record)
                await app.pipeline.release(partition, held, Additions(list(groups), groups, [], ()))

    return tick


def main() -> None:
    """Runs until stopped; says when it is ready, and what it restored, on stdout."""
    settings = Settings()
    job = Adder(settings.topic_prefix)
    app = build_app(settings, job)

    app.lease.patience_s = float(os.environ.get("PLANE_PATIENCE_S", app.lease.patience_s))
    said = False

    async def say() -> None:
        nonlocal said
        if not said:
            said = True
            counters = app.pipeline.counters
            print(f"ready {sorted(app.pipeline.partitions())} restored {counters.restored_records} resent "
                  f"{counters.resent}", flush=True)  # fmt: skip

    app.pipeline.on_tick(0.05, say)
    app.pipeline.on_tick(0.05, releasing(app, job, Path(os.environ.get("PLANE_RELEASE", "/nonexistent"))))

    @app.on_before_shutdown.connect
    async def tell(sender: Any, **_: Any) -> None:
        print(f"records {app.pipeline.counters.records} resent {app.pipeline.counters.resent}", flush=True)

    run_worker(app)


if __name__ == "__main__":
    sys.exit(main())
