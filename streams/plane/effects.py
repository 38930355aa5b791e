"""The durable order: how one chunk becomes states, outputs and progress, so that a crash anywhere loses nothing.

The chunks of a partition run one after another. Each goes through six steps:

1. decode the records, read the states of their keys, step
2. check that this worker may still write (lease)
3. send dead letters and the changelog, and wait for both
4. send the outputs, wait for them, and tell the job that they are delivered
5. write the local store: states, changelog offset, confirmed offset
6. progress: the offsets of the records may be committed

When a step fails, no later step happens. Before step 3 nothing has left this process. Between steps 3 and 5 the restore
sends the outputs again (`restore`). Before step 6 the records come again, and the job skips those that its states have
already applied.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from aiokafka.structs import ConsumerRecord
from faust.types import TP

from streams.plane.changelog import ChangelogWriter
from streams.plane.counters import Counters
from streams.plane.crash import crash_point, crash_point_in_flight
from streams.plane.failures import JobFailed, as_job_failure
from streams.plane.ownership import OwnedPartition, Ownership
from streams.plane.ports import Acknowledgement, World
from streams.plane.progress import Span
from streams.plane.records import Effects, Headers, Job, Output, Put, Work
from streams.plane.stepping import Stepper

NO_EFFECTS = Effects([], [])


class Chunk(NamedTuple):
    """What goes through the steps together: records of polls, or work without records.

    Attributes:
        epoch: the assignment.
        records: by topic in the job's order, then by offset.
        spans: the offsets that these records, and those that were applied before, cover.
        work: work without records; None: `records` are decoded.
        effects: effects without work; they count only where there are neither records nor work.
        held: records that the job holds, of chunks with the same spans.
        released: records that the job held until now; only without `spans`.
    """

    epoch: int
    records: Sequence[ConsumerRecord] = ()
    spans: Sequence[Mapping[TP, Span]] = ()
    work: Work | None = None
    effects: Effects = NO_EFFECTS
    held: Sequence[ConsumerRecord] = ()
    released: Sequence[ConsumerRecord] = ()


class DurableOrder:
    """Takes chunks through the six steps; see the module.

    Args:
        job: decodes and steps.
        changelog: writes states and markers.
        ownership: whether the partition is still this worker's.
        counters: count what was done.
        world: local store and sender.
    """

    def __init__(
        self,
        job: Job[Any],
        *,
        changelog: ChangelogWriter,
        ownership: Ownership,
        counters: Counters,
        world: World,
    ) -> None:
        self._job, self._changelog, self._ownership = job, changelog, ownership
        self._counters, self._world = counters, world
        self._stepper = Stepper(job, ownership, counters)

    async def run(self, owned: OwnedPartition, chunk: Chunk) -> Sequence[ConsumerRecord]:
        """Takes one chunk through all steps; the caller holds the partition's lock. Gives the records that the job holds.

        Raises:
            JobFailed: the job raised, or put one key twice; nothing has left this process.
            PartitionGone: the partition is no longer this worker's.
            Stale: `chunk.epoch` is over.
            Fenced: another worker has claimed the partition.
        """
        # Step 1: decode the records, read the states of their keys, step.
        work = self._decode(owned, chunk.records) if chunk.records else chunk.work
        effects = chunk.effects if work is None else self._placed(owned, await self._step(owned, work))

        if effects.puts or effects.dead_letters:
            with self._counters.time("produce"):
                # Step 2: check that this worker may still write.
                crash_point("before_changelog")
                await self._ownership.may_write(owned)
                crash_point("after_lease")

                # Step 3: send dead letters and the changelog, and wait for both.
                offset = await self._send_changelog(owned, effects)

                # Step 4: send the outputs, wait for them, and tell the job.
                crash_point("before_outputs")
                await self._send_outputs(owned, effects)

            # Step 5: write the local store.
            self._write_store(owned, effects.puts, offset)

        # Step 6: progress. From here on the offsets may be committed.
        held = work.held if chunk.records and work is not None else chunk.held
        self._advance(chunk, held)
        return held

    def _decode(self, owned: OwnedPartition, records: Sequence[ConsumerRecord]) -> Work:
        try:
            with self._counters.time("decode"):
                work: Work = self._job.decode(owned.number, records)
        except Exception as exc:
            raise as_job_failure(exc) from exc
        crash_point("after_decode")
        return work

    async def _step(self, owned: OwnedPartition, work: Work) -> Effects:
        with self._counters.time("get"):
            values = self._world.states().multi_get(owned.number, work.keys) if work.keys else []
        effects = await self._stepper.step(owned.number, work, values)
        self._counters.chunks += 1
        if len({put.key for put in effects.puts}) < len(effects.puts):
            raise JobFailed(ValueError(f"partition {owned.number}: a step put one key twice"))
        return effects

    def _placed(self, owned: OwnedPartition, effects: Effects) -> Effects:
        """The effects, with its origin on each output of a topic that all partitions share.

        `owned.confirmed` rises with each chunk that has outputs, also over owners. So origins rise in the order in which the
        outputs are sent first; what is sent again comes from the changelog, under its first origin.
        """
        changelog_id = self._world.changelog_id()
        if not changelog_id or not self._job.gathered:
            return effects
        number = 0
        for put in effects.puts:
            for i, output in enumerate(put.outputs):
                if output.topic in self._job.gathered:
                    origin = self._job.origin(changelog_id, owned.number, owned.confirmed, number)
                    put.outputs[i] = output._replace(headers=[*output.headers, origin])
                    number += 1
        return effects

    async def _send_changelog(self, owned: OwnedPartition, effects: Effects) -> int:
        """The changelog offset up to which the effects are durable; the confirmed one where no state changed."""
        letters = await self._send(owned.number, effects.dead_letters)
        self._ownership.check(owned)
        offset = owned.confirmed
        if effects.puts:
            sent = await self._changelog.send(owned.number, effects.puts, owned.confirmed)
            await crash_point_in_flight("between_changelog_and_ack")
            offset = await sent.acknowledged()
        for letter in letters:
            await letter.acknowledged()
        self._counters.dead_letters += len(effects.dead_letters)
        return offset

    async def _send_outputs(self, owned: OwnedPartition, effects: Effects) -> None:
        self._ownership.check(owned)  # a new owner's restore has sent them already
        outputs = [output for put in effects.puts for output in put.outputs]
        for delivery in await self._send(owned.number, outputs):
            await delivery.acknowledged()
            crash_point("between_output_acks")
        if effects.delivered is not None:
            effects.delivered()
        self._counters.outputs += len(outputs)

    def _write_store(self, owned: OwnedPartition, puts: Sequence[Put], offset: int) -> None:
        if not puts:
            return
        crash_point("before_store")
        with self._counters.time("write"):
            owned.marked, owned.confirmed = owned.confirmed, offset
            self._world.states().write(owned.number, [(put.key, put.value) for put in puts], offset, confirmed=offset)
        self._counters.puts += len(puts)
        self._counters.changelog_records += len(puts) + 1
        crash_point("after_store")

    def _advance(self, chunk: Chunk, held: Sequence[ConsumerRecord]) -> None:
        progress = self._ownership.progress
        places = _places(held)
        for spans in chunk.spans:
            progress.done(chunk.epoch, spans, places)
        if not chunk.spans:
            progress.release(chunk.epoch, _places(chunk.released))
        self._counters.records += len(chunk.records)

    async def resend(self, partition: int, outputs: list[Output]) -> None:
        """Sends outputs of a restore again, in order, and waits for them."""
        deliveries = await self._send(partition, outputs)
        await crash_point_in_flight("during_resend")
        for delivery in deliveries:
            await delivery.acknowledged()
        self._counters.resent += len(outputs)

    async def _send(self, partition: int, outputs: Sequence[Output]) -> list[Acknowledgement]:
        if not outputs:
            return []
        by_topic: dict[str, list[tuple[bytes | None, bytes | None, Headers]]] = defaultdict(list)
        for topic, key, value, headers in outputs:
            by_topic[topic].append((key, value, headers))
        sender = self._world.sender()
        return [
            await sender.send_batch(topic, sender.partition_of(topic, partition), records)
            for topic, records in by_topic.items()
        ]


def _places(records: Sequence[ConsumerRecord]) -> list[tuple[TP, int]]:
    return [(TP(record.topic, record.partition), record.offset) for record in records]
