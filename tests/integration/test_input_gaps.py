"""Records that are gone from an input topic while a worker runs: each is counted, and nothing else is."""

import re
import signal
from collections.abc import Callable
from typing import Any

from confluent_kafka import Producer as Sender

from tests.support.plane import Plane, WorkerProcess

Wait = Callable[..., Any]


def lost(worker: WorkerProcess) -> int:
    """How many records the worker says are lost."""
    said = [line for line in worker.lines if "records deleted before they were read" in line]
    return sum(int(re.findall(r"lost=(\d+)", line)[0]) for line in said)


def test_retention_that_overtakes_a_running_worker_is_counted(plane: Plane, wait_until: Wait) -> None:
    """Aiokafka goes on at the earliest record by itself; what was never read is counted, and what comes next counts."""
    plane.send_numbers(200)
    worker = plane.start()
    wait_until(lambda: plane.lag() == 0, 60)
    before = sum(plane.ends("changes").values())
    worker.process.send_signal(signal.SIGSTOP)
    read = len(plane.sent)
    # the fetch that waits at the broker is answered with this record: none is under way when the others arrive
    plane.send("a", b"only-first", b"1")
    plane.flush()
    for n in range(400):
        plane.send("a", b"only-%d" % n, b"1")
    plane.flush()
    plane.delete_records(plane.topic("a"))
    del plane.sent[read:]
    worker.process.send_signal(signal.SIGCONT)

    plane.send_numbers(200)
    wait_until(lambda: plane.lag() == 0, 60)
    assert worker.stop() == 0

    processed = sum(plane.ends("changes").values()) - before - 200
    assert lost(worker) + processed == 401
    assert lost(worker) > 0
    wrong = [each for each in plane.verify().wrong if "only-" not in each]
    assert wrong == []


def test_marks_of_transactions_are_no_lost_records(plane: Plane, wait_until: Wait) -> None:
    """A producer's commits and aborts take an offset each, in the middle, at the end and alone in a poll."""
    worker = plane.start()
    worker.wait_for("ready")
    sender = Sender(
        {
            "bootstrap.servers": plane.settings.bootstrap_servers,
            "transactional.id": plane.settings.topic_prefix,
            "partitioner": "murmur2_random",
        }
    )
    sender.init_transactions(30)
    for turn in range(40):
        sender.begin_transaction()
        for n in range(3):
            sender.produce(plane.topic("a"), b"1", key=b"k%d" % n)
            plane.sent.append(("a", b"k%d" % n, b"1"))
        if turn % 4:
            sender.commit_transaction(30)
        else:
            sender.flush(30)
            sender.abort_transaction(30)
    wait_until(lambda: plane.lag() == 0, 60)
    assert worker.stop() == 0

    assert plane.verify().wrong == []
    assert lost(worker) == 0
