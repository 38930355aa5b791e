"""The order in which one chunk's work becomes durable: steps 1 to 5 of the plane. Step 6 is `chunks.Chunks`'.

Whatever fails, nothing after it happens. Before step 3 nothing left this process. Between steps 3 and 5 the restore sends
the outputs again (`restore.py`). Before step 6 the records come again, and the job skips those that its states have seen.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from streams.plane.counters import Counters
from streams.plane.crash import crash_point, crash_point_in_flight
from streams.plane.failures import JobFailed
from streams.plane.ownership import Owned, Ownership
from streams.plane.ports import Acknowledgement, World
from streams.plane.records import CONFIRMED_KEY, OUTBOX_HEADER, Effects, Headers, Output, Put, Work, encode_outbox
from streams.plane.stepping import Stepper

NO_HEADERS: Headers = []


class Effecting:
    """Takes work from the states of its keys to the local store.

    Args:
        changelog: full name of the topic that holds every state.
        world: store and sender.
        stepper: runs the job.
        ownership: who may write.
        counters: what is counted on the way.
    """

    def __init__(
        self, changelog: str, world: World, stepper: Stepper, ownership: Ownership, counters: Counters
    ) -> None:
        self._changelog, self._world, self._stepper = changelog, world, stepper
        self._ownership, self._counters = ownership, counters

    async def run(self, partition: int, owned: Owned, work: Work) -> None:
        """Steps `work` and makes its effects durable; the caller holds the partition's lock.

        Raises:
            PartitionGone: the partition left; what was not written yet is the next owner's to do.
            JobFailed: the job raised in its step, or put one key twice.
        """
        # Step 1: read the states of the keys; step.
        await self.make_durable(partition, owned, await self._effects(partition, work))

    async def make_durable(self, partition: int, owned: Owned, effects: Effects) -> None:
        """Steps 2 to 5: the caller holds the partition's lock. Raises as `run`."""
        if not effects.puts and not effects.dead_letters:
            return

        # Step 2: check that this worker may still write.
        crash_point("before_changelog")
        await self._ownership.may_write(partition, owned)
        crash_point("after_lease")

        with self._counters.timed("produce"):
            # Step 3: send dead letters and the changelog; wait for both.
            offset = await self._write_changelog(partition, owned, effects)

            # Step 4: send outputs; wait for them; tell the job.
            crash_point("before_outputs")
            self._ownership.check(partition, owned)  # else the restore of whoever has it now has sent them
            for delivery in await self._send(partition, [output for put in effects.puts for output in put.outputs]):
                await delivery.acknowledged()
                crash_point("between_output_acks")
            if effects.delivered is not None:
                effects.delivered()
        self._counters.dead_letters += len(effects.dead_letters)

        # Step 5: write the local store: states, changelog offset, confirmed offset.
        if effects.puts:
            self._write_store(partition, owned, effects.puts, offset)

    async def _effects(self, partition: int, work: Work) -> Effects:
        with self._counters.timed("get"):
            values = self._world.states().multi_get(partition, work.keys) if work.keys else []
        effects = await self._stepper.step(partition, work, values)
        self._counters.chunks += 1
        if len({put.key for put in effects.puts}) < len(effects.puts):
            raise JobFailed(ValueError(f"partition {partition}: a step put one key twice"))
        return effects

    async def _write_changelog(self, partition: int, owned: Owned, effects: Effects) -> int:
        """The changelog offset of the last state; -1 where there is none."""
        offset = -1
        letters = await self._send(partition, effects.dead_letters)
        self._ownership.check(partition, owned)
        if effects.puts:
            writing = await self._send_states(partition, effects.puts, owned.confirmed)
            await crash_point_in_flight("between_changelog_and_ack")
            offset = await writing.acknowledged()
        for letter in letters:
            await letter.acknowledged()
        return offset

    def _write_store(self, partition: int, owned: Owned, puts: Sequence[Put], offset: int) -> None:
        crash_point("before_store")
        with self._counters.timed("write"):
            owned.marked, owned.confirmed = owned.confirmed, offset
            states = [(put.key, put.value) for put in puts]
            self._world.states().write(partition, states, offset, confirmed=offset)
        counters = self._counters
        counters.puts += len(puts)
        counters.changelog_records += len(puts) + 1
        counters.outputs += sum(len(put.outputs) for put in puts)
        crash_point("after_store")

    async def resend(self, partition: int, outputs: list[Output]) -> None:
        """Sends outputs of a restore again, in order, and waits for them."""
        deliveries = await self._send(partition, outputs)
        await crash_point_in_flight("during_resend")
        for delivery in deliveries:
            await delivery.acknowledged()
        self._counters.resent += len(outputs)

    async def mark(self, partition: int, owned: Owned) -> None:
        """Writes down which outputs are confirmed, so that no successor sends them again."""
        offset = await (await self._send_states(partition, (), owned.confirmed)).acknowledged()
        owned.marked = owned.confirmed = offset
        self._world.states().write(partition, (), offset, confirmed=offset)

    async def _send_states(self, partition: int, puts: Iterable[Put], confirmed: int) -> Acknowledgement:
        """Sends states with their outboxes, then the marker that says what is confirmed; its offset is acknowledged."""
        records = [
            (put.key, put.value, [(OUTBOX_HEADER, encode_outbox(put.outputs))] if put.outputs else NO_HEADERS)
            for put in puts
        ]
        records.append((CONFIRMED_KEY, b"%d" % confirmed, NO_HEADERS))
        return await self._world.sender().send_batch(self._changelog, partition, records)

    async def _send(self, partition: int, outputs: Sequence[Output]) -> list[Acknowledgement]:
        if not outputs:
            return []
        sender = self._world.sender()
        by_topic: dict[str, list[tuple[bytes | None, bytes | None, Headers]]] = defaultdict(list)
        for topic, key, value, headers in outputs:
            by_topic[topic].append((key, value, headers))
        return [
            await sender.send_batch(topic, sender.partition_of(topic, partition), records)
            for topic, records in by_topic.items()
        ]
