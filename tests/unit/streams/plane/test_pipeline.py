"""Laws of a chunk's order, with a store and a sender that write down what they are asked."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka.structs import ConsumerRecord
from faust.types import TP

from bench import Bench, Failed, Items
from streams.plane.failures import Failures
from streams.plane.records import CLAIM_KEY, CONFIRMED_KEY, Headers, Output, PartitionGone, decode_outbox


@pytest.fixture
async def bench(tmp_path: Path) -> Bench:
    """A fresh pipeline."""
    return await Bench.started(tmp_path)


async def test_effects_come_in_the_order_that_survives_a_crash(bench: Bench) -> None:
    """Dead letters and changelog acknowledged, outputs acknowledged, the job told, the local store, then progress."""
    await bench.pipeline.process(bench.batch(("clicks", 0, 0, b"k"), ("clicks", 0, 1, b"dead")))
    assert bench.log == [
        ("sent", "dead", [b"dead"]),
        ("sent", "log", [b"k", CONFIRMED_KEY]),
        ("acked", "log"),
        ("acked", "dead"),
        ("sent", "changes", [b"k"]),
        ("acked", "changes"),
        ("told", [b"k", b"dead"]),
        ("store", 0, [b"k"], 1, 1),
    ]
    assert bench.pipeline.progress.committable()[TP("clicks", 0)] == 2


@pytest.mark.parametrize("topic", ["log", "dead", "changes"])
async def test_nothing_is_progress_before_everything_is_acknowledged(bench: Bench, topic: str) -> None:
    """While an acknowledgement is missing, neither the local store nor the committable offset moves; nobody is told."""
    bench.net.blocked.add(topic)
    task = asyncio.ensure_future(bench.pipeline.process(bench.batch(("clicks", 0, 0, b"k"), ("clicks", 0, 1, b"dead"))))
    for _ in range(50):
        await asyncio.sleep(0)
    assert bench.pipeline.progress.committable()[TP("clicks", 0)] == 0
    assert not [entry for entry in bench.log if entry[0] in ("store", "told")]
    bench.net.blocked.clear()
    await task
    assert bench.pipeline.progress.committable()[TP("clicks", 0)] == 2


async def test_all_topics_of_a_partition_are_one_chunk(bench: Bench) -> None:
    """The job sees the records of a partition number together, topic by topic."""
    await bench.pipeline.process(
        bench.batch(("purchases", 0, 0, b"k"), ("clicks", 1, 0, b"j"), ("clicks", 0, 0, b"k"), ("clicks", 0, 1, b"k"))
    )
    assert sorted(bench.job.decoded) == [
        (0, [("clicks", 0), ("clicks", 1), ("purchases", 0)]),
        (1, [("clicks", 0)]),
    ]


async def test_a_marker_confirms_the_chunk_before(bench: Bench) -> None:
    """Each changelog write ends with the offset up to which outputs were acknowledged when it was written."""
    for offset in range(3):
        await bench.pipeline.process(bench.batch(("clicks", 0, offset, b"k")))
    assert [value for _, _, key, value, _ in bench.net.records if key == CONFIRMED_KEY] == [b"-1", b"1", b"3"]


async def test_a_change_travels_with_its_outputs(bench: Bench) -> None:
    """The changelog record carries what has to be sent again if the process ends here."""
    await bench.pipeline.process(bench.batch(("clicks", 0, 0, b"k")))
    ((_, _, _, value, headers),) = [record for record in bench.net.records if record[:3] == ("log", 0, b"k")]
    ((name, outbox),) = headers
    assert (value, name) == (b"1", "outbox")
    assert decode_outbox(outbox) == [Output("changes", b"k", b"1", [("h", b"1")])]


async def test_outputs_to_a_shared_topic_say_their_place_in_the_order(bench: Bench) -> None:
    """Origins rise from chunk to chunk and within one; what is kept to be sent again has the same origin."""
    bench.log_id, bench.job.gathered = "id", ("changes",)
    for offset, keys in enumerate([(b"j", b"k"), (b"k",)]):
        await bench.pipeline.process(
            bench.batch(*(("clicks", 0, 2 * offset + number, key) for number, key in enumerate(keys)))
        )

    def origins(headers: Headers) -> list[bytes]:
        return [value for name, value in headers if name == "origin"]

    sent = [origins(headers)[0] for topic, _, _, _, headers in bench.net.records if topic == "changes"]
    kept = [
        origins(output.headers)[0]
        for topic, _, key, _, headers in bench.net.records
        if topic == "log" and key != CONFIRMED_KEY
        for output in decode_outbox(headers[0][1])
    ]
    assert sent == kept == [b"id/0/-1/0", b"id/0/-1/1", b"id/0/2/0"]


async def test_chunks_of_a_partition_run_one_after_another(bench: Bench) -> None:
    """Work from outside waits for the chunk in flight and sees its states."""
    bench.net.blocked.add("log")
    first = asyncio.ensure_future(bench.pipeline.process(bench.batch(("clicks", 0, 0, b"k"))))
    second = asyncio.ensure_future(bench.pipeline.apply(0, Items([b"k"])))
    for _ in range(20):
        await asyncio.sleep(0)
    assert [entry for entry in bench.log if entry[0] == "sent"] == [("sent", "log", [b"k", CONFIRMED_KEY])]
    bench.net.blocked.clear()
    await asyncio.gather(first, second)
    assert bench.disk.data == {b"k": b"2"}


async def test_polls_that_wait_for_a_partition_are_its_next_chunk(bench: Bench) -> None:
    """In the job's order of topics, then by offset; a record that came twice within the assignment counts once."""
    bench.net.blocked = {"log"}
    polls = [bench.batch(("clicks", 0, 0, b"a"))]
    running = [asyncio.create_task(bench.pipeline.process(polls[0]))]
    await asyncio.sleep(0)
    polls += [
        bench.batch(("purchases", 0, 0, b"b"), ("clicks", 0, 1, b"c")),
        bench.batch(("clicks", 0, 1, b"c"), ("clicks", 0, 2, b"a")),
    ]
    running += [asyncio.create_task(bench.pipeline.process(poll)) for poll in polls[1:]]
    for _ in range(10):
        await asyncio.sleep(0)
    bench.net.blocked = set()
    await asyncio.gather(*running)
    assert bench.job.decoded == [(0, [("clicks", 0)]), (0, [("clicks", 1), ("clicks", 2), ("purchases", 0)])]
    assert bench.pipeline.progress.position(TP("clicks", 0)) == 3


async def test_large_polls_stay_chunks_of_their_own(bench: Bench) -> None:
    """A backlog's chunks don't grow: their records would wait for each other's step."""
    rows = [[("clicks", 0, n, b"a") for n in range(start, start + 400)] for start in (0, 400, 800)]
    await asyncio.gather(*(bench.pipeline.process(bench.batch(*row)) for row in rows))
    assert [len(records) for _, records in bench.job.decoded] == [400, 400, 400]


async def test_partitions_do_not_wait_for_each_other(bench: Bench) -> None:
    """A partition's chunk is sent while another's acknowledgement is missing."""
    bench.net.blocked.add("log")
    task = asyncio.ensure_future(bench.pipeline.process(bench.batch(("clicks", 0, 0, b"k"), ("clicks", 1, 0, b"j"))))
    for _ in range(20):
        await asyncio.sleep(0)
    assert len([entry for entry in bench.log if entry[:2] == ("sent", "log")]) == 2
    bench.net.blocked.clear()
    await task


async def test_work_without_effects_writes_nothing_and_is_progress(bench: Bench) -> None:
    """Replayed records, which the states have seen, only move the committable offset."""
    await bench.pipeline.process(bench.batch(("clicks", 0, 0, b"quiet")))
    assert bench.log == []
    assert bench.pipeline.progress.committable()[TP("clicks", 0)] == 1


async def test_a_record_that_makes_two_starts_fail_is_set_aside_in_the_third(tmp_path: Path) -> None:
    """Its neighbours count, in order; it alone is a dead letter, and the partition goes on."""
    records = [("clicks", 0, offset, key) for offset, key in enumerate((b"a", b"b", b"bad", b"c"))]
    for _ in range(2):
        with pytest.raises(Failed):
            await (failing := await Bench.started(tmp_path)).pipeline.process(failing.batch(*records))
        assert failing.log == []

    third = await Bench.started(tmp_path)
    await third.pipeline.process(third.batch(*records))
    assert third.disk.data == {b"a": b"1", b"b": b"1", b"c": b"1"}
    assert [record for record in third.net.records if record[0] == "dead"] == [
        ("dead", 0, b"bad", b"!", [("why", b"ZeroDivisionError")])
    ]
    assert third.pipeline.progress.committable()[TP("clicks", 0)] == 4
    assert third.pipeline.counters.set_aside == {"clicks": 1}
    assert not third.failures.is_suspect(0, third.batch(*records).records[TP("clicks", 0)])


async def test_failures_at_other_records_do_not_add_up(tmp_path: Path) -> None:
    """Two starts that failed at different records say nothing of either."""
    for offset in (0, 7):
        bench = await Bench.started(tmp_path)
        bench.pipeline.progress.forget()
        bench.pipeline.progress.begin({TP("clicks", 0): offset})
        await bench.open(0)
        with pytest.raises(Failed):
            await bench.pipeline.process(bench.batch(("clicks", 0, offset, b"bad")))
    assert not Failures(tmp_path).is_suspect(0, bench.batch(("clicks", 0, 7, b"bad")).records[TP("clicks", 0)])


async def test_an_exception_of_the_job_ends_the_process_and_nothing_counts(bench: Bench) -> None:
    """Nothing was sent, nothing may be committed."""
    with pytest.raises(Failed):
        await bench.pipeline.process(bench.batch(("clicks", 0, 0, b"bad")))
    assert bench.log == []
    assert bench.pipeline.progress.committable()[TP("clicks", 0)] == 0


async def test_one_key_twice_in_a_step_is_a_bug(bench: Bench) -> None:
    """Compaction could drop the first of them before its outputs were confirmed."""
    with pytest.raises(Failed) as failed:
        await bench.pipeline.process(bench.batch(("clicks", 0, 0, b"twice")))
    assert "put one key twice" in str(failed.value.__cause__)
    assert bench.log == []


async def test_held_records_hold_commits_until_released(bench: Bench) -> None:
    """Released with work of their own, in the partition's order."""
    await bench.pipeline.process(bench.batch(("clicks", 0, 0, b"held"), ("clicks", 0, 1, b"k")))
    assert bench.pipeline.progress.committable()[TP("clicks", 0)] == 0
    held = ConsumerRecord("clicks", 0, 0, 0, 0, b"held", b"", None, 0, 0, ())
    await bench.pipeline.release(0, [held], Items([b"k"]))
    assert bench.pipeline.progress.committable()[TP("clicks", 0)] == 2
    assert bench.disk.data == {b"k": b"2"}


async def test_work_for_a_partition_that_went_away_is_refused(bench: Bench) -> None:
    """After a revoke neither applies nor releases nor reads are taken, and the job was told."""
    bench.pipeline.forget()
    assert bench.job.gone == [0, 1]
    with pytest.raises(PartitionGone):
        await bench.pipeline.apply(0, Items([b"k"]))
    with pytest.raises(PartitionGone):
        bench.pipeline.multi_get(0, [b"k"])
    assert bench.log == []


async def test_a_batch_of_an_earlier_assignment_is_dropped(bench: Bench) -> None:
    """Its records come again: it is neither processed nor counted."""
    batch = bench.batch(("clicks", 0, 0, b"k"))
    bench.pipeline.forget()
    await bench.open(0)
    await bench.pipeline.process(batch)
    assert bench.log == []
    assert bench.job.decoded == []


async def test_records_that_come_again_within_an_assignment_are_not_handed_over_again(bench: Bench) -> None:
    """A rewind after a dropped batch overlaps what was done."""
    await bench.pipeline.process(bench.batch(("clicks", 0, 0, b"k"), ("clicks", 0, 1, b"k")))
    await bench.pipeline.process(bench.batch(("clicks", 0, 1, b"k"), ("clicks", 0, 2, b"k")))
    assert bench.job.decoded[1] == (0, [("clicks", 2)])


async def test_a_worker_that_is_out_writes_nothing(bench: Bench) -> None:
    """The coordinator said so: the chunk is dropped before its first effect."""
    bench.lease.lose()
    await bench.pipeline.process(bench.batch(("clicks", 0, 0, b"k")))
    with pytest.raises(PartitionGone):
        await bench.pipeline.apply(0, Items([b"k"]))
    assert bench.log == []
    assert bench.pipeline.progress.committable()[TP("clicks", 0)] == 0


async def test_a_partition_that_another_worker_claimed_is_given_up_alone(bench: Bench) -> None:
    """The refused chunk leaves no trace here, the partition's next ones neither; other partitions go on."""
    bench.net.fenced = {0}
    await bench.pipeline.process(bench.batch(("clicks", 0, 0, b"a"), ("clicks", 1, 0, b"b")))
    await bench.pipeline.process(bench.batch(("clicks", 0, 1, b"a"), ("clicks", 1, 1, b"b")))
    assert bench.disk.data == {b"b": b"2"}
    assert [entry for entry in bench.log if entry[0] == "told"] == [("told", [b"b"])] * 2
    assert bench.pipeline.progress.position(TP("clicks", 0)) == 0
    assert bench.pipeline.progress.position(TP("clicks", 1)) == 2
    assert bench.pipeline.partitions() == {1}
    assert bench.job.gone == [0]
    with pytest.raises(PartitionGone):
        await bench.pipeline.apply(0, Items([b"a"]))
    bench.pipeline.forget()


@pytest.mark.parametrize("end", ["a rebalance", "an exception"])
async def test_a_chunk_that_is_cancelled_keeps_no_other_waiting(bench: Bench, end: str) -> None:
    """Chunks are stepped together; whatever ends the step, each that still waits for it hears so."""
    first = asyncio.ensure_future(bench.pipeline.process(bench.batch(("clicks", 0, 0, b"a"))))
    second = asyncio.ensure_future(bench.pipeline.process(bench.batch(("clicks", 1, 0, b"bad"))))
    await asyncio.sleep(0)
    first.cancel()
    if end == "a rebalance":
        bench.pipeline.forget()
        await asyncio.wait_for(second, 10)
    else:
        with pytest.raises(Failed):
            await asyncio.wait_for(second, 10)
    assert first.cancelled()
    assert not [entry for entry in bench.log if entry[0] == "sent"]


async def test_partitions_are_claimed_again_each_for_itself(bench: Bench) -> None:
    """One that goes away takes no claim from the others, whose stores then are where their changelogs end."""
    bench.gone_at_claim = {0}

    await bench.pipeline.process(bench.batch(("clicks", 1, 0, b"b")))
    await bench.pipeline.claim_again()
    await bench.pipeline.process(bench.batch(("clicks", 1, 1, b"b")))

    assert bench.claimed == [1]
    assert [record[2:4] for record in bench.net.records if record[:2] == ("log", 1)] == [
        (b"b", b"1"),
        (CONFIRMED_KEY, b"-1"),
        (CLAIM_KEY, b""),
        (CONFIRMED_KEY, b"1"),
        (b"b", b"2"),
        (CONFIRMED_KEY, b"3"),
    ]
    assert [entry for entry in bench.log if entry[0] == "store"] == [
        ("store", 1, [b"b"], 1, 1),
        ("store", 1, [], 3, 3),
        ("store", 1, [b"b"], 5, 5),
    ]


async def test_a_chunk_that_waits_for_a_partition_which_is_given_up_never_reaches_the_job(bench: Bench) -> None:
    """The job has forgotten the partition by then: to decode for it would be its end."""
    bench.net.fenced = {0}
    bench.net.blocked.add("log")
    first = asyncio.ensure_future(bench.pipeline.process(bench.batch(("clicks", 0, 0, b"a"))))
    second = asyncio.ensure_future(bench.pipeline.process(bench.batch(("clicks", 0, 1, b"a"))))
    await asyncio.sleep(0)
    bench.net.blocked.clear()
    await asyncio.gather(first, second)
    assert bench.job.decoded == [(0, [("clicks", 0)])]
    assert bench.job.gone == [0]
    bench.pipeline.forget()


async def test_giving_up_writes_down_what_is_confirmed(bench: Bench) -> None:
    """The successor has nothing to send again."""
    await bench.pipeline.process(bench.batch(("clicks", 0, 0, b"k")))
    await bench.pipeline.quiesce(stopping=False)
    await bench.pipeline.close()
    assert bench.net.records[-1][:4] == ("log", 0, CONFIRMED_KEY, b"1")
    assert bench.log[-1] == ("store", 0, [], 2, 2)
    assert bench.pipeline.partitions() == frozenset()


async def test_quiet_waits_for_what_is_under_way(bench: Bench) -> None:
    """A revoke lets the batch in flight finish, and takes nothing new."""
    bench.net.blocked.add("changes")
    task = asyncio.ensure_future(bench.pipeline.process(bench.batch(("clicks", 0, 0, b"k"))))
    await asyncio.sleep(0)
    quiet = asyncio.ensure_future(bench.pipeline.quiesce(stopping=False))
    await asyncio.sleep(0.02)
    assert not quiet.done()
    with pytest.raises(PartitionGone):
        await bench.pipeline.apply(0, Items([b"k"]))
    bench.net.blocked.clear()
    await asyncio.wait_for(asyncio.gather(task, quiet), 5)


async def test_others_get_a_turn_while_a_partition_is_taken(bench: Bench) -> None:
    """Between portions of it; and it is this worker's only when all of them are through."""
    bench.pipeline.forget()
    turns = []

    def portions(partition: int, items: object) -> Iterator[None]:
        for _ in range(3):
            yield
            turns.append(bench.pipeline.partitions())

    bench.job.restored = portions  # type: ignore[assignment]
    other = asyncio.create_task(asyncio.sleep(0))
    await bench.open(0)
    assert other.done()
    assert turns == [frozenset()] * 3
    assert bench.pipeline.partitions() == {0}


async def test_a_partition_that_a_rebalance_takes_meanwhile_is_not_taken(bench: Bench) -> None:
    """The job forgets the portions that it has seen."""

    def overtaken() -> None:
        raise PartitionGone(0)

    bench.pipeline.forget()
    gone = len(bench.job.gone)
    bench.job.restored = lambda partition, items: iter((None, None))  # type: ignore[assignment,method-assign]
    with pytest.raises(PartitionGone):
        await bench.pipeline.open(0, -1, overtaken)
    assert bench.job.gone[gone:] == [0]
    assert bench.pipeline.partitions() == frozenset()
